"""Where to call a film positive: thresholds chosen on validation for a wished sensitivity, and only read elsewhere."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from hilum.evaluation.metrics import Bools, Floats, ratio


def choose_threshold(positive: Bools, score: Floats, wished_sensitivity: float) -> float | None:
    """The highest threshold t such that score >= t finds the wished share of the positive films; None without any.

    `positive` (N,) truth, `score` (N,). The highest has the best specificity of those that reach it.

    >>> positive, score = np.array([True, True, True, True, False]), np.array([0.9, 0.8, 0.6, 0.2, 0.7])
    >>> choose_threshold(positive, score, 0.75)            # finds 0.9, 0.8 and 0.6
    0.6
    """
    ordered = np.sort(score[positive])[::-1]
    if not len(ordered):
        return None
    # 0.95 * 20 is a hair above 19 in doubles.
    needed = max(1, math.ceil(wished_sensitivity * len(ordered) - 1e-9))
    return float(ordered[needed - 1])


def choose_thresholds(y: Any, p: Floats, classes: list[str], wished_sensitivity: float) -> dict[str, dict[str, Any]]:
    """An operating point for each class, one against the rest, from validation's `y` (N,) and `p` (N, K).

    Each is {threshold, wished_sensitivity, reason}; threshold is None, with the reason, where validation has no
    film of the class.

    >>> points = choose_thresholds(np.array([0, 0]), np.array([[0.9, 0.1], [0.6, 0.4]]), ["ill", "well"], 1.0)
    >>> points["ill"]["threshold"], points["well"]["reason"]
    (0.6, 'validation has no film of well')
    """
    points = {}
    for number, name in enumerate(classes):
        threshold = choose_threshold(np.asarray(y) == number, p[:, number], wished_sensitivity)
        reason = f"validation has no film of {name}" if threshold is None else None
        points[name] = {"threshold": threshold, "wished_sensitivity": wished_sensitivity, "reason": reason}
    return points


def of_folds(points: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """The operating points of a cross-validation: each fold's own, chosen on its own validation part.

    Each is {threshold: None, by_fold: thresholds by the fold's number, wished_sensitivity, reason}; the reason tells
    which fold has none.

    >>> first, second = {"ill": {"threshold": 0.6, "wished_sensitivity": 0.9}}, {"ill": {"threshold": 0.4}}
    >>> of_folds([first, second])["ill"]["by_fold"]
    [0.6, 0.4]
    """
    found = {}
    for name, point in points[0].items():
        each = [of_fold.get(name, {}) for of_fold in points]
        without = [(fold, of_fold) for fold, of_fold in enumerate(each) if of_fold.get("threshold") is None]
        found[name] = {
            "threshold": None,
            "by_fold": [of_fold.get("threshold") for of_fold in each],
            "wished_sensitivity": point.get("wished_sensitivity"),
            "reason": f"fold {without[0][0]}: {without[0][1].get('reason')}" if without else None,
        }
    return found


def thresholds_of(points: Mapping[str, Mapping[str, Any]], classes: list[str], folds: pd.Series) -> Floats:
    """The thresholds (K,), or (N, K) where each fold has its own; NaN where a class has none.

    folds: (N,) the fold of each film, read only where the points are `of_folds`; a film of no fold has no threshold.
    """
    found = [points.get(name, {}) for name in classes]
    if not any("by_fold" in point for point in found):
        return np.array([point.get("threshold") for point in found], float)  # None becomes NaN
    number = folds.fillna(-1).to_numpy(int)
    by_fold = np.array([point["by_fold"] for point in found], float).T
    return np.where(number[:, None] < 0, math.nan, by_fold[number])


def at_thresholds(y: Any, p: Floats, thresholds: Floats, weights: Floats | None = None) -> tuple[Floats, Floats]:
    """Sensitivity and specificity of p[:, k] >= thresholds[k] for each class, (..., K) each; NaN where undefined.

    thresholds: (K,), or (N, K) where each film has its own; a class is undefined where one is NaN.

    >>> p = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]])
    >>> at_thresholds(np.array([0, 0, 1]), p, np.array([0.5, 0.7]))
    (array([0.5, 1. ]), array([1., 1.]))
    """
    weights = np.ones(len(p)) if weights is None else weights
    positive = np.asarray(y)[:, None] == np.arange(p.shape[1])
    called = p >= thresholds
    found, rejected = positive & called, ~positive & ~called
    defined = ~np.isnan(np.atleast_2d(thresholds)).any(0)
    return (
        np.where(defined, ratio(weights @ found, weights @ positive), np.nan),
        np.where(defined, ratio(weights @ rejected, weights @ ~positive), np.nan),
    )
