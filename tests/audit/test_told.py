"""How well a class is told, and that nothing is told where there is nothing to tell."""

from __future__ import annotations

import numpy as np
import pytest

from hilum.audit.told import tell


def _noise(seed: int, patients: int = 80, films: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features of patients that say nothing of the class, but are much alike in the films of one patient."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(patients), films)
    own = rng.normal(size=(patients, 6))[groups]
    return own + 0.05 * rng.normal(size=own.shape), rng.integers(0, 2, patients)[groups], groups


def test_patients_who_are_like_themselves_are_not_told_by_having_been_seen() -> None:
    """The films of a patient are nearly equal: with one of them in each of two folds, any class would be told."""
    features, y, groups = _noise(0)
    told = tell(features, y, ["ill", "well"], groups, learner="trees")
    assert told is not None
    assert not told.beyond_chance
    assert told.value < 0.65


def test_of_features_that_say_nothing_hardly_a_set_is_beyond_chance() -> None:
    found = [tell(*_arguments(seed)) for seed in range(60)]
    beyond = sum(told is not None and told.beyond_chance for told in found)
    assert beyond <= 3  # of 60 at 1 %, more than 3 come about three times in a thousand


def _arguments(seed: int) -> tuple[np.ndarray, np.ndarray, list[str], np.ndarray]:
    features, y, groups = _noise(seed)
    return features, y, ["ill", "well"], groups


def test_a_trait_of_three_in_four_of_a_class_and_one_in_four_of_the_other_gives_three_quarters() -> None:
    """AUROC of a binary trait is (1 + share among the ill - share among the well) / 2."""
    y = np.repeat([0, 1], 400)
    trait = np.concatenate([np.arange(400) % 4 > 0, np.arange(400) % 4 == 0]).astype(float)
    told = tell(trait[:, None], y, ["ill", "well"], np.arange(800))
    assert told is not None
    assert told.value == pytest.approx(0.75, abs=0.005)
    assert told.low < 0.75 < told.high
    assert told.beyond_chance
    assert (told.n, told.groups) == (800, 800)


def test_the_class_that_is_told_best_is_named() -> None:
    y = np.repeat([0, 1, 2], 60)
    features = (y == 2).astype(float)[:, None] + 0.01 * np.random.default_rng(0).normal(size=(180, 1))
    told = tell(features, y, ["a", "b", "c"], np.arange(180))
    assert told is not None
    assert (told.best, told.value) == ("c", 1.0)


def test_nothing_is_said_of_a_class_of_few_patients() -> None:
    y = np.array([0] * 50 + [1] * 50)
    groups = np.concatenate([np.arange(50), np.full(50, 99)])  # fifty films of one patient
    assert tell(np.random.default_rng(0).normal(size=(100, 2)), y, ["a", "b"], groups) is None
