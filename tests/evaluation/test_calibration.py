"""Temperatures against ones that are known, and the table behind a calibration curve."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.evaluation.calibration import apply_temperature, fit_temperature, reliability
from hilum.evaluation.metrics import log_loss


def honest(n: int, seed: int = 0, alpha: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from their probabilities, so that the temperature is 1."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet([alpha] * 3, n)
    return (rng.uniform(size=(n, 1)) > p.cumsum(1)).sum(1).clip(0, 2), p


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_a_known_temperature_is_found_again(temperature: float) -> None:
    # At 100,000 films the standard error of T is below 1 %.
    y, p = honest(100_000)
    distorted = apply_temperature(p, 1 / temperature)
    fitted = fit_temperature(y, distorted)
    assert fitted.value == pytest.approx(temperature, rel=0.03)
    assert fitted.note == ""
    assert log_loss(y, apply_temperature(distorted, fitted.value)) == pytest.approx(log_loss(y, p), abs=0.002)


@given(st.integers(0, 10_000), st.floats(0.2, 5.0))
@settings(max_examples=40, deadline=None)
def test_a_temperature_keeps_the_order_of_the_classes_and_can_be_undone(seed: int, temperature: float) -> None:
    _, p = honest(20, seed, alpha=2.0)
    changed = apply_temperature(p, temperature)
    assert changed.sum(1) == pytest.approx(1.0)
    assert (changed.argsort(1) == p.argsort(1)).all()
    assert apply_temperature(changed, 1 / temperature) == pytest.approx(p, abs=1e-9)


def test_a_probability_of_0_stays_near_0_and_finite() -> None:
    assert apply_temperature(np.array([[1.0, 0.0]]), 3.0) == pytest.approx(np.array([[1.0, 0.0]]), abs=1e-90)


def test_the_fitted_temperature_is_never_worse_than_none() -> None:
    for seed in range(10):
        y, p = honest(60, seed)
        fitted = fit_temperature(y, p)
        assert log_loss(y, apply_temperature(p, fitted.value)) <= log_loss(y, p) + 1e-6


@pytest.mark.parametrize(
    ("y", "p", "note"),
    [
        ([0, 1] * 5, [[0.6, 0.4]] * 10, "10 labelled films, fewer than 20"),
        ([0] * 30, [[0.4, 0.6]] * 30, "films of one class only"),
        ([0, 1] * 15, [[0.9, 0.1], [0.1, 0.9]] * 15, "no film of validation is wrong"),
        ([], np.zeros((0, 2)), "0 labelled films"),
    ],
)
def test_a_validation_that_cannot_tell_leaves_the_probabilities_alone_and_says_why(
    y: list[int], p: list[list[float]], note: str
) -> None:
    fitted = fit_temperature(np.array(y, int), np.array(p))
    assert fitted.value == 1.0
    assert note in fitted.note


def test_the_calibration_table_counts_every_film_once_and_each_patient_once_per_bin() -> None:
    rng = np.random.default_rng(0)
    probability, patients = rng.uniform(size=400), np.arange(400) // 4
    table = reliability(probability, rng.uniform(size=400) < probability, patients)
    assert table["films"].tolist() == [40] * 10
    assert (table["patients"] <= table["films"]).all()
    assert (table["share_low"] <= table["share"]).all() and (table["share"] <= table["share_high"]).all()
    assert ((table["low"] <= table["probability"]) & (table["probability"] <= table["high"])).all()
    assert ((table["share_low"] <= table["probability"]) & (table["probability"] <= table["share_high"])).mean() >= 0.8
