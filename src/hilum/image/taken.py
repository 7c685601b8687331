"""A film taken in: decoded once, prepared for each network that predicts it, and looked at by the gate. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hilum.errors import FilmError
from hilum.image.decode import decoded_for
from hilum.image.film import FileFacts
from hilum.image.gate import Warned, warnings_of
from hilum.image.prepare import Prepared, decoded_px, prepared
from hilum.recipe.films import Prepare

if TYPE_CHECKING:
    from hilum.image.dicom import DicomHeader

# The gate looks at a film of at least this side; the lung network sees fewer pixels.
GATE_PX = 448


@dataclass(frozen=True)
class Taken:
    """A film as each preparation has it, what speaks against predicting it, and what its file says of itself."""

    prepared: tuple[Prepared, ...]
    warnings: tuple[Warned, ...]
    facts: FileFacts
    header: DicomHeader | None


def taken_in(source: Path | bytes, hows: Sequence[Prepare], *, gate: bool, where: str = "") -> Taken:
    """A film's file, or its bytes, prepared in each of these ways, and with `gate` looked at.

    hows: one or more; each gives the pixels of `image.prepare.prepared_file`. gate: without it, no `warnings`. where:
    the name that errors give. FilmError where it cannot be read, or its DICOM header says it is no film of the chest.
    """
    where = where or (str(source) if isinstance(source, Path) else "")
    films = decoded_for(source, [*map(decoded_px, hows), *([GATE_PX] if gate else [])], where=where)
    film = films[min(px for px in films if px >= GATE_PX or not gate)]
    if film.header is not None:
        from hilum.image.dicom import why_not_a_chest_film  # with pydicom, which is slow to import

        if reason := why_not_a_chest_film(film.header):
            raise FilmError(reason, where=where)
    return Taken(
        tuple(prepared(films[decoded_px(how)].pixels, how) for how in hows),
        warnings_of(film.pixels, film.header) if gate else (),
        film.facts,
        film.header,
    )
