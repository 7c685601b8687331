"""The audit of a network: what is covered is covered, the rest stays, and every check says what it may."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hilum.audit.limits import LIMITS
from hilum.explain.geometry import place_of
from hilum.predict.altered import covered, shuffled, taken_otherwise
from hilum.predict.probing import audit_model
from hilum.recipe.schema import Prepare


def film(side: int = 100) -> np.ndarray:
    return np.random.default_rng(0).integers(1, 200, (side, side), dtype=np.uint8)


def lungs(side: int = 100) -> np.ndarray:
    mask = np.zeros((side, side), bool)
    mask[30:70, 20:40] = mask[30:70, 60:80] = True
    return mask


def test_what_is_covered_shows_nothing_and_the_rest_stays() -> None:
    pixels = film()
    made = covered(pixels, lungs(), place_of(pixels, Prepare(side_px=100)))
    assert set(made) == {"lungs", "outside", "border", "border-only", "corners"}
    # Both lungs lie in rows 30 to 69 and columns 20 to 79; the box is wider by 4 pixels.
    assert len(np.unique(made["lungs"][26:74, 16:84])) == 1
    assert (made["lungs"][:26] == pixels[:26]).all() and (made["lungs"][74:] == pixels[74:]).all()
    assert (made["outside"][lungs()] == pixels[lungs()]).all()
    assert len(np.unique(made["outside"][:26])) == 1
    assert len(np.unique(made["border"][:10])) == 1
    assert (made["border"][10:90, 10:90] == pixels[10:90, 10:90]).all()
    assert (made["border-only"][:10] == pixels[:10]).all()
    assert len(np.unique(made["border-only"][10:90, 10:90])) == 1
    assert (made["corners"][:15, 15:85] == pixels[:15, 15:85]).all()
    assert len(np.unique(made["corners"][:15, :15])) == 1


def test_lung_in_the_border_is_not_covered_with_it() -> None:
    mask = lungs()
    mask[40:60, :20] = True
    pixels = film()
    made = covered(pixels, mask, place_of(pixels, Prepare(side_px=100)))
    assert (made["border"][mask] == pixels[mask]).all()


def test_without_believable_lungs_neither_they_nor_the_rest_is_covered() -> None:
    pixels = film()
    made = covered(pixels, np.zeros((100, 100), bool), place_of(pixels, Prepare(side_px=100)))
    assert set(made) == {"border", "border-only", "corners"}


def test_shuffling_keeps_every_pixel_and_a_technician_changes_little() -> None:
    pixels = film()
    assert np.array_equal(np.sort(shuffled(pixels, np.random.default_rng(1)).ravel()), np.sort(pixels.ravel()))
    made = taken_otherwise(pixels, seed=1)
    assert set(made) == {
        "rotation-", "rotation+", "shift-", "shift+", "contrast-", "contrast+", "noise", "jpeg",
    }  # fmt: skip
    assert made["shift+"][50, 50] == pixels[47, 47]  # 3 % of 100
    assert float(np.std(made["noise"].astype(float) - pixels)) == pytest.approx(5.0, rel=0.1)
    assert all(each.shape == pixels.shape and each.dtype == np.uint8 for each in made.values())


def test_every_check_of_a_network_is_made_once_and_says_what_it_may(small_run: Path) -> None:
    checks = {check.name: check for check in audit_model(small_run, workers=1)}
    assert len(checks) == 18
    assert set(checks) <= set(LIMITS)
    assert "blanked-text" in checks
    for check in checks.values():
        assert check.meaning and (check.reason if check.verdict == "not done" else check.value is not None), check
    assert checks["random-labels"].verdict in ("pass", "not done")
    json.dumps([check.as_json() for check in checks.values()], allow_nan=False)
