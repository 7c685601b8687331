"""Intervals against published tables, and against the truth in simulations whose truth is known."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from hilum.evaluation import intervals, metrics
from hilum.evaluation.intervals import Interval


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_interval_equals_newcombes_table(hits: int, n: int, low: float, high: float) -> None:
    """Newcombe 1998, Stat. Med. 17:857, table I, method 3."""
    assert intervals.wilson_interval(hits, n) == pytest.approx((low, high), abs=6e-5)


@given(st.integers(0, 60), st.integers(1, 60), st.sampled_from([0.8, 0.9, 0.95, 0.99]))
@settings(max_examples=60, deadline=None)
def test_wilson_interval_equals_scipys(hits: int, n: int, confidence: float) -> None:
    hits = min(hits, n)
    theirs = stats.binomtest(hits, n).proportion_ci(confidence, method="wilson")
    assert intervals.wilson_interval(hits, n, confidence) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_nothing_to_count_has_no_interval() -> None:
    assert all(math.isnan(limit) for limit in intervals.wilson_interval(0, 0))
    assert all(math.isnan(x) for x in intervals.bounded_interval(math.nan, np.ones(9), films=3, patients=3))
    assert all(math.isnan(x) for x in intervals.bounded_interval(1.0, np.ones(9), films=0, patients=0))


def test_films_without_a_patient_are_patients_of_their_own() -> None:
    numbers = intervals.patient_numbers(pd.Series(["a", None, "a", None, "b"]), pd.Series(["1", "2", "3", "a", "5"]))
    assert numbers[0] == numbers[2]
    assert len(set(numbers)) == 4


def weights_of(patients: np.ndarray, strata: np.ndarray, resamples: int = 200, seed: int = 0) -> np.ndarray:
    return np.concatenate(list(intervals.bootstrap_weights(patients, strata, resamples, seed)))


def test_the_films_of_a_patient_are_drawn_together_and_each_class_keeps_its_patients() -> None:
    patients, y = np.array([0, 0, 0, 1, 2, 3, 3, 4]), np.array([0, 0, 1, 0, 1, 1, 1, 1])
    weights = weights_of(patients, y)
    for patient in range(5):
        films = weights[:, patients == patient]
        assert (films == films[:, :1]).all()
    first = {patient: np.flatnonzero(patients == patient)[0] for patient in range(5)}
    assert (weights[:, [first[0], first[1]]].sum(1) == 2).all(), "patients 0 and 1 are mostly of class 0"
    assert (weights[:, [first[2], first[3], first[4]]].sum(1) == 3).all()


def test_the_same_seed_draws_the_same_and_another_does_not() -> None:
    patients, y = np.arange(50), np.arange(50) % 2
    assert (weights_of(patients, y, seed=3) == weights_of(patients, y, seed=3)).all()
    assert (weights_of(patients, y, seed=3) != weights_of(patients, y, seed=4)).any()


def test_blocks_hold_all_the_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "BLOCK", 700)
    blocks = list(intervals.bootstrap_weights(np.arange(100), np.zeros(100, int), 50, seed=0))
    assert [len(block) for block in blocks] == [7] * 7 + [1]
    assert all((block.sum(1) == 100).all() for block in blocks)


def share_interval(right: np.ndarray, patients: np.ndarray, seed: int = 0, resamples: int = 1000) -> Interval:
    weights = weights_of(patients, np.zeros(len(patients), int), resamples, seed)
    replicates = metrics.ratio(weights @ right, weights.sum(1))
    return intervals.bounded_interval(
        float(right.mean()), replicates, films=len(right), patients=len(np.unique(patients))
    )


@pytest.mark.parametrize(("hits", "n"), [(9, 10), (27, 30), (180, 200)])
def test_a_share_with_a_film_per_patient_gets_wilsons_interval(hits: int, n: int) -> None:
    right = np.arange(n) < hits
    found = share_interval(right, np.arange(n), resamples=20_000)
    assert found == pytest.approx(intervals.wilson_interval(hits, n), abs=0.01)


def test_ten_copies_of_each_film_tell_no_more_than_the_films() -> None:
    right = np.arange(40) < 34
    once = share_interval(right, np.arange(40), resamples=5000)
    copied = share_interval(np.repeat(right, 10), np.repeat(np.arange(40), 10), resamples=5000)
    assert copied[0] <= once[0] + 0.01 and copied[1] >= once[1] - 0.01
    assert copied[1] - copied[0] < 1.15 * (once[1] - once[0])
    as_if_films_were_patients = share_interval(np.repeat(right, 10), np.arange(400), resamples=5000)
    assert as_if_films_were_patients[1] - as_if_films_were_patients[0] < 0.5 * (copied[1] - copied[0])


def test_all_right_is_as_uncertain_as_its_patients_are_few() -> None:
    assert share_interval(np.ones(10, bool), np.arange(10)) == pytest.approx(intervals.wilson_interval(10, 10))
    many_films = share_interval(np.ones(100, bool), np.arange(100) // 10)
    assert many_films[0] <= intervals.wilson_interval(10, 10)[0], "ten films of a patient are not ten patients"
    assert many_films[1] == 1.0


def covered(truth: float, once: Callable[[np.random.Generator], Interval], times: int) -> float:
    rng = np.random.default_rng(20)
    found = [once(rng) for _ in range(times)]
    return float(np.mean([low <= truth <= high for low, high in found]))


def clustered(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """25 patients with 1 to 5 films, right in 0.9 of the films; those of a patient go together (correlation 0.25)."""
    films = rng.integers(1, 6, 25)
    patients = np.repeat(np.arange(25), films)
    return rng.uniform(size=len(patients)) < rng.beta(2.7, 0.3, 25)[patients], patients


def test_the_interval_of_a_share_covers_the_truth_where_percentiles_would_not() -> None:
    def once(rng: np.random.Generator) -> Interval:
        return share_interval(*clustered(rng), resamples=200)

    def percentiles(rng: np.random.Generator) -> Interval:
        right, patients = clustered(rng)
        weights = weights_of(patients, np.zeros(len(patients), int))
        low, high = np.quantile(weights @ right / weights.sum(1), [0.025, 0.975])
        return float(low), float(high)

    assert covered(0.9, once, 2000) > 0.93
    assert covered(0.9, percentiles, 800) < 0.91


def test_the_interval_of_an_auroc_covers_the_truth() -> None:
    y = np.repeat([0, 1], [45, 15])

    def once(rng: np.random.Generator) -> Interval:
        score = rng.normal(size=60) + 2.0 * y
        weights = weights_of(np.arange(60), y)
        value, replicates = metrics.auroc(y == 1, score), metrics.auroc(y == 1, score, weights)
        return intervals.bounded_interval(float(value), replicates, films=math.inf, patients=15)

    assert covered(float(stats.norm.cdf(2 / math.sqrt(2))), once, 600) > 0.93


def test_the_interval_of_a_macro_figure_covers_the_truth_though_a_class_is_small() -> None:
    y, sensitivity = np.repeat([0, 1, 2], [12, 50, 50]), np.array([0.9, 0.8, 0.9])

    def once(rng: np.random.Generator) -> Interval:
        predicted = np.where(rng.uniform(size=len(y)) < sensitivity[y], y, (y + 1) % 3)
        weights = weights_of(np.arange(len(y)), y)
        values = metrics.recall(metrics.confusion(y, predicted, 3))
        replicates = metrics.recall(metrics.confusion(y, predicted, 3, weights))
        limits = [
            intervals.bounded_interval(float(values[k]), replicates[:, k], films=int(n), patients=int(n))
            for k, n in enumerate(np.bincount(y))
        ]
        low, high = np.array(limits).T
        return intervals.mean_interval(values, low, high, replicates)

    assert covered(float(sensitivity.mean()), once, 600) > 0.93


def test_the_interval_of_a_calibrated_models_calibration_error_reaches_0() -> None:
    def once(rng: np.random.Generator) -> Interval:
        p = rng.dirichlet([2, 1], 150)
        y = (rng.uniform(size=150) > p[:, 0]).astype(int)
        replicates = metrics.calibration_gaps(y, p, weights_of(np.arange(150), y))
        return intervals.gap_interval(metrics.calibration_gaps(y, p), replicates, patients=150)

    assert covered(0.0, once, 300) > 0.93


def test_independent_classes_of_equal_width_give_a_mean_narrower_by_the_root_of_their_number() -> None:
    replicates = np.random.default_rng(0).normal(size=(20_000, 4))
    low, high = intervals.mean_interval(np.full(4, 0.8), np.full(4, 0.7), np.full(4, 0.9), replicates)
    assert high - low == pytest.approx(0.2 / 2, rel=0.05)


def test_classes_that_do_not_vary_give_the_mean_of_their_limits() -> None:
    low, high = intervals.mean_interval(np.ones(2), np.array([0.6, 0.8]), np.ones(2), np.ones((100, 2)))
    assert (low, high) == pytest.approx((0.7, 1.0))


def test_log_loss_has_an_interval_even_when_every_probability_was_1() -> None:
    low, high = intervals.log_loss_interval(0.0, np.zeros(100), patients=30)
    assert low == 0.0
    assert math.exp(-high) == pytest.approx(30 / (30 + stats.t.ppf(0.975, 29) ** 2), rel=0.01)


@given(st.integers(0, 40), st.integers(0, 60), st.floats(0.001, 0.999))
@settings(max_examples=100, deadline=None)
def test_predictive_values_lie_in_their_interval_and_it_in_0_to_1(found: int, rejected: int, prevalence: float) -> None:
    a, b = found / 40, rejected / 60
    pair = [(a, *intervals.wilson_interval(found, 40)), (b, *intervals.wilson_interval(rejected, 60))]
    values = metrics.predictive_values(a, b, prevalence)
    limits = intervals.predictive_value_intervals(pair[0], pair[1], prevalence)
    for value, (low, high) in zip(values, limits, strict=True):
        if np.isfinite(value):
            assert -1e-9 <= low <= value + 1e-9
            assert value - 1e-9 <= high <= 1 + 1e-9


def test_no_false_positive_does_not_make_a_rare_diseases_ppv_certain() -> None:
    specificity = (1.0, *intervals.wilson_interval(50, 50))
    (low, high), _ = intervals.predictive_value_intervals((0.9, 0.8, 0.95), specificity, 0.01)
    # Specificity may be 50 / (50 + 1.96^2) = 0.9286: 0.009 / (0.009 + 0.0714 x 0.99).
    assert low == pytest.approx(0.113, abs=0.001)
    assert high == 1.0


def test_the_interval_of_a_ppv_covers_the_truth() -> None:
    truth = float(metrics.predictive_values(0.85, 0.9, 0.05)[0])

    def once(rng: np.random.Generator) -> Interval:
        found, rejected = rng.binomial(60, 0.85), rng.binomial(80, 0.9)
        return intervals.predictive_value_intervals(
            (found / 60, *intervals.wilson_interval(found, 60)),
            (rejected / 80, *intervals.wilson_interval(rejected, 80)),
            0.05,
        )[0]

    assert covered(truth, once, 2000) > 0.93
