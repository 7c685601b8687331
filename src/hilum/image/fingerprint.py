"""A fingerprint of a film: close for the same film in another size, shape, encoding or brightness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

BLOCK = 32  # the lowest frequencies kept, in each direction
BITS = BLOCK * BLOCK
DIGITS = BITS // 4
SIZED = 28  # the lowest frequencies whose size is kept too, in each direction
_SIDE_PX = 128
# Grey values are whole numbers after resizing; a smaller coefficient (2 to 3 of 100 in a film) is their rounding, and
# its sign would be another one in another size.
_ROUNDING = 1.0
_STEP = 0.8  # of the logarithm to base 2 of a size
_LEAST = np.float32(1.15)  # what the digit 1 stands for: a little above rounding, so that it keeps its sign
_DIGITS = "0123456789abcdef"
_SIZE_OF = np.zeros(128, np.float32)  # by the letter's number in ASCII
_SIZE_OF[np.frombuffer(_DIGITS[1:].encode(), np.uint8)] = _LEAST * np.exp2(_STEP * np.arange(len(_DIGITS) - 1))


def _cosines(side: int, frequencies: int) -> np.ndarray:
    """First rows of the orthonormal DCT-II matrix, (frequencies, side) float64."""
    position = (2 * np.arange(side) + 1) * np.pi / (2 * side)
    rows = np.sqrt(2 / side) * np.cos(np.arange(frequencies)[:, None] * position)
    rows[0] /= np.sqrt(2)
    return rows


_DCT = _cosines(_SIDE_PX, BLOCK)
# A mirror image has the same frequencies, and the sign of every odd one across is the other one.
_ACROSS_ODD = np.packbits(np.tile(np.arange(BLOCK) % 2, BLOCK).astype(np.uint8)).view(np.uint64)


@dataclass(frozen=True)
class Fingerprint:
    """phash: see `perceptual_hash`; sizes: how large the lowest frequencies are, from which those of crops come."""

    phash: str
    sizes: str


def fingerprint(pixels: np.ndarray) -> Fingerprint:
    """Both of a film, uint8 (H, W); both "" where all of it is one grey value. Other shapes and types: ValueError.

    sizes is a hexadecimal digit for each of the 28 x 28 lowest frequencies: 0 for one without a sign, then in steps of
    2^0.8. With the signs of `phash` these are the film, blurred, in 784 digits.

    >>> ramp = np.tile(np.arange(128, dtype=np.uint8), (128, 1))
    >>> len(fingerprint(ramp).sizes)
    784
    """
    if pixels.ndim != 2 or pixels.dtype != np.uint8 or pixels.size == 0:
        raise ValueError(f"a film is uint8 (H, W), not {pixels.dtype} {pixels.shape}")
    if pixels.min() == pixels.max():
        return Fingerprint("", "")
    square = cv2.resize(pixels, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_AREA).astype(np.float64)
    spectrum = _DCT @ square @ _DCT.T
    spectrum[0, 0] = 0.0  # the mean, which is positive in every film
    signs = np.packbits(spectrum > _ROUNDING).tobytes().hex()
    sizes = np.abs(spectrum[:SIZED, :SIZED])
    steps = np.round(np.log2(np.maximum(sizes, _ROUNDING)) / _STEP).astype(int) + 1
    digits = np.where(sizes > _ROUNDING, np.clip(steps, 1, 15), 0)
    return Fingerprint(signs, "".join(_DIGITS[digit] for digit in digits.ravel()))


def perceptual_hash(pixels: np.ndarray) -> str:
    """The signs of a film's 32 x 32 lowest cosine frequencies: 1024 bits as 256 hexadecimal digits.

    pixels: uint8 (H, W). The film is stretched to a square first, so neither size nor aspect matters; the mean is
    left out and only signs are kept, so neither brightness nor contrast matters. A film of a single grey value has no
    frequencies and no fingerprint: the result is "". Other shapes and types are refused with ValueError.

    64 bits, the usual length, are too few, for chest films look alike: 207 pairs of different films of Kermany's
    children differ in at most 4 of 64. Of 1024 bits, two different films of 14,681 differ in 266 or more
    (docs/splits.md). The hash is that of `imagehash.phash` (Zauner 2010, Implementation and benchmarking of perceptual
    image hash functions) with hash_size 32, save that a coefficient is compared with 0 and not with the median, so
    that one bit does not depend on the others.

    >>> ramp = np.tile(np.arange(128, dtype=np.uint8), (128, 1))
    >>> perceptual_hash(ramp) == perceptual_hash(ramp + 50)
    True
    >>> len(perceptual_hash(ramp)), perceptual_hash(np.full((50, 50), 7, np.uint8))
    (256, '')
    """
    return fingerprint(pixels).phash


def unpack(hashes: Sequence[str]) -> np.ndarray:
    """Fingerprints as numbers to count with: uint64 (N, 16). One of another length is refused with ValueError.

    >>> unpack(["0" * 256, "f" * 256]).shape
    (2, 16)
    """
    for text in hashes:
        if len(text) != DIGITS:
            raise ValueError(f"a fingerprint has {DIGITS} hexadecimal digits, not {len(text)}")
    return np.frombuffer(bytes.fromhex("".join(hashes)), dtype=np.uint64).reshape(-1, BITS // 64)


def mirrored(bits: np.ndarray) -> np.ndarray:
    """The fingerprints, uint64 (N, 16), that the mirror images (left and right exchanged) of these films have.

    No pixel is needed. A frequency that has no sign, because it is smaller than the rounding, gets one; of real films
    that is less than one bit in a hundred.

    >>> film = unpack([perceptual_hash(np.arange(128 * 128, dtype=np.uint16).reshape(128, 128).astype(np.uint8))])
    >>> bool((mirrored(mirrored(film)) == film).all())
    True
    """
    return bits ^ _ACROSS_ODD


def frequencies(hashes: Sequence[str], sizes: Sequence[str]) -> np.ndarray:
    """The lowest frequencies of films from both parts of their fingerprints, float32 (N, 28, 28).

    One of another length is refused with ValueError.

    >>> ramp = fingerprint(np.tile(np.arange(128, dtype=np.uint8), (128, 1)))
    >>> bool(frequencies([ramp.phash], [ramp.sizes])[0, 0, 1] < -1000)  # brighter to the right
    True
    """
    for text in sizes:
        if len(text) != SIZED * SIZED:
            raise ValueError(f"sizes of frequencies are {SIZED * SIZED} hexadecimal digits, not {len(text)}")
    positive = np.unpackbits(unpack(hashes).view(np.uint8), axis=1).reshape(-1, BLOCK, BLOCK)[:, :SIZED, :SIZED]
    size = _SIZE_OF[np.frombuffer("".join(sizes).encode("ascii"), np.uint8)].reshape(-1, SIZED, SIZED)
    return np.where(positive > 0, size, -size)


def crop_operator(before: float, after: float) -> np.ndarray:
    """What cutting off shares of a side, at its beginning and end, does to the frequencies along it: (28, 28).

    A film's frequencies F (28, 28) become `V @ F @ H.T`, with V of top and bottom and H of left and right: the crop is
    stretched to the square again. Frequencies above the 28th that would come down are not there, which is little.

    >>> bool(np.allclose(crop_operator(0, 0), np.eye(28)))
    True
    """
    old = before + (np.arange(_SIDE_PX) + 0.5) / _SIDE_PX * (1 - before - after)
    cosines = np.sqrt(2 / _SIDE_PX) * np.cos(np.pi * np.arange(SIZED)[:, None] * old)
    cosines[0] /= np.sqrt(2)
    return (_DCT[:SIZED] @ cosines.T).astype(np.float32)
