"""What is known beside the film, and whether it says the class: source, age, children, sex, view, missing entries."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hilum.audit.films import Films
from hilum.audit.shortcuts import told_by
from hilum.audit.told import CHANCE, FEW_PATIENTS
from hilum.audit.verdict import Check, not_done, verdict_of
from hilum.data.confounding import association
from hilum.data.words import count_of, enumerated
from hilum.evaluation.intervals import bootstrap_weights, bounded_interval

ADULT_YEARS = 18
# What the data sheets say of all films of a source, where no film tells its own age (hilum.data.readers).
CHILDREN_OF: Mapping[str, bool] = {
    "kermany": True,
    "kaggle-covid19-pneumonia/kermany": True,
    "kaggle-covid19-pneumonia/covid-19-collections": False,
    "darkcovidnet/nih": False,
}
_SHUFFLES = 999
_RESAMPLES = 200
_RARE = 10  # films; views that fewer have are one

_SOURCES = (
    "Train with the sources balanced within each class (--set balance.by_source=true), and judge on a source left out "
    "(--set split.scheme=source)."
)
_EVEN = "Keep films of like {what} in each class (--set data.match='[\"{key}\"]'), or judge each {key} by itself."


def metadata(films: Films) -> list[Check]:
    """All checks of this module."""
    return [
        label_and_source(films),
        sources_of_one_class(films),
        age_and_label(films),
        children_and_label(films),
        sex_and_label(films),
        view_and_label(films),
        missing_and_label(films),
    ]


def label_and_source(films: Films) -> Check:
    """Cramer's V of class and source, with what shuffling the classes gives."""
    name = "label-and-source"
    rows = np.flatnonzero(films.y >= 0)
    source = films.manifest["source"].astype(str).iloc[rows]
    alone = _one_source(name, films, source)
    if alone is not None:
        return alone
    y, groups = films.y[rows], np.unique(films.groups[rows], return_inverse=True)[1].astype(np.int64)
    codes = pd.factorize(source)[0].astype(np.int64)
    value = cramers_v(codes, y)
    weights = np.concatenate(list(bootstrap_weights(groups, y, _RESAMPLES, films.how.seed)))
    replicates = np.array([cramers_v(codes, y, weight) for weight in weights])
    low, high = bounded_interval(value, replicates, films=np.inf, patients=len(np.unique(groups)))
    shuffled = np.array([cramers_v(codes, dealt) for dealt in _dealt(y, groups, films.how.seed)])
    beyond = (1 + (shuffled >= value).sum()) / (1 + len(shuffled)) <= CHANCE
    verdict = verdict_of(value, films.limits[name], beyond_chance=bool(beyond))
    lines = _rows(source, y, films)
    return Check(
        name,
        verdict,
        "Where a film comes from says much about its class, so a model may learn the look of a hospital and not the "
        "disease."
        if verdict != "pass"
        else "The classes are spread over the sources much alike.",
        films.limits[name],
        advice="" if verdict == "pass" else _cannot(lost) if (lost := _only_alone(source, y, films)) else _SOURCES,
        value=value,
        low=low,
        high=high,
        n=len(rows),
        patients=films.patients(films.y >= 0),
        details=(
            *lines[:6],
            f"With the classes shuffled, 99 of 100 times V is below {np.quantile(shuffled, 1 - CHANCE):.3f}",
        ),
    )


def cramers_v(a: NDArray[np.int64], b: NDArray[np.int64], weights: NDArray[np.float64] | None = None) -> float:
    """Of two lists of numbers from 0, each film counting `weights` times; 0 where either is always the same.

    Cramer 1946, Mathematical Methods of Statistics, chapter 21: sqrt(chi2 / (n (min(r, c) - 1))).

    >>> cramers_v(np.array([0, 0, 1]), np.array([0, 0, 1])), cramers_v(np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1]))
    (1.0, 0.0)
    """
    width = int(b.max()) + 1
    counts = np.bincount(a * width + b, weights=weights, minlength=(int(a.max()) + 1) * width).reshape(-1, width)
    counts = counts[counts.sum(1) > 0][:, counts.sum(0) > 0].astype(float)
    if min(counts.shape) < 2:
        return 0.0
    expected = counts.sum(1, keepdims=True) * counts.sum(0, keepdims=True) / counts.sum()
    chi2 = ((counts - expected) ** 2 / expected).sum()
    return float(np.sqrt(chi2 / (counts.sum() * (min(counts.shape) - 1))))


