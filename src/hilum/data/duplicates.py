"""Films that stand in a manifest more than once: the same bytes, or the same picture in another file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from hilum.data.crops import crops_among
from hilum.data.groups import components
from hilum.errors import DataError
from hilum.image.fingerprint import BITS, mirrored, unpack

# Share of the 1024 bits in which two fingerprints of one film may differ. Measured (docs/splits.md): copies in another
# size, shape, encoding or brightness differ in less; of 108 million pairs of real films, no two different ones in less
# than 0.26. Phantoms, which have less in them than films, come as near as 0.166, and set the limit.
NEAR = 0.16
_BANDS = BITS // 16
_SHUFFLES = 4
# Of those that agree in a band, what is looked at first: 64 bits beside the band, of which a pair at the limit differs
# in 10, and in more than 18 once in 250.
_BESIDE = 18
_CHUNK = 1 << 15


def find(manifest: pd.DataFrame) -> pd.DataFrame:
    """Every pair of films that are the same: image_id_a, image_id_b, kind, distance; sorted by the two ids.

    kind: `exact` where sha256 is equal (distance 0), else `near` where the fingerprints (phash) differ in at most
    16 % of their bits, else `cropped` where up to 5 % was cut off at each edge of one of them (`crops`; only where
    phash_sizes is filled), else `mirrored` where one is near the other's mirror image; distance is the share of bits.
    Films without sha256 and without phash are compared with nothing.
    Refused with DataError: a manifest with neither column filled, a phash of another length.

    >>> films = pd.DataFrame({"image_id": ["b", "a", "c"], "sha256": ["1f", "1f", "2e"], "phash": pd.NA})
    >>> find(films)
      image_id_a image_id_b   kind  distance
    0          a          b  exact       0.0
    """
    manifest = manifest.reset_index(drop=True)
    copies, films_of, sizes = _pictures(manifest)
    close, turned = _same_pictures(copies)
    cut = _crops(copies, sizes)
    near = [_pairs_between(rows, rows, 0.0) for rows in films_of.repeated]
    near += [_pairs_between(films_of[a], films_of[b], d) for (a, b), d in zip(*close, strict=True)]
    turned_round = [_pairs_between(films_of[a], films_of[b], d) for (a, b), d in zip(*turned, strict=True)]
    cropped = [_pairs_between(films_of[a], films_of[b], d) for (a, b), d in zip(*cut, strict=True)]
    exact = [_pairs_between(rows, rows, 0.0) for rows in _equal_rows(manifest["sha256"])]
    return _table(manifest, {"exact": exact, "near": near, "cropped": cropped, "mirrored": turned_round})


def clusters(manifest: pd.DataFrame) -> pd.Series:
    """The cluster of duplicates that each film is in: a Series of ids by image_id, in the manifest's order.

    Two films are in one cluster when a chain of duplicates joins them. The id is the smallest image_id in the
    cluster, so it does not depend on the order of the rows; a film without a duplicate is its own cluster.

    >>> films = pd.DataFrame({"image_id": ["b", "a", "c"], "sha256": ["1f", "1f", "2e"], "phash": pd.NA})
    >>> clusters(films).to_dict()
    {'b': 'a', 'a': 'a', 'c': 'c'}
    """
    manifest = manifest.reset_index(drop=True)
    ids = manifest["image_id"].astype("string")
    label = components(len(manifest), links(manifest))
    smallest = ids.groupby(label).transform("min")
    return pd.Series(smallest.to_numpy(), index=pd.Index(ids, name="image_id"), name="cluster", dtype="string")


def links(manifest: pd.DataFrame) -> np.ndarray:
    """Row numbers (M, 2) that chain every film to its duplicates: fewer than all pairs where a film stands often."""
    copies, films_of, sizes = _pictures(manifest)
    (close, _), (turned, _) = _same_pictures(copies)
    cut, _ = _crops(copies, sizes)
    first = films_of.first
    chains = [np.c_[rows[:-1], rows[1:]] for rows in [*films_of.repeated, *_equal_rows(manifest["sha256"])]]
    return np.concatenate([np.empty((0, 2), np.int64), first[close], first[turned], first[cut], *chains])


def _same_pictures(bits: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """`near_pairs` of the fingerprints (N, 16), and the same of each film with the mirror images of the others."""
    count = len(bits)
    pairs, distance = near_pairs(np.concatenate([bits, mirrored(bits)]))
    upright = (pairs < count).all(axis=1)
    # Both (a, mirrored b) and (b, mirrored a) are there: one of them is enough. A film may be like its own mirror.
    turned = (pairs[:, 0] < count) & (pairs[:, 1] - count > pairs[:, 0])
    return (pairs[upright], distance[upright]), (pairs[turned] - [0, count], distance[turned])


def _crops(bits: np.ndarray, sizes: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """`crops_among` of the fingerprints (N, 16) whose sizes are known."""
    known = np.array([number for number, text in enumerate(sizes) if text], np.int64)
    if len(known) < 2:
        return np.empty((0, 2), np.int64), np.empty(0)
    try:
        pairs, distance = crops_among([bits[n].tobytes().hex() for n in known], [sizes[n] for n in known])
    except ValueError as error:
        raise DataError(
            f"the column phash_sizes does not hold hilum's fingerprints: {error}",
            where="manifest",
            next_step="Leave the column out, and hilum data build will fill it.",
        ) from None
    return known[pairs], distance


def near_pairs(bits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which fingerprints are close: indices (M, 2) with a < b, and the share of differing bits (M,).

    bits: uint64 (N, 16), of `unpack`. All pairs are not compared. The 1024 bits are dealt to 64 bands of 16, four times
    over by fixed shuffles, and only fingerprints that agree in a whole band are compared (Broder 1997, On the
    resemblance and containment of documents; the banding of Leskovec, Rajaraman, Ullman, Mining of Massive Datasets,
    3.4), and of those only the ones that are not far apart in 64 bits beside it. Whether a pair is found depends on its
    two films alone. A pair that differs in fewer than 64 bits is always found; one that differs in a share s of the
    bits agrees in no band with probability (1 - (1 - s)^16)^256, which at the limit of 0.16 is 1e-7.
    """
    found: list[np.ndarray] = []
    limit = int(NEAR * BITS)
    for words in _dealt(bits):
        bands = words.view(np.uint16)
        for band in range(_BANDS):
            beside = words[:, (band // 4 + 1) % words.shape[1]]
            for pairs in _agreeing(np.ascontiguousarray(bands[:, band]), np.ascontiguousarray(beside)):
                differ = np.bitwise_count(bits[pairs[:, 0]] ^ bits[pairs[:, 1]]).sum(axis=1, dtype=np.int64)
                close = differ <= limit
                found.append(np.c_[pairs[close], differ[close]])
    every = np.concatenate(found) if found else np.empty((0, 3), np.int64)
    every[:, :2].sort(axis=1)
    every = np.unique(every, axis=0)
    return every[:, :2], every[:, 2] / BITS


def _dealt(bits: np.ndarray) -> Iterator[np.ndarray]:
    """The fingerprints with their bits in another order, uint64 (N, 16), once for each shuffle."""
    rng = np.random.Generator(np.random.PCG64(20200301))  # fixed: the same pairs are found on every machine
    dealt = np.empty_like(bits)
    for _ in range(_SHUFFLES if len(bits) > 1 else 0):
        order = rng.permutation(BITS)
        for start in range(0, len(bits), _CHUNK):
            some = np.unpackbits(bits[start : start + _CHUNK].view(np.uint8), axis=1)[:, order]
            dealt[start : start + _CHUNK] = np.ascontiguousarray(np.packbits(some, axis=1)).view(np.uint64)
        yield dealt


def _agreeing(keys: np.ndarray, beside: np.ndarray) -> Iterator[np.ndarray]:
    """Pairs of indices whose keys are equal and who differ little in their 64 bits, (M, 2), some at a time."""
    order = np.argsort(keys, kind="stable")
    keys, beside = keys[order], beside[order]
    starts = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]])
    stop = np.repeat(np.r_[starts[1:], len(keys)], np.diff(np.r_[starts, len(keys)]))
    at, step = np.arange(len(keys)), 0
    while at.size:
        # Neighbours in the sorted order, then neighbours but one, ..., until no bucket is that large.
        step += 1
        at = at[at + step < stop[at]]
        close = at[np.bitwise_count(beside[at] ^ beside[at + step]) <= _BESIDE]
        for start in range(0, len(close), _CHUNK):
            some = close[start : start + _CHUNK]
            yield np.c_[order[some], order[some + step]]


