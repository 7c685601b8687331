"""The record of a decoded film, and the limits that every kind of file keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from hilum.errors import FilmError

if TYPE_CHECKING:
    from hilum.image.dicom import DicomHeader

# A 14 x 17 inch film scanned at 50 µm has 61 Mpx; Pillow itself warns from 89 Mpx on.
MAX_PIXELS = 80_000_000
MAX_SIDE = 30_000
MIN_SIDE = 16
# An 80 Mpx film of three colours in 16 bits, uncompressed.
MAX_FILE_BYTES = 512 * 1024 * 1024


@dataclass(frozen=True)
class FileFacts:
    """What the file says about its picture.

    width, height: pixels, after the rotation that EXIF asks for and before any reduction.
    bits: stored bits of one grey value or colour.
    mode: L, LA, I;16, P, RGB, RGBA, CMYK, 1 (one bit), or DICOM's photometric interpretation.
    format: png, jpeg, dicom, bmp, tiff or webp.
    """

    width: int
    height: int
    bits: int
    mode: str
    format: str


@dataclass(frozen=True)
class Film:
    """One grey film: `pixels` is uint8 (H, W), black is 0 and is air. `header` is there for DICOM only."""

    pixels: np.ndarray
    facts: FileFacts
    header: DicomHeader | None = None


def check_size(width: int, height: int) -> None:
    """Refuse with FilmError a picture of a size that no film has; called on the header, before any pixel is decoded.

    >>> check_size(100_000, 1)
    Traceback (most recent call last):
    hilum.errors.FilmError: the picture is 100000 x 1 pixels; a film has at least 16 and at most 30000 on a side.
    """
    if not (MIN_SIDE <= width <= MAX_SIDE and MIN_SIDE <= height <= MAX_SIDE):
        raise FilmError(
            f"the picture is {width} x {height} pixels; a film has at least {MIN_SIDE} and at most {MAX_SIDE} on a side"
        )
    if width * height > MAX_PIXELS:
        raise FilmError(
            f"the picture is {width} x {height} = {width * height // 1_000_000} million pixels; "
            f"at most {MAX_PIXELS // 1_000_000} million are read",
            next_step="Save it smaller.",
        )


def full_scale(largest: int) -> int:
    """The white of grey values whose largest is known: the smallest 2^k - 1, k of 8, 10, 12, 14, 16, that holds it.

    A 12-bit film in a 16-bit file would come out black if 65535 were its white.

    >>> [full_scale(largest) for largest in (200, 256, 4095, 4096, 65535)]
    [255, 1023, 4095, 16383, 65535]
    """
    return next((white for white in (255, 1023, 4095, 16383) if largest <= white), 65535)


def to_eight_bits(pixels: np.ndarray) -> np.ndarray:
    """Grey values of up to 16 bits as uint8, rounded; `full_scale` of the largest becomes 255. uint8 stays as it is.

    >>> to_eight_bits(np.array([[0, 2048, 4095]], np.uint16))
    array([[  0, 128, 255]], dtype=uint8)
    """
    if pixels.dtype == np.uint8:
        return pixels
    white = full_scale(int(pixels.max()))
    table = ((np.arange(white + 1, dtype=np.uint32) * 255 + white // 2) // white).astype(np.uint8)
    return table[pixels]


def luminance(colour: np.ndarray) -> np.ndarray:
    """Grey of (H, W, 3) RGB, of the same dtype, rounded: ITU-R BT.601, as in JPEG (0.299 R + 0.587 G + 0.114 B).

    >>> luminance(np.array([[[255, 0, 0], [255, 255, 255]]], np.uint8))
    array([[ 76, 255]], dtype=uint8)
    """
    if colour.dtype == np.uint8:
        return np.asarray(Image.fromarray(np.ascontiguousarray(colour[..., :3])).convert("L"))  # the same, in C
    # Weights of 2^16, which add up to exactly 65536: white stays white, and 16-bit values fit into 32 bits.
    red, green, blue = (colour[..., channel].astype(np.uint32) for channel in range(3))
    return ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16).astype(colour.dtype)
