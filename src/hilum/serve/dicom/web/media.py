"""What a client can read: its Accept header, or the `accept` of its query (PS3.18 8.3.3.1), as media types."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from python_multipart.multipart import parse_options_header

from hilum.serve.errors import ServeError

JSON = "application/dicom+json"
OBJECT = "application/dicom"
MANY = "multipart/related"
_JSON_TYPES = (JSON, "application/json")
# Between commas, but those in quotes.
_RANGES = re.compile(r'(?:[^,"]|"(?:\\.|[^"\\])*")+')
_MOST_CHARACTERS = 2000


class NotAcceptableError(ServeError):
    """The client reads nothing that can be sent."""

    status, kind = 406, "not-acceptable"


class UnsupportedError(ServeError):
    """The body is of a media type that is not read."""

    status, kind = 415, "unsupported-media-type"


@dataclass(frozen=True)
class MediaRange:
    """One media type of a list. of: the type of the parts of multipart/related, "" for any. syntax: the transfer
    syntax that the client wants, "" or "*" for any."""

    kind: str
    of: str = ""
    syntax: str = ""

    def takes(self, kind: str) -> bool:
        """Whether a media type is one of the range."""
        return self.kind in ("*/*", kind, f"{kind.partition('/')[0]}/*")


def ranges_of(accept: str) -> list[MediaRange]:
    """The media types of an Accept header, in its order, without those of no quality; nothing said is everything.

    >>> ranges_of('multipart/related; type="application/dicom"; transfer-syntax=*, image/png;q=0')
    [MediaRange(kind='multipart/related', of='application/dicom', syntax='*')]
    """
    found = []
    for text in _RANGES.findall(accept[:_MOST_CHARACTERS]) or ["*/*"]:
        kind, options = parse_options_header(text.strip())
        said = {name.decode("latin-1"): value.decode("latin-1").strip() for name, value in options.items()}
        if not re.fullmatch(r"0(\.0*)?", said.get("q", "1")):
            found.append(MediaRange(kind.decode("latin-1"), said.get("type", ""), said.get("transfer-syntax", "")))
    return found


def need(ranges: Sequence[MediaRange], *kinds: str) -> str:
    """The first of some media types that the client reads. NotAcceptableError where it reads none."""
    for each in ranges:
        for kind in kinds:
            if each.takes(kind):
                return kind
    raise NotAcceptableError("this is sent in no media type of those asked for", next_step=f"Ask for {kinds[0]}.")


def need_json(ranges: Sequence[MediaRange]) -> None:
    """NotAcceptableError where the client reads no DICOM JSON."""
    need(ranges, *_JSON_TYPES)
