"""Checks of predictions, ours or anybody's: from a table, and what the manifest knows of its films. Needs no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from hilum.audit.brought import Brought, Judged, brought, films_of
from hilum.audit.limits import Limit, limits_of
from hilum.audit.subgroups import FEW, calibration, subgroups
from hilum.audit.verdict import Check, not_done, verdict_of, worst_first
from hilum.data.confounding import told_apart
from hilum.data.words import count_of, enumerated
from hilum.evaluation import conformal
from hilum.evaluation.conformal import COVERAGE, FEWEST_FILMS
from hilum.evaluation.intervals import bootstrap_weights, bounded_interval
from hilum.evaluation.metrics import Bools, Floats, auroc, confusion, kappa, ratio
from hilum.evaluation.shares import share_of
from hilum.recipe.schema import Audit

CONFIDENT = 0.9
_RESAMPLES = 500
_EXAMPLES = 5
_OF_FILMS = (
    "classes-within-a-source",
    "source-baseline",
    "within-source",
    *(f"by-{name}" for name in ("source", "vendor", "view", "sex", "age")),
    "calibration-by-source",
    "confident-mistakes",
    "prediction-sets",
)


def audit_predictions(
    predictions: pd.DataFrame,
    manifest: pd.DataFrame | None = None,
    how: Audit | None = None,
    *,
    where: str = "predictions.csv",
) -> list[Check]:
    """The checks of the test part of a table of predictions, the worst first; each says where it cannot be made.

    predictions: as `evaluation.predictions` describes them, or any with image_id and p_<class> columns or `predicted`;
    what is wrong with it is the reason why a check is not done. manifest: what is known of the films; without it only
    what the table itself says. where: the table's name in errors. Refused with DataError: a table from which nothing is
    predicted, see `brought.brought`; with RequestError: limits that make no sense.
    """
    how = how or Audit()
    limits = limits_of(how)
    found = brought(predictions, manifest, where=where)
    judged = found.part("test")
    checks = [partners(found, limits)]
    if not len(judged):
        reason = "no film of the test part has both a label among the classes and a prediction"
        return worst_first([*checks, *(not_done(name, reason, limits) for name in _OF_FILMS)])
    if found.other_labels:
        checks = [_with_other_labels(check, found) for check in checks]
    return worst_first(
        [
            *checks,
            within_sources(judged, limits),
            source_baseline(judged, found, limits),
            lost_within(judged, limits, seed=how.seed),
            *subgroups(judged, limits, seed=how.seed),
            calibration(judged, limits, seed=how.seed),
            confident_mistakes(judged, limits, seed=how.seed),
            prediction_sets(found, limits, seed=how.seed),
        ]
    )


def partners(found: Brought, limits: Mapping[str, Limit]) -> Check:
    """Whether the predictions are of the films of the test part, of all of them and of no others."""
    name = "predictions-and-films"
    if not found.with_manifest:
        return not_done(name, "there is no manifest to look the films up in", limits, advice="Bring the manifest.")
    answered = int((found.films["part"].eq("test").fillna(False) & found.films["in_manifest"]).sum())
    every = answered + found.unanswered + found.unknown
    lonely = found.unknown + found.unanswered
    share = share_of(np.arange(every) < lonely, np.arange(every)) if every else None
    told = []
    if found.unknown:
        told.append(f"{count_of(found.unknown, 'prediction')} are of films that the manifest does not have")
    if found.unanswered:
        told.append(f"{count_of(found.unanswered, 'film')} of the test part have no prediction")
    if found.relabelled:
        has = "has" if found.relabelled == 1 else "have"
        told.append(f"{count_of(found.relabelled, 'film')} {has} another label than in the manifest")
    value = lonely / every if every else 0.0
    verdict = verdict_of(value, limits[name])
    if found.relabelled and verdict == "pass":
        verdict = "warn"
    meaning = f"{enumerated(told)}." if told else "Every film of the test part has its prediction, and no other has."
    return Check(
        name,
        verdict,
        meaning[0].upper() + meaning[1:],
        limits[name],
        advice="" if verdict == "pass" else "Predict the whole test part, and no more, under its own names.",
        value=value,
        low=share.low if share else None,
        high=share.high if share else None,
        n=every,
    )


def _with_other_labels(check: Check, found: Brought) -> Check:
    told = ", ".join(f"{name} ({count})" for name, count in found.other_labels.items())
    line = f"labels that are none of the classes, left out of all checks: {told}"
    return Check(**{**vars(check), "details": (*check.details, line)})


def within_sources(judged: Judged, limits: Mapping[str, Limit]) -> Check:
    """Which classes no source of the test part has beside another class."""
    name = "classes-within-a-source"
    sources = judged.films["source"]
    if why := _why_no_sources(sources):
        return not_done(name, why, limits, advice="Judge it on films of other sources too.", n=len(judged))
    known = sources.notna().to_numpy(bool)
    table = pd.crosstab(sources[known].astype(str), judged.films.loc[known, "label"].astype(str))
    mixed = (table > 0).sum(axis=1) > 1
    alone = [str(label) for label in table.columns if not (table.loc[mixed, label] > 0).any()]
    verdict = verdict_of(len(alone), limits[name])
    meaning = (
        f"Each film of {enumerated(alone)} comes from a source that has no other class, so nothing in this test shows "
        f"whether the model tells {'it' if len(alone) == 1 else 'them'} from others within one hospital."
        if alone
        else "Each class stands beside another in some source, so it can be told from it within one hospital."
    )
    return Check(
        name,
        verdict,
        meaning,
        limits[name],
        advice="" if not alone else "Test on films of several classes from one place; no figure of this test can tell.",
        value=len(alone),
        n=int(known.sum()),
        patients=judged.patients_of(known),
        details=tuple(
            f"{source}: {', '.join(f'{label} {count}' for label, count in row.items() if count)}"
            for source, row in table.iterrows()
        ),
    )


def _why_no_sources(sources: pd.Series) -> str:
    names = sources.dropna().unique()
    if not len(names):
        return "no film tells its source"
    return f"all films are of one source, {names[0]}" if len(names) == 1 else ""


def source_baseline(judged: Judged, found: Brought, limits: Mapping[str, Limit]) -> Check:
    """How far the model says of each class what the source alone would say: Cohen's kappa.

    The source says yes to a class where it is commoner than overall (`confounding.told_apart`).
    """
    name = "source-baseline"
    sources = judged.films["source"]
    if why := _why_no_sources(sources):
        return not_done(name, why, limits, n=len(judged))
    told = told_apart(sources, judged.films["label"], least=0.0)
    if not told:
        return not_done(name, "all films are of one class", limits, n=len(judged))
    known = sources.notna().to_numpy(bool)
    by_class = {
        each.label: _agreement(
            (judged.predicted == judged.classes.index(each.label))[known],
            sources[known].isin(each.commoner_in).to_numpy(bool),
            judged.patients[known],
        )
        for each in told
    }
    of_class = {each.label: each for each in told}
    worst = max(by_class, key=lambda label: by_class[label][0])
    value, low, high = by_class[worst]
    verdict = verdict_of(value, limits[name], beyond_chance=low > 0)
    whence = enumerated(of_class[worst].commoner_in, "or", most=3)
    meaning = f"To call a film {worst} because it comes from {whence} agrees with the model with kappa {value:.2f}" + (
        ": on these films, reading the hospital looks the same as reading the lung." if verdict != "pass" else "."
    )
    return Check(
        name,
        verdict,
        meaning,
        limits[name],
        advice=""
        if verdict == "pass"
        else "Judge it where one source has several classes: hilum evaluate RUN --data SOURCE.",
        value=value,
        low=low,
        high=high,
        n=int(known.sum()),
        patients=judged.patients_of(known),
        details=tuple(
            f"{label}: kappa {number:.2f} [{lower:.2f}, {upper:.2f}]; the source alone has balanced accuracy "
            f"{of_class[label].balanced_accuracy:.3f}"
            for label, (number, lower, upper) in by_class.items()
        ),
    )


def _agreement(calls: Bools, baseline: Bools, patients: np.ndarray) -> tuple[float, float, float]:
    """Cohen's kappa of two yes or no answers (N,), with its interval; 0 where one of them never changes."""
    numbers = np.unique(patients, return_inverse=True)[1].astype(np.int64)
    first, second = calls.astype(np.int64), baseline.astype(np.int64)
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0, -1.0, 1.0
    value = float(kappa(confusion(first, second, 2)))
    blocks = bootstrap_weights(numbers, second, _RESAMPLES, 0)
    replicates = np.concatenate([kappa(confusion(first, second, 2, weights)) for weights in blocks])
    fewer = min(len(np.unique(numbers[baseline])), len(np.unique(numbers[~baseline])))
    return value, *bounded_interval(value, replicates, films=math.inf, patients=fewer, bounds=(-1.0, 1.0))


