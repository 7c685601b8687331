"""Films that stand in a manifest more than once: the same bytes, or the same picture in another file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from hilum.data.crops import crops_among
from hilum.data.groups import components
from hilum.data.near import near_pairs
from hilum.errors import DataError
from hilum.image.fingerprint import BITS, frequencies, unpack

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
    copies, films_of = _pictures(manifest)
    close, turned = near_pairs(copies)
    cut = _crops(manifest, films_of)
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
    copies, films_of = _pictures(manifest)
    (close, _), (turned, _) = near_pairs(copies)
    del copies  # 128 bytes a film, which the search for crops can use
    cut, _ = _crops(manifest, films_of)
    first = films_of.first
    chains = [np.c_[rows[:-1], rows[1:]] for rows in [*films_of.repeated, *_equal_rows(manifest["sha256"])]]
    return np.concatenate([np.empty((0, 2), np.int64), first[close], first[turned], first[cut], *chains])


def _crops(manifest: pd.DataFrame, films_of: _Rows) -> tuple[np.ndarray, np.ndarray]:
    """`crops_among` of the pictures whose sizes are known."""
    if "phash_sizes" not in manifest:
        return np.empty((0, 2), np.int64), np.empty(0)
    hashes, sizes = manifest["phash"], manifest["phash_sizes"]
    row = _rows_with_sizes(sizes, films_of)
    known = np.flatnonzero(row >= 0)

    def of(numbers: np.ndarray) -> np.ndarray:
        # Text is taken out of the table when it is needed: all of it would be another 1.4 KB a film.
        rows = row[known[numbers]]
        return frequencies(hashes.iloc[rows].tolist(), sizes.iloc[rows].tolist())

    try:
        pairs, distance = crops_among(of, len(known))
    except ValueError as error:
        raise DataError(
            f"the column phash_sizes does not hold hilum's fingerprints: {error}",
            where="manifest",
            next_step="Leave the column out, and hilum data build will fill it.",
        ) from None
    return known[pairs], distance


def _rows_with_sizes(sizes: pd.Series, films_of: _Rows) -> np.ndarray:
    """The row of each picture whose sizes are taken, or -1; of several the greatest, whatever the order of the rows."""
    has = (sizes.notna() & (sizes != "")).to_numpy(dtype=bool, na_value=False)
    out = np.where(has[films_of.first], films_of.first, -1)
    for code in films_of.several:
        out[code] = max((row for row in films_of[code] if has[row]), key=sizes.iloc.__getitem__, default=-1)
    return out


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
        return [self[int(code)] for code in self.several]

    @property
    def several(self) -> np.ndarray:
        """The codes that have more than one row."""
        return np.flatnonzero(np.diff(self.starts) > 1)


def _pictures(manifest: pd.DataFrame) -> tuple[np.ndarray, _Rows]:
    """The different fingerprints, uint64 (N, 16), and the rows of the films that have each."""
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
    return bits[first], _rows_of_codes(rows, of_copy, len(first))


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
