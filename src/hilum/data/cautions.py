"""What films themselves say about how far to trust what is learned from them, in words, before any training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from hilum.data.confounding import RARE, Told, only_there, told_apart, without_rare
from hilum.data.overlaps import Overlap, Repeats
from hilum.data.summary import FilmsPerPatient, main_labels
from hilum.data.words import count_of, enumerated

FEW_PATIENTS = 10
AGES_APART_YEARS = 15
# column -> what it is called
_COLUMNS = {
    "view": "view",
    "modality": "modality",
    "sex": "sex",
    "format": "file format",
    "mode": "colour mode",
    "size": "size in pixels",
}
_NAMED = 4  # sources or labels that a sentence spells out


@dataclass(frozen=True)
class Caution:
    """One thing to know before training: what, the numbers behind it, and what to do."""

    what: str
    because: str
    next_step: str = ""

    @property
    def line(self) -> str:
        """In one line.

        >>> Caution("All films come from one source, a", "10 films", "Add another").line
        'All films come from one source, a: 10 films. Add another.'
        """
        return f"{self.what}: {self.because}." + (f" {self.next_step}." if self.next_step else "")


def by_source(manifest: pd.DataFrame) -> list[Caution]:
    """Labels that stand and fall with the source of their films; main labels, so that subtypes do not crowd them."""
    labels = main_labels(manifest["label"])
    known = labels.notna()
    sources, labels = manifest.loc[known, "source"].astype("string"), labels[known]
    counts = labels.value_counts()
    if len(counts) and len(set(sources)) == 1:
        return [
            Caution(
                f"All films of known label come from one source, {sources.iloc[0]}",
                f"{len(labels)} films; nothing here can show whether a model works anywhere else",
                "Judge it on films from elsewhere, with: hilum evaluate RUN --data SOURCE",
            )
        ]
    if len(counts) < 2:
        return []
    alone = only_there(sources, labels)
    told = [one for one in _told(sources, labels) if one.label not in alone]
    one_source = sources.groupby(labels).agg(["nunique", "first"])
    said = {*alone, *(one.label for one in told)}
    # Of two sources, what is said of one label says it of the others.
    several = len(set(sources)) > 2
    rest = [label for label in counts.index if several and one_source["nunique"][label] == 1 and label not in said]
    return [
        *(_alone(label, alone[label], int(counts[label])) for label in counts.index if label in alone),
        *map(_told_by_source, told),
        *_of_one_source([f"{label} ({counts[label]}, {one_source['first'][label]})" for label in rest]),
    ]


def _alone(label: str, sources: Sequence[str], films: int) -> Caution:
    there = "and nothing else does" if len(sources) == 1 else "which hold nothing else"
    return Caution(
        f"Every {label} film comes from {enumerated(sources, most=_NAMED)}, {there}",
        f"{films} films; a model can name {label} by the look of the source, without seeing a lung",
        f"Add {label} films from elsewhere, or other films from there, or believe no figure of it",
    )


def _told_by_source(told: Told) -> Caution:
    return Caution(
        f"By its source alone a film is known as {told.label} or not, with balanced accuracy "
        f"{told.balanced_accuracy:.3f} (n = {told.of + told.others} films)",
        f"{told.hits} of {told.of} {told.label} films come from {enumerated(told.commoner_in, most=_NAMED)}, "
        f"and {told.false} of {told.others} others; a model can do as well without seeing a lung",
        "Judge by source too, and on films from elsewhere",
    )


def _of_one_source(labels: list[str]) -> list[Caution]:
    if not labels:
        return []
    what = f"One source alone has {enumerated(labels, most=_NAMED)}"
    return [Caution(what, "what is learned of them may be learned of the source")]


def _told(column: pd.Series, labels: pd.Series) -> list[Told]:
    """Of the labels of which there are enough films for it to mean something."""
    return [one for one in told_apart(without_rare(column), labels) if one.of >= FEW_PATIENTS]


def by_column(manifest: pd.DataFrame) -> list[Caution]:
    """Labels that a film's view, sex, kind of file or size would give away."""
    labels = main_labels(manifest["label"])
    found = []
    for key, name in _COLUMNS.items():
        column = _sizes(manifest) if key == "size" else manifest.get(key)
        if column is None or labels.nunique() < 2:
            continue
        told = _told(column, labels)
        if told:
            parts = [
                f"{one.hits} of {one.of} {one.label} films are {_values(one, name)}, "
                f"and {one.false} of {one.others} others"
                for one in told
            ]
            known = int((column.notna() & labels.notna()).sum())
            found.append(
                Caution(
                    f"A film's {name} gives away {enumerated([one.label for one in told])}",
                    f"where it is known (n = {known} films), {'; '.join(parts)}",
                )
            )
    return found


def _values(told: Told, name: str) -> str:
    return enumerated(
        [f"of a rare {name}" if value == RARE else value for value in told.commoner_in], "or", most=_NAMED
    )


def _sizes(manifest: pd.DataFrame) -> pd.Series | None:
    if "width" not in manifest or manifest["width"].isna().all():
        return None
    return manifest["width"].astype("string") + " x " + manifest["height"].astype("string")


