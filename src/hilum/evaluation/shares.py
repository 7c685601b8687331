"""A share of films with its interval: how often something is so, judged by patients."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hilum.evaluation.intervals import bootstrap_weights, bounded_interval
from hilum.evaluation.metrics import Bools, Ints, ratio

_RESAMPLES = 500


@dataclass(frozen=True)
class Share:
    """value of n films of so many patients, with its interval; NaN of no film."""

    value: float
    low: float
    high: float
    n: int
    patients: int

    @property
    def text(self) -> str:
        """
        >>> Share(0.9, 0.596, 0.982, 10, 10).text
        '90 % [60, 98]'
        """
        if not self.n:
            return "unknown"
        return f"{100 * self.value:.0f} % [{100 * self.low:.0f}, {100 * self.high:.0f}]"


def share_of(hit: Bools, patients: Ints, *, confidence: float = 0.95, seed: int = 0) -> Share:
    """The share of films that are a hit, with an interval resampled by patient; see `intervals.bounded_interval`.

    hit (N,); patients (N,) numbers.

    >>> found = share_of(np.array([True] * 9 + [False]), np.arange(10))
    >>> round(found.value, 2), round(found.low, 1), round(found.high, 2)
    (0.9, 0.6, 0.98)
    """
    if not len(hit):
        return Share(math.nan, math.nan, math.nan, 0, 0)
    numbers = np.unique(patients, return_inverse=True)[1].astype(np.int64)
    blocks = bootstrap_weights(numbers, np.zeros(len(hit), np.int64), _RESAMPLES, seed)
    replicates = np.concatenate([ratio(weights @ hit, weights.sum(1)) for weights in blocks])
    value, count = float(hit.mean()), int(numbers.max()) + 1
    low, high = bounded_interval(value, replicates, films=len(hit), patients=count, confidence=confidence)
    return Share(value, low, high, len(hit), count)