@dataclass(frozen=True)
class _Rows:
    """Row numbers by code, 0, 1, ...; in order within each. starts: where each code begins, and the end."""

    rows: np.ndarray
    starts: np.ndarray

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, code: int) -> np.ndarray:
        return self.rows[self.starts[code] : self.starts[code + 1]]

    @property
    def first(self) -> np.ndarray:
        """The first row of each code."""
        return self.rows[self.starts[:-1]]

    @property
    def repeated(self) -> list[np.ndarray]:
        """The rows of each code that has more than one."""
        return [self[int(code)] for code in np.flatnonzero(np.diff(self.starts) > 1)]


def _pictures(manifest: pd.DataFrame) -> tuple[np.ndarray, _Rows, list[str]]:
    """The different fingerprints, uint64 (N, 16), the rows of the films that have each, and its sizes or ""."""
    absent = [name for name in ("sha256", "phash") if name not in manifest]
    if absent or (len(manifest) and manifest[["sha256", "phash"]].isna().all(axis=None)):
        raise DataError(
            "duplicates cannot be looked for, because sha256 and phash are empty",
            where="manifest",
            next_step="Read the films first: hilum data build fills both columns.",
        )
    text = manifest["phash"].astype("string").fillna("")
    rows = np.flatnonzero((text != "").to_numpy())
    bits = np.empty((len(rows), BITS // 64), np.uint64)
    try:
        for start in range(0, len(rows), _CHUNK):
            bits[start : start + _CHUNK] = unpack(text.iloc[rows[start : start + _CHUNK]].tolist())
    except ValueError as error:
        raise DataError(
            f"the column phash does not hold hilum's fingerprints: {error}",
            where="manifest",
            next_step="Leave the column out, and hilum data build will fill it.",
        ) from None
    _, first, of_copy = np.unique(bits.view(f"S{BITS // 8}").ravel(), return_index=True, return_inverse=True)
    copies, films_of = bits[first], _rows_of_codes(rows, of_copy, len(first))
    if "phash_sizes" not in manifest or manifest["phash_sizes"].isna().all():
        return copies, films_of, [""] * len(first)
    known = manifest["phash_sizes"].astype("string").fillna("").to_numpy(dtype=object)
    return copies, films_of, [max(known[films_of[code]]) for code in range(len(films_of))]


def _equal_rows(values: pd.Series) -> list[np.ndarray]:
    """Row numbers of each value that stands there more than once; missing values are equal to nothing."""
    rows = np.flatnonzero((values.notna() & values.duplicated(keep=False)).to_numpy())
    codes, distinct = pd.factorize(values.iloc[rows], sort=True)
    return _rows_of_codes(rows, codes, len(distinct)).repeated


def _rows_of_codes(rows: np.ndarray, codes: np.ndarray, count: int) -> _Rows:
    order = np.argsort(codes, kind="stable")
    return _Rows(rows[order], np.searchsorted(codes[order], np.arange(count + 1)))


def _pairs_between(a: np.ndarray, b: np.ndarray, distance: float) -> np.ndarray:
    """Rows (M, 3) of every pair of one of `a` with one of `b`; within one set, each pair once."""
    left, right = np.triu_indices(len(a), 1) if a is b else np.indices((len(a), len(b))).reshape(2, -1)
    return np.c_[a[left], b[right], np.full(len(left), distance)]


def _table(manifest: pd.DataFrame, found: dict[str, list[np.ndarray]]) -> pd.DataFrame:
    ids = manifest["image_id"].to_numpy(dtype=object)
    frames = []
    for kind, blocks in found.items():
        rows = np.concatenate([np.empty((0, 3)), *blocks])
        a, b = ids[rows[:, 0].astype(np.int64)], ids[rows[:, 1].astype(np.int64)]
        swap = a > b
        frames.append(
            pd.DataFrame(
                {
                    "image_id_a": pd.array(np.where(swap, b, a), dtype="string"),
                    "image_id_b": pd.array(np.where(swap, a, b), dtype="string"),
                    "kind": kind,
                    "distance": rows[:, 2],
                }
            )
        )
    table = pd.concat(frames, ignore_index=True).drop_duplicates(["image_id_a", "image_id_b"])  # the closer kind first
    return table.sort_values(["image_id_a", "image_id_b"], ignore_index=True)
