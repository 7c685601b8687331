"""Films that stand in a manifest more than once: the same bytes, or the same picture in another file."""

from __future__ import annotations

from collections.abc import Iterator

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
_CHUNK = 1 << 17


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
    near = [_pairs_between(rows, rows, 0.0) for rows in films_of if len(rows) > 1]
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
    first = np.array([rows[0] for rows in films_of], dtype=np.int64)
    chains = [np.c_[rows[:-1], rows[1:]] for rows in [*films_of, *_equal_rows(manifest["sha256"])] if len(rows) > 1]
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
    3.4). Whether a pair is found depends on its two films alone. A pair that differs in fewer than 64 bits is always
    found; one that differs in a share s of the bits is missed with probability (1 - (1 - s)^16)^256, which at the
    limit of 0.16 is 1e-7.
    """
    found: list[np.ndarray] = []
    limit = int(NEAR * BITS)
    for keys in _bands(bits):
        for pairs in _agreeing(keys):
            differ = np.bitwise_count(bits[pairs[:, 0]] ^ bits[pairs[:, 1]]).sum(axis=1, dtype=np.int64)
            close = differ <= limit
            found.append(np.c_[pairs[close], differ[close]])
    every = np.concatenate(found) if found else np.empty((0, 3), np.int64)
    every[:, :2].sort(axis=1)
    every = np.unique(every, axis=0)
    return every[:, :2], every[:, 2] / BITS


def _bands(bits: np.ndarray) -> Iterator[np.ndarray]:
    """The keys of each band, uint16 (N,)."""
    rng = np.random.Generator(np.random.PCG64(20200301))  # fixed: the same pairs are found on every machine
    for _ in range(_SHUFFLES if len(bits) > 1 else 0):
        order = rng.permutation(BITS)
        dealt = [
            np.packbits(np.unpackbits(bits[start : start + _CHUNK].view(np.uint8), axis=1)[:, order], axis=1)
            for start in range(0, len(bits), _CHUNK)
        ]
        keys = np.ascontiguousarray(np.concatenate(dealt)).view(np.uint16)
        for band in range(_BANDS):
            yield np.ascontiguousarray(keys[:, band])


def _agreeing(keys: np.ndarray) -> Iterator[np.ndarray]:
    """Pairs of indices whose keys are equal, (M, 2), in portions that fit the memory."""
    order = np.argsort(keys, kind="stable")
    sorted_keys = keys[order]
    at, step = np.arange(len(keys)), 0
    portion: list[np.ndarray] = []
    held = 0
    while True:
        # Neighbours in the sorted order, then neighbours but one, ..., until no bucket is that large.
        step += 1
        at = at[at + step < len(keys)]
        at = at[sorted_keys[at] == sorted_keys[at + step]]
        if not at.size:
            break
        portion.append(np.c_[order[at], order[at + step]])
        held += at.size
        if held > _CHUNK:
            yield np.concatenate(portion)
            portion, held = [], 0
    if portion:
        yield np.concatenate(portion)


def _pictures(manifest: pd.DataFrame) -> tuple[np.ndarray, list[np.ndarray], list[str]]:
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
    distinct, of_copy = np.unique(text.iloc[rows].to_numpy(dtype=object).astype(str), return_inverse=True)
    try:
        copies = unpack(distinct.tolist())
    except ValueError as error:
        raise DataError(
            f"the column phash does not hold hilum's fingerprints: {error}",
            where="manifest",
            next_step="Leave the column out, and hilum data build will fill it.",
        ) from None
    films_of = _rows_of_codes(rows, of_copy, len(distinct))
    if "phash_sizes" not in manifest:
        return copies, films_of, [""] * len(distinct)
    known = manifest["phash_sizes"].astype("string").fillna("").to_numpy(dtype=object)
    return copies, films_of, [max(known[rows]) for rows in films_of]


def _equal_rows(values: pd.Series) -> list[np.ndarray]:
    """Row numbers of each value that stands there more than once; missing values are equal to nothing."""
    rows = np.flatnonzero((values.notna() & values.duplicated(keep=False)).to_numpy())
    codes, distinct = pd.factorize(values.iloc[rows], sort=True)
    return _rows_of_codes(rows, codes, len(distinct))


def _rows_of_codes(rows: np.ndarray, codes: np.ndarray, count: int) -> list[np.ndarray]:
    """`rows` divided by their code, 0 to count - 1; in order within each."""
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(1, count))
    return np.split(rows[order], starts) if count else []


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
