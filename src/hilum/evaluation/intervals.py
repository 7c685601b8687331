"""How far a figure may be from the truth: intervals with the patient, not the film, as the unit.

Films of one patient resemble each other, so patients are drawn, with all their films, never films
(Field & Welsh 2007, J. R. Stat. Soc. B 69:369). The patients of each class are drawn among themselves, because a test
set is mostly put together by class.

The percentiles of such a bootstrap are not used for figures that have an end: when all is right they are [1, 1], and
near 1 they are too narrow (docs/figures.md has the coverage measured). Instead the bootstrap's variance says how many
independent patients the figure is worth, and Wilson's interval is taken for so many
(Dean & Pagano 2015, J. Surv. Stat. Methodol. 3:484; Korn & Graubard 1998, Surv. Methodol. 24:193).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy import stats

from hilum.evaluation.metrics import Floats, Ints, predictive_values

Interval = tuple[float, float]
MISSING: Interval = (math.nan, math.nan)

# Weights of so many doubles are held at once, so that a thousand resamples of 100,000 films need no gigabyte.
BLOCK = 2**20


def wilson_interval(hits: float, n: float, confidence: float = 0.95) -> Interval:
    """Interval of a proportion that stays in [0, 1] and is honest for small n.

    `hits` of `n` independent patients; both may be fractions. NaN where n is not above 0.
    Wilson 1927, J. Am. Stat. Assoc. 22:209.

    >>> low, high = wilson_interval(9, 10)         # sensitivity 0.9, but of ten patients
    >>> round(low, 3), round(high, 3)
    (0.596, 0.982)
    """
    if not n > 0:
        return MISSING
    share, z = hits / n, float(stats.norm.ppf(0.5 + confidence / 2))
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
    # At the ends the square root misses 0 and 1 by the last digit.
    return max(0.0, centre - half) if share > 0 else 0.0, min(1.0, centre + half) if share < 1 else 1.0


def patient_numbers(patient_id: pd.Series, image_id: pd.Series) -> Ints:
    """A number per film, the same for the films of a patient; a film without a patient is a patient of its own.

    The numbers follow the order of the names, not of the rows.

    >>> patient_numbers(pd.Series(["b", "a", "b", None]), pd.Series(["1", "2", "3", "4"]))
    array([2, 1, 2, 0])
    """
    known = patient_id.notna()
    # A blank sorts first and keeps an image's name from meeting a patient's.
    names = patient_id.astype("string").where(known, " " + image_id.astype("string"))
    return np.asarray(np.unique(names.to_numpy(dtype=str), return_inverse=True)[1], dtype=np.int64)


def bootstrap_weights(patients: Ints, strata: Ints, resamples: int, seed: int) -> Iterator[Floats]:
    """How often each film counts in each resample, in blocks (b, N): patients are drawn with replacement, films follow.

    `patients` (N,) numbers from 0, `strata` (N,) class numbers. A patient with films of several classes is
    drawn with those of the class that most of its films have. Every resample has as many patients of each class as
    the data.

    >>> weights = np.concatenate(list(bootstrap_weights(np.array([0, 0, 1]), np.array([0, 0, 0]), 100, seed=0)))
    >>> weights.shape, bool((weights[:, 0] == weights[:, 1]).all()), np.unique(weights[:, 0] + weights[:, 2])
    ((100, 3), True, array([2.]))
    """
    rng = np.random.default_rng(seed)
    count = int(patients.max()) + 1
    films = np.zeros((count, int(strata.max()) + 1))
    np.add.at(films, (patients, strata), 1)
    groups = [np.flatnonzero(films.argmax(1) == stratum) for stratum in range(films.shape[1])]
    size = max(1, BLOCK // len(patients))
    for start in range(0, resamples, size):
        rows = min(size, resamples - start)
        drawn = np.zeros((rows, count))
        for group in groups:
            if len(group):
                drawn[:, group] = rng.multinomial(len(group), np.full(len(group), 1 / len(group)), size=rows)
        yield drawn[:, patients]


def bounded_interval(
    value: float,
    replicates: Floats,
    *,
    films: float,
    patients: int,
    confidence: float = 0.95,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Interval:
    """Interval of a figure that has two ends, such as a share, an AUROC or kappa, from its bootstrap replicates.

    The figure is worth n = v (1 - v) / variance independent patients, and gets Wilson's interval of n. `films` and
    `patients` are those that the figure rests on (of the smaller group, where it compares two); films is infinite for a
    figure that is no share of films, such as an F1 or AUROC. Where the replicates do not vary, as when all is right,
    n is `patients`: each counts as one trial, however many films it has. n is at most `films`, and lowered for the
    degrees of freedom that the patients have fewer than the films (Korn & Graubard 1998). NaN where the value is, or
    no patient.

    >>> low, high = bounded_interval(1.0, np.ones(1000), films=10, patients=10)    # all right, but ten patients
    >>> round(low, 3), high
    (0.722, 1.0)
    """
    if not math.isfinite(value) or not patients:
        return MISSING
    span = bounds[1] - bounds[0]
    share = min(1.0, max(0.0, (value - bounds[0]) / span))
    spread = float(np.var(replicates[np.isfinite(replicates)] / span)) if np.isfinite(replicates).any() else 0.0
    n = float(patients)
    if spread > 1e-12 and patients > 1:
        n = min(films, share * (1 - share) / spread * (1 - 1 / patients) / (1 - 1 / films))
    if films > patients > 1:
        quantile = 0.5 + confidence / 2
        n *= float(stats.t.ppf(quantile, films - 1) / stats.t.ppf(quantile, patients - 1)) ** 2
    low, high = wilson_interval(share * n, n, confidence)
    return bounds[0] + span * low, bounds[0] + span * high


def log_loss_interval(value: float, replicates: Floats, *, patients: int, confidence: float = 0.95) -> Interval:
    """Interval of a log loss L by way of exp(-L), the geometric mean of the probabilities given to the truth.

    >>> low, high = log_loss_interval(0.0, np.zeros(1000), patients=10)    # always sure and right, but ten patients
    >>> low, round(math.exp(-high), 2)
    (0.0, 0.66)
    """
    low, high = bounded_interval(
        math.exp(-value), np.exp(-replicates), films=math.inf, patients=patients, confidence=confidence
    )
    return abs(math.log(high)), -math.log(low) if low > 0 else math.inf


def gap_interval(gaps: Floats, replicates: Floats, *, patients: int, confidence: float = 0.95) -> Interval:
    """Interval of a calibration error, the sum of |gap| over its bins: `gaps` (bins,), `replicates` (B, bins).

    A sum of absolute values is pushed up by chance, and its replicates twice, so their percentiles would even leave out
    the value. But it differs from the truth by at most the sum of |gap - true gap| (triangle inequality), and the
    replicates tell how large that gets; it is taken larger by Student's t for the few patients of a bin. Too wide
    rather than too narrow. NaN with fewer than two patients to a bin.

    >>> replicates = np.array([[0.12, 0.09], [0.08, 0.09]])  # off by 0.03 each
    >>> low, high = gap_interval(np.array([0.10, 0.10]), replicates, patients=2000)
    >>> round(low, 2), round(high, 2)
    (0.17, 0.23)
    """
    value = float(np.abs(gaps).sum())
    of_a_bin = patients / len(gaps)
    if of_a_bin < 2:
        return MISSING
    quantile = 0.5 + confidence / 2
    widened = float(stats.t.ppf(quantile, of_a_bin - 1) / stats.norm.ppf(quantile)) / math.sqrt(1 - 1 / of_a_bin)
    reach = widened * float(np.quantile(np.abs(replicates - gaps).sum(1), confidence))
    return max(0.0, value - reach), min(1.0, value + reach)


def mean_interval(values: Floats, low: Floats, high: Floats, replicates: Floats) -> Interval:
    """Interval of a macro figure, recovered from those of its classes (MOVER).

    `values`, `low`, `high` (K,); `replicates` (B, K) give the correlations, and 1, the widest, stands where there
    is none, as when a class is all right. So a class of ten patients, all found, leaves the macro recall
    uncertain, which the bootstrap alone would not see. Zou & Donner 2008, Stat. Med. 27:1693; Zou 2007, Psychol.
    Methods 12:399.

    >>> values, low, high = np.array([0.8, 0.9]), np.array([0.5, 0.5]), np.array([0.9, 1.0])
    >>> alternating = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])       # correlation 0
    >>> low, high = mean_interval(values, low, high, alternating)
    >>> round(low, 3), round(high, 3)      # 0.85 - sqrt(0.3^2 + 0.4^2) / 2, 0.85 + sqrt(0.1^2 + 0.1^2) / 2
    (0.6, 0.921)
    """
    defined = replicates[np.isfinite(replicates).all(1)]
    correlation = np.ones((len(values), len(values)))
    moving = defined.std(0) > 1e-9 if len(defined) else np.zeros(len(values), bool)
    if moving.any():
        correlation[np.ix_(moving, moving)] = np.atleast_2d(np.corrcoef(defined[:, moving], rowvar=False))
    below, above = values - low, high - values
    middle, n = float(values.mean()), len(values)
    return (
        middle - math.sqrt(max(0.0, float(below @ correlation @ below))) / n,
        middle + math.sqrt(max(0.0, float(above @ correlation @ above))) / n,
    )


def predictive_value_intervals(
    sensitivity: tuple[float, float, float], specificity: tuple[float, float, float], prevalence: float
) -> tuple[Interval, Interval]:
    """Intervals of PPV and NPV at a prevalence, from (value, low, high) of sensitivity and specificity.

    Both rise with sensitivity and with specificity. Each is moved to its limit alone and the two shifts are added as
    squares (MOVER, Zou & Donner 2008), never beyond the value with both at their limit. So with no false positive
    among 50 films, the PPV at a low prevalence stays as uncertain as the specificity makes it, though every resample
    says 1.

    >>> ppv, npv = predictive_value_intervals((0.9, 0.6, 0.98), (1.0, 0.93, 1.0), prevalence=0.01)
    >>> round(ppv[0], 2), round(ppv[1], 2)  # low: 0.009 / (0.009 + 0.07 x 0.99)
    (0.11, 1.0)
    """
    value = np.array(predictive_values(sensitivity[0], specificity[0], prevalence))
    limits = []
    for side in (1, 2):
        one = np.array(predictive_values(sensitivity[side], specificity[0], prevalence))
        other = np.array(predictive_values(sensitivity[0], specificity[side], prevalence))
        both = np.array(predictive_values(sensitivity[side], specificity[side], prevalence))
        reach = np.hypot(one - value, other - value)
        limits.append(np.maximum(both, value - reach) if side == 1 else np.minimum(both, value + reach))
    (ppv_low, npv_low), (ppv_high, npv_high) = np.array(limits).tolist()
    return (ppv_low, ppv_high), (npv_low, npv_high)