def by_age_and_sex(manifest: pd.DataFrame) -> list[Caution]:
    """Ages or sexes that differ between labels, or that nobody knows."""
    labels = main_labels(manifest["label"])
    found = []
    for column, word in (("age_years", "Age"), ("sex", "Sex")):
        unknown = int(manifest[column].isna().sum())
        if unknown > len(manifest) / 2:
            wholly = manifest[column].isna().groupby(manifest["source"].astype(str)).all()
            sources = sorted(wholly.index[wholly])
            found.append(
                Caution(
                    f"{word} is unknown for {unknown} of {len(manifest)} films",
                    f"nobody can see whether the labels differ in {word.lower()}"
                    + (
                        f"; wholly unknown in {enumerated(sources, most=_NAMED)}"
                        if sources and not wholly.all()
                        else ""
                    ),
                )
            )
    known = manifest["age_years"].notna() & labels.notna()
    ages = manifest.loc[known, "age_years"].astype(float).groupby(labels[known]).agg(["median", "size"])
    ages = ages[ages["size"] >= FEW_PATIENTS]
    if len(ages) > 1 and ages["median"].max() - ages["median"].min() >= AGES_APART_YEARS:
        young, old = str(ages["median"].idxmin()), str(ages["median"].idxmax())
        found.append(
            Caution(
                "Age tells labels apart",
                f"the median age is {ages['median'][young]:.0f} years in {young} (n = {ages['size'][young]}) and "
                f"{ages['median'][old]:.0f} in {old} (n = {ages['size'][old]})",
                "Take films of like ages, with --where",
            )
        )
    return found


def by_repeats(found: Repeats | None, shared: Sequence[Overlap], leaks: dict[str, int] | None) -> list[Caution]:
    """Films that stand there more than once, in one collection or two, under two labels, in two published parts."""
    out = [_shared(one) for one in shared[:_NAMED]]
    if len(shared) > _NAMED:
        out.append(
            Caution(f"{count_of(len(shared) - _NAMED, 'more pair')} of collections share films", "see the overlaps")
        )
    if found and found.extra_films:
        out.append(
            Caution(
                f"{found.extra_films} of {found.extra_films + found.pictures} films are copies, "
                f"which leaves {found.pictures} different pictures",
                f"{count_of(found.exact_pairs, 'pair')} of the same bytes, "
                f"{found.near_pairs} of one picture in two files",
            )
        )
    if found and found.pairs_of_two_labels:
        a, b = found.examples_of_two_labels[0]
        out.append(
            Caution(
                f"{count_of(found.pairs_of_two_labels, 'pair')} of one film under two different labels",
                f"one is {a} and {b}",
                "One of the two is wrong: leave both out, or ask the source",
            )
        )
    if leaks:
        told = enumerated([count_of(count, kind) for kind, count in leaks.items()])
        out.append(
            Caution(
                "The published split leaks, for its parts share patients or films",
                told,
                "Leave them out of train with --set split.leaks=drop",
            )
        )
    return out


def _shared(one: Overlap) -> Caution:
    patients = max(one.patients_a, one.patients_b)
    parts = [
        f"{count_of(one.films_a, 'film')} of the first in the second" if one.films_a else "",
        f"of {count_of(patients, 'known patient')}" if patients else "",
        f"{count_of(one.same_names, 'file name')} in both" if one.same_names else "",
    ]
    return Caution(
        f"{one.a} and {one.b} share films",
        ", ".join(part for part in parts if part),
        "Neither is an external test of the other",
    )


def by_patient(manifest: pd.DataFrame, patients: FilmsPerPatient | None) -> list[Caution]:
    """Patients that nobody knows, labels of few patients, patients under two labels."""
    found = []
    unknown = int(manifest["patient_id"].isna().sum())
    if unknown:
        found.append(
            Caution(
                f"The patient is unknown for {unknown} of {len(manifest)} films",
                "one patient may stand on both sides of a split, and intervals may be too narrow",
            )
        )
    labels = main_labels(manifest["label"])
    known = labels.notna()
    people = manifest["patient_id"].astype("string").fillna(manifest["image_id"].astype("string"))
    counts = people[known].groupby(labels[known]).nunique().sort_values()
    few = [f"{label} ({count})" for label, count in counts.items() if count < FEW_PATIENTS]
    if few:
        found.append(
            Caution(
                f"Fewer than {FEW_PATIENTS} patients have {enumerated(few, most=8)}",
                "too few to learn from, or to be tested on",
                "Leave them out with data.drop, or let a task map them to a larger class",
            )
        )
    if patients and patients.of_two_labels:
        found.append(
            Caution(
                f"{count_of(patients.of_two_labels, 'patient')} with films under two different labels",
                f"as {patients.example_of_two_labels}",
                "They may have fallen ill or recovered between two films",
            )
        )
    return found


def by_kind_of_film(manifest: pd.DataFrame) -> list[Caution]:
    """Films that are no frontal radiographs."""
    found = []
    modality = manifest.get("modality")
    if modality is not None:
        slices = int(modality.astype("string").str.upper().eq("CT").fillna(False).sum())
        if slices:
            found.append(
                Caution(
                    f"{slices} of {len(manifest)} films are CT slices",
                    "a model would learn CT from X-ray",
                    "Leave them out with: --where 'missing(modality) or modality != \"CT\"'",
                )
            )
    lateral = int(manifest["view"].eq("lateral").fillna(False).sum())
    if lateral:
        found.append(
            Caution(
                f"{lateral} of {len(manifest)} films are lateral views",
                "most models are meant for frontal films",
                "Leave them out with: --where 'missing(view) or view != \"lateral\"'",
            )
        )
    return found


def by_label(manifest: pd.DataFrame) -> list[Caution]:
    """Films without a label, and a manifest of one label."""
    found = []
    without = int(manifest["label"].isna().sum())
    if without:
        found.append(Caution(f"{without} of {len(manifest)} films have no label", "every task leaves them out"))
    labels = main_labels(manifest["label"]).dropna().unique()
    if len(labels) == 1:
        found.append(Caution(f"There is one label only, {labels[0]}", "nothing can be told from anything"))
    return found
