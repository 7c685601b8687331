"""Films that are crops of others: fingerprints of crops are made from those of whole films, and looked for.

A cut of 2 % at an edge moves a film's content so far that its fingerprint becomes another one. But a fingerprint with
its sizes is the film, blurred, so what its crops' fingerprints would be can be computed: a few crops spread over those
looked for bring candidates, and where one comes near, the crop that fits best is searched for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from hilum.data.bands import Ints, bands_needed, dealt, distinct, keys_of, order_of, planes_of
from hilum.image.fingerprint import SIZED, crop_operator

Floats = NDArray[np.float32]

LARGEST = 0.05  # share of a side that is cut off at one edge
# Shares of the bits that differ. The nearest crop of the grid is near enough to be looked at; the one that fits best
# has to be as near as a copy in another size is. Measured by benchmarks/duplicates.py on real films, and on phantoms.
_CANDIDATE = 0.2
NEAR_CROP = 0.13
_ALIKE = 0.1  # two films as near as that are near duplicates already
_UNIT = 0.0025  # of a side; cuts are counted in it
_GRID = (5, 15)  # of each edge: no cut up to LARGEST is further than 5 away
_STEPS = (4, 2, 1)
_BITS = SIZED * SIZED
_WORDS = -(-_BITS // 64)
_MISSED = ((0.15, 0.001), (_CANDIDATE, 0.1))  # of pairs that differ in that share, how many may agree in no band
_NARROWEST = 10
_BESIDE = 21  # of 64 bits, looked at first; of them a candidate at the limit differs in more once in 150
_CHUNK = 1 << 11
_BLOCK = 1 << 16  # whole films whose crops are held at a time
_PORTION = 1 << 18
_FITTED = 256  # pairs at a time


def crops_among(of: Callable[[Ints], Floats], count: int) -> tuple[Ints, NDArray[np.float64]]:
    """Which of `count` films are crops of which: indices (M, 2), the whole film first, and the share of bits (M,).

    of: the frequencies (N, 28, 28) of the films of those numbers (`image.fingerprint`), asked for more than once. Up to
    5 % of a side may be cut off at each edge, by another amount at each; sizes, aspects, encodings and brightness may
    differ too. Films that are near duplicates as they are need not be among them. All pairs are not compared: as in
    `near.near_pairs`, only those that agree in a whole band. A crop whose nearest in the grid differs in 20 % of its
    bits is missed with probability 0.1 at most, and one that differs in 15 % with 0.001.
    """
    own = _none(count)
    for start in range(0, count, _CHUNK):
        own.fill(start, _signs(of(np.arange(start, min(start + _CHUNK, count)))))
    blocks = range(0, count if count > 1 else 0, _BLOCK)
    found = [_candidates(_cropped(of, start, min(start + _BLOCK, count)), start, own) for start in blocks]
    pairs = np.concatenate([np.empty((0, 2), np.int64), *found])
    some = [pairs[start : start + _FITTED].T for start in range(0, len(pairs), _FITTED)]
    distance = np.concatenate([np.empty(0), *(fitted(of(a), _signs(of(b))) for a, b in some)])
    near = distance <= NEAR_CROP
    return pairs[near], distance[near]


def fitted(whole: Floats, bits: NDArray[np.bool_]) -> NDArray[np.float64]:
    """How near the best crops of films, by their frequencies (N, 28, 28), come to others' bits (N, 784): share (N,).

    Each edge in turn is moved in smaller and smaller steps from the nearest crop of the grid.
    """
    operators = _operators()

    def distance(edges: Ints) -> NDArray[np.float64]:
        top, bottom, left, right = edges.T
        seen = operators[top, bottom] @ whole @ operators[left, right].swapaxes(1, 2)
        return (_signs(seen) != bits).mean(axis=1)

    best, least = np.zeros((len(whole), 4), np.int64), np.full(len(whole), np.inf)

    def keep_nearer(tried: Ints) -> None:
        now = distance(tried)
        nearer = now < least
        best[nearer], least[nearer] = tried[nearer], now[nearer]

    for start in product(_GRID, repeat=4):
        keep_nearer(np.tile(start, (len(whole), 1)))
    for step, _, edge, way in product(_STEPS, range(2), range(4), (-1, 1)):
        tried = best.copy()
        tried[:, edge] = np.clip(tried[:, edge] + way * step, 0, len(operators) - 1)
        keep_nearer(tried)
    return least


@lru_cache(maxsize=1)
def _operators() -> Floats:
    """What each pair of cuts of a side does to the frequencies along it, (25, 25, 28, 28)."""
    cuts = np.arange(round(LARGEST / _UNIT) + _STEPS[0] + 1) * _UNIT
    return np.array([[crop_operator(before, after) for after in cuts] for before in cuts])


def _signs(films: Floats) -> NDArray[np.bool_]:
    """(N, 28, 28) -> (N, 784): what is positive beyond rounding, as in a fingerprint."""
    return (films > 1.0).reshape(len(films), _BITS)


@dataclass(frozen=True)
class _Films:
    """Bits of films, in a fixed shuffled order: words (13, N) uint64 to compare them, planes (784, N / 8) for keys."""

    count: int
    words: NDArray[np.uint64]
    planes: NDArray[np.uint8]

    def fill(self, start: int, bits: NDArray[np.bool_]) -> None:
        """Put bits (M, 784) in their place; start: a multiple of 8."""
        some = np.take(bits.view(np.uint8), np.random.Generator(np.random.PCG64(20200303)).permutation(_BITS), axis=1)
        stop = start + len(some)
        padded = np.pad(some, ((0, 0), (0, _WORDS * 64 - _BITS)))
        self.words[:, start:stop] = np.packbits(padded, axis=1).view(np.uint64).T
        self.planes[:, start // 8 : -(-stop // 8)] = planes_of(some)

    def keys(self, places: Ints) -> NDArray[np.uint32]:
        return keys_of(self.planes[places], self.count)

    def differ(self, a: Ints, other: _Films, b: Ints) -> Ints:
        """In how many bits films a differ from films b of the others, (M,)."""
        differ = np.bitwise_count(self.words.take(a, axis=1) ^ other.words.take(b, axis=1))
        return differ.sum(axis=0, dtype=np.int64)


def _none(count: int) -> _Films:
    return _Films(count, np.empty((_WORDS, count), np.uint64), np.empty((_BITS, -(-count // 8)), np.uint8))


def _cropped(of: Callable[[Ints], Floats], start: int, stop: int) -> list[_Films]:
    """What each crop of the grid would be of the films from start to before stop."""
    sides = [_operators()[before, after] for before, after in product(_GRID, repeat=2)]
    crops = [_none(stop - start) for _ in range(len(sides) ** 2)]
    for at in range(start, stop, _CHUNK):
        whole = of(np.arange(at, min(at + _CHUNK, stop)))
        across = [whole @ horizontal.T for horizontal in sides]
        for number, crop in enumerate(crops):
            vertical, horizontal = divmod(number, len(sides))
            crop.fill(at - start, _signs(sides[vertical] @ across[horizontal]))
    return crops


def _candidates(crops: list[_Films], start: int, own: _Films) -> Ints:
    """Pairs (M, 2) of a film by a crop of it and another by its own bits that agree in a band and are candidates.

    start: the number of the film of the first crop.
    """
    found = distinct(a * own.count + b for a, b in _agreeing(crops, start, own))
    return np.stack(np.divmod(found, own.count), axis=1)


def _agreeing(crops: list[_Films], start: int, own: _Films) -> Iterator[tuple[Ints, Ints]]:
    """The pairs of `_candidates`, some at a time, each as often as it agrees."""
    width = max(_NARROWEST, own.count.bit_length() + 1)
    needed = max(bands_needed(width, differ=differ, missed=missed) for differ, missed in _MISSED)
    rng = np.random.Generator(np.random.PCG64(20200302))  # fixed: the same pairs are found on every machine
    for number, places in enumerate(dealt(_BITS, width, needed, rng)):
        word = number % (_WORDS - 1)  # the last is not full
        keys = own.keys(places)
        order, begins = order_of(keys, width), np.zeros((1 << width) + 1, np.int32)
        np.cumsum(np.bincount(keys, minlength=1 << width), out=begins[1:])
        for crop in crops:
            key = crop.keys(places)
            for a, at in _ranges(begins[key], begins[key + 1]):
                b = order[at]
                differ = np.bitwise_count(crop.words[word, a] ^ own.words[word, b])
                likely = (differ <= _BESIDE) & (a + start != b)
                a, b = a[likely], b[likely]
                close = crop.differ(a, own, b) <= int(_CANDIDATE * _BITS)
                a, b = a[close] + start, b[close]
                other = own.differ(a, own, b) > int(_ALIKE * _BITS)
                yield a[other], b[other]


def _ranges(first: NDArray[np.int32], last: NDArray[np.int32]) -> Iterator[tuple[Ints, Ints]]:
    """Each film with each place from its first to before its last, in portions that fit the memory."""
    count = last - first
    some = np.flatnonzero(count)
    starts = np.searchsorted(np.cumsum(count[some]), np.arange(0, count.sum(), _PORTION), side="right")
    for rows in np.split(some, starts[1:]):
        n = count[rows]
        if n.sum():
            within = np.arange(n.sum()) - np.repeat(np.cumsum(n) - n, n)
            yield np.repeat(rows, n), np.repeat(first[rows], n) + within
