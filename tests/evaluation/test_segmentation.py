"""Overlap and outline distances of masks, and their intervals by patient."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.spatial import cKDTree

from hilum.evaluation.segmentation import dice, figures_of_masks, iou, judge_mask, outline_distances


def _rectangle(top: int, left: int, height: int, width: int, side: int = 60) -> np.ndarray:
    mask = np.zeros((side, side), bool)
    mask[top : top + height, left : left + width] = True
    return mask


def test_overlap_of_two_rectangles_is_what_a_hand_counts() -> None:
    one, other = _rectangle(0, 0, 10, 10), _rectangle(0, 5, 10, 10)  # 100 each, 50 in common, 150 in all
    assert dice(one, other) == pytest.approx(0.5)
    assert iou(one, other) == pytest.approx(1 / 3)
    assert dice(one, one) == iou(one, one) == 1.0


def test_two_empty_masks_have_no_overlap_and_an_empty_one_no_outline() -> None:
    empty, some = np.zeros((20, 20), bool), _rectangle(5, 5, 4, 4, side=20)
    assert math.isnan(dice(empty, empty)) and math.isnan(iou(empty, empty))
    assert dice(empty, some) == 0.0
    assert all(math.isnan(value) for value in outline_distances(empty, some))


def test_distances_are_those_of_the_nearest_outline_pixels() -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        top, left, height, width = rng.integers(2, 25, 4)
        one, other = _rectangle(10, 12, 20, 18), _rectangle(int(top), int(left), int(height), int(width))
        there, back = _nearest(one, other), _nearest(other, one)
        furthest, mean = outline_distances(one, other)
        assert furthest == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)), abs=1e-4)
        assert mean == pytest.approx(np.concatenate([there, back]).mean(), abs=1e-4)


def _nearest(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """From each outline pixel of one to the nearest of the other, by a search tree over coordinates."""
    edges = []
    for mask in (one, other):
        padded = np.pad(mask, 1)
        inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
        edges.append(np.argwhere(mask & ~inner))
    return cKDTree(edges[1]).query(edges[0])[0]


def test_distances_of_a_film_are_in_per_cent_of_its_longer_side() -> None:
    one = np.zeros((50, 200), bool)
    one[10:40, 20:60] = True
    judged = judge_mask(one, np.roll(one, 4, axis=1))  # moved by 4 of 200 pixels
    assert judged["hd95_pct"] == pytest.approx(2.0)
    with pytest.raises(ValueError, match="not of one film"):
        judge_mask(one, one[:, :100])


def _films(values: list[float], patients: list[str | None]) -> pd.DataFrame:
    ids = [f"a/{number}.png" for number in range(len(values))]
    table = pd.DataFrame({"image_id": ids, "patient_id": pd.array(patients, dtype="string")})
    return table.assign(dice=values, iou=values, hd95_pct=values, surface_pct=values)


def test_the_mean_and_the_fifth_percentile_are_those_of_the_films() -> None:
    values = np.linspace(0.8, 0.99, 200)
    figures = figures_of_masks(_films(values.tolist(), [None] * 200), resamples=200)
    assert figures["dice"]["value"] == pytest.approx(values.mean())
    assert figures["dice_p5"]["value"] == pytest.approx(np.quantile(values, 0.05, method="inverted_cdf"))
    assert figures["dice"]["n"] == figures["dice"]["patients"] == 200
    assert figures["dice"]["low"] < figures["dice"]["value"] < figures["dice"]["high"]


def test_the_interval_of_a_mean_is_that_of_its_standard_error_over_patients() -> None:
    rng = np.random.default_rng(1)
    of_patient = rng.normal(0.9, 0.05, 100)
    # Four films of each patient, all alike: the interval must be that of 100 values, not of 400.
    films = _films(np.repeat(of_patient, 4).tolist(), np.repeat([f"p{k}" for k in range(100)], 4).tolist())
    figure = figures_of_masks(films, resamples=4000)["dice"]
    half = 1.96 * of_patient.std() / 10
    assert (figure["high"] - figure["low"]) / 2 == pytest.approx(half, rel=0.1)
    assert figure["patients"] == 100


def test_a_film_without_an_outline_is_left_out_and_counted_out() -> None:
    films = _films([0.9, 0.8, 0.0], ["a", "b", "c"])
    films.loc[2, ["hd95_pct", "surface_pct"]] = np.nan
    figures = figures_of_masks(films, resamples=100)
    assert figures["dice"]["n"] == 3
    assert (figures["hd95_pct"]["n"], figures["hd95_pct"]["patients"]) == (2, 2)
    films[["hd95_pct", "surface_pct"]] = np.nan
    assert figures_of_masks(films, resamples=100)["hd95_pct"]["value"] is None
