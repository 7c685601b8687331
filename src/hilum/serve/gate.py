"""What a film's card warns of: the input gate, and what a DICOM object lacks."""

from __future__ import annotations

from hilum.image.film import Film
from hilum.image.gate import warnings_of, warnings_of_header


def doubts_of(film: Film, *, lungs: bool) -> list[str]:
    """Each doubt in words, the gravest first; none for a film that looks like what the networks learned from.

    lungs: whether to look for the lungs too, which takes about as long as a small network's prediction.
    """
    found = warnings_of(film.pixels, film.header) if lungs else warnings_of_header(film.header)
    doubts = [str(each) for each in found]
    if film.header is not None:
        from hilum.image.dicom import notes  # with pydicom, which is slow to import

        doubts += [f"the DICOM object {note}" for note in notes(film.header)]
    return doubts
