"""Prediction sets keep the coverage that was asked for, on films like those they were fitted on."""

from __future__ import annotations

import numpy as np
import pytest

from hilum.errors import DataError, RequestError
from hilum.evaluation import conformal

CLASSES = ["covid-19", "normal", "pneumonia"]


def drawn(films: int, rng: np.random.Generator, share: tuple[float, ...] = (0.6, 0.3, 0.1)) -> tuple:
    """True classes, and a model that is far too sure of itself."""
    y = rng.choice(3, films, p=share)
    z = rng.normal(size=(films, 3))
    z[np.arange(films), y] += 1.0
    p = np.exp(4 * z) / np.exp(4 * z).sum(1, keepdims=True)
    return y, p


def test_the_threshold_is_the_kth_largest_probability_of_the_truth() -> None:
    # 19 films with 0.05, 0.10, ... 0.95 for the truth; k = ceil(20 x 0.9) = 18, and the 18th from above is 0.10.
    of_truth = np.arange(1, 20) * 0.05
    p = np.column_stack([of_truth, 1 - of_truth])
    found = conformal.fit(np.zeros(19, int), p, ["ill", "well"], coverage=0.9)
    assert found.thresholds[0] == pytest.approx(0.10)


def test_too_few_films_leave_no_class_out() -> None:
    # ceil(9 x 0.9) = 9 of 8 films: nothing can be promised but the set of all classes.
    p = np.tile([0.99, 0.01], (8, 1))
    found = conformal.fit(np.zeros(8, int), p, ["ill", "well"], coverage=0.9)
    assert found.sets(np.array([[1.0, 0.0]])).all()


@pytest.mark.parametrize("by_class", [False, True])
def test_the_mean_coverage_is_between_the_asked_one_and_one_film_more(by_class: bool) -> None:
    # Angelopoulos & Bates 2021, theorem D.2: from 1 - a to 1 - a + 1 / (n + 1), over the draw of the films.
    rng = np.random.default_rng(5)
    reached = []
    for _ in range(400):
        y, p = drawn(100, rng)
        found = conformal.fit(y, p, CLASSES, coverage=0.9, by_class=by_class)
        new, of_new = drawn(100, rng)
        reached.append(found.sets(of_new)[np.arange(100), new].mean())
    if by_class:  # the classes of few films stay above it
        assert np.mean(reached) >= 0.895
    else:
        assert 0.895 <= np.mean(reached) <= 0.9 + 1 / 101 + 0.005


def test_by_class_a_rare_class_is_covered_too() -> None:
    rng = np.random.default_rng(6)
    plain, classwise = [], []
    for _ in range(200):
        y, p = drawn(300, rng)
        p = p * [1.0, 1.0, 0.05]  # the model hardly ever says the third
        new, of_new = drawn(300, rng)
        of_new = of_new * [1.0, 1.0, 0.05]
        for reached, by_class in ((plain, False), (classwise, True)):
            sets = conformal.fit(y, p, CLASSES, coverage=0.9, by_class=by_class).sets(of_new)
            reached.append(sets[new == 2, 2].mean())
    assert np.mean(plain) < 0.82
    assert np.mean(classwise) > 0.88


def test_films_of_elsewhere_lose_the_coverage_and_the_count_says_so() -> None:
    rng = np.random.default_rng(7)
    y, p = drawn(500, rng)
    other, of_other = drawn(500, rng)
    found = conformal.fit(y, p, CLASSES, coverage=0.9)
    kept = conformal.judge(found.sets(of_other[:, [1, 2, 0]]), other, CLASSES, np.arange(500))
    assert kept.covered.high < 0.9


def test_what_cannot_be_asked_is_refused() -> None:
    y, p = np.zeros(5, int), np.tile([0.5, 0.5], (5, 1))
    with pytest.raises(RequestError, match=r"coverage of 1\.0"):
        conformal.fit(y, p, ["ill", "well"], coverage=1.0)
    with pytest.raises(DataError, match="no validation film"):
        conformal.fit(y[:0], p[:0], ["ill", "well"])
