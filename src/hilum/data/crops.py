"""Films that are crops of others: fingerprints of crops are made from those of whole films, and looked for.

A cut of 2 % at an edge moves a film's content so far that its fingerprint becomes another one. But a fingerprint with
its sizes is the film, blurred, so what its crops' fingerprints would be can be computed: a few crops spread over those
looked for bring candidates, and where one comes near, the crop that fits best is searched for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hilum.image.fingerprint import SIZED, crop_operator, frequencies

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

LARGEST = 0.05  # share of a side that is cut off at one edge
# Shares of the bits that differ. The nearest crop of the grid is near enough to be looked at; the one that fits best
# has to be as near as a copy in another size is. Measured by benchmarks/duplicates.py on real films, and on phantoms.
_CANDIDATE = 0.2
NEAR_CROP = 0.13
_ALIKE = 0.1  # two films as near as that are near duplicates already
_GRID = (0.0125, 0.0375)  # of each edge: no cut up to LARGEST is further than 0.0125 away
_STEPS = (0.01, 0.005, 0.0025)
_BITS = SIZED * SIZED
_KEY_BITS = 18
_KEYS = _BITS // _KEY_BITS
_SHUFFLES = 3
_CHUNK = 1 << 14
_PORTION = 1 << 18
_operator = lru_cache(maxsize=4096)(crop_operator)


def crops_among(hashes: Sequence[str], sizes: Sequence[str]) -> tuple[Ints, NDArray[np.float64]]:
    """Which films are crops of which: indices (M, 2), the whole film first, and the share of differing bits (M,).

    hashes, sizes: both parts of each film's fingerprint (`image.fingerprint`). Up to 5 % of a side may be cut off at
    each edge, by another amount at each; sizes, aspects, encodings and brightness may differ too. Films that are near
    duplicates as they are need not be among them. All pairs are not compared: as in `duplicates.near_pairs`, only those
    that agree in a whole key of 18 bits, of 129 such keys; a crop whose nearest in the grid differs in 15 % of its bits
    is missed with probability 0.001.
    """
    index = _index(hashes, sizes)
    found = [np.empty((0, 2), np.int64)]
    for start in range(0, len(hashes), _CHUNK):
        whole = frequencies(hashes[start : start + _CHUNK], sizes[start : start + _CHUNK])
        found += [
            _near(_signs(vertical @ whole @ horizontal.T), start, index)
            for vertical in _grid()
            for horizontal in _grid()
        ]
    pairs = np.unique(np.concatenate(found), axis=0)

    def of(film: int) -> Floats:
        return frequencies([hashes[film]], [sizes[film]])

    distance = np.array([fitted(of(a)[0], _signs(of(b))[0]) for a, b in pairs])
    near = distance <= NEAR_CROP
    return pairs[near], distance[near]


def fitted(whole: Floats, bits: NDArray[np.bool_]) -> float:
    """How near the best crop of a film, by its frequencies (28, 28), comes to another's bits (784,): share that differ.

    Each edge in turn is moved in smaller and smaller steps from the nearest crop of the grid.
    """

    def distance(edges: Sequence[float]) -> float:
        top, bottom, left, right = edges
        seen = _operator(top, bottom) @ whole @ _operator(left, right).T
        return float((_signs(seen[None])[0] != bits).mean())

    start = [[t, b, le, r] for t in _GRID for b in _GRID for le in _GRID for r in _GRID]
    best = min(start, key=distance)
    least = distance(best)
    for step in _STEPS:
        for edge in (0, 1, 2, 3, 0, 1, 2, 3):
            for way in (-step, step):
                tried = list(best)
                tried[edge] = round(min(max(tried[edge] + way, 0.0), LARGEST + 0.01), 4)
                if (now := distance(tried)) < least:
                    best, least = tried, now
    return least


def _grid() -> list[Floats]:
    return [_operator(before, after) for before in _GRID for after in _GRID]


def _signs(films: Floats) -> NDArray[np.bool_]:
    """(N, 28, 28) -> (N, 784): what is positive beyond rounding, as in a fingerprint."""
    return (films > 1.0).reshape(len(films), _BITS)


def _packed(bits: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """(N, 784) -> (N, 13) words."""
    padded = np.pad(bits, ((0, 0), (0, -_BITS % 64)))
    return np.packbits(padded, axis=1).view(np.uint64)


def _shuffles() -> list[Ints]:
    rng = np.random.Generator(np.random.PCG64(20200302))  # fixed: the same pairs are found on every machine
    return [rng.permutation(_BITS)[: _KEYS * _KEY_BITS] for _ in range(_SHUFFLES)]


@dataclass(frozen=True)
class _Index:
    """Where films are found by a key. packed: their bits, words (N, 13).

    order, keys: a row (N,) for each key of each shuffle: the films in the key's order, and their keys in that order.
    """

    shuffles: list[Ints]
    packed: NDArray[np.uint64]
    order: NDArray[np.int32]
    keys: NDArray[np.uint32]


def _keys(bits: NDArray[np.bool_], shuffles: list[Ints]) -> Iterator[NDArray[np.uint32]]:
    """Each key of 18 bits of all films, uint32 (N,)."""
    weights = (1 << np.arange(_KEY_BITS)).astype(np.float32)
    for shuffle in shuffles:
        for places in shuffle.reshape(_KEYS, _KEY_BITS):
            yield (bits[:, places].astype(np.float32) @ weights).astype(np.uint32)  # below 2^24, so exact


def _index(hashes: Sequence[str], sizes: Sequence[str]) -> _Index:
    shuffles, count = _shuffles(), len(hashes)
    shape = (len(shuffles) * _KEYS, count)
    made = _Index(
        shuffles, np.empty((count, -(-_BITS // 64)), np.uint64), np.empty(shape, np.int32), np.empty(shape, np.uint32)
    )
    for start in range(0, count, _CHUNK):
        some = slice(start, start + _CHUNK)
        bits = _signs(frequencies(hashes[some], sizes[some]))
        made.packed[some] = _packed(bits)
        for number, key in enumerate(_keys(bits, shuffles)):
            made.keys[number, some] = key
    for number, key in enumerate(made.keys):
        made.order[number] = np.argsort(key, kind="stable")
        made.keys[number] = key[made.order[number]]
    return made


def _near(probes: NDArray[np.bool_], start: int, index: _Index) -> Ints:
    """Pairs (M, 2) of a film by its probe and another by its own bits that agree in a key and are candidates.

    start: the number of the film of the first probe.
    """
    of_probe, packed = _packed(probes), index.packed
    found = [np.empty((0, 2), np.int64)]
    for key, order, keys in zip(_keys(probes, index.shuffles), index.order, index.keys, strict=True):
        first, last = (np.searchsorted(keys, key, side=side) for side in ("left", "right"))
        for probe, at in _ranges(first, last):
            a, b = probe + start, order[at].astype(np.int64)
            differ = np.bitwise_count(of_probe[probe] ^ packed[b]).sum(axis=1, dtype=np.int64)
            close = (differ <= int(_CANDIDATE * _BITS)) & (a != b)
            a, b = a[close], b[close]
            alike = np.bitwise_count(packed[a] ^ packed[b]).sum(axis=1, dtype=np.int64) <= int(_ALIKE * _BITS)
            found.append(np.c_[a[~alike], b[~alike]])
    return np.unique(np.concatenate(found), axis=0)


def _ranges(first: Ints, last: Ints) -> Iterator[tuple[Ints, Ints]]:
    """Each film with each place from its first to before its last, in portions that fit the memory."""
    count = last - first
    some = np.flatnonzero(count)
    starts = np.searchsorted(np.cumsum(count[some]), np.arange(0, count.sum(), _PORTION), side="right")
    for rows in np.split(some, starts[1:]):
        n = count[rows]
        if n.sum():
            within = np.arange(n.sum()) - np.repeat(np.cumsum(n) - n, n)
            yield np.repeat(rows, n), np.repeat(first[rows], n) + within
