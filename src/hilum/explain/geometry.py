"""Where the network's square lies on a film, so that a map of the square can be laid on the film's own pixels."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from hilum.image.prepare import lungs_of
from hilum.recipe.schema import Prepare

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Place:
    """Rows and columns of the film that the network was shown, and those of its square that they fill.

    shape: (H, W) of the film. side_px: of the square.
    """

    shape: tuple[int, int]
    side_px: int
    film: tuple[slice, slice]
    square: tuple[slice, slice]

    def on_film(self, values: Floats) -> Floats:
        """A map of the square (side, side) on the film (H, W); 0 where the network saw nothing of the film."""
        if values.shape != (self.side_px, self.side_px):
            raise ValueError(f"a map of the square is ({self.side_px}, {self.side_px}), not {values.shape}")
        shown = np.ascontiguousarray(values[self.square])
        height, width = (part.stop - part.start for part in self.film)
        shrinks = height < shown.shape[0] and width < shown.shape[1]
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        out = np.zeros(self.shape, np.float32)
        out[self.film] = cv2.resize(shown, (width, height), interpolation=how)
        return out

    def on_square(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """A mask of the film (H, W) on the square (side, side); false where the square shows nothing of the film."""
        if mask.shape != self.shape:
            raise ValueError(f"a mask of the film is {self.shape}, not {mask.shape}")
        shown = np.ascontiguousarray(mask[self.film], np.float32)
        height, width = (part.stop - part.start for part in self.square)
        shrinks = height < shown.shape[0] and width < shown.shape[1]
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        out = np.zeros((self.side_px, self.side_px), bool)
        out[self.square] = cv2.resize(shown, (width, height), interpolation=how) >= 0.5
        return out


def place_of(pixels: NDArray[np.uint8], how: Prepare) -> Place:
    """Where `image.prepare.prepared` puts a film, uint8 (H, W): centre crop, lungs' box, padding where aspect is kept.

    >>> place = place_of(np.zeros((100, 200), np.uint8), Prepare(side_px=50, keep_aspect=True))
    >>> place.film, place.square
    ((slice(0, 100, None), slice(0, 200, None)), (slice(12, 37, None), slice(0, 50, None)))
    """
    full_height, full_width = pixels.shape
    height, width = (max(1, round(side * how.centre_crop)) for side in pixels.shape)
    top, left = (full_height - height) // 2, (full_width - width) // 2
    if how.lungs == "crop":
        centre = pixels[top : top + height, left : left + width]
        found = lungs_of(centre)
        if not found.doubt:
            rows, columns = found.box_with_margin(height, width)
            top, left = top + rows.start, left + columns.start
            height, width = len(centre[rows]), len(centre[0][columns])
    film = (slice(top, top + height), slice(left, left + width))
    side = how.side_px
    tall, wide = side, side
    if how.keep_aspect:
        longer = max(height, width)
        tall, wide = max(1, round(height * side / longer)), max(1, round(width * side / longer))
    above, before = (side - tall) // 2, (side - wide) // 2
    square = (slice(above, above + tall), slice(before, before + wide))
    return Place((full_height, full_width), side, film, square)
