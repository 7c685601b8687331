"""Which of many fingerprints are close to one another, without comparing every one with every other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hilum.data.bands import bands_needed, dealt, distinct, keys_of, order_of, planes_of
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
_CHUNK = 1 << 11  # what fits a core's cache as bytes
_PORTION = 1 << 18

Pairs = tuple[NDArray[np.int64], NDArray[np.float64]]


@dataclass(frozen=True)
class _Dealt:
    """Fingerprints in another order of their bits: half 0 stays the same in a mirror image, half 1 is inverted in it.

    words: uint64 (16, N), each 32 bits of half 0 and 32 of half 1, to compare two films.
    planes: uint8 (2, 512, N / 8), a bit of eight films in each byte.
    """

    words: NDArray[np.uint64]
    planes: NDArray[np.uint8]

    @property
    def count(self) -> int:
        return self.words.shape[1]


def near_pairs(bits: np.ndarray) -> tuple[Pairs, Pairs]:
    """Which fingerprints are close, as they are and with one of the two mirrored.

    bits: uint64 (N, 16), of `unpack`, each once. Each answer is indices (M, 2) with a < b, sorted, and the share of
    differing bits (M,), at most `NEAR`. All pairs are not compared: the bits are dealt to bands by fixed shuffles, and
    only fingerprints that agree in a whole band are compared (`bands`), and of those only the ones that are not far
    apart in 64 other bits. A band has as many bits as the number N, so that a film agrees by chance with as many others
    among a million as among a thousand; as wider bands are agreed in less often, there are more of them, and the time
    for a film grows as the fourth root of N. A pair that differs in a share s of its bits agrees in none of T bands of
    w bits with probability (1 - (1 - s)^w)^T, which at the limit is 1e-7.

    >>> one = np.zeros((1, 16), np.uint64)
    >>> (pairs, share), (turned, _) = near_pairs(np.concatenate([one, one ^ np.uint64(1), ~one]))
    >>> pairs.tolist(), round(share[0] * 1024), len(turned)
    ([[0, 1]], 16, 0)
    """
    films, limit = _deal(bits), int(NEAR * BITS)
    pairs = np.stack(np.divmod(distinct(_found(films, limit)), max(1, films.count)), axis=1)
    parts = [_differ(films, *pairs[start : start + _PORTION].T) for start in range(0, len(pairs), _PORTION)]
    upright, turned = np.concatenate([np.empty((2, 0), np.int64), *map(np.array, parts)], axis=1)

    def within(differ: NDArray[np.int64]) -> Pairs:
        close = differ <= limit
        return pairs[close], differ[close] / BITS

    return within(upright), within(turned)


def _found(films: _Dealt, limit: int) -> Iterator[NDArray[np.int64]]:
    """Numbers a N + b of the pairs that agree in a band and are close; a pair comes as often as it agrees."""
    width = max(_NARROWEST, (films.count - 1).bit_length())
    needed = bands_needed(width, differ=NEAR, missed=_MISSED) if films.count > 1 else 0
    rng = np.random.Generator(np.random.PCG64(20200301))  # fixed: the same pairs are found on every machine
    for number, places in enumerate(dealt(_HALF, width, needed, rng)):
        keys = _keys(films, number % 2, places)
        for a, b in _agreeing(films, keys, width, number % _WORDS):
            close = np.minimum(*_differ(films, a, b)) <= limit
            yield np.minimum(a, b)[close] * films.count + np.maximum(a, b)[close]


def _deal(bits: np.ndarray) -> _Dealt:
    """The fingerprints (N, 16) with the bits of each half in another order."""
    rng = np.random.Generator(np.random.PCG64(20200302))
    places = np.arange(BITS).reshape(BLOCK, BLOCK)
    halves = np.stack([rng.permutation(places[:, side::2].ravel()) for side in (0, 1)])
    by_word = halves.reshape(2, _WORDS, 32).swapaxes(0, 1).ravel()
    count = len(bits)
    words, planes = np.empty((_WORDS, count), np.uint64), np.empty((BITS, -(-count // 8)), np.uint8)
    for start in range(0, count, _CHUNK):
        some = np.unpackbits(bits[start : start + _CHUNK].view(np.uint8), axis=1)
        words[:, start : start + _CHUNK] = np.packbits(np.take(some, by_word, axis=1), axis=1).view(np.uint64).T
        planes[:, start // 8 : (start + _CHUNK) // 8] = planes_of(some)[halves.ravel()]
    return _Dealt(words, planes.reshape(2, _HALF, -1))


def _keys(films: _Dealt, half: int, places: NDArray[np.int64]) -> NDArray[np.uint32]:
    """The bits of a band, (N,): equal where two films agree in it, or in half 1 where one and the other's mirror do."""
    planes = films.planes[half, places]
    return keys_of(planes ^ planes[0] if half else planes, films.count)


def _agreeing(
    films: _Dealt, keys: NDArray[np.uint32], width: int, word: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Pairs of films a, b whose keys are equal and who differ little in the 64 bits of `word`, some at a time."""
    order = order_of(keys, width)
    keys, beside = keys[order], films.words[word][order]
    at, step = np.flatnonzero(keys[1:] == keys[:-1]), 1
    while at.size:
        # Neighbours in the sorted order, then neighbours but one, ..., until no key stands that often.
        for start in range(0, len(at), _PORTION):
            some = at[start : start + _PORTION]
            same, across = np.bitwise_count((beside[some] ^ beside[some + step]).view(np.uint32)).reshape(-1, 2).T
            close = some[same + np.minimum(across, 32 - across) <= _BESIDE]
            yield order[close], order[close + step]
        step += 1
        at = at[: np.searchsorted(at, films.count - step)]
        at = at[keys[at] == keys[at + step]]


def _differ(films: _Dealt, a: NDArray[np.int64], b: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """In how many bits films a differ from b, and from their mirror images, each (M,)."""
    differ = np.bitwise_count((films.words.take(a, axis=1) ^ films.words.take(b, axis=1)).view(np.uint32))
    same, across = differ.reshape(_WORDS, -1, 2).sum(axis=0, dtype=np.int64).T
    return same + across, same + _HALF - across
