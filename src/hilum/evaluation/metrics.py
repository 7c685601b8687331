"""The figures themselves: pure functions of the true classes and of what a model said.

`y` (N,) are class numbers, `predicted` (N,) class numbers, `p` (N, K) probabilities. `weights` (..., N) says how often
each film counts; several rows of weights give several values at once, which is how the bootstrap computes a thousand
resamples without a loop. Without weights every film counts once.

An undefined number (0/0: the precision of a class that is never predicted, the AUROC of one class) is NaN, never 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def confusion(y: Ints, predicted: Ints, classes: int, weights: Floats | None = None) -> Floats:
    """Counts of films by true class (rows) and predicted class (columns), (..., K, K).

    >>> y, predicted = np.array([0, 0, 1, 1, 1]), np.array([0, 1, 1, 1, 0])
    >>> confusion(y, predicted, 2)
    array([[1., 1.],
           [1., 2.]])
    """
    weights = _weights(y, weights)
    cell = np.zeros((len(y), classes * classes))
    cell[np.arange(len(y)), y * classes + predicted] = 1.0
    counts: Floats = weights @ cell
    return counts.reshape(*weights.shape[:-1], classes, classes)


def accuracy(counts: Floats) -> Floats:
    """Share of films whose predicted class is the true one, (...); from a confusion matrix (..., K, K).

    >>> float(accuracy(np.array([[1., 1.], [1., 2.]])))
    0.6
    """
    return ratio(_right(counts).sum(-1), counts.sum((-2, -1)))


def recall(counts: Floats) -> Floats:
    """Sensitivity of each class: of its films, the share found, (..., K).

    >>> recall(np.array([[1., 1.], [1., 3.]]))
    array([0.5 , 0.75])
    """
    return ratio(_right(counts), counts.sum(-1))


def precision(counts: Floats) -> Floats:
    """Of the films called a class, the share that is, (..., K); it holds for the mix of classes in the data only.

    >>> precision(np.array([[1., 0.], [3., 0.]]))  # the second class is never predicted
    array([0.25,  nan])
    """
    return ratio(_right(counts), counts.sum(-2))


def specificity(counts: Floats) -> Floats:
    """Of the films of all other classes, the share not called this class, (..., K).

    >>> specificity(np.array([[1., 1.], [1., 3.]]))
    array([0.75, 0.5 ])
    """
    others = counts.sum((-2, -1))[..., None] - counts.sum(-1)
    false_positives = counts.sum(-2) - _right(counts)
    return ratio(others - false_positives, others)


def f_beta(counts: Floats, beta: float) -> Floats:
    """F-beta of each class, (..., K): recall weighs beta times as much as precision.

    van Rijsbergen 1979, Information Retrieval, chapter 7. Computed from the counts, so that it is 0 and not undefined
    when a class that is there is never predicted.

    >>> f_beta(np.array([[1., 1.], [1., 3.]]), 1.0)  # 2 TP / (2 TP + FN + FP)
    array([0.5 , 0.75])
    """
    square = beta**2
    return ratio((1.0 + square) * _right(counts), square * counts.sum(-1) + counts.sum(-2))


def kappa(counts: Floats) -> Floats:
    """Cohen's kappa, unweighted: agreement beyond what the two margins give by chance, (...), -1 to 1.

    NaN where chance alone always agrees. Cohen 1960, Educ. Psychol. Meas. 20:37.

    >>> round(float(kappa(np.array([[20., 5.], [10., 15.]]))), 4)  # agreement 0.7, by chance 0.5
    0.4
    """
    chance = ratio((counts.sum(-1) * counts.sum(-2)).sum(-1), counts.sum((-2, -1)) ** 2)
    return ratio(accuracy(counts) - chance, 1.0 - chance)


def macro(of_classes: Floats) -> Floats:
    """Mean over the classes, (..., K) to (...), undefined where one class's figure is.

    A mean over the classes that happen to be defined would compare models and parts by different yardsticks.

    >>> float(macro(np.array([0.5, np.nan])))
    nan
    """
    return np.asarray(of_classes.mean(-1))


def predictive_values(
    sensitivity: Floats | float, specificity: Floats | float, prevalence: Floats | float
) -> tuple[Floats, Floats]:
    """PPV and NPV in a population of this prevalence, by Bayes' theorem.

    They equal precision and TN / (TN + FN) where the prevalence is that of the data itself.

    >>> ppv, npv = predictive_values(0.9, 0.9, 0.01)       # 9 true among 108 positives of a thousand
    >>> round(float(ppv), 4), round(float(npv), 4)
    (0.0833, 0.9989)
    """
    ill, well = np.asarray(prevalence, float), 1.0 - np.asarray(prevalence, float)
    true_positive, false_negative = sensitivity * ill, (1.0 - np.asarray(sensitivity)) * ill
    true_negative, false_positive = specificity * well, (1.0 - np.asarray(specificity)) * well
    return (
        ratio(true_positive, true_positive + false_positive),
        ratio(true_negative, true_negative + false_negative),
    )


def auroc(positive: Bools, score: Floats, weights: Floats | None = None) -> Floats:
    """Area under the ROC curve: the chance that a positive film scores above a negative one, ties counting half, (...).

    `positive` (N,) truth, `score` (N,). NaN where there is no positive or no negative film.
    Hanley & McNeil 1982, Radiology 143:29.

    >>> float(auroc(np.array([True, True, False, False]), np.array([0.9, 0.4, 0.4, 0.1])))     # 3.5 of 4 pairs
    0.875
    """
    positives, negatives = _by_score(positive, score, weights)
    below = np.cumsum(negatives, axis=-1) - negatives
    pairs_won = (positives * (below + 0.5 * negatives)).sum(-1)
    return ratio(pairs_won, positives.sum(-1) * negatives.sum(-1))


def by_class(figure: Callable[..., Floats], y: Ints, p: Floats, weights: Floats | None = None) -> Floats:
    """`auroc` or `average_precision` of each class against the rest, (..., K).

    >>> by_class(auroc, np.array([0, 0, 1]), np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]]))
    array([0.5, 0.5])
    """
    return np.stack([figure(y == k, p[:, k], weights) for k in range(p.shape[1])], axis=-1)


def average_precision(positive: Bools, score: Floats, weights: Floats | None = None) -> Floats:
    """Precision averaged over the steps of recall, (...): the sum of (R_i - R_(i-1)) P_i, without interpolation.

    `positive` (N,) truth, `score` (N,). NaN where there is no positive or no negative film. A model that knows
    nothing has the share of positives, not 0.5.

    >>> round(float(average_precision(np.array([True, False, True]), np.array([0.9, 0.8, 0.7]))), 4)   # (1 + 2/3) / 2
    0.8333
    """
    positives, negatives = (np.flip(each, -1) for each in _by_score(positive, score, weights))
    found = np.cumsum(positives, axis=-1)
    called = found + np.cumsum(negatives, axis=-1)
    # Before the first film that counts, called is 0 and so is positives.
    steps = positives * np.divide(found, called, out=np.zeros_like(found), where=called > 0)
    return np.where(negatives.sum(-1) > 0, ratio(steps.sum(-1), positives.sum(-1)), np.nan)


def brier(y: Ints, p: Floats, weights: Floats | None = None) -> Floats:
    """Brier score in its first, multi-class definition: squared error summed over the classes, mean over films.

    From 0, the best, to 2. For two classes it is twice the number that is often called Brier score.
    Brier 1950, Mon. Weather Rev. 78:1.

    >>> round(float(brier(np.array([0]), np.array([[0.7, 0.2, 0.1]]))), 4)         # 0.09 + 0.04 + 0.01
    0.14
    """
    return _mean(((p - np.eye(p.shape[1])[y]) ** 2).sum(1), weights)


def log_loss(y: Ints, p: Floats, weights: Floats | None = None) -> Floats:
    """Mean of -ln p(true class), in nats; a probability of 0 counts as the smallest step of a double, 2.2e-16.

    >>> round(float(log_loss(np.array([0, 1]), np.array([[0.5, 0.5], [0.75, 0.25]]))), 4)   # (ln 2 + ln 4) / 2
    1.0397
    """
    return _mean(-np.log(np.maximum(p[np.arange(len(y)), y], np.finfo(float).eps)), weights)


def calibration_error(y: Ints, p: Floats, weights: Floats | None = None, *, bins: int | None = None) -> Floats:
    """Expected calibration error of the most probable class: the gap between how probable and how often true it is.

    Bins hold equally many films each (`bins_of`), because with bins of equal width nearly all films of a good model
    fall into the last. Too high by chance where films are few, even if the model is calibrated.
    Guo et al. 2017, ICML (top label); Nixon et al. 2019, CVPR workshops (bins of equal mass).

    >>> y, p = np.array([0, 0, 0, 1]), np.array([[0.8, 0.2]] * 4)                  # says 0.8, is right in 0.75
    >>> round(float(calibration_error(y, p)), 4)
    0.05
    """
    return np.asarray(np.abs(calibration_gaps(y, p, weights, bins=bins)).sum(-1))


def calibration_gaps(y: Ints, p: Floats, weights: Floats | None = None, *, bins: int | None = None) -> Floats:
    """The calibration error before signs are lost: each bin's gap times its share of the films, (..., bins).

    The bins are those of the unweighted films. Above 0 the model is too sure.
    """
    confidence, right = p.max(1), p.argmax(1) == y
    number = bins_of(confidence, bins)
    member = number[:, None] == np.arange(number.max(initial=0) + 1)
    weights = _weights(y, weights)
    return ratio(weights @ (member * (confidence - right)[:, None]), weights.sum(-1)[..., None])


def bins_of(probability: Floats, bins: int | None = None) -> Ints:
    """Bin number of each film, from 0, so that bins hold equally many films; equal probabilities stay together.

    Without `bins` there are 10, or fewer so that each has at least 20 films.

    >>> bins_of(np.array([0.1, 0.9, 0.9, 0.9, 0.2, 0.3]), 3)
    array([0, 1, 1, 1, 0, 1])
    """
    films = len(probability)
    bins = bins or min(10, max(1, films // 20))
    rank = np.searchsorted(np.sort(probability), probability, side="left")
    return np.asarray(rank * bins // max(films, 1), dtype=np.int64)


def ratio(above: Any, below: Any) -> Floats:
    """above / below where below is not 0, else NaN."""
    above, below = np.broadcast_arrays(np.asarray(above, float), np.asarray(below, float))
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below != 0)


def _right(counts: Floats) -> Floats:
    return np.diagonal(counts, axis1=-2, axis2=-1)


def _weights(films: NDArray[Any], weights: Floats | None) -> Floats:
    return np.ones(len(films)) if weights is None else np.asarray(weights, float)


def _mean(values: Floats, weights: Floats | None) -> Floats:
    weights = _weights(values, weights)
    return ratio(weights @ values, weights.sum(-1))


def _by_score(positive: Bools, score: Floats, weights: Floats | None) -> tuple[Floats, Floats]:
    """Weight of the positive and of the negative films at each distinct score, ascending, (..., scores)."""
    weights = _weights(positive, weights)
    if not len(score):
        return weights, weights
    order = np.argsort(score, kind="stable")
    ordered = score[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    sorted_weights = weights[..., order]
    positives = np.add.reduceat(sorted_weights * positive[order], starts, axis=-1)
    return positives, np.add.reduceat(sorted_weights, starts, axis=-1) - positives
