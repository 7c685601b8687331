"""What a model may not be used for, read from the films that it was made with and from how it was judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from hilum.data.confounding import told_apart
from hilum.data.words import enumerated

FEW_PATIENTS = 50
ADULT_YEARS = 18


@dataclass(frozen=True)
class Limit:
    """One limit: the short form, and what it rests on."""

    short: str
    because: str


def limits(films: pd.DataFrame, classes: Sequence[str]) -> list[Limit]:
    """The limits that hold for every model, then those that these films give it.

    films: a manifest with `class` and `part`.
    """
    return [
        *_always(classes),
        *_by_age(films, classes),
        *_by_sex(films),
        *_by_view(films),
        *_by_source(films),
        *(limit for column in ("format", "mode", "view", "sex") for limit in _told_apart(films, column)),
        *_by_patient(films),
        *_by_size(films, classes),
    ]


def _always(classes: Sequence[str]) -> list[Limit]:
    return [
        Limit(
            "Not for the care of patients",
            "This is a research model, not a medical device. Nobody has shown that it helps a patient, "
            "and no authority has cleared it.",
        ),
        Limit(
            f"Not for anything but {enumerated(classes, 'or')}",
            f"The model always names one of these {len(classes)} classes, also for a film that shows something else, "
            "is no chest film, or shows two of them at once.",
        ),
        Limit(
            "Not where the classes are more or less common than here",
            "PPV and NPV move with how common a class is. State the prevalence meant (evaluate.prevalence) "
            "before quoting them.",
        ),
    ]


def _by_age(films: pd.DataFrame, classes: Sequence[str]) -> list[Limit]:
    unknown = _largely_unknown(
        films["age_years"],
        "Ages",
        "nobody can say for which ages the model was made, nor whether it tells children from adults instead of sick "
        "from well",
    )
    if unknown:
        return unknown
    known = films[films["age_years"].notna()]
    ages = known["age_years"].to_numpy(float)
    low, high = np.quantile(ages, [0.025, 0.975])
    found = []
    if high < ADULT_YEARS:
        found.append(Limit("Not for adults", f"95 % of the films are of children of {low:.0f} to {high:.0f} years."))
    elif low >= ADULT_YEARS:
        found.append(Limit("Not for children", f"95 % of the films are of adults of {low:.0f} to {high:.0f} years."))
    medians = known.groupby("class", observed=True)["age_years"].median().reindex(list(classes)).dropna()
    if len(medians) > 1 and medians.max() - medians.min() >= 15:
        youngest, oldest = medians.idxmin(), medians.idxmax()
        found.append(
            Limit(
                "The model may be telling ages apart",
                f"The median age is {medians.min():.0f} years in {youngest} and {medians.max():.0f} in {oldest}; "
                "age alone would separate many of these films.",
            )
        )
    return found


def _largely_unknown(column: pd.Series, what: str, because: str) -> list[Limit]:
    """A limit where a property is known for less than half of the films."""
    known = int(column.notna().sum())
    if known and known >= 0.5 * len(column):
        return []
    return [Limit(f"{what} are largely unknown", f"Known for {known} of {len(column)} films, so {because}.")]


def _by_sex(films: pd.DataFrame) -> list[Limit]:
    unknown = _largely_unknown(
        films["sex"], "Sexes", "nobody can say whether the model works as well for women as for men"
    )
    if unknown:
        return unknown
    shares = films["sex"].value_counts(normalize=True)
    if shares.max() >= 0.9:
        word = {"F": "men", "M": "women"}.get(str(shares.idxmax()), "the other sex")
        return [
            Limit(f"Not shown to work for {word}", f"{100 * shares.max():.0f} % of the films are {shares.idxmax()}.")
        ]
    return []


def _by_view(films: pd.DataFrame) -> list[Limit]:
    unknown = _largely_unknown(
        films["view"],
        "Views",
        "standing patients (PA) and patients in bed (AP) may be mixed, and lateral films may be among them",
    )
    if unknown:
        return unknown
    known = films["view"].dropna()
    absent = [view for view in ("PA", "AP", "lateral") if not known.str.startswith(view).any()]
    if not absent:
        return []
    there = enumerated([f"{view} ({count})" for view, count in known.value_counts().head(4).items()], "and")
    return [Limit(f"Not for {enumerated(absent, 'or')} views", f"The known views are {there}.")]


def _by_source(films: pd.DataFrame) -> list[Limit]:
    sources = set(films["source"])
    told = _told_apart(films, "source")
    if len(sources) == 1:
        reason = f"All films come from {next(iter(sources))}; a test part of it says nothing about other hospitals"
    elif "part" in films and set(films.loc[films["part"] == "test", "source"]) <= _learned_from(films):
        reason = "Every source of the test part is in the train part too, so this is no external validation"
    else:
        return told
    advice = "Judge the model on films from elsewhere with: hilum evaluate RUN --data SOURCE."
    return [Limit("Not shown to work anywhere else", f"{reason}. {advice}"), *told]


def _learned_from(films: pd.DataFrame) -> set[str]:
    """The sources of the train part; of a cross-validation, whose films are all tested: those in several folds."""
    if (films["part"] == "test").all() and "fold" in films:
        folds = films.groupby("source")["fold"].nunique()
        return set(folds.index[folds > 1])
    return set(films.loc[films["part"] == "train", "source"])


def _told_apart(films: pd.DataFrame, column: str) -> list[Limit]:
    """A limit where knowing the column alone would tell a class from the rest (DeGrave et al. 2021)."""
    found = [
        f"{told.hits} of {told.of} {told.label} films are {enumerated(told.commoner_in, 'or')}, "
        f"and {told.false} of {told.others} others"
        for told in told_apart(films[column], films["class"])
    ]
    if not found:
        return []
    return [
        Limit(
            f"The model may be reading the {column} of a film, not its finding",
            f"By {column} alone: {'; '.join(found)}.",
        )
    ]


def _by_patient(films: pd.DataFrame) -> list[Limit]:
    unknown = int(films["patient_id"].isna().sum())
    if not unknown:
        return []
    return [
        Limit(
            "Intervals may be too narrow",
            f"The patient is unknown for {unknown} of {len(films)} films; each such film counts as a patient of its "
            "own, and one patient may stand on both sides of the split.",
        )
    ]


def _by_size(films: pd.DataFrame, classes: Sequence[str]) -> list[Limit]:
    test = films[films["part"] == "test"] if "part" in films else films.iloc[:0]
    if test.empty:
        return [
            Limit("Not judged", "There is no test part; figures of the train and validation parts flatter a model.")
        ]
    patients = test["patient_id"].fillna(test["image_id"])
    counts = patients.groupby(test["class"], observed=True).nunique().reindex(list(classes), fill_value=0)
    few = [f"{name} ({count})" for name, count in counts.items() if count < FEW_PATIENTS]
    if not few:
        return []
    return [
        Limit(
            f"Figures of {enumerated([text.rsplit(' (', 1)[0] for text in few], 'and')} are rough",
            f"Patients in the test part: {enumerated(few, 'and')}. Read the intervals, not the values.",
        )
    ]
