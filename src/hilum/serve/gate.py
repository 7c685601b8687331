"""What a film's card warns of: the input gate, and what a DICOM object lacks."""

from __future__ import annotations

from hilum.image.gate import warnings_of_header
from hilum.image.taken import Taken


def doubts_of(film: Taken, *, lungs: bool) -> list[str]:
    """Each doubt in words, the gravest first; none for a film that looks like what the networks learned from.

    lungs: whether the lungs were looked for, too.
    """
    found = film.warnings if lungs else warnings_of_header(film.header)
    doubts = [str(each) for each in found]
    if film.header is not None:
        from hilum.image.dicom import notes  # with pydicom, which is slow to import

        doubts += [f"the DICOM object {note}" for note in notes(film.header)]
    doubts += [f"not cut to its lungs: {each.doubt}" for each in film.prepared if each.doubt]
    return list(dict.fromkeys(doubts))
