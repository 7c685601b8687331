"""What a model may not be used for, read from the films that it was made with and from how it was judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

FEW_PATIENTS = 50
ADULT_YEARS = 18
TOLD_APART = 0.85  # balanced accuracy of a class against the rest


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
            f"Not for anything but {_enumerate(classes, 'or')}",
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
    known = films[films["age_years"].notna()]
    share = len(known) / max(len(films), 1)
    if share < 0.5:
        return [
            Limit(
                "Ages are largely unknown",
                f"Age is known for {len(known)} of {len(films)} films, so nobody can say for which ages the model was "
                "made, nor whether it tells children from adults instead of sick from well.",
            )
        ]
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


def _by_sex(films: pd.DataFrame) -> list[Limit]:
    known = films["sex"].dropna()
    if len(known) < 0.5 * len(films):
        return [
            Limit(
                "Sex is largely unknown",
                f"It is known for {len(known)} of {len(films)} films, so nobody can say whether the model "
                "works as well for women as for men.",
            )
        ]
    shares = known.value_counts(normalize=True)
    if shares.max() >= 0.9:
        word = {"F": "men", "M": "women"}.get(str(shares.idxmax()), "the other sex")
        return [
            Limit(f"Not shown to work for {word}", f"{100 * shares.max():.0f} % of the films are {shares.idxmax()}.")
        ]
    return []


def _by_view(films: pd.DataFrame) -> list[Limit]:
    known = films["view"].dropna()
    if len(known) < 0.5 * len(films):
        return [
            Limit(
                "Views are largely unknown",
                f"The view is known for {len(known)} of {len(films)} films; standing patients (PA) and patients in bed "
                "(AP) may be mixed, and lateral films may be among them.",
            )
        ]
    absent = [view for view in ("PA", "AP", "lateral") if not known.str.startswith(view).any()]
    if not absent:
        return []
    there = _enumerate([f"{view} ({count})" for view, count in known.value_counts().head(4).items()], "and")
    return [Limit(f"Not for {_enumerate(absent, 'or')} views", f"The known views are {there}.")]


def _by_source(films: pd.DataFrame) -> list[Limit]:
    sources = films["source"].value_counts()
    found = []
    if len(sources) == 1:
        found.append(
            Limit(
                "Not shown to work anywhere else",
                f"All films come from {sources.index[0]}. A test part from the same collection says nothing about "
                "other hospitals; judge the model on films from elsewhere with: hilum evaluate RUN --data SOURCE.",
            )
        )
    elif "part" in films and set(films.loc[films["part"] == "test", "source"]) <= _learned_from(films):
        found.append(
            Limit(
                "Not shown to work anywhere else",
                "Every source of the test part is in the train part too, so this is no external validation. "
                "Judge the model on films from elsewhere with: hilum evaluate RUN --data SOURCE.",
            )
        )
    return found + _told_apart(films, "source")


def _learned_from(films: pd.DataFrame) -> set[str]:
    """The sources of the train part; of a cross-validation, whose films are all tested: those in several folds."""
    if (films["part"] == "test").all() and "fold" in films:
        folds = films.groupby("source")["fold"].nunique()
        return set(folds.index[folds > 1])
    return set(films.loc[films["part"] == "train", "source"])


def _told_apart(films: pd.DataFrame, column: str) -> list[Limit]:
    """A limit where knowing the column alone would tell a class from the rest.

    For each class, the column says yes for the values in which the class is commoner than overall. Where that has a
    balanced accuracy of at least 0.85, a model could do as well without looking at a lung (DeGrave et al. 2021, Nat.
    Mach. Intell. 3:610).
    """
    known = films[films[column].notna() & films["class"].notna()]
    table = pd.crosstab(known[column], known["class"])
    if table.shape[0] < 2 or table.shape[1] < 2:
        return []
    found = []
    for name in table.columns:
        of_class, others = table[name], table.drop(columns=name).sum(axis=1)
        yes = of_class / (of_class + others) > of_class.sum() / len(known)
        hits, false = int(of_class[yes].sum()), int(others[yes].sum())
        if (hits / of_class.sum() + 1 - false / others.sum()) / 2 >= TOLD_APART:
            values = _enumerate([str(value) for value in table.index[yes]], "or")
            found.append(f"{hits} of {of_class.sum()} {name} films are {values}, and {false} of {others.sum()} others")
    if not found:
        return []
    told = found[:1] if table.shape[1] == 2 else found  # of two classes, one says it all
    return [
        Limit(
            f"The model may be reading the {column} of a film, not its finding",
            f"By {column} alone: {'; '.join(told)}.",
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
            f"Figures of {_enumerate([text.rsplit(' (', 1)[0] for text in few], 'and')} are rough",
            f"Patients in the test part: {_enumerate(few, 'and')}. Read the intervals, not the values.",
        )
    ]


def _enumerate(names: Sequence[str], last: str) -> str:
    """
    >>> _enumerate(["PA", "AP", "lateral"], "or")
    'PA, AP or lateral'
    """
    names = [str(name) for name in names]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {last} {names[-1]}" if names else "none"
