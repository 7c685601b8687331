"""Prediction sets: the classes that a film may have, with a coverage that was asked for.

Split conformal prediction (Vovk et al. 2005, Algorithmic Learning in a Random World; Angelopoulos & Bates 2021,
arXiv:2107.07511, section 1): films that were not learned from say how small the probability of the true class may be.
Of new films like those, the set then holds the true class at least as often as was asked, whatever the network. It says
nothing of films of elsewhere. So the coverage is always counted on other films: `judge`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hilum.errors import DataError, RequestError
from hilum.evaluation.metrics import Bools, Floats, Ints
from hilum.evaluation.shares import Share, share_of

# What `hilum predict` and the audit ask of the sets, and the validation films that they need: ten of them are then
# outside their sets.
COVERAGE = 0.9
FEWEST_FILMS = 100


@dataclass(frozen=True)
class Conformal:
    """From which probability on a class is in the set; fitted on validation films, stored, and only read afterwards.

    thresholds: one for each class; 0 where the films were too few to leave any class out. films: that each was fitted
    on. by_class: whether each class has the coverage by itself (Angelopoulos & Bates, section 4.2).
    """

    classes: tuple[str, ...]
    coverage: float
    thresholds: tuple[float, ...]
    films: tuple[int, ...]
    by_class: bool

    def sets(self, p: Floats) -> Bools:
        """Which classes are in the set of each film, (N, K), of probabilities p (N, K)."""
        return np.asarray(p >= np.array(self.thresholds))

    def as_json(self) -> dict[str, Any]:
        return {
            "coverage": self.coverage,
            "by_class": self.by_class,
            "thresholds": dict(zip(self.classes, self.thresholds, strict=True)),
            "films": dict(zip(self.classes, self.films, strict=True)),
        }


def fit(y: Ints, p: Floats, classes: Sequence[str], *, coverage: float = 0.9, by_class: bool = False) -> Conformal:
    """Thresholds from validation films: y (N,) true class numbers, p (N, K) probabilities as they will be used.

    The k-th largest probability of the true class, k = ceil((N + 1) coverage), is the threshold; with by_class that
    of each class's own films. Where k is above N no class can be left out, and the threshold is 0. Refused with
    RequestError: a coverage that is not between 0 and 1; with DataError: no film.

    >>> y, p = np.zeros(9, int), np.array([[k / 10, 1 - k / 10] for k in range(1, 10)])
    >>> fit(y, p, ["ill", "well"], coverage=0.8).thresholds       # the 8th of 0.9, 0.8, ... 0.1
    (0.2, 0.2)
    """
    if not 0 < coverage < 1:
        raise RequestError(f"a coverage of {coverage} cannot be kept: it lies between 0 and 1")
    if not len(y):
        raise DataError("there is no validation film to fit prediction sets on")
    of_truth = p[np.arange(len(y)), y]
    groups = [of_truth[y == k] for k in range(len(classes))] if by_class else [of_truth] * len(classes)
    return Conformal(
        tuple(classes),
        coverage,
        tuple(_threshold(group, coverage) for group in groups),
        tuple(len(group) for group in groups),
        by_class,
    )


def _threshold(of_truth: Floats, coverage: float) -> float:
    # Rounded, as 10 * 0.9 may come out above 9.
    rank = math.ceil(round((len(of_truth) + 1) * coverage, 9))
    return float(np.sort(of_truth)[::-1][rank - 1]) if rank <= len(of_truth) else 0.0


@dataclass(frozen=True)
class Kept:
    """What sets are worth on films that they were not fitted on.

    covered: share of films whose set holds the true class; of_class: the same of each class. single: share of films
    with exactly one class, which are answered; the others are abstained from. right: of those, the share that is right.
    mean_size: classes in a set.
    """

    covered: Share
    of_class: dict[str, Share]
    single: Share
    right: Share
    mean_size: float


def judge(sets: Bools, y: Ints, classes: Sequence[str], patients: Ints, *, seed: int = 0) -> Kept:
    """Count, on held-out films with true classes y (N,), what `Conformal.sets` (N, K) hold.

    >>> sets = np.array([[True, False], [True, True], [False, True], [False, True]])
    >>> kept = judge(sets, np.array([0, 0, 0, 1]), ["ill", "well"], np.arange(4))
    >>> kept.covered.value, kept.single.value, round(kept.right.value, 2), kept.mean_size
    (0.75, 0.75, 0.67, 1.25)
    """
    held = sets[np.arange(len(y)), y]
    single = sets.sum(1) == 1
    return Kept(
        share_of(held, patients, seed=seed),
        {name: share_of(held[y == k], patients[y == k], seed=seed) for k, name in enumerate(classes)},
        share_of(single, patients, seed=seed),
        share_of(held[single], patients[single], seed=seed),
        float(sets.sum(1).mean()),
    )
