"""Insertion and deletion: does the class come and go with the places that a map calls important?

Petsiuk et al. 2018, RISE, BMVC, arXiv:1806.07421. The film is cut into cells, which are put in the map's order; the
probability of the class is looked at while the first cells are shown on a grey film (insertion), and while they are
made grey on the whole film (deletion). Grey is the film's mean for both: RISE starts insertion from a blurred film, but
a blurred chest film still tells these classes (docs/explain.md). An order drawn at random says what a map has to beat.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Films = NDArray[np.uint8]
Floats = NDArray[np.floating]

CELLS = 14  # of a side; a seventh of the side, which occlusion hides at once, is two
STEPS = 10

Ask = Callable[[Films], NDArray[np.float64]]
"""Probabilities (n, K) of prepared films, uint8 (n, side, side)."""


@dataclass(frozen=True)
class Curves:
    """Areas under the curves of one film, 0 to 1: a good map has a higher insertion and a lower deletion than `random`.

    random: of a random order; its insertion and the deletion of its reverse are the same curve, read from either end.
    """

    insertion: float
    deletion: float
    random: float


def curves(ask: Ask, film: Films, values: Floats, class_: int, *, seed: int) -> Curves:
    """The areas of one prepared film, uint8 (side, side), and its map (side, side), for a class number.

    Needs 3 (STEPS - 1) + 2 forward passes. Refused with ValueError: a map of another shape.
    """
    if film.shape != values.shape:
        raise ValueError(f"a map of {values.shape} is not of a film of {film.shape}")
    cell = cells_of(film.shape)
    count = int(cell.max()) + 1
    mean = np.bincount(cell.ravel(), values.ravel(), count) / np.bincount(cell.ravel(), minlength=count)
    best_first = np.argsort(-mean, kind="stable")
    at_random = np.random.default_rng(seed).permutation(count)
    # Deleting in an order is inserting in its reverse, read backwards.
    orders = (best_first, best_first[::-1], at_random)
    shown = [round(count * step / STEPS) for step in range(1, STEPS)]
    grey = np.uint8(round(float(film.mean())))
    asked = [np.full_like(film, grey), film]
    for order in orders:
        rank = np.empty(count, np.int64)
        rank[order] = np.arange(count)
        asked += [np.where(rank[cell] < first, film, grey) for first in shown]
    p = ask(np.stack(asked))[:, class_]
    first, last, *between = p
    return Curves(*(area([first, *part, last]) for part in np.array_split(np.array(between), len(orders))))


def area(p: Sequence[float]) -> float:
    """Area under probabilities at equal distances from 0 to 1, by trapezoids.

    >>> area([0.0, 0.5, 1.0]), area([0.0, 1.0, 1.0])
    (0.5, 0.75)
    """
    return float(np.trapezoid(p, dx=1 / (len(p) - 1)))


def cells_of(shape: tuple[int, ...]) -> NDArray[np.int64]:
    """The number of each pixel's cell, (H, W); at most `CELLS` cells a side.

    >>> cells_of((2, 2))
    array([[0, 1],
           [2, 3]])
    """
    rows, columns = (np.arange(side) * min(CELLS, side) // side for side in shape)
    return rows[:, None] * (int(columns[-1]) + 1) + columns[None, :]