def lost_within(judged: Judged, limits: Mapping[str, Limit], *, seed: int = 0) -> Check:
    """How much AUROC a class loses when films are compared within a source only."""
    name = "within-source"
    sources = judged.films["source"]
    if judged.p is None:
        return not_done(name, judged.no_p, limits, advice="Bring probabilities.", n=len(judged))
    if why := _why_no_sources(sources):
        return not_done(name, why, limits, n=len(judged))
    numbers = pd.factorize(sources)[0]
    found = {}
    for k, label in enumerate(judged.classes):
        fall = _fall(judged.y == k, judged.p[:, k], numbers, judged.patients, seed)
        if fall is not None:
            found[label] = fall
    if not found:
        reason = f"no source has {FEW} patients of a class and {FEW} of another"
        return not_done(name, reason, limits, advice="Test where one source has several classes.", n=len(judged))
    worst = max(found, key=lambda label: (found[label][3] > 0, found[label][2]))
    pooled, within, value, low, high, n = found[worst]
    verdict = verdict_of(value, limits[name], beyond_chance=low > 0)
    return Check(
        name,
        verdict,
        f"Over all sources the model tells {worst} from the rest with AUROC {pooled:.3f}, within one source with "
        f"{within:.3f}" + (": the difference told hospitals apart." if verdict != "pass" else "."),
        limits[name],
        advice="" if verdict == "pass" else "Take the figure within a source for the true one.",
        value=value,
        low=low,
        high=high,
        n=n,
        patients=None,
        details=(
            *(f"{label}: {one[0]:.3f} over all, {one[1]:.3f} within a source" for label, one in found.items()),
            *(f"{label}: no source has it beside others" for label in judged.classes if label not in found),
        ),
    )


