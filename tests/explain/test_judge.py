"""Judges of maps against hand calculation, and against scikit-image's figures where it is installed."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hilum.explain.judge import Likeness, likeness, mass_inside, points_inside, spearman, ssim


def blob(row: int, column: int, side: int = 64, width: float = 8.0) -> np.ndarray:
    rows, columns = np.indices((side, side))
    return np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * width**2)).astype(np.float32)


def test_mass_is_that_of_positive_places_alone() -> None:
    mask = np.array([[True, True, False, False]])
    assert mass_inside(np.array([[1.0, 2.0, 3.0, -100.0]]), mask) == 0.5
    assert math.isnan(mass_inside(np.array([[0.0, -1.0, 0.0, -2.0]]), mask))


def test_a_map_without_aim_has_the_mask_s_area_inside() -> None:
    mask = np.zeros((50, 40), bool)
    mask[:25, :10] = True
    assert mass_inside(np.ones((50, 40), np.float32), mask) == pytest.approx(0.125)


def test_the_highest_place_may_be_a_little_beside_the_finding() -> None:
    mask = np.zeros((500, 500), bool)
    mask[200:300, 200:300] = True
    # 15 pixels on a picture of 500, as Zhang et al. have it.
    near, far = np.zeros((2, 500, 500))
    near[250, 299 + 15] = far[250, 299 + 16] = 1.0
    assert points_inside(near, mask) is True
    assert points_inside(far, mask) is False


def test_nothing_is_pointed_at_where_nothing_is_positive_or_no_finding_is_there() -> None:
    assert points_inside(np.zeros((9, 9)), np.ones((9, 9), bool)) is None
    assert points_inside(np.ones((9, 9)), np.zeros((9, 9), bool)) is None


def test_masks_of_another_film_are_refused() -> None:
    with pytest.raises(ValueError, match="not of the same place"):
        mass_inside(np.ones((4, 5)), np.ones((5, 4), bool))


def test_rank_correlation_sees_negative_values_and_no_scale() -> None:
    values = np.random.default_rng(0).normal(size=(20, 20))
    assert spearman(values, 100 * values + 3) == pytest.approx(1.0)
    assert spearman(values, -values) == pytest.approx(-1.0)


def test_structural_similarity_of_flat_pictures_is_that_of_its_formula() -> None:
    # Of two pictures that are the same everywhere only the means differ: here both are stretched to 1.
    assert ssim(np.full((64, 64), 2.0), np.full((64, 64), 9.0)) == pytest.approx(1.0)
    half = np.ones((64, 64))
    half[0, 0] = 2.0  # stretched, all the rest is a half: (2 m n + C1) / (m^2 + n^2 + C1) with m = 1, n = 1/2
    far = ssim(np.ones((64, 64)), half)
    assert far == pytest.approx((2 * 0.5 + 1e-4) / (1 + 0.25 + 1e-4), abs=0.01)


def test_a_map_of_edges_survives_random_weights_and_is_refused() -> None:
    # It never asks the network, so it cannot change: the failure that Adebayo et al. found in guided backpropagation.
    films = np.random.default_rng(0).random((6, 64, 64)).astype(np.float32)
    edges = np.abs(np.diff(films, axis=2, prepend=0))
    assert likeness(edges, [edges, edges]).survives
    assert likeness(edges, [0.01 * edges]).survives  # however weak


def test_maps_of_other_places_do_not_survive() -> None:
    one = np.stack([blob(16, 16), blob(40, 20), blob(20, 50)])
    other = np.stack([blob(50, 50), blob(20, 50), blob(50, 10)])
    assert not likeness(one, [other]).survives
    assert likeness(one, [-one]) == Likeness(pytest.approx(-1.0), 0.0, 3, 1)


def test_a_network_that_no_longer_reacts_has_maps_unlike_any() -> None:
    one = np.stack([blob(16, 16), blob(40, 20)])
    assert likeness(one, [np.zeros_like(one)]) == Likeness(0.0, 0.0, 2, 1)


def test_a_likeness_whose_sign_each_draw_throws_anew_is_none() -> None:
    one = np.stack([blob(16, 16), blob(40, 20), blob(20, 50)])
    found = likeness(one, [one, -one])
    assert found.spearman == pytest.approx(0.0)
    assert not likeness(one, [one, -one, -one]).survives
