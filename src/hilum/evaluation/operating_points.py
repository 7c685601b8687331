"""Where to call a film positive: thresholds chosen on validation for a wished sensitivity, and only read elsewhere."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

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


def thresholds_of(points: Mapping[str, Mapping[str, Any]], classes: list[str]) -> Floats:
    """The thresholds (K,), NaN where a class has none."""
    found = [points.get(name, {}).get("threshold") for name in classes]
    return np.array([math.nan if threshold is None else threshold for threshold in found], float)


def at_thresholds(y: Any, p: Floats, thresholds: Floats, weights: Floats | None = None) -> tuple[Floats, Floats]:
    """Sensitivity and specificity of p[:, k] >= thresholds[k] for each class, (..., K) each; NaN where undefined.

    >>> p = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]])
    >>> at_thresholds(np.array([0, 0, 1]), p, np.array([0.5, 0.7]))
    (array([0.5, 1. ]), array([1., 1.]))
    """
    weights = np.ones(len(p)) if weights is None else weights
    positive = np.asarray(y)[:, None] == np.arange(p.shape[1])
    called = p >= thresholds
    found, rejected = positive & called, ~positive & ~called
    defined = ~np.isnan(thresholds)
    return (
        np.where(defined, ratio(weights @ found, weights @ positive), np.nan),
        np.where(defined, ratio(weights @ rejected, weights @ ~positive), np.nan),
    )
