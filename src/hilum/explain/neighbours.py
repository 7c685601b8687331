"""The training films that a network holds for most like a film: nearest by cosine in its own features.

They say what the network may have gone by, and show a film that was learned under another class. They are no proof: two
films can be near for their views, their markers or their blackened edges.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_AT_ONCE = 512  # films, so that a part of 100,000 needs no gigabyte


@dataclass(frozen=True)
class Nearest:
    """rows: (N, k), of the films searched, the nearest first; distances: (N, k), 0 alike to 1 nothing in common."""

    rows: NDArray[np.int64]
    distances: NDArray[np.float64]


def nearest(features: NDArray[np.floating], among: NDArray[np.floating], k: int) -> Nearest:
    """The k films of `among` (M, F) nearest to each of `features` (N, F); all M where there are fewer.

    The distance is 1 - cosine of the angle between two films' features, up to 2 where features may be negative. Of
    equals the first comes first; a film without any feature is at distance 1 from all. Refused with ValueError: no film
    to search, k below 1.

    >>> found = nearest(np.array([[1.0, 0.0]]), np.array([[0.0, 2.0], [3.0, 0.0], [1.0, 1.0]]), 2)
    >>> found.rows.tolist(), found.distances.round(3).tolist()
    ([[1, 2]], [[0.0, 0.293]])
    """
    if k < 1 or not len(among):
        raise ValueError("the nearest of no films were asked for")
    searched, count = _unit(among), min(k, len(among))
    rows, distances = [np.zeros((0, count), np.int64)], [np.zeros((0, count))]
    for start in range(0, len(features), _AT_ONCE):
        # A cosine above 1 is rounding; rounded itself, so that equals stay equal on every machine.
        apart = np.round(np.clip(1.0 - _unit(features[start : start + _AT_ONCE]) @ searched.T, 0.0, 2.0), 9)
        first = np.argsort(apart, axis=1, kind="stable")[:, :count]
        rows.append(first)
        distances.append(np.take_along_axis(apart.astype(np.float64), first, 1))
    return Nearest(np.concatenate(rows), np.concatenate(distances))


def _unit(features: NDArray[np.floating]) -> NDArray[np.float64]:
    values = np.asarray(features, np.float64)
    length = np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(np.divide(values, length, out=np.zeros_like(values), where=length > 0))
