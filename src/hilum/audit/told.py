"""How well a class can be told from a few numbers of each film, by films of other patients, and how well by chance."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from hilum.evaluation.intervals import bootstrap_weights, bounded_interval
from hilum.evaluation.metrics import auroc, ratio

FEW_PATIENTS = 10  # a class of fewer is not told apart from anything: five folds have two of them each
# A value that so many shuffles reach is one of chance. An audit asks ten times, so one in twenty would be too often.
CHANCE = 0.01
_FOLDS = 5
_RESAMPLES = 200
_SHUFFLES = 999
_BLOCK = 2**22  # numbers held at once while shuffling

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Learner = Literal["linear", "trees"]


@dataclass(frozen=True)
class Told:
    """How well each class is told from the others, as AUROC; `best` is the class that is told best, and its figures.

    chance: what the best class of shuffled labels reaches in 99 of 100 shuffles; p: the share of shuffles in which one
    reaches `value`. n films, `groups` patients (films of unknown patient count as one each).
    """

    of_class: dict[str, float]
    best: str
    value: float
    low: float
    high: float
    chance: float
    p: float
    n: int
    groups: int

    @property
    def beyond_chance(self) -> bool:
        return self.p <= CHANCE


def tell(
    features: Floats, y: Ints, classes: list[str], groups: Ints, *, learner: Learner = "linear", seed: int = 0
) -> Told | None:
    """Learn the class from features (N, D) in five folds by group, and judge each fold by the others.

    y (N,) class numbers; groups (N,) patient numbers, no patient is on both sides. `linear` is logistic regression on
    standardised features, `trees` gradient boosting. Only films of one fold are compared, for each fold learned by
    itself: AUROC is the share of such pairs that stand in the right order. The interval is resampled by group; chance
    is what is left when the classes are dealt anew within each fold, to whole patients as far as their numbers of films
    allow. None where fewer than two classes have `FEW_PATIENTS` patients.

    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat([0, 1], 100)
    >>> told = tell(y[:, None] + 0.1 * rng.normal(size=(200, 1)), y, ["ill", "well"], np.arange(200))
    >>> told.value, told.beyond_chance
    (1.0, True)
    """
    kept = np.isin(y, [k for k in range(len(classes)) if len(np.unique(groups[y == k])) >= FEW_PATIENTS])
    features, y, groups = features[kept], y[kept], np.unique(groups[kept], return_inverse=True)[1].astype(np.int64)
    present = np.unique(y)
    if len(present) < 2:
        return None
    names, y = [classes[k] for k in present], np.searchsorted(present, y)
    folds = _folds(y, groups, seed)
    scores = _scores(features, y, folds, learner, seed)
    compared = range(1 if len(names) == 2 else len(names))  # of two classes, one says it all
    found = np.array([_within(y == k, scores[:, k], folds)[0] for k in compared])
    best = int(found.argmax())
    shuffled = _shuffled(y, scores, groups, folds, len(compared), seed)
    weights = bootstrap_weights(groups, y, _RESAMPLES, seed)
    replicates = np.concatenate([_within(y == best, scores[:, best], folds, block) for block in weights])
    fewer = min(len(np.unique(groups[y == best])), len(np.unique(groups[y != best])))
    low, high = bounded_interval(float(found[best]), replicates, films=np.inf, patients=fewer)
    return Told(
        {names[k]: float(found[k]) for k in compared},
        names[best],
        float(found[best]),
        low,
        high,
        chance=float(np.quantile(shuffled, 1 - CHANCE)),
        p=float((1 + (shuffled >= found[best]).sum()) / (1 + len(shuffled))),
        n=len(y),
        groups=int(groups.max()) + 1,
    )


def _folds(y: Ints, groups: Ints, seed: int) -> Ints:
    """The fold of each film: groups are dealt in turn, each class alike."""
    rng = np.random.default_rng(seed)
    films = np.zeros((int(groups.max()) + 1, int(y.max()) + 1))
    np.add.at(films, (groups, y), 1)
    order = np.lexsort((rng.random(len(films)), films.argmax(1)))
    fold = np.empty(len(films), np.int64)
    fold[order] = np.arange(len(films)) % _FOLDS
    return fold[groups]


def _scores(features: Floats, y: Ints, folds: Ints, learner: Learner, seed: int) -> Floats:
    """(N, K) probabilities, each film's by what was learned from the other folds."""
    out = np.zeros((len(y), int(y.max()) + 1))
    for fold in range(_FOLDS):
        here, there = folds == fold, folds != fold
        if len(np.unique(y[there])) < 2 or not here.any():
            continue
        model = _learner(learner, int(there.sum()), seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(features[there], y[there])
        out[np.ix_(here, model.classes_)] = model.predict_proba(features[here])
    return out


def _learner(learner: Learner, films: int, seed: int) -> Pipeline | HistGradientBoostingClassifier:
    if learner == "linear":
        return make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300))
    return HistGradientBoostingClassifier(
        max_iter=40, max_leaf_nodes=8, min_samples_leaf=max(5, min(20, films // 20)), random_state=seed
    )


def _within(positive: NDArray[np.bool_], score: Floats, folds: Ints, weights: Floats | None = None) -> Floats:
    """AUROC over the pairs of one fold, (B,); weights (B, N): how often each film counts in each of B resamples.

    >>> fold = np.array([0, 0, 1, 1])
    >>> _within(np.array([True, False, True, False]), np.array([0.2, 0.1, 0.9, 0.8]), fold).tolist()
    [1.0]
    """
    weights = np.ones((1, len(score))) if weights is None else weights
    won, pairs = np.zeros(len(weights)), np.zeros(len(weights))
    for fold in range(_FOLDS):
        here = folds == fold
        counts = weights[:, here & positive].sum(1) * weights[:, here & ~positive].sum(1)
        if counts.any():
            won += np.where(counts > 0, auroc(positive[here], score[here], weights[:, here]), 0.0) * counts
            pairs += counts
    return ratio(won, pairs)


def _shuffled(y: Ints, scores: Floats, groups: Ints, folds: Ints, compared: int, seed: int) -> Floats:
    """The best class's AUROC of each shuffle, (_SHUFFLES,): classes dealt anew within folds, to whole patients."""
    rng = np.random.default_rng([seed, 1])
    order = np.lexsort((groups, folds))
    y, scores, groups, folds = y[order], scores[order], groups[order], folds[order]
    ranks = _ranks_in_fold(scores[:, :compared], folds)
    positives = np.stack([np.bincount(folds, y == k, minlength=_FOLDS) for k in range(compared)])  # (K, folds)
    pairs = (positives * (np.bincount(folds, minlength=_FOLDS) - positives)).sum(1)
    least = (positives * (positives + 1) / 2).sum(1)  # sum of the ranks of positives that win no pair
    found = []
    step = max(1, _BLOCK // len(y))
    for start in range(0, _SHUFFLES, step):
        keys = rng.random((min(step, _SHUFFLES - start), int(groups.max()) + 1))[:, groups] + folds
        dealt = y[np.argsort(keys, axis=1, kind="stable")]
        found.append(np.max([((dealt == k) @ ranks[:, k] - least[k]) / pairs[k] for k in range(compared)], axis=0))
    return np.concatenate(found)


def _ranks_in_fold(scores: Floats, folds: Ints) -> Floats:
    """Scores as ranks from 1 within their fold, equal ones sharing the middle."""
    out = np.empty_like(scores)
    for fold in range(_FOLDS):
        here = folds == fold
        out[here] = rankdata(scores[here], axis=0)
    return out
