"""From a film to the square that the network sees: the one way, for training, evaluation, prediction and export."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from hilum.errors import WeightsError
from hilum.image import lungs, marks
from hilum.image.decode import decode
from hilum.recipe.films import Prepare

# Raised whenever decoding or preparing gives other pixels than before: prepared films are stored under it.
PREPARE_VERSION = 1
_CLAHE_CLIP = 2.0
_CLAHE_TILES = (8, 8)


@dataclass(frozen=True)
class Prepared:
    """A film as the network sees it, uint8 (side_px, side_px).

    doubt: why it stands there whole although `lungs` asked for less: its lungs were not found, or are not believable.
    "" for all others.
    """

    pixels: np.ndarray
    doubt: str = ""


def prepare_file(source: Path | bytes, how: Prepare, *, where: str = "") -> np.ndarray:
    """The pixels of `prepared_file`."""
    return prepared_file(source, how, where=where).pixels


def prepared_file(source: Path | bytes, how: Prepare, *, where: str = "") -> Prepared:
    """A file or its bytes, as the network sees it: decode, then `prepared`. FilmError where the film is not read.

    A large JPEG is decoded smaller where the size asked for allows it, which changes grey values by less than 1 of 255
    on average. What is to be predicted goes through `image.taken.taken_in`, which refuses what is no film of the chest.
    """
    return prepared(decode(source, at_least_px=decoded_px(how), where=where).pixels, how)


def decoded_px(how: Prepare) -> int:
    """How many pixels both sides of a decoded film need at least, to be prepared like this.

    >>> decoded_px(Prepare(side_px=224)), decoded_px(Prepare(side_px=224, centre_crop=0.5))
    (448, 896)
    """
    # The crop still has to fill the square twice over: what is left out at the edge is then under half a pixel of it.
    smallest = how.centre_crop * (lungs.LEAST_BOX if how.lungs == "crop" else 1.0)
    # Letters have their own size at which they are looked for, whatever the network sees.
    return max(math.ceil(2 * how.side_px / smallest), marks.SIDE_PX if "text" in how.blank else 0)


def settled(how: Prepare) -> Prepare:
    """The settings with the lung network's fingerprint, where lungs are asked for: so they are stored with weights.

    Refused with WeightsError: settings that name another lung network than the one that this hilum has.
    """
    if how.lungs == "none":
        return how
    present = lungs.network_of().fingerprint
    if how.lungs_network not in ("", present):
        raise WeightsError(
            f"films were cut to their lungs by the lung network {how.lungs_network}, and this hilum has {present}",
            where="prepare.lungs_network",
            next_step="Use the version of hilum that the run was made with, or train again.",
        )
    return how.model_copy(update={"lungs_network": present})


def prepare(pixels: np.ndarray, how: Prepare) -> np.ndarray:
    """The pixels of `prepared`.

    >>> film = np.repeat(np.array([[0, 100], [200, 40]], np.uint8), 16, axis=0).repeat(16, axis=1)
    >>> prepare(film, Prepare(side_px=16))[::15, ::15]
    array([[  0, 100], [200,  40]], dtype=uint8)
    """
    return prepared(pixels, how).pixels


def prepared(pixels: np.ndarray, how: Prepare) -> Prepared:
    """A film, uint8 (H, W), as uint8 (side_px, side_px); the same film and settings give the same pixels.

    In this order: text and corners are blanked; the centre is cropped; with lungs = "crop" so is the lungs' box; the
    crop is resized (area average where it shrinks, bilinear where it grows); with lungs = "mask" what is outside the
    lungs becomes black; grey values are equalised over what is left; black is added around it where the aspect is kept.
    A film without believable lungs
    stays whole, and `doubt` says why. Anything but a uint8 (H, W) array is refused with ValueError.
    """
    if pixels.ndim != 2 or pixels.dtype != np.uint8 or pixels.size == 0:
        raise ValueError(f"a film is uint8 (H, W), not {pixels.dtype} {pixels.shape}")
    pixels = _centre(_blanked(pixels, how.blank), how.centre_crop)
    found = lungs_of(pixels) if how.lungs != "none" else None
    believed = found if found is not None and not found.doubt else None
    if believed and how.lungs == "crop":
        pixels = pixels[believed.box_with_margin(*pixels.shape)]
    height, width = _fitted(pixels.shape, how.side_px) if how.keep_aspect else (how.side_px, how.side_px)
    pixels = _resized(pixels, height, width)
    if believed and how.lungs == "mask":
        inside = believed.mask_with_margin(height, width)
        # Blanked before, so that nothing outside moves the grey values inside, and after, as CLAHE brightens black.
        pixels = np.where(inside, _equalised(np.where(inside, pixels, np.uint8(0)), how.equalise), np.uint8(0))
    else:
        pixels = _equalised(pixels, how.equalise)
    return Prepared(_padded(pixels, how.side_px), found.doubt if found else "")


def lungs_of(pixels: np.ndarray, network: lungs.LungNetwork | None = None, *, mirrored: bool = True) -> lungs.Lungs:
    """The lungs on a film, uint8 (H, W), as the shipped network, or another, finds them; see `LungNetwork.logits`.

    >>> lungs_of(np.zeros((40, 40), np.uint8)).doubt
    'the film has 40 x 40 pixels; lungs are looked for from 64 on'
    """
    network = network or lungs.network_of()
    z = network.logits(prepare(pixels, network.preparation), mirrored=mirrored)
    return lungs.Lungs(z, network.doubt(z, pixels.shape))


def _blanked(pixels: np.ndarray, what: Sequence[str]) -> np.ndarray:
    """The film without what must not be learned from it."""
    if "text" in what:
        pixels = marks.without_marks(pixels)
    return marks.without_corners(pixels) if "corners" in what else pixels


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
