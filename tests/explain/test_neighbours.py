"""Nearest films by cosine, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from hilum.explain.neighbours import nearest


def test_the_nearest_are_those_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    among, asked = random.normal(size=(300, 20)), random.normal(size=(700, 20))
    found = nearest(asked, among, 5)
    distances, rows = NearestNeighbors(n_neighbors=5, metric="cosine", algorithm="brute").fit(among).kneighbors(asked)
    assert found.rows.tolist() == rows.tolist()
    np.testing.assert_allclose(found.distances, distances, atol=1e-8)


def test_a_film_that_was_learned_is_its_own_nearest_at_distance_0_however_bright() -> None:
    among = np.random.default_rng(1).random((50, 8)).astype(np.float32)
    found = nearest(3 * among, among, 1)
    assert found.rows[:, 0].tolist() == list(range(50))
    assert found.distances.max() == 0


def test_all_are_given_where_there_are_fewer_than_asked_for() -> None:
    assert nearest(np.ones((2, 3)), np.eye(3), 5).rows.shape == (2, 3)


def test_a_film_without_features_is_near_to_none() -> None:
    assert nearest(np.zeros((1, 3)), np.eye(3), 3).distances.tolist() == [[1.0, 1.0, 1.0]]


def test_no_film_to_search_is_refused() -> None:
    with pytest.raises(ValueError, match="no films"):
        nearest(np.ones((1, 3)), np.zeros((0, 3)), 1)
