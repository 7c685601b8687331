"""From a source's labels to the classes of a task, and what is left out on the way."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from hilum.errors import DataError, RequestError
from hilum.recipe.load import nearest
from hilum.recipe.schema import Data, Task

# Task: label -> class, in the order of the classes. A label stands for its subtypes, and the longest one that fits
# wins; "*" is every other label.
TASKS: Mapping[str, Mapping[str, str]] = {
    "covid-3": {"covid-19": "covid-19", "pneumonia": "pneumonia", "normal": "normal"},
    "covid-4": {
        "covid-19": "covid-19",
        "pneumonia/bacterial": "bacterial",
        "pneumonia/viral": "viral",
        "normal": "normal",
    },
    "covid-binary": {"covid-19": "covid-19", "*": "other"},
    "covid-vs-normal": {"covid-19": "covid-19", "normal": "normal"},
    "pneumonia-3": {"pneumonia/bacterial": "bacterial", "pneumonia/viral": "viral", "normal": "normal"},
}
# How people's folders and tables spell what readers call otherwise. Only for matching: `label` stays as written.
_SPELLINGS = {
    "covid": "covid-19",
    "covid19": "covid-19",
    "covid-19-pneumonia": "covid-19",
    "no-finding": "normal",
    "no-findings": "normal",
    "healthy": "normal",
    "bacteria": "pneumonia/bacterial",
    "bacterial": "pneumonia/bacterial",
    "bacterial-pneumonia": "pneumonia/bacterial",
    "pneumonia-bacterial": "pneumonia/bacterial",
    "virus": "pneumonia/viral",
    "viral": "pneumonia/viral",
    "viral-pneumonia": "pneumonia/viral",
    "pneumonia-viral": "pneumonia/viral",
}
LEFT_OUT_COLUMNS = ("label", "count", "reason")


@dataclass(frozen=True)
class Mapped:
    """What a task made of a manifest.

    manifest: the rows kept, with the column `class`. classes: their names, in the order of the network's outputs.
    left_out: a table of label, count and reason, of the rows that are not in the manifest.
    """

    manifest: pd.DataFrame
    classes: list[str]
    left_out: pd.DataFrame


def apply_task(manifest: pd.DataFrame, data: Data, task: Task, *, every_class: bool = True) -> Mapped:
    """Give each film its class by `data.task`, and leave out, with reason and count, the films that have none.

    covid-3          covid-19, pneumonia (of any cause), normal
    covid-4          covid-19, bacterial, viral, normal; pneumonia of other or unknown cause is left out
    covid-binary     covid-19, other: every other known label, healthy ones too
    covid-vs-normal  covid-19, normal
    pneumonia-3      bacterial, viral, normal
    labels           every label is its own class, in alphabetical order
    own              the `task` given: its labels and classes

    SARS and MERS are viral pneumonia: `viral` in covid-4, `pneumonia` in covid-3, `other` in covid-binary. Spelling
    is matched without case and with the usual variants (COVID19, No_findings, Viral Pneumonia). `data.drop` leaves
    labels out, with their subtypes; one that no film has is listed with count 0.

    Refused with RequestError: an unknown task, a class or label of the own task that is not there, each with the
    nearest name. Refused with DataError: fewer than two classes, a class without a film, or one whose films are all of
    one patient, or only one film: what is learned from it could not be tested on another. With `every_class` false,
    for judging a model on other films, classes may be absent or small, and one film is enough.

    >>> films = pd.DataFrame({"label": ["pneumonia/viral/sars", "covid-19", "normal", None] * 2})
    >>> mapped = apply_task(films, Data(task="covid-3"), Task())
    >>> mapped.classes, mapped.manifest["class"].tolist()[:3]
    (['covid-19', 'pneumonia', 'normal'], ['pneumonia', 'covid-19', 'normal'])
    >>> mapped.left_out.values.tolist()
    [[<NA>, 2, 'no label']]
    """
    if "label" not in manifest:
        raise DataError(
            f"the manifest has no column 'label'; its columns are {', '.join(map(str, manifest.columns))}",
            where=f"task {data.task!r}",
            next_step="Name the column of labels 'label', or read the table with csv:TABLE?label=COLUMN.",
        )
    written = manifest["label"].astype("string")
    present = sorted(written.dropna().unique())
    mapping, classes = _mapping(data.task, task, present, every_class)
    reasons = {label: _reason(label, data, mapping) for label in present}
    becomes = {label: _class_of(label, mapping) for label, reason in reasons.items() if not reason}
    result = written.map(becomes).astype("string")
    left_out = _left_out(written[result.isna()], reasons, data)
    kept = manifest[result.notna()].assign(**{"class": result[result.notna()]}).reset_index(drop=True)
    _check_classes(kept, classes, left_out, data.task, every_class)
    return Mapped(kept, classes, left_out)


def _mapping(name: str, task: Task, present: list[str], every_class: bool) -> tuple[dict[str, str], list[str]]:
    """Label in its normal form -> class, and the classes in order."""
    if name == "labels":
        return {normal_form(label): label for label in present}, _one_spelling(present)
    if name == "own":
        return _own_mapping(task, present, every_class)
    if name not in TASKS:
        raise RequestError(
            f"there is no task {name!r}", where="data.task", next_step=nearest(name, [*TASKS, "labels", "own"])
        )
    return dict(TASKS[name]), list(dict.fromkeys(TASKS[name].values()))


def _one_spelling(present: list[str]) -> list[str]:
    """The labels, unless two are one label in two spellings: a class would then stand there twice."""
    seen: dict[str, str] = {}
    for label in present:
        before = seen.setdefault(normal_form(label), label)
        if before != label:
            raise DataError(
                f"the labels {before!r} and {label!r} are two spellings of one",
                where="task 'labels'",
                next_step="Choose a task that ships, or map both to one class in [task.labels] with task = 'own'.",
            )
    return present


def _own_mapping(task: Task, present: list[str], every_class: bool) -> tuple[dict[str, str], list[str]]:
    if not task.labels:
        raise RequestError("the task 'own' has no labels", where="task.labels", next_step='Write: "normal" = "healthy"')
    forms = [normal_form(label) for label in present]
    for label, name in task.labels.items():
        if task.classes and name and name not in task.classes:
            raise RequestError(
                f"the class {name!r} is not in task.classes",
                where=f"task.labels.{label}",
                next_step=nearest(name, task.classes),
            )
        if every_class and label != "*" and not any(is_under(form, normal_form(label)) for form in forms):
            raise RequestError(
                f"no film has the label {label!r}",
                where="task.labels",
                next_step=nearest(label, present) if present else "No film has a label.",
            )
    for name in task.classes:
        if name not in task.labels.values():
            raise RequestError(
                f"no label is mapped to the class {name!r}",
                where="task.classes",
                next_step=f"Map one in [task.labels], as in: pneumonia = {name!r}, or leave the class out.",
            )
    mapping: dict[str, str] = {}
    for label, name in task.labels.items():
        if mapping.setdefault(normal_form(label), name) != name:
            raise RequestError(
                f"the label {label!r} stands there twice, in two spellings",
                where="task.labels",
                next_step="Keep one of them: case, blanks, hyphens and underscores do not matter.",
            )
    return mapping, list(task.classes) or list(dict.fromkeys(name for name in task.labels.values() if name))


def normal_form(label: str) -> str:
    """A label as it is matched: lower case, one spelling.

    >>> normal_form("COVID19"), normal_form("Viral Pneumonia"), normal_form("Pneumonia/Viral/SARS")
    ('covid-19', 'pneumonia/viral', 'pneumonia/viral/sars')
    """
    form = re.sub(r"[\s_]+", "-", label.strip().lower())
    return _SPELLINGS.get(form, form)


def is_under(label: str, above: str) -> bool:
    """Whether a label, in its normal form, is another one or a subtype of it.

    >>> is_under("pneumonia/viral", "pneumonia"), is_under("pneumonia", "pneumonia/viral")
    (True, False)
    """
    return label == above or label.startswith(above + "/")


def _key_of(label: str, mapping: Mapping[str, str]) -> str | None:
    """The key of the mapping that a label falls under: the longest, else "*", else None."""
    form = normal_form(label)
    keys = [key for key in mapping if is_under(form, key)]
    return max(keys, key=len) if keys else ("*" if "*" in mapping else None)


def _class_of(label: str, mapping: Mapping[str, str]) -> str:
    key = _key_of(label, mapping)
    return mapping[key] if key is not None else ""


def _reason(label: str, data: Data, mapping: Mapping[str, str]) -> str:
    """Why a label is left out, or ""."""
    if any(is_under(normal_form(label), normal_form(dropped)) for dropped in data.drop):
        return "dropped, as asked by data.drop"
    key = _key_of(label, mapping)
    if key is None:
        return f"not in task {data.task!r}"
    return "" if mapping[key] else "mapped to no class in task.labels"


def _left_out(labels: pd.Series, reasons: Mapping[str, str], data: Data) -> pd.DataFrame:
    rows: list[tuple[object, int, str]] = [
        (label, int(count), reasons[str(label)]) for label, count in labels.value_counts(sort=False).items()
    ]
    rows.sort(key=lambda row: (-row[1], str(row[0])))
    if labels.isna().any():
        rows.append((pd.NA, int(labels.isna().sum()), "no label"))
    forms = [normal_form(label) for label in reasons]
    rows += [
        (dropped, 0, "dropped, as asked by data.drop, but no film has it")
        for dropped in data.drop
        if not any(is_under(form, normal_form(dropped)) for form in forms)
    ]
    return pd.DataFrame(rows, columns=list(LEFT_OUT_COLUMNS)).astype({"label": "string", "count": "int64"})


def _check_classes(
    kept: pd.DataFrame, classes: list[str], left_out: pd.DataFrame, name: str, every_class: bool
) -> None:
    where = f"task {name!r}"
    gone = ", ".join(f"{row[0]} ({row[1]})" for row in left_out.itertuples(index=False) if row[1])
    next_step = (
        f"Labels left out: {gone}. Take each as a class with --set data.task=labels, or map them in [task.labels]."
        if gone
        else "Choose another task or source."
    )
    if kept.empty:
        raise DataError("no film has a label of it", where=where, next_step=next_step)
    if not every_class:
        return
    if len(classes) < 2:
        raise DataError(
            f"there is only the class {classes[0]!r}, and nothing to tell it from",
            where=where,
            next_step="Add a source with another class.",
        )
    for class_ in classes:
        films = kept[kept["class"] == class_]
        if films.empty:
            raise DataError(f"the class {class_!r} has no film", where=where, next_step=next_step)
        patients = films["patient_id"] if "patient_id" in films else pd.Series(pd.NA, index=films.index)
        if len(films) < 2:
            raise DataError(
                f"the class {class_!r} has one film, {_first(films)}; one cannot be both learned from and tested",
                where=where,
                next_step="Add films of it, or leave its label out with data.drop.",
            )
        if patients.notna().all() and patients.nunique() < 2:
            raise DataError(
                f"all {len(films)} films of the class {class_!r} are of one patient, {patients.iloc[0]}, "
                "who cannot be on both sides of a split",
                where=where,
                next_step="Add films of other patients, or leave its label out with data.drop.",
            )


def _first(films: pd.DataFrame) -> str:
    return str(films["image_id"].iloc[0]) if "image_id" in films else "row 0"