def sources_of_one_class(films: Films) -> Check:
    """Of each class the share of its films that come from sources which have no other class; the largest counts."""
    name = "sources-of-one-class"
    known = films.y >= 0
    source = films.manifest["source"].astype(str)[known]
    alone = _one_source(name, films, source)
    if alone is not None:
        return alone
    label = pd.Series(np.array(films.classes, dtype=object)[films.y[known]], index=source.index)
    found = association(source, label)
    single = source.isin(found.of_one_label)
    shares = single.groupby(label).mean()
    worst, share = str(shares.idxmax()), float(shares.max())
    lost = _only_alone(source, films.y[known], films)
    lines = [
        f"{one}: only {label[source == one].iloc[0]}, {count_of(int((source == one).sum()), 'film')}"
        for one in found.of_one_label
    ]
    verdict = verdict_of(share, films.limits[name])
    return Check(
        name,
        verdict,
        f"{_all_of(share)} {worst} films come from sources that have no other class "
        f"({enumerated(sorted(set(source[single & (label == worst)])), most=3)}): a model that recognises the source "
        "names the class without seeing a lung."
        if lines
        else "Every source has films of more than one class.",
        films.limits[name],
        advice="" if verdict == "pass" else _cannot(lost) if lost else "Add other classes from there, or leave it out.",
        value=share,
        n=int(known.sum()),
        patients=films.patients(known),
        details=tuple(lines[:6]),
    )


def age_and_label(films: Films) -> Check:
    """How well age alone tells the class, where it is known."""
    name = "age-and-label"
    rows = np.flatnonzero(films.manifest["age_years"].notna())
    if not len(rows):
        return _unknown(name, films, "an age")
    age = films.manifest["age_years"].iloc[rows].to_numpy(float)
    medians = [
        f"{label}: median age {np.median(age[of]):.0f} years, n = {int(of.sum())}"
        for place, label in enumerate(films.classes)
        if (of := films.y[rows] == place).any()
    ]
    return told_by(
        name,
        films,
        age[:, None],
        rows,
        by="the age",
        so="a film shows age, so a model may learn age in place of disease",
        advice=_EVEN.format(what="ages", key="age"),
        learner="trees",
        details=(*medians[:6], _known(rows, films)),
    )


def children_and_label(films: Films) -> Check:
    """Whether one class is of children and another of adults, by each film's age or by what its source is known for."""
    name = "children-and-label"
    child = _children(films)
    known = np.flatnonzero(~np.isnan(child) & (films.y >= 0))
    people = [len(np.unique(films.groups[known][films.y[known] == k])) for k in range(len(films.classes))]
    counted = [k for k, count in enumerate(people) if count >= FEW_PATIENTS]
    if len(counted) < 2:
        return _unknown(name, films, "whether it is of a child, in two classes")
    rows = known[np.isin(films.y[known], counted)]
    y, groups = films.y[rows], np.unique(films.groups[rows], return_inverse=True)[1].astype(np.int64)
    is_child = child[rows]
    value, young, old = _apart(is_child, y, counted)
    replicates = np.concatenate(
        [
            (block * is_child * (y == young)).sum(1) / (block * (y == young)).sum(1)
            - (block * is_child * (y == old)).sum(1) / (block * (y == old)).sum(1)
            for block in bootstrap_weights(groups, y, _RESAMPLES, films.how.seed)
        ]
    )
    fewer = min(len(np.unique(groups[y == k])) for k in (young, old))
    low, high = bounded_interval(value, replicates, films=np.inf, patients=fewer, bounds=(-1.0, 1.0))
    shuffled = np.array([_apart(is_child, dealt, counted)[0] for dealt in _dealt(y, groups, films.how.seed)])
    beyond = (1 + (shuffled >= value).sum()) / (1 + len(shuffled)) <= CHANCE
    verdict = verdict_of(value, films.limits[name], beyond_chance=bool(beyond))
    lines = [
        f"{films.classes[k]}: {int(is_child[y == k].sum())} of {count_of(int((y == k).sum()), 'film')} are of children"
        for k in counted
    ]
    by_source = films.manifest["age_years"].isna().to_numpy()[rows].any()
    return Check(
        name,
        verdict,
        f"{films.classes[young]} films are of children far more often than {films.classes[old]} films: a model may "
        "tell children from adults and be called a detector of disease."
        if verdict != "pass"
        else "No class has many more children than another.",
        films.limits[name],
        advice="" if verdict == "pass" else "Take adults in every class, or children in every class.",
        value=value,
        low=low,
        high=high,
        n=len(rows),
        patients=films.patients(np.isin(np.arange(len(films.y)), rows)),
        details=(*lines, *(["Where a film does not tell its age, its source's data sheet does"] if by_source else [])),
    )


def sex_and_label(films: Films) -> Check:
    """How well sex alone tells the class, where it is known."""
    return _column(films, "sex-and-label", "sex", "the patient's sex", "a sex")


def view_and_label(films: Films) -> Check:
    """How well the view alone tells the class, where it is known."""
    return _column(films, "view-and-label", "view", "the view (PA, AP, lying)", "a view")


