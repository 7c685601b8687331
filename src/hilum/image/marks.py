"""White letters, markers and panels near the edges of a film: where they are, and the film without them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
SIDE_PX = 512  # longer side at which marks are looked for
CORNER = 0.15  # of each side; lungs hardly reach into a corner of that size
_NEAR_EDGE = 0.25  # share of a side within which marks stand
_RIM_PX = 2  # the soft rim of a letter, that goes with it


@dataclass(frozen=True)
class Marks:
    """Those of one film: each one's box (M, 4) as left, top, width, height; area (M,); middle (M, 2) as x, y.

    inside (H, W): which pixels are of a mark.
    """

    box: NDArray[np.int64]
    area: NDArray[np.int64]
    middle: NDArray[np.float64]
    inside: NDArray[np.bool_]


def marks_on(pixels: Pixels) -> Marks:
    """Find them on a film (H, W) of at most `SIDE_PX`.

    A mark is a connected patch, brighter by 60 grey levels than what lies around it, at least 200 bright, no taller
    than 0.12 and no wider than 0.2 of the film's longer side, with its middle in the outer quarter of the film.

    >>> film = np.full((256, 256), 90, np.uint8)
    >>> film[20:30, 20:26] = 255
    >>> marks_on(film).box.tolist()
    [[20, 20, 6, 10]]
    """
    side = max(pixels.shape)
    kernel = cv2.getStructuringElement(cv2.MORPH_RECT, (int(0.13 * side) | 1,) * 2)
    raised = cv2.subtract(pixels, cv2.morphologyEx(pixels, cv2.MORPH_OPEN, kernel))
    bright = ((raised >= 60) & (pixels >= 200)).astype(np.uint8)
    height, width = pixels.shape
    y_edge, x_edge = int(_NEAR_EDGE * height), int(_NEAR_EDGE * width)
    bright[y_edge : height - y_edge, x_edge : width - x_edge] = 0
    _, labels, about, middles = cv2.connectedComponentsWithStats(bright, connectivity=8)
    wide, tall, area = about[:, 2], about[:, 3], about[:, 4]
    is_mark = (0.008 * side <= tall) & (tall <= 0.12 * side) & (0.003 * side <= wide) & (wide <= 0.2 * side)
    is_mark &= area >= 5
    is_mark[0] = False  # what is no patch
    return Marks(about[is_mark, :4].astype(np.int64), area[is_mark].astype(np.int64), middles[is_mark], is_mark[labels])


def without_marks(pixels: Pixels) -> Pixels:
    """The film (H, W), its marks painted over from around them, so that where one was does not show.

    Telea 2004, J. Graph. Tools 9:23. A film without a mark stays as it is.

    >>> film = np.full((256, 256), 90, np.uint8)
    >>> film[20:30, 20:26] = 255
    >>> bool((abs(without_marks(film).astype(int) - 90) <= 3).all())
    True
    """
    small = shrunk(pixels, SIDE_PX)
    inside = marks_on(small).inside
    if not inside.any():
        return pixels
    inside = cv2.dilate(inside.astype(np.uint8), np.ones((2 * _RIM_PX + 1,) * 2, np.uint8))
    painted = cv2.inpaint(small, inside, 3, cv2.INPAINT_TELEA)
    size = pixels.shape[::-1]
    there = cv2.resize(inside, size, interpolation=cv2.INTER_NEAREST) > 0
    return np.where(there, cv2.resize(painted, size, interpolation=cv2.INTER_LINEAR), pixels).astype(np.uint8)


def without_corners(pixels: Pixels) -> Pixels:
    """The film (H, W) with its four corners black, `CORNER` of each side.

    >>> without_corners(np.full((20, 20), 9, np.uint8))[[0, 0, 0, 3, 19], [0, 2, 3, 0, 19]].tolist()
    [0, 0, 9, 9, 0]
    """
    out = pixels.copy()
    tall, wide = (round(CORNER * side) for side in pixels.shape)
    for rows in (slice(0, tall), slice(pixels.shape[0] - tall, None)):
        for columns in (slice(0, wide), slice(pixels.shape[1] - wide, None)):
            out[rows, columns] = 0
    return out


def shrunk(pixels: Pixels, side_px: int) -> Pixels:
    """The film with its longer side at most `side_px`, aspect kept."""
    scale = side_px / max(pixels.shape)
    if scale >= 1:
        return pixels
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
