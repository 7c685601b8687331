"""What speaks against predicting a film at all: no frontal chest film, inverted, lungs cut off. Needs no torch.

Ibragimov et al. 2023, Sci. Rep. 13: a first gate asks whether it is a chest, frontal, not inverted, with both lungs
whole. The gate warns and does not refuse: docs/predict.md has how often it warns of good films and misses bad ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from hilum.image.lungs import Lungs
from hilum.image.prepare import lungs_of

if TYPE_CHECKING:
    from hilum.image.dicom import DicomHeader

Kind = Literal["no lungs", "not frontal", "inverted", "cut off"]

# Share of an edge of the film along which lung may reach it.
MOST_AT_EDGE = 0.15
_NOT_FRONTAL = ("lateral", "lateral decubitus", "oblique")


@dataclass(frozen=True)
class Warned:
    """One reason not to trust a prediction: its kind, and a sentence's end for people."""

    kind: Kind
    told: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.told}"


def warnings_of(pixels: NDArray[np.uint8], header: DicomHeader | None = None) -> tuple[Warned, ...]:
    """What speaks against this film, uint8 (H, W), black is air; header: what a DICOM object says of itself.

    Empty for a film that looks like a frontal film of a whole chest.

    >>> [each.kind for each in warnings_of(np.zeros((128, 128), np.uint8))]
    ['no lungs']
    """
    warned = warnings_of_header(header)
    # One look lets most films through; what it doubts is looked at again, with its mirror image.
    if _whole(pixels, lungs_of(pixels, mirrored=False)):
        return tuple(warned)
    found = lungs_of(pixels)
    turned = lungs_of(255 - pixels) if found.doubt or _lighter_than_the_body(pixels, found) else None
    if turned is not None and not turned.doubt:
        warned.append(Warned("inverted", "lungs are found where black and white are exchanged"))
    elif found.doubt:
        warned.append(Warned("no lungs", f"{found.doubt}; perhaps it is no frontal film of the chest"))
    else:
        warned += _cut_off(found)
    return tuple(warned)


def warnings_of_header(header: DicomHeader | None) -> list[Warned]:
    """What a DICOM object says of itself that speaks against it; nothing where there is no header."""
    if header is None or header.view not in _NOT_FRONTAL:
        return []
    return [Warned("not frontal", f"its view is {header.view}")]


def _whole(pixels: NDArray[np.uint8], found: Lungs) -> bool:
    return not (found.doubt or _lighter_than_the_body(pixels, found) or _cut_off(found))


def _lighter_than_the_body(pixels: NDArray[np.uint8], found: Lungs) -> bool:
    """Whether the lungs are lighter than what lies between and around them in their box: air is black."""
    mask = found.own_mask
    box = found.box_with_margin(*mask.shape)
    small = cv2.resize(pixels, mask.shape[::-1], interpolation=cv2.INTER_AREA)
    inside, around = small[box][mask[box]], small[box][~mask[box]]
    return bool(inside.size and around.size and np.median(inside) > np.median(around))


def _cut_off(found: Lungs) -> list[Warned]:
    """The edges of the film that the lungs run into."""
    mask = found.own_mask
    edges = {"upper": mask[0], "lower": mask[-1], "left": mask[:, 0], "right": mask[:, -1]}
    cut = [name for name, line in edges.items() if line.mean() > MOST_AT_EDGE]
    return [Warned("cut off", f"the lungs reach the {' and the '.join(cut)} edge")] if cut else []