def missing_and_label(films: Films) -> Check:
    """How well it tells the class which entries are missing."""
    columns = ["view", "sex", "age_years", "offset_days", "patient_id"]
    absent = films.manifest[columns].isna().to_numpy(float)
    lines = [
        f"{name}: missing in " + ", ".join(
            f"{share:.0%} of {label}" for place, label in enumerate(films.classes)
            for share in [absent[films.y == place, number].mean()] if share > 0
        )
        for number, name in enumerate(columns)
        if 0 < absent[films.y >= 0, number].mean() < 1
    ]  # fmt: skip
    return told_by(
        "missing-and-label",
        films,
        absent,
        np.arange(len(absent)),
        by="what is missing (view, sex, age, days, patient)",
        so="the classes were put together from sources that note different things",
        advice="Ask the sources for what is missing, and judge each source by itself.",
        learner="trees",
        details=tuple(lines[:5]),
    )


def _column(films: Films, name: str, column: str, by: str, what: str) -> Check:
    values = films.manifest[column].astype("string")
    rows = np.flatnonzero(values.notna())
    if not len(rows):
        return _unknown(name, films, what)
    values = values.iloc[rows]
    common = values.where(values.map(values.value_counts()) >= _RARE, "other")
    lines = _rows(common, films.y[rows], films)
    return told_by(
        name,
        films,
        pd.get_dummies(common).to_numpy(float),
        rows,
        by=by,
        so=f"a film shows the {column}, so a model may learn it in place of disease",
        advice=_EVEN.format(what="views" if column == "view" else "sexes", key=column),
        details=(*lines, _known(rows, films)),
    )


def _children(films: Films) -> NDArray[np.float64]:
    """1 a child, 0 an adult, NaN unknown."""
    age = films.manifest["age_years"].to_numpy(float, na_value=np.nan)
    told = films.manifest["source"].map(lambda name: float(CHILDREN_OF[name]) if name in CHILDREN_OF else np.nan)
    return np.where(np.isnan(age), told.to_numpy(float), (age < ADULT_YEARS).astype(float))


def _apart(is_child: NDArray[np.float64], y: NDArray[np.int64], counted: list[int]) -> tuple[float, int, int]:
    """The largest difference of the share of children between two classes, and the two."""
    share = {k: float(is_child[y == k].mean()) for k in counted}
    young, old = max(counted, key=lambda k: share[k]), min(counted, key=lambda k: share[k])
    return share[young] - share[old], young, old


def _dealt(y: NDArray[np.int64], groups: NDArray[np.int64], seed: int) -> list[NDArray[np.int64]]:
    """The classes dealt anew, patients kept together as far as their numbers of films allow."""
    rng = np.random.default_rng([seed, 2])
    order = np.argsort(groups, kind="stable")
    back = np.argsort(order, kind="stable")
    out = []
    for _ in range(_SHUFFLES):
        keys = rng.random(int(groups.max()) + 1)[groups[order]]
        out.append(y[order][np.argsort(keys, kind="stable")][back])
    return out


def _only_alone(source: pd.Series, y: NDArray[np.int64], films: Films) -> list[str]:
    """The classes of which no film stands in a source beside another class."""
    table = pd.crosstab(source.to_numpy(), np.array(films.classes, dtype=object)[y])
    beside = table[(table > 0).sum(axis=1) > 1]
    return [str(name) for name in table.columns if not (beside[name] > 0).any()]


def _cannot(classes: list[str]) -> str:
    """What has to be said where no remedy helps."""
    return (
        f"These films cannot answer whether a film shows {enumerated(classes, 'or')}: all of it comes from sources "
        "without another class, which neither balancing nor matching nor cropping can mend. Add films of it and of "
        "others from one hospital."
    )


def _all_of(share: float) -> str:
    """
    >>> _all_of(1.0), _all_of(0.999), _all_of(0.25)
    ('All', '99 % of the', '25 % of the')
    """
    return "All" if share == 1 else f"{int(100 * share)} % of the"


def _one_source(name: str, films: Films, source: pd.Series) -> Check | None:
    if len(set(source)) > 1:
        return None
    return not_done(
        name,
        f"all films of known class come from one source, {source.iloc[0]}",
        films.limits,
        advice="Judge the model on films from elsewhere: hilum evaluate RUN --data SOURCE.",
        n=len(source),
    )


def _rows(values: pd.Series, y: NDArray[np.int64], films: Films) -> list[str]:
    """How many films of each class have each of the commonest values."""
    lines = []
    for value in values.value_counts().index[:6]:
        counts = np.bincount(y[(values == value).to_numpy() & (y >= 0)], minlength=len(films.classes))
        lines.append(
            f"{value}: " + ", ".join(f"{label} {n}" for label, n in zip(films.classes, counts, strict=True) if n)
        )
    return lines


def _unknown(name: str, films: Films, what: str) -> Check:
    return not_done(name, f"no film tells {what}", films.limits, advice="Ask the source for it.", n=len(films.manifest))


def _known(rows: NDArray[np.int64], films: Films) -> str:
    return f"Known for {len(rows)} of {count_of(len(films.manifest), 'film')}"
