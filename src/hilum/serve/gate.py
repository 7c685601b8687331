"""The input gate: what speaks against taking a file for a whole frontal film of a chest. It warns, and does not refuse.

What a DICOM object says of itself, and what the lung network makes of the picture: docs/segment.md has what was
measured with it on pictures that are no frontal film.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hilum.image.film import Film
from hilum.image.lungs import Lungs
from hilum.image.prepare import lungs_of

# Share of an edge of the film along which lung may reach it.
MOST_AT_EDGE = 0.15


def doubts_of(film: Film, *, lungs: bool) -> list[str]:
    """Each doubt in words, the gravest first; none for a film that looks like what the networks learned from.

    lungs: whether to look for the lungs too, which takes about as long as a small network's prediction.
    """
    found = []
    if film.header is not None:
        from hilum.image.dicom import notes  # with pydicom, which is slow to import

        if film.header.view in ("lateral", "lateral decubitus", "oblique"):
            found.append(f"a {film.header.view} view; the model was made for frontal films")
        found += [f"the DICOM object {note}" for note in notes(film.header)]
    return [*_of_lungs(film.pixels), *found] if lungs else found


def _of_lungs(pixels: NDArray[np.uint8]) -> list[str]:
    lungs = lungs_of(pixels)
    if not lungs.doubt:
        return [f"may be cut off: the lungs reach the {edge} edge" for edge in edges_reached(lungs)]
    inverted = np.subtract(255, pixels, dtype=np.uint8)
    if not lungs_of(inverted).doubt:
        return ["may be inverted: lungs are found on its negative only"]
    return [f"may be no whole frontal film of a chest: {lungs.doubt}"]


def edges_reached(lungs: Lungs) -> list[str]:
    """The edges of the film along which the lungs' mask lies for more than `MOST_AT_EDGE` of their length."""
    mask = lungs.own_mask
    edges = {"upper": mask[0], "lower": mask[-1], "left": mask[:, 0], "right": mask[:, -1]}
    return [name for name, line in edges.items() if line.mean() > MOST_AT_EDGE]
