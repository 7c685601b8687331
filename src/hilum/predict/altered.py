"""A film as a network sees it, with something covered, or taken and kept a little otherwise. Needs no torch."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from hilum.explain.geometry import Place, place_of
from hilum.image.decode import decode, read_bytes
from hilum.image.lungs import CROP_MARGIN, MASK_MARGIN
from hilum.image.marks import CORNER, without_marks
from hilum.image.prepare import lungs_of, prepared
from hilum.image.taken import taken_in
from hilum.recipe.schema import Prepare

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]

# What is covered; of "border-only" and "patches" nothing of a lung's anatomy is left.
COVERED = ("lungs", "outside", "border", "corners", "text")
LEFTOVERS = ("border-only", "patches")
# What the next technician may do otherwise: name -> its variants' names.
STEADY = {
    "rotation": ("rotation-", "rotation+"),
    "shift": ("shift-", "shift+"),
    "contrast": ("contrast-", "contrast+"),
    "noise": ("noise",),
    "jpeg": ("jpeg",),
}
BORDER = 0.1  # of each side of the film
PATCHES = 8  # a side; what is shuffled
ROTATION_DEG = 3.0
SHIFT = 0.03  # of each side
CONTRAST = 0.15
NOISE = 5.0  # grey levels of 255, one standard deviation
JPEG_QUALITY = 50


@dataclass(frozen=True)
class Altered:
    """One film: its square uint8 (side, side), its lungs there, and the squares of what was altered, by name.

    A name that is not in `squares` does not apply: no lungs were believed (`doubt` says why), or nothing would be
    covered, as the border of a film that is cut to its lungs.
    """

    pixels: Pixels
    lungs: Mask
    doubt: str
    squares: dict[str, Pixels]


def altered(path: Path, how: Prepare) -> Altered:
    """A film with all that is done to it. FilmError: it cannot be read, or is no film of the chest (DICOM).

    What is covered is covered on the square that the network sees; what a technician does otherwise is done to the film
    before it is prepared.
    """
    data = read_bytes(path)
    film, square, place, lungs, doubt = _seen(data, how, str(path))
    seed = zlib.crc32(film.tobytes())
    squares = covered(square, lungs, place)
    unmarked = without_marks(film)
    if unmarked is not film:
        squares["text"] = prepared(unmarked, how).pixels
    squares["patches"] = shuffled(square, np.random.default_rng(seed))
    squares |= {name: prepared(other, how).pixels for name, other in taken_otherwise(film, seed).items()}
    return Altered(square, lungs, doubt, squares)


def left_over(path: Path, how: Prepare) -> dict[str, Pixels]:
    """What `covered` makes of a film; nothing of its lungs where they are not believed. FilmError as by `altered`."""
    _, square, place, lungs, _ = _seen(read_bytes(path), how, str(path))
    return covered(square, lungs, place)


def _seen(data: bytes, how: Prepare, where: str) -> tuple[Pixels, Pixels, Place, Mask, str]:
    """The film, its square, where the one lies in the other, the lungs on the square, and why they are not believed."""
    square = taken_in(data, [how], gate=False, where=where).prepared[0].pixels
    film = decode(data, where=where).pixels
    place = place_of(film, how)
    found = lungs_of(film)
    lungs = np.zeros(square.shape, bool) if found.doubt else place.on_square(found.mask(*film.shape))
    return film, square, place, lungs, found.doubt


def covered(square: Pixels, lungs: Mask, place: Place) -> dict[str, Pixels]:
    """The square with each of `COVERED` but text, and with all but the border, under the mean grey of what is left.

    Both lungs are covered by one box, so that not even their outline is left. Of border and corners what is lung stays.
    """
    side = square.shape[0]
    out = {}
    wide = _grown(lungs, MASK_MARGIN)
    if lungs.any():
        out["lungs"] = _filled(square, _box(lungs, round(CROP_MARGIN * side)))
        out["outside"] = _filled(square, ~wide)
    border, corners = (place.on_square(_frame(place.shape, kind)) for kind in ("border", "corners"))
    inside = ~border
    if border.any() and (border & ~wide).any():
        out["border"] = _filled(square, border & ~wide)
        out["border-only"] = _filled(square, inside)
    if (corners & ~wide).any():
        out["corners"] = _filled(square, corners & ~wide)
    return out


def shuffled(square: Pixels, rng: np.random.Generator) -> Pixels:
    """The square cut into 8 x 8 patches that lie in another order (Ong Ly et al. 2024, npj Digit. Med. 7:124).

    >>> square = np.arange(64, dtype=np.uint8).reshape(8, 8)
    >>> mixed = shuffled(square, np.random.default_rng(0))
    >>> sorted(mixed.ravel().tolist()) == list(range(64)), (mixed == square).all()
    (True, np.False_)
    """
    patch = square.shape[0] // PATCHES
    side = patch * PATCHES
    out = square.copy()
    tiles = square[:side, :side].reshape(PATCHES, patch, PATCHES, patch).swapaxes(1, 2).reshape(-1, patch, patch)
    mixed = tiles[rng.permutation(len(tiles))].reshape(PATCHES, PATCHES, patch, patch)
    out[:side, :side] = mixed.swapaxes(1, 2).reshape(side, side)
    return out


def taken_otherwise(film: Pixels, seed: int) -> dict[str, Pixels]:
    """The film (H, W) as each variant of `STEADY` has it."""
    height, width = film.shape
    middle = (width / 2, height / 2)
    plane = film.astype(np.float32)
    mean = float(plane.mean())
    out = {}
    for sign, mark in ((-1, "-"), (1, "+")):
        turn = cv2.getRotationMatrix2D(middle, sign * ROTATION_DEG, 1.0)
        move = np.array([[1, 0, sign * SHIFT * width], [0, 1, sign * SHIFT * height]], np.float32)
        for name, matrix in (("rotation", turn), ("shift", move)):
            out[name + mark] = cv2.warpAffine(film, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
        out["contrast" + mark] = _eight_bits(mean + (1 + sign * CONTRAST) * (plane - mean))
    out["noise"] = _eight_bits(plane + np.random.default_rng(seed).normal(0, NOISE, film.shape))
    encoded = cv2.imencode(".jpg", film, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    out["jpeg"] = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE), np.uint8)
    return out


def _eight_bits(plane: NDArray[np.floating]) -> Pixels:
    return np.clip(np.rint(plane), 0, 255).astype(np.uint8)


def _filled(square: Pixels, hidden: Mask) -> Pixels:
    left = square[~hidden]
    grey = np.uint8(round(float(left.mean()))) if left.size else np.uint8(0)
    return np.where(hidden, grey, square).astype(np.uint8)


def _box(lungs: Mask, margin: int) -> Mask:
    rows, columns = (np.flatnonzero(lungs.any(axis=axis)) for axis in (1, 0))
    out = np.zeros(lungs.shape, bool)
    out[
        max(0, rows[0] - margin) : rows[-1] + 1 + margin,
        max(0, columns[0] - margin) : columns[-1] + 1 + margin,
    ] = True
    return out


def _grown(mask: Mask, share: float) -> Mask:
    reach = max(1, round(share * mask.shape[0]))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1,) * 2)
    return np.asarray(cv2.dilate(mask.astype(np.uint8), disc), bool)


def _frame(shape: tuple[int, int], kind: str) -> Mask:
    """The border, or the corners, of a film of this shape."""
    height, width = shape
    out = np.zeros(shape, bool)
    share = BORDER if kind == "border" else CORNER
    rows, columns = max(1, round(share * height)), max(1, round(share * width))
    if kind == "border":
        out[:] = True
        out[rows : height - rows, columns : width - columns] = False
        return out
    for y in (slice(0, rows), slice(height - rows, None)):
        for x in (slice(0, columns), slice(width - columns, None)):
            out[y, x] = True
    return out
