"""Whether a model is as good for every source, vendor, view, sex and age, and as sure of itself as it is right."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from hilum.audit.brought import Judged, films_of
from hilum.audit.limits import Limit
from hilum.audit.verdict import Check, not_done, verdict_of
from hilum.data.words import count_of, enumerated
from hilum.evaluation.intervals import bootstrap_weights, bounded_interval
from hilum.evaluation.metrics import Bools, Floats, Ints, confusion, ratio, recall
from hilum.evaluation.paired import holm, unpaired_interval
from hilum.evaluation.shares import Share, share_of

# check -> (column, what a group is called in a sentence)
GROUPINGS: Mapping[str, tuple[str, str]] = {
    "by-source": ("source", "source"),
    "by-vendor": ("vendor", "vendor"),
    "by-view": ("view", "view"),
    "by-sex": ("sex", "sex"),
    "by-age": ("age_years", "age"),
}
AGES_YEARS = (0, 18, 40, 65)
FEW = 10  # patients; a group of fewer is counted, not compared
CHANCE = 0.05
_RESAMPLES = 500


@dataclass(frozen=True)
class Group:
    """One group against all others: its share of films named rightly; what the others reach with its mix of classes.

    low, high: of `behind`, how far the group lies below the others. p: as it is; raised: after Holm, for all groups.
    """

    check: str
    name: str
    own: Share
    others: Share
    low: float
    high: float
    p: float
    raised: float = math.nan

    @property
    def behind(self) -> float:
        return self.others.value - self.own.value


def subgroups(judged: Judged, limits: Mapping[str, Limit], *, seed: int = 0) -> list[Check]:
    """A check for each of `GROUPINGS`; the p-values of all groups are raised together by Holm's method.

    Groups differ in their mix of classes, and so would their accuracies; each group is therefore compared with what
    the other films reach at its own mix, class by class. A class that stands in no other group is left out of it.
    """
    columns = {check: bands(judged.films[column]) for check, (column, _) in GROUPINGS.items()}
    found = [group for check, names in columns.items() for group in _compared(check, names, judged, seed)]
    raised = holm([group.p for group in found])
    named = [Group(**{**vars(group), "raised": higher}) for group, higher in zip(found, raised, strict=True)]
    return [
        _check(check, columns[check], [group for group in named if group.check == check], len(named), judged, limits)
        for check in GROUPINGS
    ]


def bands(values: pd.Series) -> pd.Series:
    """Ages in bands, other values as they are.

    >>> bands(pd.Series([3.0, 17.9, 40, 80, None], dtype="Float64")).tolist()
    ['0 to 17 years', '0 to 17 years', '40 to 64 years', '65 years and more', <NA>]
    """
    if not pd.api.types.is_numeric_dtype(values.dtype):
        return values.astype("string")
    names = [f"{low} to {high - 1} years" for low, high in itertools.pairwise(AGES_YEARS)]
    names.append(f"{AGES_YEARS[-1]} years and more")
    ages = values.to_numpy(np.float64, na_value=np.nan)
    return pd.Series(pd.cut(ages, [*AGES_YEARS, np.inf], right=False, labels=names), dtype="string")


def mantel_haenszel(hit: Bools, inside: Bools, strata: Ints, patients: Ints) -> float:
    """Two-sided p that films inside a group are hits as often as films outside, within strata.

    Mantel & Haenszel 1959, J. Natl. Cancer Inst. 22:719, with their correction for continuity. The variance is the
    larger of theirs and that of sums over patients, as films of a patient are not independent. All (N,).

    >>> hit, inside = np.array([True] * 9 + [False] + [True] * 2 + [False] * 8), np.repeat([True, False], 10)
    >>> p = mantel_haenszel(hit, inside, np.zeros(20, int), np.arange(20))    # 9 of 10 against 2 of 10: chi2 = 6.91
    >>> round(p, 4)
    0.0086
    """
    gain, variance = np.zeros(len(hit)), 0.0
    for stratum in np.unique(strata):
        here = strata == stratum
        n, inner, hits = int(here.sum()), int((inside & here).sum()), int((hit & here).sum())
        if n < 2:
            continue
        gain[here] = (inside[here] - inner / n) * (hit[here] - hits / n)
        variance += inner * (n - inner) * hits * (n - hits) / (n * n * (n - 1))
    numbers = np.unique(patients, return_inverse=True)[1]
    variance = max(variance, float((np.bincount(numbers, weights=gain) ** 2).sum()))
    if variance <= 0:
        return 1.0
    return float(2 * stats.norm.sf(max(0.0, abs(gain.sum()) - 0.5) / math.sqrt(variance)))


def _compared(check: str, names: pd.Series, judged: Judged, seed: int) -> list[Group]:
    known = names.notna().to_numpy(bool)
    right = judged.predicted == judged.y
    found = []
    for name in sorted(names[known].unique()):
        inside = known & (names == name).fillna(False).to_numpy(bool)
        outside = known & ~inside
        comparable = np.isin(judged.y, np.intersect1d(judged.y[inside], judged.y[outside]))
        inside, outside = inside & comparable, outside & comparable
        if min((len(np.unique(judged.patients[side])) for side in (inside, outside)), default=0) < FEW:
            continue
        either = inside | outside
        own = share_of(right[inside], judged.patients[inside], seed=seed)
        others = _at_mix_of(inside, outside, judged, seed)
        low, high = unpaired_interval(vars(own), vars(others))
        p = mantel_haenszel(right[either], inside[either], judged.y[either], judged.patients[either])
        found.append(Group(check, str(name), own, others, low, high, p))
    return found


def _at_mix_of(inside: Bools, outside: Bools, judged: Judged, seed: int) -> Share:
    """What the films outside reach with the mix of classes of those inside (direct standardisation)."""
    mix = np.bincount(judged.y[inside], minlength=len(judged.classes)) / inside.sum()
    y, predicted = judged.y[outside], judged.predicted[outside]
    patients = np.unique(judged.patients[outside], return_inverse=True)[1].astype(np.int64)

    def reached(weights: Floats | None = None) -> Floats:
        of_class = recall(confusion(y, predicted, len(judged.classes), weights))
        return np.asarray((np.where(mix > 0, of_class, 0.0) * mix).sum(-1))

    replicates = np.concatenate([reached(weights) for weights in bootstrap_weights(patients, y, _RESAMPLES, seed)])
    count = int(patients.max()) + 1
    value = float(reached())
    return Share(value, *bounded_interval(value, replicates, films=math.inf, patients=count), len(y), count)


def _check(
    check: str, names: pd.Series, groups: list[Group], compared: int, judged: Judged, limits: Mapping[str, Limit]
) -> Check:
    what = GROUPINGS[check][1]
    values = names.dropna().unique()
    if not len(values):
        return not_done(check, f"no film tells its {what}", limits, advice=f"Bring a manifest with the column {what}.")
    if not groups:
        return not_done(check, _why_not_compared(names, what, judged), limits, n=int(names.notna().sum()))
    worst = max(groups, key=lambda group: (group.raised <= CHANCE, group.behind))
    beyond = worst.raised <= CHANCE
    verdict = verdict_of(worst.behind, limits[check], beyond_chance=beyond)
    inside = (names == worst.name).fillna(False).to_numpy(bool)
    told = (
        f"Films of the {what} {worst.name} are named rightly in {worst.own.text}; the others, with the same mix of "
        f"classes, in {worst.others.text}"
    )
    end = "." if beyond else f", no more than chance may do among {count_of(compared, 'comparison')}."
    return Check(
        check,
        verdict,
        told + end,
        limits[check],
        advice=""
        if verdict == "pass"
        else f"Tell figures of each {what}; do not use the model for {worst.name} before more are tested.",
        value=worst.behind,
        low=worst.low,
        high=worst.high,
        n=int(inside.sum()),
        patients=judged.patients_of(inside),
        details=(*_lines(names, groups, compared, judged),),
    )


def _why_not_compared(names: pd.Series, what: str, judged: Judged) -> str:
    values = sorted(names.dropna().unique())
    if len(values) == 1:
        return f"all films are of one {what}, {values[0]}"
    of_class = pd.Series(judged.y).groupby(names.to_numpy(object)).unique()
    classes = np.concatenate(list(of_class))
    if len(np.unique(classes)) == len(classes):
        return f"no class has films of more than one {what}: {what} and class are one thing here"
    return f"no class has films of {FEW} patients in two of {enumerated(values, most=4)}"


def _lines(names: pd.Series, groups: list[Group], compared: int, judged: Judged) -> list[str]:
    by_name = {group.name: group for group in groups}
    lines = []
    for name in sorted(names.dropna().unique()):
        inside = (names == name).fillna(False).to_numpy(bool)
        n = films_of(int(inside.sum()), judged.patients_of(inside))
        group = by_name.get(str(name))
        if group is None:
            right = share_of((judged.predicted == judged.y)[inside], judged.patients[inside])
            lines.append(f"{name}: right in {right.text}, n = {n}; not compared")
        else:
            lines.append(
                f"{name}: right in {group.own.text}, n = {n}; others {group.others.text}; p = {group.p:.2g}, "
                f"{group.raised:.2g} after Holm for {count_of(compared, 'comparison')}"
            )
    if missing := int(names.isna().sum()):
        lines.append(f"unknown of {count_of(missing, 'film')}")
    return lines


def calibration(judged: Judged, limits: Mapping[str, Limit], *, seed: int = 0) -> Check:
    """How far the mean probability of the class called lies from how often it is right, in each source.

    Intervals are Bonferroni's for the number of sources; a gap whose interval holds 0 is taken for chance.
    """
    name = "calibration-by-source"
    if judged.p is None:
        return not_done(name, judged.no_p, limits, advice="Bring probabilities.", n=len(judged))
    sources = judged.films["source"].fillna("unknown source").to_numpy(object)
    every = np.unique(sources)
    enough = [each for each in every if len(np.unique(judged.patients[sources == each])) >= FEW]
    if not enough:
        return not_done(name, f"no source has {FEW} patients", limits, n=len(judged))
    found = {str(each): _gap(judged, sources == each, 1 - CHANCE / len(enough), seed) for each in enough}
    worst = max(found, key=lambda each: (_beyond(found[each]), abs(found[each][0])))
    gap, low, high, sure, right = found[worst]
    inside = sources == worst
    verdict = verdict_of(abs(gap), limits[name], beyond_chance=_beyond(found[worst]))
    where = f"On films of {worst}" if len(every) > 1 or worst != "unknown source" else "On all films"
    low, high = (low, high) if gap >= 0 else (-high, -low)
    return Check(
        name,
        verdict,
        f"{where} the model says {100 * sure:.0f} % on average, and is right in {100 * right:.0f} %.",
        limits[name],
        advice=""
        if verdict == "pass"
        else "Do not show its probabilities as they are; calibrate on films of the place.",
        value=abs(gap),
        low=low,
        high=high,
        n=int(inside.sum()),
        patients=judged.patients_of(inside),
        details=tuple(
            f"{each}: says {100 * mean:.0f} %, right in {100 * share:.0f} %, difference {100 * by:+.1f} "
            f"[{100 * lower:+.1f}, {100 * upper:+.1f}] points, "
            f"n = {films_of(int((sources == each).sum()), judged.patients_of(sources == each))}"
            for each, (by, lower, upper, mean, share) in found.items()
        ),
    )


def _gap(judged: Judged, inside: Bools, confidence: float, seed: int) -> tuple[float, float, float, float, float]:
    """Mean probability less share right, its interval, and both."""
    assert judged.p is not None
    sure = judged.p[inside, judged.predicted[inside]]
    right = (judged.predicted == judged.y)[inside].astype(float)
    patients = np.unique(judged.patients[inside], return_inverse=True)[1].astype(np.int64)
    blocks = bootstrap_weights(patients, judged.y[inside], _RESAMPLES, seed)
    replicates = np.concatenate([ratio(weights @ (sure - right), weights.sum(1)) for weights in blocks])
    gap = float((sure - right).mean())
    interval = bounded_interval(
        gap, replicates, films=math.inf, patients=int(patients.max()) + 1, confidence=confidence, bounds=(-1.0, 1.0)
    )
    return gap, *interval, float(sure.mean()), float(right.mean())


def _beyond(found: tuple[float, float, float, float, float]) -> bool:
    return not found[1] <= 0 <= found[2]
