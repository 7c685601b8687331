"""Predictions as they are brought, ours or anybody's, with what the manifest knows of their films.

A table that `evaluation.predictions.check` would refuse can often be judged in part: of logits the class called is
known, though no probability. So here a fault is kept as the reason why some checks cannot be made, and only what leaves
nothing to judge is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hilum.data.summary import main_labels
from hilum.data.words import count_of, enumerated
from hilum.errors import DataError, RequestError
from hilum.evaluation.intervals import patient_numbers
from hilum.evaluation.metrics import Floats, Ints
from hilum.evaluation.predictions import PREFIX, check, class_numbers, classes_of

KNOWN = ("patient_id", "source", "vendor", "view", "sex", "age_years")
_VENDORS = ("vendor", "manufacturer")


@dataclass(frozen=True)
class Judged:
    """The labelled films of one part: y, predicted (N,) class numbers; p (N, K) or None, and why; patients (N,)."""

    films: pd.DataFrame
    classes: list[str]
    y: Ints
    predicted: Ints
    p: Floats | None
    no_p: str
    patients: Ints

    def __len__(self) -> int:
        return len(self.films)

    def patients_of(self, chosen: np.ndarray) -> int | None:
        """How many known patients the chosen films are of; None where none is known."""
        return self.films["patient_id"][chosen].nunique() or None


@dataclass(frozen=True)
class Brought:
    """All predictions, joined with the manifest where there is one.

    films: image_id, part, label, predicted, whether the manifest has it (in_manifest), and `KNOWN` as far as known.
    p (N, K) in the order of `classes`, or None and `no_p` says why. unknown: predictions of films it lacks;
    unanswered: films of its test part without a prediction, or with an empty one; relabelled: films whose
    label is not the manifest's class;
    other_labels: labels that are none of the classes, with their films.
    """

    films: pd.DataFrame
    classes: list[str]
    p: Floats | None
    no_p: str
    with_manifest: bool
    unknown: int
    unanswered: int
    relabelled: int
    other_labels: dict[str, int]

    def part(self, name: str) -> Judged:
        """The films of a part that have a label among the classes, and a prediction."""
        chosen = (self.films["part"].eq(name).fillna(False) & self.films["label"].isin(self.classes)).to_numpy(bool)
        films = self.films[chosen].reset_index(drop=True)
        return Judged(
            films,
            self.classes,
            class_numbers(films["label"], self.classes),
            class_numbers(films["predicted"], self.classes),
            None if self.p is None else self.p[chosen],
            self.no_p,
            patient_numbers(films["patient_id"], films["image_id"]) if len(films) else np.zeros(0, np.int64),
        )


def read_brought(path: Path | str) -> pd.DataFrame:
    """The table of a CSV file as text. Refused with RequestError: no such file; with DataError: no CSV table."""
    path = Path(path)
    if not path.is_file():
        raise RequestError("there is no such table of predictions", where=str(path))
    try:
        return pd.read_csv(path, dtype="string", keep_default_na=False, na_values=[""], encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise DataError(f"this is no CSV table: {error}", where=str(path)) from None


def brought(predictions: pd.DataFrame, manifest: pd.DataFrame | None, *, where: str = "predictions") -> Brought:
    """Join predictions with the manifest; see `Brought`.

    Needed are image_id, and `predicted` or two columns p_<class>. The part, and what is known of a film, are the
    table's own, else the manifest's; without both all films are one test part. Refused with DataError: no image_id,
    nothing predicted, no row, an image twice in a part.

    >>> table = pd.DataFrame({"image_id": ["a"], "label": ["ill"], "p_ill": ["3.1"], "p_well": ["-1"]})
    >>> found = brought(table, None)
    >>> found.films["predicted"].tolist(), found.no_p
    (['ill'], 'p_ill is 3.1, and these look like logits: apply softmax first')
    """
    table = predictions.reset_index(drop=True)
    classes = _classes(table, where)
    scores = _scores(table, classes)
    answer = _called(table, classes, scores)
    films = pd.DataFrame({"image_id": table["image_id"].astype("string"), "predicted": answer})
    joined = _joined(table, manifest, films["image_id"], classes)
    for name in ("part", "label", *KNOWN):
        films[name] = joined[name]
    films["part"] = films["part"].fillna("test") if films["part"].isna().all() else films["part"]
    films["in_manifest"] = True if manifest is None else films["image_id"].isin(manifest["image_id"])
    answered = answer.notna().to_numpy(bool)
    empty = int((~answered & films["part"].eq("test").fillna(False)).sum())
    films, scores = films[answered].reset_index(drop=True), scores[answered]
    _refuse_repeats(films, where)
    no_p = _why_no_p(scores, classes)
    labels = films["label"].dropna()
    return Brought(
        films,
        classes,
        None if no_p else scores,
        no_p,
        manifest is not None,
        int((~films["in_manifest"]).sum()),
        empty + _without_prediction(table, manifest),
        _relabelled(table, manifest, classes),
        {str(name): int(count) for name, count in labels[~labels.isin(classes)].value_counts().items()},
    )


def _classes(table: pd.DataFrame, where: str) -> list[str]:
    there = enumerated(table.columns)
    if "image_id" not in table:
        raise DataError(f"the column 'image_id' is missing; the columns are {there}", where=where)
    if not len(table):
        raise DataError("there is no row", where=where)
    if len(twice := table.columns[table.columns.duplicated()]):
        raise DataError(f"the column {twice[0]!r} stands there twice", where=where)
    if len(found := classes_of(table)) >= 2:
        return found
    if "predicted" not in table:
        raise DataError(
            f"there is neither a column 'predicted' nor two columns p_<class>; the columns are {there}",
            where=where,
            next_step="Name the columns of probabilities p_<class>, as in p_covid-19, p_normal.",
        )
    named = [table[name].dropna().astype(str) for name in ("label", "predicted") if name in table]
    return sorted(set(pd.concat(named)))


def _scores(table: pd.DataFrame, classes: Sequence[str]) -> Floats:
    """What stands in the p_ columns, (N, K), NaN where there is no number."""
    columns = [
        pd.to_numeric(table[PREFIX + name], errors="coerce").to_numpy(np.float64, na_value=np.nan)
        if PREFIX + name in table
        else np.full(len(table), np.nan)
        for name in classes
    ]
    return np.column_stack(columns)


def _called(table: pd.DataFrame, classes: Sequence[str], scores: Floats) -> pd.Series:
    """The class called: as told, else that of the largest score; missing where neither is."""
    whole = np.isfinite(scores).all(1)
    best = np.where(whole, np.where(np.isfinite(scores), scores, 0).argmax(1), len(classes))
    of_scores = pd.Series(np.array([*classes, pd.NA], dtype=object)[best], dtype="string")
    if "predicted" not in table:
        return of_scores
    told = table["predicted"].astype("string")
    return told.where(told.isin(classes)).fillna(of_scores)


def _joined(table: pd.DataFrame, manifest: pd.DataFrame | None, ids: pd.Series, classes: Sequence[str]) -> pd.DataFrame:
    """part, label and `KNOWN` of each prediction: the table's own, else the manifest's."""
    of_manifest = pd.DataFrame(index=ids.index)
    if manifest is not None:
        of_manifest = manifest.drop_duplicates("image_id").set_index("image_id").reindex(ids).set_axis(ids.index)
        of_manifest["label"] = _true_classes(of_manifest, classes)
    out = {}
    for name in ("part", "label", *KNOWN):
        names = _VENDORS if name == "vendor" else (name,)
        column = pd.Series(pd.NA, index=ids.index, dtype="string")
        for frame in (table, of_manifest):
            for each in names:
                if each in frame:
                    column = column.fillna(frame[each].astype("string"))
        out[name] = column
    out["age_years"] = pd.to_numeric(out["age_years"], errors="coerce").astype("Float64")
    return pd.DataFrame(out)


def _refuse_repeats(films: pd.DataFrame, where: str) -> None:
    twice = films.duplicated(["image_id", "part"])
    if twice.any():
        raise DataError(
            f"image_id {films.loc[twice, 'image_id'].iloc[0]!r} stands there twice in the same part",
            where=where,
            next_step="Leave one prediction of each film.",
        )


def _why_no_p(scores: Floats, classes: Sequence[str]) -> str:
    """Why the scores are no probabilities, in words that stand after "because", or ""."""
    if not np.isfinite(scores).any():
        return "only the classes called are told, no probabilities"
    numbered = pd.DataFrame(scores, columns=[PREFIX + name for name in classes])
    try:
        check(numbered.assign(image_id=[str(row) for row in range(len(scores))]))
    except DataError as error:
        value = error.what.replace(" is no probability from 0 to 1", "")
        column, _, rest = value.partition(" ")
        said = f"{column} is {rest}" if value != error.what else error.what
        advice = error.next_step.split(". ")[0].rstrip(".")
        return said + (f", and {advice[0].lower()}{advice[1:].replace('; ', ': ')}" if advice else "")
    return ""


def _without_prediction(table: pd.DataFrame, manifest: pd.DataFrame | None) -> int:
    if manifest is None or "part" not in manifest:
        return 0
    test = manifest.loc[manifest["part"] == "test", "image_id"]
    return int((~test.isin(table["image_id"])).sum())


def _true_classes(manifest: pd.DataFrame, classes: Sequence[str]) -> pd.Series:
    """The class that a task gave each film, else its label, without the subtype where the classes have none.

    >>> films = pd.DataFrame({"label": ["pneumonia/viral", "normal", None]})
    >>> _true_classes(films, ["normal", "pneumonia"]).tolist()
    ['pneumonia', 'normal', <NA>]
    """
    if "class" in manifest and manifest["class"].notna().any():
        return manifest["class"].astype("string")
    if "label" not in manifest:
        return pd.Series(pd.NA, index=manifest.index, dtype="string")
    labels = manifest["label"].astype("string")
    return labels.where(labels.isin(classes), main_labels(labels))


def _relabelled(table: pd.DataFrame, manifest: pd.DataFrame | None, classes: Sequence[str]) -> int:
    if manifest is None or "label" not in table:
        return 0
    known = manifest.drop_duplicates("image_id").set_index("image_id")
    truth = table["image_id"].map(_true_classes(known, classes))
    both = table["label"].isin(classes) & truth.isin(classes)
    return int((both & (truth != table["label"])).sum())


def films_of(count: int, patients: int | None) -> str:
    """
    >>> films_of(3, 2), films_of(1, None)
    ('3 films of 2 patients', '1 film')
    """
    return count_of(count, "film") + ("" if patients is None else f" of {count_of(patients, 'patient')}")
