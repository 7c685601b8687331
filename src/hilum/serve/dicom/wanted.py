"""Which films are fetched from a PACS, and what it has of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from hilum.errors import RequestError

DATES: Final = re.compile(r"\d{8}|\d{8}-(\d{8})?|-\d{8}")


@dataclass(frozen=True)
class Wanted:
    """Which films. dates: DICOM's range, YYYYMMDD-YYYYMMDD, or "" for all. body_part: "" for any.

    What a PACS does not say of a series is no reason to leave it out.
    """

    dates: str = ""
    modalities: tuple[str, ...] = ("CR", "DX")
    body_part: str = "CHEST"

    def check(self) -> None:
        """RequestError for dates that are none."""
        if self.dates and not DATES.fullmatch(self.dates):
            raise RequestError(
                f"{self.dates!r} is no range of dates",
                where="--date",
                next_step="Write it as 20240101-20241231, 20240305, 20240101- or -20241231.",
            )

    def takes(self, modality: str, body_part: str) -> bool:
        """Whether a series is wanted, by what the PACS says of it.

        >>> Wanted().takes("CR", ""), Wanted().takes("CR", "FOOT"), Wanted().takes("CT", "CHEST")
        (True, False, False)
        """
        if self.modalities and modality not in ("", *self.modalities):
            return False
        return not body_part or self.body_part in body_part.upper()


@dataclass(frozen=True)
class Series:
    """One series of the PACS, and its objects."""

    study_uid: str
    series_uid: str
    instance_uids: tuple[str, ...]
