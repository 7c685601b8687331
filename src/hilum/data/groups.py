"""Films that belong together, and how sets of them are dealt out: the arithmetic under `split`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def components(count: int, links: np.ndarray) -> np.ndarray:
    """Number of the connected component of each of `count` things, (count,) int64; links: (M, 2).

    >>> components(4, np.array([[0, 2], [2, 3]])).tolist()
    [0, 1, 0, 0]
    """
    if not count:
        return np.empty(0, np.int64)
    graph = coo_array((np.ones(len(links), np.int8), (links[:, 0], links[:, 1])), shape=(count, count))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def chain(values: pd.Series) -> np.ndarray:
    """Links (M, 2) between the rows of each value that is not missing.

    >>> chain(pd.Series(["a", "b", None, "a", None])).tolist()
    [[0, 3]]
    """
    codes, _ = pd.factorize(values)
    order = np.argsort(codes, kind="stable")
    same = (codes[order[1:]] == codes[order[:-1]]) & (codes[order[1:]] >= 0)
    return np.c_[order[:-1][same], order[1:][same]].astype(np.int64)


def drawn_order(keys: Sequence[str], *, seed: int, draw: str) -> np.ndarray:
    """The order in which keys are drawn, (N,) int64: by a hash of seed, draw and key.

    The same on every machine, whatever the order of the keys; a key more or less leaves the order of the others.

    >>> keys = ["ann", "bob", "cy"]
    >>> first = [keys[i] for i in drawn_order(keys, seed=1, draw="part")]
    >>> again = [keys[::-1][i] for i in drawn_order(keys[::-1], seed=1, draw="part")]
    >>> first == again
    True
    """
    digest = [hashlib.sha256(f"{seed}\0{draw}\0{key}".encode()).hexdigest() for key in keys]
    return np.array(sorted(range(len(keys)), key=lambda i: (digest[i], keys[i])), dtype=np.int64)


def quotas(count: int, shares: Sequence[float]) -> np.ndarray:
    """Whole numbers that add up to `count`, near `count` x shares, with at least 1 for each share above 0.

    shares: add up to 1. The largest remainders are rounded up (Hamilton), so each number is within 1 of its share,
    unless a minimum of 1 had to be found. With fewer things than shares the last share is served first, then the
    others in order.

    >>> quotas(100, [0.2, 0.1, 0.7]).tolist(), quotas(3, [0.2, 0.1, 0.7]).tolist(), quotas(2, [0.2, 0.1, 0.7]).tolist()
    ([20, 10, 70], [1, 1, 1], [1, 0, 1])
    """
    exact = count * np.array(shares)
    asked = np.flatnonzero(exact > 0)
    out = np.floor(exact + 1e-9).astype(np.int64)
    if count < len(asked):
        out[:] = 0
        out[np.r_[asked[-1:], asked[:-1]][:count]] = 1
        return out
    by_remainder = np.argsort(out - exact, kind="stable")
    out[by_remainder[: count - out.sum()]] += 1
    for empty in asked[out[asked] == 0]:
        out[np.argmax(out)] -= 1
        out[empty] += 1
    return out


def deal(groups: pd.DataFrame, shares: Mapping[Any, float], *, seed: int, draw: str) -> pd.Series:
    """The slot (part or fold) of each group, by the index of `groups`; exact shares within each stratum.

    groups: key (stable name of the group), stratum, and kept, the slot that the group has already, or missing.
    shares: slot -> share, adding up to 1, the rest (train) last. Kept groups stay and count: only the others are
    dealt, so as to restore the shares.

    >>> groups = pd.DataFrame({"key": list("abcd"), "stratum": "normal", "kept": ["test", None, None, None]})
    >>> deal(groups, {"test": 0.25, "train": 0.75}, seed=0, draw="part").tolist()
    ['test', 'train', 'train', 'train']
    """
    out = pd.Series(groups["kept"], dtype=object).copy()
    slots = list(shares)
    for rows in groups.groupby("stratum", sort=True).groups.values():
        new = rows[out.loc[rows].isna()]
        numbers = quotas(len(rows), list(shares.values()))
        if len(new) < len(rows):
            held = out.loc[rows].value_counts().reindex(slots, fill_value=0).to_numpy()
            lacking = np.maximum(0, numbers - held)
            numbers = quotas(len(new), lacking / max(1, lacking.sum()))
        order = drawn_order(groups.loc[new, "key"].tolist(), seed=seed, draw=draw)
        out.loc[new[order]] = np.repeat(np.array(slots, dtype=object), numbers)
    return out
