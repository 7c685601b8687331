"""Probabilities that mean what they say: one temperature fitted on validation, and the table that shows how far off.

Guo et al. 2017, ICML: a network's softmax is divided by one number T before it is normalised; the order of the classes,
and so accuracy, stays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar

from hilum.evaluation.intervals import wilson_interval
from hilum.evaluation.metrics import Bools, Floats, Ints, bins_of, log_loss

BOUNDS = (0.1, 10.0)
FEWEST_FILMS = 20


@dataclass(frozen=True)
class Temperature:
    """What was fitted: `value` 1 leaves probabilities as they are; `note` says why where nothing could be fitted."""

    value: float
    note: str = ""


def apply_temperature(p: Floats, temperature: float) -> Floats:
    """Softmax of ln p / T: above 1 less sure, below 1 surer. The inverse is a temperature of 1 / T. p is (N, K).

    >>> apply_temperature(np.array([[0.8, 0.2]]), 2.0).round(4)            # square roots, 2 to 1
    array([[0.6667, 0.3333]])
    """
    if temperature == 1.0:
        return p
    z = np.log(np.maximum(p, np.finfo(float).tiny)) / temperature
    powers = np.exp(z - z.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))


def fit_temperature(y: Ints, p: Floats) -> Temperature:
    """The temperature with the smallest log loss on validation, from 0.1 to 10.

    `y` (N,) class numbers, `p` (N, K) probabilities before any temperature. It stays 1, with a note, where validation
    cannot tell: fewer than 20 films, films of one class only, or no film wrong, when ever surer is ever better.

    >>> y, p = np.array([0, 0, 0, 1] * 5), np.array([[0.9, 0.1]] * 20)       # says 0.9, is right in 0.75
    >>> fitted = fit_temperature(y, p)
    >>> round(fitted.value, 2), apply_temperature(p, fitted.value)[0].round(3)     # T = ln 9 / ln 3
    (2.0, array([0.75, 0.25]))
    """
    if len(y) < FEWEST_FILMS:
        return Temperature(1.0, f"not calibrated: validation has {len(y)} labelled films, fewer than {FEWEST_FILMS}")
    if len(np.unique(y)) < 2:
        return Temperature(1.0, "not calibrated: validation has films of one class only")
    if (p.argmax(1) == y).all():
        return Temperature(1.0, "not calibrated: no film of validation is wrong, so nothing tells how sure is too sure")
    found = minimize_scalar(
        lambda log_t: float(log_loss(y, apply_temperature(p, float(np.exp(log_t))))),
        bounds=tuple(np.log(BOUNDS)),
        method="bounded",
        options={"xatol": 1e-4},
    )
    return Temperature(float(np.exp(found.x)))


def reliability(
    probability: Floats, hit: Bools, patients: Ints, *, bins: int | None = None, confidence: float = 0.95
) -> pd.DataFrame:
    """How often a probability came true, in bins of equally many films: the table behind a calibration curve.

    `probability` (N,) of the class called and whether `hit` (N,), or of one class and whether it is that; `patients`
    (N,) numbers. Columns low, high (probabilities in the bin), probability (mean), share (that came true), share_low
    and share_high (Wilson's interval, each patient of the bin counted once), films, patients. Bins: `metrics.bins_of`.

    >>> table = reliability(np.array([0.6, 0.6, 0.9, 0.9]), np.array([True, False, True, True]), np.arange(4), bins=2)
    >>> table[["probability", "share", "films"]].to_numpy().tolist()
    [[0.6, 0.5, 2.0], [0.9, 1.0, 2.0]]
    """
    number = bins_of(probability, bins)
    rows = []
    for each in np.unique(number):
        inside = number == each
        share, distinct = float(hit[inside].mean()), len(np.unique(patients[inside]))
        low, high = wilson_interval(share * distinct, distinct, confidence)
        rows.append(
            {
                "low": probability[inside].min(),
                "high": probability[inside].max(),
                "probability": probability[inside].mean(),
                "share": share,
                "share_low": low,
                "share_high": high,
                "films": int(inside.sum()),
                "patients": distinct,
            }
        )
    return pd.DataFrame(rows)
