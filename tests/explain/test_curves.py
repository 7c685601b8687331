"""Insertion and deletion of a network whose answer is known: how much of one corner is shown."""

from __future__ import annotations

import numpy as np
import pytest

from hilum.explain.curves import CELLS, STEPS, curves

SIDE = 2 * CELLS
FILM = np.full((SIDE, SIDE), 40, np.uint8)
FILM[: SIDE // 2, : SIDE // 2] = 240  # a quarter of the cells is bright, and only this network looks there
CORNER = np.zeros((SIDE, SIDE), np.float32)
CORNER[: SIDE // 2, : SIDE // 2] = 1.0


def bright_corner(films: np.ndarray) -> np.ndarray:
    """p of class 1: share of the corner's pixels that are as bright as in the film."""
    share = (films[:, : SIDE // 2, : SIDE // 2] == 240).mean((1, 2))
    return np.stack([1 - share, share], axis=1)


def test_a_map_of_what_the_network_looks_at_inserts_early_and_deletes_early() -> None:
    found = curves(bright_corner, FILM, CORNER, 1, seed=0)
    # The corner is a quarter of the cells, all of it shown after 49 of 196: by steps of 19.6 cells p goes 0, 20/49,
    # 39/49, 1, 1, ...
    cells = [round(CELLS**2 * step / STEPS) for step in range(STEPS + 1)]
    p = np.minimum(np.array(cells) / (CELLS**2 / 4), 1.0)
    assert found.insertion == pytest.approx(np.trapezoid(p, dx=1 / STEPS))
    assert found.deletion == pytest.approx(np.trapezoid(1 - p, dx=1 / STEPS))
    assert found.random == pytest.approx(0.5, abs=0.08)


def test_the_reverse_of_a_good_map_inserts_late() -> None:
    good, bad = (curves(bright_corner, FILM, sign * CORNER, 1, seed=0) for sign in (1, -1))
    assert bad.insertion < bad.random < good.insertion
    assert bad.deletion > bad.random > good.deletion


def test_for_the_other_class_insertion_and_deletion_change_places() -> None:
    ours, other = (curves(bright_corner, FILM, CORNER, k, seed=0) for k in (1, 0))
    assert other.insertion == pytest.approx(1 - ours.insertion)
    assert other.deletion == pytest.approx(1 - ours.deletion)


def test_a_map_of_another_film_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(3, 3\) is not of a film of \(28, 28\)"):
        curves(bright_corner, FILM, np.zeros((3, 3)), 1, seed=0)