def _fall(
    positive: Bools, score: Floats, sources: np.ndarray, patients: np.ndarray, seed: int
) -> tuple[float, float, float, float, float, int] | None:
    """AUROC over all and within sources, what is lost with its interval, and the films of sources that count."""
    usable = [
        source
        for source in np.unique(sources[sources >= 0])
        if min(len(np.unique(patients[(sources == source) & (positive == side)])) for side in (True, False)) >= FEW
    ]
    if not usable:
        return None
    masks = [sources == source for source in usable]

    def both(weights: Floats) -> tuple[Floats, Floats]:
        pairs = np.stack([(weights[:, m & positive].sum(1)) * (weights[:, m & ~positive].sum(1)) for m in masks])
        areas = np.stack([auroc(positive[m], score[m], weights[:, m]) for m in masks])
        return auroc(positive, score, weights), ratio(np.where(pairs > 0, areas * pairs, 0).sum(0), pairs.sum(0))

    pooled, within = (float(each[0]) for each in both(np.ones((1, len(score)))))
    strata = sources * 2 + positive
    strata = np.unique(strata, return_inverse=True)[1].astype(np.int64)
    blocks = [both(weights) for weights in bootstrap_weights(patients, strata, _RESAMPLES, seed)]
    replicates = np.concatenate([over - inside for over, inside in blocks])
    counted = np.logical_or.reduce(masks)
    fewer = min(len(np.unique(patients[counted & (positive == side)])) for side in (True, False))
    value = pooled - within
    low, high = bounded_interval(value, replicates, films=math.inf, patients=fewer, bounds=(-1.0, 1.0))
    return pooled, within, value, low, high, int(counted.sum())


