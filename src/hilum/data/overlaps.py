"""Which films stand there twice, and what two collections have in common: films and patients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hilum.data.groups import components

_TELLING = 12  # letters of a file's name, suffix and all


@dataclass(frozen=True)
class Overlap:
    """What two collections share.

    films_a: films of a that are in b too; patients_a: known patients of a who have such a film, or stand in b by their
    id; and so for b. exact_pairs, near_pairs: of one film of each. same_names: file names in both, for a copy that
    was cropped is no near duplicate and may still have its name.
    """

    a: str
    b: str
    films_a: int
    films_b: int
    patients_a: int
    patients_b: int
    exact_pairs: int
    near_pairs: int
    same_names: int


@dataclass(frozen=True)
class Repeats:
    """Films that stand there more than once.

    pictures: different ones; extra_films: films beyond the first of each picture; pairs_of_two_labels: pairs that the
    sources label differently, neither label being a subtype of the other.
    """

    exact_pairs: int
    near_pairs: int
    pictures: int
    extra_films: int
    pairs_of_two_labels: int
    examples_of_two_labels: list[tuple[str, str]]


def links_of(pairs: pd.DataFrame, manifest: pd.DataFrame) -> np.ndarray:
    """Row numbers (M, 2) of the pairs of `duplicates.find`."""
    place = pd.Series(np.arange(len(manifest)), index=manifest["image_id"])
    return np.c_[place.loc[pairs["image_id_a"]], place.loc[pairs["image_id_b"]]].astype(np.int64).reshape(-1, 2)


def repeats(manifest: pd.DataFrame, pairs: pd.DataFrame) -> Repeats:
    """What `duplicates.find` found, in numbers."""
    links = links_of(pairs, manifest)
    pictures = len(np.unique(components(len(manifest), links)))
    label = manifest["label"].astype("string").fillna("").to_numpy(dtype=object)
    two = np.array([_contradict(label[a], label[b]) for a, b in links], dtype=bool)
    examples = pairs.loc[two, ["image_id_a", "image_id_b"]].head(5).itertuples(index=False)
    return Repeats(
        exact_pairs=int((pairs["kind"] == "exact").sum()),
        near_pairs=int((pairs["kind"] == "near").sum()),
        pictures=pictures,
        extra_films=len(manifest) - pictures,
        pairs_of_two_labels=int(two.sum()),
        examples_of_two_labels=[(str(a), str(b)) for a, b in examples],
    )


def overlaps(manifest: pd.DataFrame, collection: pd.Series, pairs: pd.DataFrame) -> list[Overlap]:
    """What each two collections share, the most shared films first; collections that share nothing are not listed.

    collection: of each film, in the manifest's order. pairs: of `duplicates.find`, empty where nobody looked.

    >>> from hilum.data import duplicates
    >>> films = pd.DataFrame({"image_id": ["a/1", "b/1"], "path": ["1.png", "2.png"], "patient_id": [None, "b/ann"],
    ...                       "sha256": ["1f", "1f"], "phash": [None, None]})
    >>> overlaps(films, pd.Series(["a", "b"]), duplicates.find(films))
    [Overlap(a='a', b='b', films_a=1, films_b=1, patients_a=0, patients_b=1, exact_pairs=1, near_pairs=0,
             same_names=0)]
    """
    patient = manifest["patient_id"].astype("string").to_numpy(dtype=object)
    of = collection.astype(str).to_numpy(dtype=object)
    rows = links_of(pairs, manifest)
    across = rows[of[rows[:, 0]] != of[rows[:, 1]]] if len(rows) else rows
    exact = set(map(tuple, rows[(pairs["kind"] == "exact").to_numpy()])) if len(rows) else set()
    by_pair: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for first, second in across:
        a, b = (first, second) if of[first] < of[second] else (second, first)
        by_pair.setdefault((of[a], of[b]), []).append((int(a), int(b)))
    by_id, by_name = _in_both(patient, of), _in_both(_telling_names(manifest["path"]), of)
    found = []
    for a, b in sorted({*by_pair, *by_id, *by_name}):
        films, named = by_pair.get((a, b), []), by_id.get((a, b), set())
        in_a, in_b = {left for left, _ in films}, {right for _, right in films}
        is_exact = sum((left, right) in exact or (right, left) in exact for left, right in films)
        found.append(
            Overlap(
                a,
                b,
                films_a=len(in_a),
                films_b=len(in_b),
                patients_a=len(named | {patient[row] for row in in_a if not pd.isna(patient[row])}),
                patients_b=len(named | {patient[row] for row in in_b if not pd.isna(patient[row])}),
                exact_pairs=is_exact,
                near_pairs=len(films) - is_exact,
                same_names=len(by_name.get((a, b), set())),
            )
        )
    return sorted(found, key=lambda one: -(one.films_a + one.films_b + one.same_names))


def collections(manifest: pd.DataFrame, read_from: Mapping[str, str] | None = None) -> pd.Series:
    """The collection of each film: its source, or, where two were read under one name, what was read.

    read_from: image_id -> the source as it was asked for.

    >>> films = pd.DataFrame({"image_id": ["a", "b", "c"], "source": ["kermany", "kermany", "cohen"]})
    >>> collections(films, {"a": "kermany:small", "b": "kermany:large", "c": "cohen:cohen"}).tolist()
    ['kermany:small', 'kermany:large', 'cohen']
    """
    source = manifest["source"].astype(str)
    if not read_from:
        return source
    asked = manifest["image_id"].map(read_from).fillna("").astype(str)
    several = asked.groupby(source).transform("nunique") > 1
    return source.where(~several, asked)


def _in_both(values: np.ndarray, of: np.ndarray) -> dict[tuple[str, str], set[str]]:
    """(a, b) -> the values that films of both collections have; missing ones are no value."""
    known = pd.DataFrame({"value": values, "of": of}).dropna().drop_duplicates()
    pairs = known.merge(known, on="value")
    pairs = pairs[pairs["of_x"] < pairs["of_y"]]
    return {(str(a), str(b)): set(rows["value"].astype(str)) for (a, b), rows in pairs.groupby(["of_x", "of_y"])}


def _telling_names(paths: pd.Series) -> np.ndarray:
    """Names of files, missing where they are so short that two collections may have given them each: 0001.png."""
    names = paths.map(lambda path: Path(path).name).astype("string")
    return names.where(names.str.len() >= _TELLING).to_numpy(dtype=object)


def _contradict(a: str, b: str) -> bool:
    return bool(a and b) and a != b and not a.startswith(f"{b}/") and not b.startswith(f"{a}/")
