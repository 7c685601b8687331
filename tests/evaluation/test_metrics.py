"""Figures against scikit-learn, against each other and against arithmetic by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn import metrics as reference

from hilum.evaluation import metrics


def films(seed: int, classes: int = 3, n: int = 80, decimals: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities; with `decimals` many probabilities are equal."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    p = rng.dirichlet(np.ones(classes), n)
    p[np.arange(n), y] += 0.5
    p /= p.sum(1, keepdims=True)
    return y, p if decimals is None else p.round(decimals)


def counted(y: np.ndarray, p: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    return metrics.confusion(y, p.argmax(1), p.shape[1], weights)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_figures_of_decisions_equal_those_of_scikit_learn(seed: int, weighted: bool) -> None:
    y, p = films(seed)
    predicted = p.argmax(1)
    weights = np.random.default_rng(seed).integers(0, 4, len(y)).astype(float) if weighted else None
    counts = counted(y, p, weights)
    asked = {"sample_weight": weights, "average": None, "labels": [0, 1, 2]}
    assert counts == pytest.approx(reference.confusion_matrix(y, predicted, sample_weight=weights))
    assert metrics.accuracy(counts) == pytest.approx(reference.accuracy_score(y, predicted, sample_weight=weights))
    assert metrics.recall(counts) == pytest.approx(reference.recall_score(y, predicted, **asked))
    assert metrics.macro(metrics.recall(counts)) == pytest.approx(
        reference.balanced_accuracy_score(y, predicted, sample_weight=weights)
    )
    assert metrics.precision(counts) == pytest.approx(reference.precision_score(y, predicted, **asked))
    assert metrics.f_beta(counts, 1.0) == pytest.approx(reference.f1_score(y, predicted, **asked))
    assert metrics.f_beta(counts, 2.0) == pytest.approx(reference.fbeta_score(y, predicted, beta=2.0, **asked))
    assert metrics.kappa(counts) == pytest.approx(reference.cohen_kappa_score(y, predicted, sample_weight=weights))
    for k, value in enumerate(metrics.specificity(counts)):
        against = reference.recall_score(y != k, predicted != k, sample_weight=weights)
        assert value == pytest.approx(against)


@pytest.mark.parametrize("decimals", [None, 1], ids=["distinct", "tied"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_figures_of_probabilities_equal_those_of_scikit_learn(seed: int, weighted: bool, decimals: int | None) -> None:
    y, p = films(seed, decimals=decimals)
    weights = np.random.default_rng(seed).uniform(0.1, 3, len(y)) if weighted else None
    for k in range(3):
        asked = {"y_true": y == k, "y_score": p[:, k], "sample_weight": weights}
        assert metrics.auroc(y == k, p[:, k], weights) == pytest.approx(reference.roc_auc_score(**asked))
        assert metrics.average_precision(y == k, p[:, k], weights) == pytest.approx(
            reference.average_precision_score(**asked)
        )
    macro = (
        reference.roc_auc_score(y, p / p.sum(1, keepdims=True), multi_class="ovr")
        if not weighted and not decimals
        else None
    )
    if macro is not None:
        assert metrics.macro(metrics.by_class(metrics.auroc, y, p)) == pytest.approx(macro)


@pytest.mark.parametrize("weighted", [False, True])
def test_log_loss_and_brier_equal_those_of_scikit_learn(weighted: bool) -> None:
    y, p = films(5)
    weights = np.random.default_rng(5).uniform(0.1, 3, len(y)) if weighted else None
    assert metrics.log_loss(y, p, weights) == pytest.approx(reference.log_loss(y, p, sample_weight=weights))
    y, p = films(6, classes=2)
    binary = reference.brier_score_loss(y, p[:, 1], sample_weight=weights)
    assert metrics.brier(y, p, weights) == pytest.approx(2 * binary), "Brier's own definition sums over both classes"


def test_brier_of_three_classes_is_the_sum_over_classes() -> None:
    y, p = np.array([0, 2]), np.array([[1.0, 0.0, 0.0], [0.5, 0.3, 0.2]])
    assert metrics.brier(y, p) == pytest.approx((0 + (0.25 + 0.09 + 0.64)) / 2)


@given(st.integers(0, 10_000), st.integers(2, 5))
@settings(max_examples=30, deadline=None)
def test_a_film_of_weight_two_is_the_film_twice_and_of_weight_zero_not_there(seed: int, classes: int) -> None:
    y, p = films(seed, classes, n=30, decimals=2)
    times = np.random.default_rng(seed).integers(0, 3, (2, 30))
    for figure in (
        lambda y, p, w: metrics.recall(counted(y, p, w)),
        lambda y, p, w: metrics.f_beta(counted(y, p, w), 2.0),
        lambda y, p, w: metrics.by_class(metrics.auroc, y, p, w),
        lambda y, p, w: metrics.by_class(metrics.average_precision, y, p, w),
        metrics.brier,
        metrics.log_loss,
    ):
        both = figure(y, p, times.astype(float))
        for row, value in zip(times, both, strict=True):
            repeated = np.repeat(np.arange(30), row)
            assert value == pytest.approx(figure(y[repeated], p[repeated], None), nan_ok=True)


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_the_order_of_the_films_does_not_matter(seed: int) -> None:
    y, p = films(seed, n=40, decimals=2)
    order = np.random.default_rng(seed).permutation(40)
    assert counted(y, p) == pytest.approx(counted(y[order], p[order]))
    for figure in (metrics.auroc, metrics.average_precision):
        assert metrics.by_class(figure, y, p) == pytest.approx(
            metrics.by_class(figure, y[order], p[order]), nan_ok=True
        )
    assert metrics.calibration_error(y, p) == pytest.approx(metrics.calibration_error(y[order], p[order]))


@given(
    arrays.arrays(bool, 25, elements=st.booleans()),
    arrays.arrays(float, 25, elements=st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0])),
)
@settings(max_examples=60, deadline=None)
def test_turning_the_scores_round_turns_the_auroc_round(positive: np.ndarray, score: np.ndarray) -> None:
    area = metrics.auroc(positive, score)
    if positive.all() or not positive.any():
        assert np.isnan(area)
    else:
        wins = (score[positive][:, None] > score[~positive]) + 0.5 * (score[positive][:, None] == score[~positive])
        assert area == pytest.approx(wins.mean()), "the share of pairs in the right order"
        assert area + metrics.auroc(positive, -score) == pytest.approx(1.0)


def test_nothing_divided_by_nothing_is_undefined_and_never_0() -> None:
    never_predicted = np.array([[5.0, 0.0], [3.0, 0.0]])
    assert np.isnan(metrics.precision(never_predicted)[1])
    assert metrics.recall(never_predicted)[1] == 0.0, "its films are there and were missed"
    assert metrics.f_beta(never_predicted, 1.0)[1] == 0.0
    absent = np.array([[5.0, 0.0], [0.0, 0.0]])
    assert np.isnan(metrics.recall(absent)[1])
    assert np.isnan(metrics.specificity(absent)[0])
    assert np.isnan(metrics.f_beta(absent, 1.0)[1])
    assert np.isnan(metrics.kappa(absent))
    assert np.isnan(metrics.macro(metrics.recall(absent)))
    one_class, score = np.ones(3, bool), np.array([0.1, 0.5, 0.9])
    for positive in (one_class, ~one_class):
        assert np.isnan(metrics.auroc(positive, score))
        assert np.isnan(metrics.average_precision(positive, score))
    assert all(np.isnan(value) for value in metrics.predictive_values(0.0, 1.0, 0.3)[:1])


def test_predictive_values_equal_a_table_of_ten_thousand_people() -> None:
    # Prevalence 2 %: 200 ill of whom 180 are found; 9800 well of whom 490 are called ill.
    ppv, npv = metrics.predictive_values(0.9, 0.95, 0.02)
    assert ppv == pytest.approx(180 / (180 + 490))
    assert npv == pytest.approx(9310 / (9310 + 20))


def test_at_the_prevalence_of_the_films_the_ppv_is_the_precision() -> None:
    y, p = films(8)
    counts = counted(y, p)
    ppv, _ = metrics.predictive_values(
        metrics.recall(counts), metrics.specificity(counts), counts.sum(1) / counts.sum()
    )
    assert ppv == pytest.approx(metrics.precision(counts))


def test_calibration_error_of_two_bins_by_hand() -> None:
    # 0.6 four times, right in 0.25: gap 0.35; 0.9 four times, right in 1: gap 0.1; half of the films each.
    p = np.array([[0.6, 0.4]] * 4 + [[0.9, 0.1]] * 4)
    y = np.array([0, 1, 1, 1, 0, 0, 0, 0])
    assert metrics.calibration_error(y, p, bins=2) == pytest.approx(0.5 * 0.35 + 0.5 * 0.1)
    assert metrics.calibration_gaps(y, p, bins=2) == pytest.approx([0.5 * 0.35, -0.5 * 0.1])


def test_probabilities_that_are_true_have_no_calibration_error_and_sharpened_ones_have() -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(3), 40_000)
    y = (rng.uniform(size=(40_000, 1)) > p.cumsum(1)).sum(1)
    assert metrics.calibration_error(y, p) < 0.01
    sharp = p**3 / (p**3).sum(1, keepdims=True)
    assert metrics.calibration_error(y, sharp) == pytest.approx(
        sharp.max(1).mean() - (sharp.argmax(1) == y).mean(), abs=0.01
    )


def test_bins_hold_equally_many_films_and_never_part_equal_probabilities() -> None:
    rng = np.random.default_rng(1)
    assert np.bincount(metrics.bins_of(rng.uniform(size=1000))).tolist() == [100] * 10
    assert np.bincount(metrics.bins_of(rng.uniform(size=100))).tolist() == [20] * 5, "at least 20 films each"
    tied = rng.integers(0, 4, 1000) / 4
    numbers = metrics.bins_of(tied)
    assert all(len(np.unique(numbers[tied == value])) == 1 for value in np.unique(tied))
