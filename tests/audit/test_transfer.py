"""Train here, test there: what is the look of a place is lost elsewhere, what is the disease is not."""

from __future__ import annotations

import numpy as np
import pytest

from hilum.audit.transfer import Cell, matrix


def cells_of(cells: list[Cell]) -> dict[tuple[str, str], Cell]:
    return {(cell.here, cell.there): cell for cell in cells}


def two_sources(disease: float, place: float, n: int = 200) -> tuple[np.ndarray, np.ndarray, list[str], np.ndarray]:
    """Features (2 n, 6) of which one shows the disease, and one a habit of source a that goes with its ill films."""
    rng = np.random.default_rng(3)
    features = rng.normal(size=(2 * n, 6))
    y = np.arange(2 * n) % 2
    source = ["a"] * n + ["b"] * n
    features[:, 0] += disease * (1 - y)
    features[:n, 1] += place * (1 - y[:n])
    return features, y, source, np.arange(2 * n)


def test_a_habit_of_one_place_is_lost_in_another() -> None:
    found = cells_of(matrix(*_arguments(two_sources(disease=0.0, place=6.0))))
    assert found["a", "a"].value > 0.95
    assert found["a", "b"].value == pytest.approx(0.5, abs=0.15)
    assert found["a", "b"].drop_low > 0.2
    assert found["a", "a"].drop == 0


def test_a_disease_that_shows_alike_everywhere_is_kept() -> None:
    found = cells_of(matrix(*_arguments(two_sources(disease=3.0, place=0.0))))
    for pair in (("a", "b"), ("b", "a")):
        assert found[pair].value > 0.95
        assert found[pair].drop_low < 0.02
        assert found[pair].drop == pytest.approx(found[pair[0], pair[0]].value - found[pair].value)


def test_copies_in_the_source_judged_are_not_learned_from() -> None:
    features, y, source, groups = two_sources(disease=3.0, place=0.0)
    groups[:50] = groups[200:250]  # fifty films of a are b's
    found = cells_of(matrix(features, y, ["ill", "well"], source, groups))
    assert found["a", "b"].shared == 50
    assert found["b", "a"].shared == 50
    assert found["a", "b"].n == 200


def test_a_source_of_one_class_has_no_row() -> None:
    features, y, source, groups = two_sources(disease=3.0, place=0.0)
    y[200:] = 0
    assert set(cells_of(matrix(features, y, ["ill", "well"], source, groups))) == {("a", "a")}


def _arguments(made: tuple[np.ndarray, np.ndarray, list[str], np.ndarray]) -> tuple:
    features, y, source, groups = made
    return features, y, ["ill", "well"], source, groups
