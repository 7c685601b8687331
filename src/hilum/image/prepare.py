"""From a film to the square that the network sees: the one way, for training, evaluation, prediction and export."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np

from hilum.errors import FilmError, RequestError
from hilum.image.decode import decode
from hilum.recipe.schema import Prepare

# Raised whenever decoding or preparing gives other pixels than before: prepared films are stored under it.
PREPARE_VERSION = 1
_CLAHE_CLIP = 2.0
_CLAHE_TILES = (8, 8)


def prepare_file(source: Path | bytes, how: Prepare, *, where: str = "", chest_only: bool = False) -> np.ndarray:
    """uint8 (side_px, side_px) of a file or its bytes: decode, then `prepare`. FilmError where the film is not read.

    chest_only: a DICOM object whose header says that it is no film of the chest is refused with FilmError too.

    Everything that shows films to a network calls this, so a film can be prepared in one way only. A large JPEG is
    decoded smaller where the size asked for allows it, which changes grey values by less than 1 of 255 on average.
    """
    refuse_unready(how)
    # The crop still has to fill the square twice over: what is left out at the edge is then under half a pixel of it.
    least = math.ceil(2 * how.side_px / how.centre_crop)
    film = decode(source, at_least_px=least, where=where)
    if chest_only and film.header is not None:
        from hilum.image.dicom import why_not_a_chest_film  # with pydicom, which is slow to import

        if reason := why_not_a_chest_film(film.header):
            raise FilmError(reason, where=where or (str(source) if isinstance(source, Path) else ""))
    return prepare(film.pixels, how)


def refuse_unready(how: Prepare) -> None:
    """RequestError for settings that no code stands behind yet."""
    if how.lungs != "none":
        raise RequestError(
            f"prepare.lungs = {how.lungs!r} needs lung masks, which arrive with `hilum segment`",
            where="recipe",
            next_step="Set prepare.lungs = 'none'.",
        )


def prepare(pixels: np.ndarray, how: Prepare) -> np.ndarray:
    """A film, uint8 (H, W), as uint8 (side_px, side_px); the same film and settings give the same pixels.

    In this order: the centre is cropped; the crop is resized (area average where it shrinks, bilinear where it grows);
    grey values are equalised over the film alone; black is added around it where the aspect is kept.
    Anything but a uint8 (H, W) array is refused with ValueError, and settings that need lung masks with RequestError.

    >>> film = np.repeat(np.array([[0, 100], [200, 40]], np.uint8), 16, axis=0).repeat(16, axis=1)
    >>> prepare(film, Prepare(side_px=16))[::15, ::15]
    array([[  0, 100], [200,  40]], dtype=uint8)
    """
    refuse_unready(how)
    if pixels.ndim != 2 or pixels.dtype != np.uint8 or pixels.size == 0:
        raise ValueError(f"a film is uint8 (H, W), not {pixels.dtype} {pixels.shape}")
    pixels = _centre(pixels, how.centre_crop)
    height, width = _fitted(pixels.shape, how.side_px) if how.keep_aspect else (how.side_px, how.side_px)
    return _padded(_equalised(_resized(pixels, height, width), how.equalise), how.side_px)


def _centre(pixels: np.ndarray, share: float) -> np.ndarray:
    height, width = (max(1, round(side * share)) for side in pixels.shape)
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return pixels[top : top + height, left : left + width]


def _fitted(shape: tuple[int, ...], side: int) -> tuple[int, int]:
    """Height and width whose longer one is `side`, of the same aspect."""
    longer = max(shape)
    return max(1, round(shape[0] * side / longer)), max(1, round(shape[1] * side / longer))


def _resized(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    # OpenCV's area average shrinks both ways or neither, so a film that shrinks one way and grows the other goes twice.
    least = min(pixels.shape[0], height), min(pixels.shape[1], width)
    if least != pixels.shape:
        pixels = cv2.resize(pixels, least[::-1], interpolation=cv2.INTER_AREA)
    if least != (height, width):
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
    return pixels


def _equalised(pixels: np.ndarray, how: str) -> np.ndarray:
    if how == "histogram":
        return cv2.equalizeHist(pixels)
    if how == "clahe":
        return cv2.createCLAHE(clipLimit=_CLAHE_CLIP, tileGridSize=_CLAHE_TILES).apply(pixels)
    return pixels


def _padded(pixels: np.ndarray, side: int) -> np.ndarray:
    if pixels.shape == (side, side):
        return np.ascontiguousarray(pixels)
    square = np.zeros((side, side), np.uint8)
    top, left = (side - pixels.shape[0]) // 2, (side - pixels.shape[1]) // 2
    square[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return square
