"""Which of many fingerprints are close to one another, without comparing every one with every other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hilum.image.fingerprint import BITS, BLOCK

# Share of the 1024 bits in which two fingerprints of one film may differ. Measured (docs/splits.md): copies in another
# size, shape, encoding or brightness differ in less; of 108 million pairs of real films, no two different ones in less
# than 0.26. Phantoms, which have less in them than films, come as near as 0.166, and set the limit.
NEAR = 0.16
_MISSED = 1e-7  # how many of the pairs at the limit may agree in no band
_NARROWEST = 10  # bits of a band; fewer save nothing
# Of those that agree in a band, what is looked at first: 64 bits, of which a pair at the limit differs in 10, and in
# more than 18 once in 250.
_BESIDE = 18
_HALF = BITS // 2
_WORDS = _HALF // 32
_CHUNK = 1 << 13
_PORTION = 1 << 18

Pairs = tuple[NDArray[np.int64], NDArray[np.float64]]


@dataclass(frozen=True)
class _Dealt:
    """Fingerprints in another order of their bits: half 0 stays the same in a mirror image, half 1 is inverted in it.

    words: uint32 (2, 16, N), to compare two films. planes: uint8 (2, 512, N / 8), a bit of eight films in each byte.
    """

    words: NDArray[np.uint32]
    planes: NDArray[np.uint8]

    @property
    def count(self) -> int:
        return self.words.shape[2]


def near_pairs(bits: np.ndarray) -> tuple[Pairs, Pairs]:
    """Which fingerprints are close, as they are and with one of the two mirrored.

    bits: uint64 (N, 16), of `unpack`, each once. Each answer is indices (M, 2) with a < b, sorted, and the share of
    differing bits (M,), at most `NEAR`. All pairs are not compared: the bits are dealt to bands by fixed shuffles, and
    only fingerprints that agree in a whole band are compared (Broder 1997, On the resemblance and containment of
    documents; the banding of Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, 3.4), and of those only the ones
    that are not far apart in 64 other bits. A band has as many bits as the number N, so that a film agrees by chance
    with as many others among a million as among a thousand; wider bands are agreed in less often, so there are more of
    them: the time for a film grows as the fourth root of N. A pair that differs in a share s of its bits agrees in none
    of T bands of w bits with probability (1 - (1 - s)^w)^T, which at the limit is 1e-7.

    >>> one = np.zeros((1, 16), np.uint64)
    >>> (pairs, share), (turned, _) = near_pairs(np.concatenate([one, one ^ np.uint64(1), ~one]))
    >>> pairs.tolist(), round(share[0] * 1024), len(turned)
    ([[0, 1]], 1, 0)
    """
    films, limit = _deal(bits), int(NEAR * BITS)
    known, fresh, waiting = np.empty(0, np.int64), [np.empty(0, np.int64)], 0
    for number, (half, places) in enumerate(_bands(len(bits))):
        for a, b in _agreeing(films, _keys(films, half, places), number % _WORDS):
            close = np.minimum(*_differ(films, a, b)) <= limit
            fresh.append(np.minimum(a, b)[close] * films.count + np.maximum(a, b)[close])
            waiting += len(fresh[-1])
        if waiting > len(known) + _PORTION:  # a pair agrees in many bands, and is held once
            known, fresh, waiting = np.unique(np.concatenate([known, *fresh])), [], 0
    pairs = np.stack(np.divmod(np.unique(np.concatenate([known, *fresh])), max(1, films.count)), axis=1)
    parts = [_differ(films, *pairs[start : start + _PORTION].T) for start in range(0, len(pairs), _PORTION)]
    upright, turned = np.concatenate([np.empty((2, 0), np.int64), *map(np.array, parts)], axis=1)
    return (pairs[upright <= limit], upright[upright <= limit] / BITS), (
        pairs[turned <= limit],
        turned[turned <= limit] / BITS,
    )


def _bands(count: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """The half and the places (W,) of the bits of each band, for `count` films."""
    width = max(_NARROWEST, (count - 1).bit_length())
    agree = (1 - NEAR) ** width * (1 - 1 / 250)
    left = int(np.ceil(np.log(_MISSED) / np.log1p(-agree))) if count > 1 else 0
    rng = np.random.Generator(np.random.PCG64(20200301))  # fixed: the same pairs are found on every machine
    while left > 0:
        order = rng.permutation(_HALF)
        for start in range(0, _HALF - width + 1, width):
            yield 0, order[start : start + width]
            yield 1, order[start : start + width]
            left -= 2
            if left <= 0:
                break


def _deal(bits: np.ndarray) -> _Dealt:
    """The fingerprints (N, 16) with the bits of each half in another order."""
    rng = np.random.Generator(np.random.PCG64(20200302))
    places = np.arange(BITS).reshape(BLOCK, BLOCK)
    order = np.concatenate([rng.permutation(places[:, side::2].ravel()) for side in (0, 1)])
    count = len(bits)
    words = np.empty((2 * _WORDS, count), np.uint32)
    planes = np.empty((BITS, -(-count // 8)), np.uint8)
    for start in range(0, count, _CHUNK):
        some = np.unpackbits(bits[start : start + _CHUNK].view(np.uint8), axis=1)[:, order]
        words[:, start : start + _CHUNK] = np.ascontiguousarray(np.packbits(some, axis=1)).view(np.uint32).T
        planes[:, start // 8 : (start + _CHUNK) // 8] = np.packbits(np.ascontiguousarray(some.T), axis=1)
    return _Dealt(words.reshape(2, _WORDS, count), planes.reshape(2, _HALF, -1))


def _keys(films: _Dealt, half: int, places: NDArray[np.int64]) -> NDArray[np.uint32]:
    """The bits of a band, (N,): equal where two films agree in it, or in half 1 where one and the other's mirror do."""
    planes = films.planes[half]
    key = np.zeros(films.count, np.uint32)
    for place in places:
        plane = planes[place] ^ planes[places[0]] if half else planes[place]
        key <<= 1
        key |= np.unpackbits(plane, count=films.count)
    return key


def _agreeing(
    films: _Dealt, keys: NDArray[np.uint32], word: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Pairs of films a, b whose keys are equal and who differ little in the 64 bits of `word`, some at a time."""
    shift = np.uint64(films.count.bit_length())
    keyed = np.sort(keys.astype(np.uint64) << shift | np.arange(films.count, dtype=np.uint64))
    order = (keyed & np.uint64((1 << int(shift)) - 1)).astype(np.int64)
    keyed >>= shift
    even, odd = films.words[:, word]
    at, step = np.arange(films.count), 0
    while at.size:
        # Neighbours in the sorted order, then neighbours but one, ..., until no key stands that often.
        step += 1
        at = at[: np.searchsorted(at, films.count - step)]
        at = at[keyed[at] == keyed[at + step]]
        for start in range(0, len(at), _PORTION):
            a, b = order[at[start : start + _PORTION]], order[at[start : start + _PORTION] + step]
            across = np.bitwise_count(odd[a] ^ odd[b])
            close = np.bitwise_count(even[a] ^ even[b]) + np.minimum(across, 32 - across) <= _BESIDE
            yield a[close], b[close]


def _differ(films: _Dealt, a: NDArray[np.int64], b: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """In how many bits films a differ from b, and from their mirror images, each (M,)."""
    same, across = (np.bitwise_count(words[:, a] ^ words[:, b]).sum(axis=0, dtype=np.int64) for words in films.words)
    return same + across, same + _HALF - across
