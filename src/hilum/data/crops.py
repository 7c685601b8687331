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

from hilum.data.bands import Ints, bands_needed, dealt, distinct, keys_of, order_of
from hilum.image.fingerprint import SIZED, crop_operator

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

LARGEST = 0.05  # share of a side that is cut off at one edge
# Shares of the bits that differ. The nearest crop of the grid is near enough to be looked at; after one round of moving
# its edges it is near enough to go on; the one that fits best has to be as near as a copy in another size is. Measured
# by benchmarks/duplicates.py on real films, and on phantoms.
_CANDIDATE = 0.21
_PROMISING = 0.17
NEAR_CROP = 0.13
_ALIKE = 0.1  # two films as near as that are near duplicates already
_UNIT = 0.0025  # of a side; cuts are counted in it
_GRID = (5, 15)  # of each edge: no cut up to LARGEST is further than 5 away
_STEPS = (4, 4, 2, 2, 1, 1)
_BITS = SIZED * SIZED
_WORDS = -(-_BITS // 64)
# Bands are of the middle frequencies. Between a crop and the nearest of the grid 8 % of their bits differ in the
# median, of all bits 15 %: the higher ones feel a small shift, and the lowest are alike in all films.
_FROM, _BEFORE = 3, 16
_MISSED = (0.12, 0.05)  # of crops that differ from one of the grid in that share of them, how many may agree in no band
_NARROWEST = 10
_WIDER = 2  # bits more than the number of films has: films whose middle frequencies are alike agree less often
# Of 64 bits of the middle and 64 of the others, looked at first. A candidate at the limit differs in 14 % of the former
# and 23 % of the latter, and in more than these once in 500.
_BESIDE = 37
_CHUNK = 1 << 8
_BLOCK = 1 << 16  # whole films whose crops are held at a time
_PORTION = 1 << 18


def crops_among(of: Callable[[Ints], Floats], count: int) -> tuple[Ints, NDArray[np.float64]]:
    """Which of `count` films are crops of which: indices (M, 2), the whole film first, and the share of bits (M,).

    of: the frequencies (N, 28, 28) of the films of those numbers (`image.fingerprint`), asked for more than once. Up to
    5 % of a side may be cut off at each edge, by another amount at each; sizes, aspects, encodings and brightness may
    differ too. Films that are near duplicates as they are need not be among them. All pairs are not compared: as in
    `near.near_pairs`, only those that agree in a whole band. Of made crops of real films that differ from the nearest
    of the grid in at most 21 % of their bits, one in a thousand agrees in none.
    """
    own = _none(count)
    for start in range(0, count, _CHUNK):
        own.fill(start, np.moveaxis(of(np.arange(start, min(start + _CHUNK, count))), 0, -1))
    found = [np.empty((0, 3))]
    for start in range(0, count if count > 1 else 0, _BLOCK):
        crops = _cropped(of, start, min(start + _BLOCK, count))
        pairs = distinct(a * count + b for a, b in _agreeing(crops, start, own))
        portions = np.split(pairs, range(_CHUNK, len(pairs), _CHUNK))
        found += [_near_crops(of, crops, start, own, *np.divmod(some, count)) for some in portions]
    table = np.concatenate(found)
    return table[:, :2].astype(np.int64), table[:, 2]


def fitted(whole: Floats, bits: Bools, edges: Ints) -> NDArray[np.float64]:
    """How near the best crops of films, by their frequencies (N, 28, 28), come to others' bits (N, 28, 28): share (N,).

    edges: (N, 4), what is cut off at the top, bottom, left and right to begin with, in 0.25 % of the side. Each in turn
    is moved in smaller and smaller steps; after the first round those that have not come near are left as they are.
    """
    edges, least = _moved(whole, bits, edges, _STEPS[0])
    on = np.flatnonzero(least <= _PROMISING)
    for step in _STEPS[1:]:
        edges[on], least[on] = _moved(whole[on], bits[on], edges[on], step)
    return least


def _moved(whole: Floats, bits: Bools, edges: Ints, step: int) -> tuple[Ints, NDArray[np.float64]]:
    """The edges, each moved by a step out or in where that comes nearer, and how near they come."""
    operators = _operators()
    edges, least = edges.copy(), np.full(len(whole), np.inf)
    for across in (False, True):
        other, moving = (edges[:, :2], edges[:, 2:]) if across else (edges[:, 2:], edges[:, :2])
        turned = whole if across else whole.swapaxes(1, 2)
        half = (operators[other[:, 0], other[:, 1]] @ turned).swapaxes(1, 2)
        aim = bits.swapaxes(1, 2) if across else bits
        for edge, way in ((0, 0), (0, -1), (0, 1), (1, -1), (1, 1)):
            tried = moving.copy()
            tried[:, edge] = np.clip(tried[:, edge] + way * step, 0, len(operators) - 1)
            now = (_positive(operators[tried[:, 0], tried[:, 1]] @ half) != aim).mean(axis=(1, 2))
            nearer = now < least
            moving[nearer], least[nearer] = tried[nearer], now[nearer]
    return edges, least


@lru_cache(maxsize=1)
def _operators() -> Floats:
    """What each pair of cuts of a side does to the frequencies along it, (25, 25, 28, 28)."""
    cuts = np.arange(round(LARGEST / _UNIT) + _STEPS[0] + 1) * _UNIT
    return np.array([[crop_operator(before, after) for after in cuts] for before in cuts])


@lru_cache(maxsize=1)
def _places() -> tuple[Ints, int]:
    """A fixed shuffled order of the 784 places, those of the middle frequencies first, and how many these are."""
    frequency = np.hypot(*np.indices((SIZED, SIZED))).ravel()
    shuffled = np.random.Generator(np.random.PCG64(20200303)).permutation(_BITS)
    middle = (frequency[shuffled] >= _FROM) & (frequency[shuffled] < _BEFORE)
    return np.concatenate([shuffled[middle], shuffled[~middle]]), int(middle.sum())


def _positive(films: Floats) -> Bools:
    """What is positive beyond rounding, as in a fingerprint."""
    return films > 1.0


@dataclass(frozen=True)
class _Films:
    """Bits of films in the order of `_places`: words (13, N) to compare them, planes (205, N / 8) of the middle."""

    count: int
    words: NDArray[np.uint64]
    planes: NDArray[np.uint8]

    def fill(self, start: int, films: Floats) -> None:
        """Put films (28, 28, M) in their place; start: a multiple of 8."""
        order, middle = _places()
        bits = _positive(films).reshape(_BITS, -1).view(np.uint8)
        stop = start + bits.shape[1]
        self.planes[:, start // 8 : -(-stop // 8)] = np.packbits(bits[order[:middle]], axis=1)
        octets = np.zeros((_WORDS * 8, stop - start), np.uint8)
        for bit in range(8):
            octets[: _BITS // 8] |= bits[order[bit::8]] << bit
        by_word = octets.reshape(_WORDS, 8, -1).swapaxes(1, 2)
        self.words[:, start:stop] = np.ascontiguousarray(by_word).view(np.uint64)[..., 0]

    def bits(self, films: Ints) -> Bools:
        """(M, 28, 28), in their own order."""
        octets = np.ascontiguousarray(self.words[:, films].T).view(np.uint8)
        out = np.empty((len(films), _BITS), np.bool_)
        out[:, _places()[0]] = np.unpackbits(octets, axis=1, count=_BITS, bitorder="little")
        return out.reshape(-1, SIZED, SIZED)

    def keys(self, places: Ints) -> NDArray[np.uint32]:
        return keys_of(self.planes[places], self.count)

    def differ(self, a: Ints, other: _Films, b: Ints) -> Ints:
        """In how many bits films a differ from films b of the others, (M,)."""
        differ = np.bitwise_count(self.words.take(a, axis=1) ^ other.words.take(b, axis=1))
        return differ.sum(axis=0, dtype=np.int64)


def _none(count: int) -> _Films:
    return _Films(count, np.empty((_WORDS, count), np.uint64), np.empty((_places()[1], -(-count // 8)), np.uint8))


def _edges() -> Ints:
    """The crops of the grid, (16, 4)."""
    return np.array(list(product(_GRID, repeat=4)))


def _cropped(of: Callable[[Ints], Floats], start: int, stop: int) -> list[_Films]:
    """What each crop of the grid would be of the films from start to before stop."""
    sides = np.array([_operators()[before, after] for before, after in product(_GRID, repeat=2)])
    crops = [_none(stop - start) for _ in _edges()]
    for at in range(start, stop, _CHUNK):
        # Films last: then a product of the operators with all of them is few large products.
        whole = np.ascontiguousarray(np.moveaxis(of(np.arange(at, min(at + _CHUNK, stop))), 0, -1))
        for number, vertical in enumerate(sides):
            down = (vertical @ whole.reshape(SIZED, -1)).reshape(whole.shape)
            for other, horizontal in enumerate(sides):
                crops[number * len(sides) + other].fill(at - start, horizontal @ down)
    return crops


def _near_crops(
    of: Callable[[Ints], Floats], crops: list[_Films], start: int, own: _Films, a: Ints, b: Ints
) -> NDArray[np.float64]:
    """Those films a, of which there are crops from number `start` on, that have crops near b: a, b, share (M, 3)."""
    nearest = np.argmin([crop.differ(a - start, own, b) for crop in crops], axis=0)
    some, of_pair = np.unique(a, return_inverse=True)
    distance = fitted(of(some)[of_pair], own.bits(b), _edges()[nearest])
    return np.stack([a, b, distance], axis=1)[distance <= NEAR_CROP]


def _agreeing(crops: list[_Films], start: int, own: _Films) -> Iterator[tuple[Ints, Ints]]:
    """Pairs of a film by a crop of it and another by its own bits that agree in a band and are candidates.

    start: the number of the film of the first crop. They come some at a time, each as often as it agrees.
    """
    width = max(_NARROWEST, own.count.bit_length() + _WIDER)
    differ, missed = _MISSED
    middle = _places()[1]
    full = middle // 64  # words of middle frequencies only
    rng = np.random.Generator(np.random.PCG64(20200302))  # fixed: the same pairs are found on every machine
    for number, places in enumerate(dealt(middle, width, bands_needed(width, differ=differ, missed=missed), rng)):
        beside = number % full, full + 1 + number % (_WORDS - 2 - full)  # the last word is not full
        keys = own.keys(places)
        order, begins = order_of(keys, width), np.zeros((1 << width) + 1, np.int32)
        np.cumsum(np.bincount(keys, minlength=1 << width), out=begins[1:])
        in_order = [own.words[word, order] for word in beside]
        for crop in crops:
            key = crop.keys(places)
            for a, at in _ranges(begins[key], begins[key + 1]):
                both = zip(beside, in_order, strict=True)
                first, second = (np.bitwise_count(crop.words[word, a] ^ theirs[at]) for word, theirs in both)
                likely = first + second <= _BESIDE
                a, b = a[likely], order[at[likely]]
                close = (crop.differ(a, own, b) <= int(_CANDIDATE * _BITS)) & (a + start != b)
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
