"""Checks that ask how well the class is told by something that is no lung: one sentence for all of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hilum.audit.films import Films
from hilum.audit.told import FEW_PATIENTS, Learner, Told, tell
from hilum.audit.verdict import Check, not_done, verdict_of
from hilum.data.words import enumerated


def told_by(
    name: str,
    films: Films,
    features: NDArray[np.float64],
    rows: NDArray[np.int64],
    *,
    by: str,
    so: str,
    advice: str,
    learner: Learner = "linear",
    details: tuple[str, ...] = (),
) -> Check:
    """One check: how well the class is told from features (M, D) of the films in `rows` (M,).

    by: what the features are, as 'the border of a film'. so: what follows where it tells.
    """
    limit = films.limits[name]
    known = films.y[rows] >= 0
    rows, features = rows[known], features[known]
    y, groups = films.y[rows], films.groups[rows]
    told = tell(np.asarray(features, float), y, films.classes, groups, learner=learner, seed=films.how.seed)
    if told is None:
        return not_done(
            name,
            f"fewer than two classes have {FEW_PATIENTS} patients of whom this is known",
            films.limits,
            advice="Add films, or films of which it is known.",
            n=len(rows),
        )
    verdict = verdict_of(told.value, limit, beyond_chance=told.beyond_chance)
    others = "the others" if len(told.of_class) > 1 else enumerated([c for c in films.classes if c != told.best], "or")
    here = np.zeros(len(films.y), bool)
    here[rows] = True
    return Check(
        name,
        verdict,
        _says_little(by, told, others)
        if verdict == "pass"
        else f"From {by} alone {told.best} is told from {others} {_how(told)}: {so}.",
        limit,
        advice="" if verdict == "pass" else advice,
        value=told.value,
        low=told.low,
        high=told.high,
        n=told.n,
        patients=films.patients(here),
        details=(*details, _each(told), _chance(told)),
    )


def _says_little(by: str, told: Told, others: str) -> str:
    if not told.beyond_chance:
        return f"From {by} alone no class can be told better than by chance."
    return f"From {by} alone {told.best} is told from {others} {_how(told)}, which is below the limit."


def _how(told: Told) -> str:
    """
    >>> _how(Told({}, "ill", 0.96, 0.9, 0.98, 0.55, 0.001, 100, 90))
    'in 96 of 100 pairs of a film of each'
    """
    return f"in {min(99, round(100 * told.value)) if told.value < 1 else 100} of 100 pairs of a film of each"


def _each(told: Told) -> str:
    return "AUROC of each against the others: " + ", ".join(
        f"{name} {value:.3f}" for name, value in told.of_class.items()
    )


def _chance(told: Told) -> str:
    return f"With the classes shuffled, 99 of 100 times it is below {told.chance:.3f}; p = {told.p:.3f}"