def confident_mistakes(judged: Judged, limits: Mapping[str, Limit], *, seed: int = 0) -> Check:
    """How often the model is wrong where it says 90 % and more."""
    name = "confident-mistakes"
    if judged.p is None:
        return not_done(name, judged.no_p, limits, advice="Bring probabilities.", n=len(judged))
    sure = judged.p[np.arange(len(judged)), judged.predicted]
    confident = sure >= CONFIDENT
    if not confident.any():
        return not_done(name, f"it says {100 * CONFIDENT:.0f} % of no film", limits, n=len(judged))
    wrong = confident & (judged.predicted != judged.y)
    share = share_of(wrong[confident], judged.patients[confident], seed=seed)
    promised = float(1 - sure[confident].mean())
    verdict = verdict_of(share.value, limits[name], beyond_chance=share.low > promised)
    worst = np.flatnonzero(wrong)[np.argsort(-sure[wrong], kind="stable")][:_EXAMPLES]
    return Check(
        name,
        verdict,
        f"Of the {count_of(int(confident.sum()), 'film')} of which the model says {100 * CONFIDENT:.0f} % or more, "
        f"{share.text} are named wrongly; by its own word it would be {100 * promised:.1f} %.",
        limits[name],
        advice="" if verdict == "pass" else "Look at these films, and do not take its certainty for a proof.",
        value=share.value,
        low=share.low,
        high=share.high,
        n=share.n,
        patients=judged.patients_of(confident),
        details=tuple(
            f"{judged.films['image_id'].iloc[row]}: {judged.classes[judged.predicted[row]]} with "
            f"{100 * sure[row]:.1f} %, is {judged.classes[judged.y[row]]}"
            for row in worst
        ),
    )


def prediction_sets(found: Brought, limits: Mapping[str, Limit], *, seed: int = 0) -> Check:
    """Whether sets of classes that hold the truth for 90 % of validation do so for 90 % of test."""
    name = "prediction-sets"
    validation, judged = found.part("validation"), found.part("test")
    if validation.p is None or judged.p is None:
        return not_done(name, found.no_p, limits, advice="Bring probabilities.", n=len(judged))
    if len(validation) < FEWEST_FILMS:
        return not_done(
            name,
            f"there are {len(validation)} labelled validation films with predictions, and {FEWEST_FILMS} are needed",
            limits,
            advice="Bring the predictions of the validation part, as rows with part = validation.",
            n=len(judged),
        )
    fitted = [
        conformal.fit(validation.y, validation.p, found.classes, coverage=COVERAGE, by_class=each)
        for each in (False, True)
    ]
    kept, by_class = (
        conformal.judge(each.sets(judged.p), judged.y, found.classes, judged.patients, seed=seed) for each in fitted
    )
    covered = kept.covered
    verdict = verdict_of(COVERAGE - covered.value, limits[name], beyond_chance=covered.high < COVERAGE)
    return Check(
        name,
        verdict,
        f"Sets of classes made to hold the truth in {100 * COVERAGE:.0f} % hold it in {covered.text} of the test "
        f"films; {100 * kept.single.value:.0f} % of the films have one class only, the others are left to a person.",
        limits[name],
        advice=""
        if verdict == "pass"
        else "Its uncertainty does not hold on these films: fit it anew on films like them.",
        value=COVERAGE - covered.value,
        low=COVERAGE - covered.high,
        high=COVERAGE - covered.low,
        n=covered.n,
        patients=judged.patients_of(np.ones(len(judged), bool)),
        details=(
            f"fitted on {len(validation)} validation films; mean size of a set {kept.mean_size:.2f}; films with one "
            f"class only are right in {kept.right.text}",
            *(f"{label}: {share.text}, n = {films_of(share.n, None)}" for label, share in kept.of_class.items()),
            "with a threshold for each class: "
            + ", ".join(f"{label} {share.text}" for label, share in by_class.of_class.items())
            + f"; mean size {by_class.mean_size:.2f}",
        ),
    )
