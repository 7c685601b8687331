"""Thresholds against a search through all of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.metrics import confusion_matrix

from hilum.evaluation.operating_points import (
    at_thresholds,
    choose_threshold,
    choose_thresholds,
    of_folds,
    thresholds_of,
)


@given(
    arrays.arrays(bool, 30, elements=st.booleans()),
    arrays.arrays(float, 30, elements=st.floats(0, 1, width=16)),
    st.sampled_from([0.0, 0.5, 0.8, 0.9, 0.95, 1.0]),
)
@settings(max_examples=100, deadline=None)
def test_no_higher_threshold_reaches_the_wished_sensitivity(
    positive: np.ndarray, score: np.ndarray, wished: float
) -> None:
    found = choose_threshold(positive, score, wished)
    if not positive.any():
        assert found is None
        return
    reaching = [t for t in score[positive] if (score[positive] >= t).mean() >= max(wished, 1e-9) - 1e-12]
    assert found == max(reaching)


def test_95_percent_of_20_films_are_19() -> None:
    score = np.arange(1, 21) / 20
    assert choose_threshold(np.ones(20, bool), score, 0.95) == pytest.approx(2 / 20)


def test_sensitivity_and_specificity_at_a_threshold_equal_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    y, p = rng.integers(0, 3, 90), rng.dirichlet(np.ones(3), 90)
    sensitivity, specificity = at_thresholds(y, p, np.array([0.2, 0.5, np.nan]))
    for k, threshold in enumerate([0.2, 0.5]):
        (tn, fp), (fn, tp) = confusion_matrix(y == k, p[:, k] >= threshold)
        assert sensitivity[k] == pytest.approx(tp / (tp + fn))
        assert specificity[k] == pytest.approx(tn / (tn + fp))
    assert np.isnan(sensitivity[2]) and np.isnan(specificity[2]), "no threshold, no figure"


def test_a_class_that_validation_does_not_have_gets_no_threshold_and_a_reason() -> None:
    points = choose_thresholds(np.array([0, 0]), np.array([[0.9, 0.1], [0.7, 0.3]]), ["a", "b"], 0.5)
    assert points["a"] == {"threshold": 0.9, "wished_sensitivity": 0.5, "reason": None}
    assert points["b"]["threshold"] is None
    assert "validation has no film of b" in points["b"]["reason"]
    assert thresholds_of(points, ["a", "b", "c"], pd.Series([0])) == pytest.approx([0.9, np.nan, np.nan], nan_ok=True)


def test_each_film_of_a_cross_validation_meets_the_threshold_of_its_own_fold() -> None:
    first = {"a": {"threshold": 0.5}, "b": {"threshold": 0.9}}
    second = {"a": {"threshold": 0.2}, "b": {"threshold": None, "reason": "validation has no film of b"}}
    points = of_folds([first, second])
    assert points["b"]["reason"] == "fold 1: validation has no film of b"
    thresholds = thresholds_of(points, ["a", "b"], pd.Series([0, 1, 1, pd.NA], dtype="Int64"))
    assert thresholds == pytest.approx(
        np.array([[0.5, 0.9], [0.2, np.nan], [0.2, np.nan], [np.nan, np.nan]]), nan_ok=True
    )
    p = np.array([[0.4, 0.6], [0.4, 0.6], [0.3, 0.7]])
    sensitivity, specificity = at_thresholds(np.array([0, 0, 1]), p, thresholds[:3])
    assert sensitivity == pytest.approx([0.5, np.nan], nan_ok=True)  # 0.4 is called in fold 1, not in fold 0
    assert specificity == pytest.approx([0.0, np.nan], nan_ok=True)
