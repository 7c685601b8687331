"""What a manifest holds, counted: films, patients, ages and what is missing, by label and by source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

# Columns by whose values each label's films are counted, where a source tells them.
BY_LABEL = ("source", "view", "modality", "sex", "split", "format", "mode", "finding")
UNKNOWN = "(missing)"
# What hilum fills in itself, or a task or a split: that it is missing says nothing about a collection.
_OWN = (
    "image_id",
    "path",
    "width",
    "height",
    "bits",
    "mode",
    "format",
    "sha256",
    "phash",
    "phash_sizes",
    "part",
    "fold",
    "class",
)


@dataclass(frozen=True)
class Range:
    """Of the n known values of a column."""

    n: int
    min: float
    median: float
    max: float


@dataclass(frozen=True)
class OfLabel:
    """One label's films."""

    label: str
    films: int
    patients: int
    films_without_patient: int
    F: int
    M: int
    age_years: Range | None
    films_per_patient: Range | None


@dataclass(frozen=True)
class Missing:
    """One column's missing values, of all films and of each source's that has missing ones."""

    column: str
    missing: int
    of: int
    by_source: dict[str, int]


@dataclass(frozen=True)
class FilmsPerPatient:
    """How many known patients have how many films; the one with the most; and those under two different labels."""

    patients: dict[int, int]
    most: int
    patient_with_most: str
    of_two_labels: int
    example_of_two_labels: str


def main_labels(labels: pd.Series) -> pd.Series:
    """Labels without their subtypes; a missing one stays missing.

    >>> main_labels(pd.Series(["pneumonia/viral/sars", None], dtype="string")).tolist()
    ['pneumonia', <NA>]
    """
    return labels.astype("string").str.split("/").str[0]


def of_labels(manifest: pd.DataFrame) -> list[OfLabel]:
    """Each label's films, the commonest label first; films without a label count as (missing)."""
    labels = manifest["label"].astype("string").fillna(UNKNOWN)
    found = [_of_label(str(label), films) for label, films in manifest.groupby(labels, sort=True)]
    return sorted(found, key=lambda one: -one.films)


def _of_label(label: str, films: pd.DataFrame) -> OfLabel:
    return OfLabel(
        label,
        len(films),
        int(films["patient_id"].nunique()),
        int(films["patient_id"].isna().sum()),
        int((films["sex"] == "F").sum()),
        int((films["sex"] == "M").sum()),
        range_of(films["age_years"]),
        range_of(films["patient_id"].value_counts()),
    )


def range_of(column: pd.Series) -> Range | None:
    """None where nothing is known.

    >>> range_of(pd.Series([3, None, 5]))
    Range(n=2, min=3.0, median=4.0, max=5.0)
    """
    known = column.dropna().astype("float64")
    if known.empty:
        return None
    return Range(len(known), float(known.min()), float(known.median()), float(known.max()))


def by_label(manifest: pd.DataFrame, columns: Sequence[str] = BY_LABEL) -> dict[str, dict[str, dict[str, int]]]:
    """column -> label -> value -> films, for the columns of which anything is known."""
    labels = manifest["label"].astype("string").fillna(UNKNOWN)
    known = [name for name in columns if name in manifest and manifest[name].notna().any()]
    return {name: _counts(labels, manifest[name]) for name in known}


def _counts(labels: pd.Series, column: pd.Series) -> dict[str, dict[str, int]]:
    table = pd.crosstab(labels, column.astype("string").fillna(UNKNOWN))
    return {
        str(label): {str(value): int(count) for value, count in row.items() if count} for label, row in table.iterrows()
    }


def missing(manifest: pd.DataFrame) -> list[Missing]:
    """Each column that a source can fill, in the manifest's order.

    >>> films = pd.DataFrame({"source": ["a", "b"], "view": ["PA", None]})
    >>> missing(films)[1]
    Missing(column='view', missing=1, of=2, by_source={'b': 1})
    """
    found = []
    for name in (str(name) for name in manifest.columns if name not in _OWN):
        absent = manifest[name].isna()
        by_source = absent.groupby(manifest["source"].astype(str)).sum()
        told = {str(source): int(count) for source, count in by_source.items() if count}
        found.append(Missing(name, int(absent.sum()), len(manifest), told))
    return found


def films_per_patient(manifest: pd.DataFrame) -> FilmsPerPatient | None:
    """None where no patient is known."""
    films = manifest["patient_id"].value_counts()
    if films.empty:
        return None
    pairs = pd.DataFrame({"patient": manifest["patient_id"], "label": main_labels(manifest["label"])}).dropna()
    labels = pairs.drop_duplicates().groupby("patient")["label"].size()
    two = sorted(str(patient) for patient in labels.index[labels > 1])
    return FilmsPerPatient(
        {int(str(number)): int(patients) for number, patients in films.value_counts().sort_index().items()},
        int(films.iloc[0]),
        str(films.index[0]),
        len(two),
        two[0] if two else "",
    )


def sizes(manifest: pd.DataFrame) -> dict[str, Range] | None:
    """Of width and height in pixels; None where no file was looked into."""
    if "width" not in manifest:
        return None
    found = {name: range_of(manifest[name]) for name in ("width", "height")}
    return {name: known for name, known in found.items() if known} or None
