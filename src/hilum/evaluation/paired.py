"""Whether two models differ by more than chance, when both judged the same films.

The unit is the patient, as in `intervals`: patients are drawn, or change sides, with all their films. Pure functions of
arrays; `comparison` brings the runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from hilum.evaluation.intervals import MISSING, Interval
from hilum.evaluation.metrics import Floats, Ints


def mcnemar(only_first: int, only_second: int) -> float:
    """McNemar's exact two-sided p: the films that one model alone has right fall to either side like coins.

    `only_first`, `only_second`: films that the first, the second model alone names rightly. 1 where there is none.
    The films have to be independent; with several of one patient it calls chance a difference too often, and
    `patient_sign_test` does not. McNemar 1947, Psychometrika 12:153.

    >>> mcnemar(1, 8)  # 2 (1 + 9) / 2^9
    0.0390625
    """
    n = only_first + only_second
    return min(1.0, 2 * float(stats.binom.cdf(min(only_first, only_second), n, 0.5))) if n else 1.0


def patient_sign_test(gain: Ints, patients: Ints) -> float:
    """McNemar's exact test with the patient as the unit: two-sided p that models of one worth differ as much as these.

    `gain` (N,) is 1 where the second model alone is right, -1 where the first alone is, else 0; `patients` (N,)
    numbers. Were the models worth the same, each could as well stand for the other, so each patient's summed gain
    could as well have the other sign. The p is the share, of all ways to throw these signs, of sums at least as far
    from 0 as the one that is; counted exactly. With one film per patient it is McNemar's exact test. Fisher 1935, The
    Design of Experiments, section 21; Pitman 1937, J. R. Stat. Soc. Suppl. 4:119.

    >>> patient_sign_test(np.array([1, 1, 1, 1]), np.array([0, 0, 1, 2]))  # 2 + 1 + 1: two of 8 ways reach 4
    0.25
    >>> patient_sign_test(np.array([1, 1, 1, 1]), np.arange(4)) == mcnemar(0, 4)
    True
    """
    gains = np.bincount(patients, weights=gain).round().astype(np.int64)
    reach, steps = abs(int(gains.sum())), np.abs(gains[gains != 0])
    chance = np.ones(1)  # of each sum, from the lowest to the highest, in steps of 1
    for step in steps:
        wider = np.zeros(len(chance) + 2 * step)
        wider[: len(chance)] += chance / 2
        wider[2 * step :] += chance / 2
        chance = wider
    sums = np.arange(len(chance)) - int(steps.sum())
    return min(1.0, float(chance[np.abs(sums) >= reach].sum()))


def holm(p: Sequence[float]) -> list[float]:
    """p-values raised for there being several, in the same order: the chance of even one false alarm stays below them.

    Holm 1979, Scand. J. Stat. 6:65.

    >>> holm([0.01, 0.04, 0.03])  # 3 x 0.01, then 2 x 0.03, then no smaller
    [0.03, 0.06, 0.06]
    """
    raised, largest = [0.0] * len(p), 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=lambda place: p[place])):
        largest = max(largest, min(1.0, (len(p) - rank) * p[place]))
        raised[place] = largest
    return raised


def difference_interval(
    value: float, replicates: Floats, patients: Ints, *, counted: bool, confidence: float = 0.95, bound: float = 1.0
) -> Interval:
    """Interval of a paired difference from its bootstrap replicates, by Student's t.

    `replicates` (B, C) are differences of the C figures whose mean the figure is (C = 1 for one that is no mean of
    classes), each resample the same for both models; `patients` (C,) are those that each rests on. The variance is the
    bootstrap's, its degrees of freedom are those of Welch and Satterthwaite (1946, Biometrics Bull. 2:110).

    Where few films are named differently, the replicates hardly vary and their percentiles are far too narrow. So for a
    figure that counts films (`counted`), the variance is that of one patient more on either side: one whom the first
    model alone has right, one whom the second alone has (Bonett & Price 2012, J. Educ. Behav. Stat. 37:479,
    which for one film per patient it follows). Other figures get this only where nothing varies. Within
    -`bound` to `bound`. NaN where the value is or where a figure rests on fewer than two patients.

    >>> low, high = difference_interval(0.0, np.zeros((1000, 1)), np.array([100]), counted=True)  # no disagreement
    >>> round(low, 3), round(high, 3)      # 1.984 x sqrt(2 / 100^2 x 100 / 99)
    (-0.028, 0.028)
    """
    defined = replicates[np.isfinite(replicates).all(1)]
    if not math.isfinite(value) or len(defined) < 2 or min(patients) < 2:
        return MISSING
    of_each = defined.var(0)
    one_more = np.where(counted | (of_each < 1e-12), 2.0 / np.square(patients, dtype=float), 0.0)
    variance = float(defined.mean(1).var() + one_more.mean() / len(patients))
    share = of_each + one_more
    freedom = float(share.sum() ** 2 / (share**2 / (patients - 1)).sum())
    reach = float(stats.t.ppf(0.5 + confidence / 2, freedom)) * math.sqrt(variance * (freedom + 1) / freedom)
    return max(-bound, value - reach), min(bound, value + reach)


def unpaired_interval(first: Mapping[str, float | None], second: Mapping[str, float | None]) -> Interval:
    """Interval of second - first from {value, low, high} of each, as if other patients stood behind each (MOVER).

    For calibration errors: chance pushes each up, by how much hangs on the model, and so pairing does not help.
    Too wide rather than too narrow. NaN where a number is missing. Zou & Donner 2008, Stat. Med. 27:1693.

    >>> first = {"value": 0.10, "low": 0.07, "high": 0.14}
    >>> low, high = unpaired_interval(first, {"value": 0.10, "low": 0.07, "high": 0.14})
    >>> round(low, 3), round(high, 3)      # 0.03 and 0.04, at a right angle
    (-0.05, 0.05)
    """
    (x, x_low, x_high), (z, z_low, z_high) = (
        tuple(math.nan if (number := each[key]) is None else number for key in ("value", "low", "high"))
        for each in (first, second)
    )
    return z - x - math.hypot(z - z_low, x_high - x), z - x + math.hypot(z_high - z, x - x_low)
