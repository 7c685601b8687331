"""Paired differences and tests, against counting by hand, all ways of throwing signs, and the books."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from hilum.evaluation.intervals import bootstrap_weights
from hilum.evaluation.paired import difference_interval, holm, mcnemar, patient_sign_test, unpaired_interval


@pytest.mark.parametrize(
    ("first", "second", "p"),
    [
        (0, 0, 1.0),
        (3, 3, 1.0),
        (0, 5, 2 / 2**5),
        (1, 6, 2 * (1 + 7) / 2**7),
        (59, 6, 2 * stats.binom.cdf(6, 65, 0.5)),
        (10, 0, 2 / 2**10),
    ],
)
def test_mcnemar_counts_the_coins(first: int, second: int, p: float) -> None:
    assert mcnemar(first, second) == pytest.approx(p)
    assert mcnemar(second, first) == pytest.approx(p)


def test_mcnemar_is_the_exact_test_of_a_share_of_one_half() -> None:
    for first, second in itertools.product(range(12), repeat=2):
        if first + second:
            assert mcnemar(first, second) == pytest.approx(stats.binomtest(first, first + second, 0.5).pvalue)


def test_with_a_film_per_patient_the_sign_test_is_mcnemars() -> None:
    for first, second in itertools.product(range(10), repeat=2):
        gain = np.array([-1] * first + [1] * second + [0] * 7)
        assert patient_sign_test(gain, np.arange(len(gain))) == pytest.approx(mcnemar(first, second))


def test_the_sign_test_equals_going_through_all_signs() -> None:
    rng = np.random.default_rng(1)
    for _ in range(30):
        patients = rng.integers(0, 8, 25)
        gain = rng.integers(-1, 2, 25)
        sums = np.array([gain[patients == each].sum() for each in range(8)])
        ways = np.array(list(itertools.product((-1, 1), repeat=8))) @ sums
        assert patient_sign_test(gain, patients) == pytest.approx((abs(ways) >= abs(sums.sum())).mean())


def test_many_films_of_one_patient_are_one_patient() -> None:
    gain, patients = np.ones(20, int), np.zeros(20, int)
    assert patient_sign_test(gain, patients) == 1.0
    assert mcnemar(0, 20) < 1e-5


def test_holm_steps_down_and_never_falls() -> None:
    assert holm([0.01, 0.02, 0.03, 0.04]) == pytest.approx([0.04, 0.06, 0.06, 0.06])
    assert holm([0.5, 0.001]) == pytest.approx([0.5, 0.002])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_interval_of_a_share_is_near_that_of_bonett_and_price() -> None:
    """With a film per patient and both numbers of disagreements small, where percentiles are far too narrow."""
    n, only_first, only_second = 100, 2, 9
    gain = np.zeros(n)
    gain[:only_first], gain[only_first : only_first + only_second] = -1, 1
    weights = np.concatenate(list(bootstrap_weights(np.arange(n), np.zeros(n, int), 20_000, seed=0)))
    low, high = difference_interval(0.07, (weights @ gain / n)[:, None], np.array([n]), counted=True)
    shares = np.array([only_first + 1, only_second + 1]) / (n + 2)
    error = math.sqrt((shares.sum() - (shares[1] - shares[0]) ** 2) / (n + 2))
    assert (high - low) / 2 == pytest.approx(stats.t.ppf(0.975, n - 1) * error, rel=0.03)
    assert (low + high) / 2 == pytest.approx(0.07)


def test_models_that_never_disagree_are_not_called_the_same_for_certain() -> None:
    low, high = difference_interval(0.0, np.zeros((500, 1)), np.array([20]), counted=False)
    assert low < -0.1
    assert high > 0.1


def test_the_mean_of_classes_is_as_uncertain_as_its_smallest_class_makes_it() -> None:
    rng = np.random.default_rng(0)
    replicates = rng.normal(0, [0.1, 0.001], size=(20_000, 2))
    low, high = difference_interval(0.0, replicates, np.array([10, 1000]), counted=False)
    # A standard error of 0.1 / 2 with the 9 degrees of freedom of the first class, and the bootstrap's factor 10 / 9.
    assert high == pytest.approx(0.05 * stats.t.ppf(0.975, 9) * math.sqrt(10 / 9), rel=0.02)
    assert low == pytest.approx(-high)


def test_what_cannot_be_told_has_no_interval() -> None:
    one, none = np.array([5]), np.full((10, 1), np.nan)
    for value, replicates, patients in ((math.nan, np.zeros((10, 1)), one), (0.1, none, one)):
        assert np.isnan(difference_interval(value, replicates, patients, counted=True)).all()
    assert np.isnan(difference_interval(0.1, np.zeros((10, 2)), np.array([1, 30]), counted=True)).all()


def test_an_interval_stays_within_what_can_be() -> None:
    low, high = difference_interval(
        0.9, np.random.default_rng(0).normal(0.9, 0.3, (500, 1)), np.array([4]), counted=True
    )
    assert high == 1.0
    assert low >= -1.0


def test_unpaired_limits_are_those_of_mover() -> None:
    first, second = {"value": 0.2, "low": 0.1, "high": 0.5}, {"value": 0.6, "low": 0.2, "high": 0.7}
    low, high = unpaired_interval(first, second)
    assert low == pytest.approx(0.4 - 0.5)  # 0.4 below the second and 0.3 above the first: 0.5 together
    assert high == pytest.approx(0.4 + math.hypot(0.1, 0.1))
    assert np.isnan(unpaired_interval(first, {"value": 0.6, "low": None, "high": None})).all()
