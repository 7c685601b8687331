"""All figures of a predictions table: metrics.json, made from the table alone. docs/figures.md defines every one.

metrics[part][name] = {value, low, high, n, patients}, with `reason` where the value is missing; names of one class are
`recall/covid-19`. Besides the parts stand `_about` (how it was made) and `_operating_points` (thresholds).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hilum.data.manifest import PARTS
from hilum.errors import DataError, RequestError
from hilum.evaluation.intervals import patient_numbers
from hilum.evaluation.operating_points import choose_thresholds, thresholds_of
from hilum.evaluation.part import OF_A_CLASS, OVERALL, Figure, Part, figures_of
from hilum.evaluation.predictions import check, class_numbers, classes_of, probabilities_of
from hilum.files import write_json
from hilum.recipe.schema import Evaluate


def evaluate(
    predictions: pd.DataFrame,
    how: Evaluate,
    *,
    temperature: float | None = None,
    operating_points: Mapping[str, Mapping[str, Any]] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Every figure of every part, with its interval, as metrics.json holds them.

    `temperature`: the one that the table's probabilities already carry; the calibration error without it is then told
    too. `operating_points`: the `_operating_points` of an earlier run, for films of elsewhere; without them they are
    chosen on this table's validation part, never on another. A table without parts is one test part. Films without a
    label are left out and counted. Refused with DataError: a table that `predictions.check` refuses, or without any
    label; with RequestError: a prevalence of a class that is not there.

    >>> films = pd.DataFrame({"image_id": list("abcd"), "label": ["ill", "ill", "well", "well"]})
    >>> films = films.assign(p_ill=[0.9, 0.4, 0.2, 0.1], p_well=[0.1, 0.6, 0.8, 0.9])
    >>> found = evaluate(films, Evaluate())
    >>> found["test"]["recall/ill"]["value"], found["test"]["auroc/ill"]["value"]
    (0.5, 1.0)
    """
    table = check(predictions, where="predictions")
    classes = classes_of(table)
    _check_prevalence(how, classes)
    table["part"] = table["part"].fillna("test")
    labelled = table[table["label"].notna()]
    if labelled.empty:
        raise DataError(
            "no film has a label, so there is nothing to compare the predictions with",
            where="predictions",
            next_step="Add a column 'label' with the class that is true.",
        )
    points = operating_points if operating_points is not None else _choose(labelled, classes, how)
    parts = {
        name: _part(labelled[labelled["part"] == name], classes, how, temperature, points)
        for name in PARTS
        if (labelled["part"] == name).any()
    }
    figures = {name: figures_of(part, points, seed) for name, part in parts.items()}
    if operating_points is None:
        points = _with_figures(points, figures.get("validation"))
    about = {
        "classes": classes,
        "interval": how.interval,
        "bootstrap": how.bootstrap,
        "seed": seed,
        "resampled_by": {name: "patient" if part.patients_known else "film" for name, part in parts.items()},
        "temperature": temperature,
        "prevalence": {name: dict(zip(classes, part.prevalence.tolist(), strict=True)) for name, part in parts.items()},
        "prevalence_stated": dict(how.prevalence),
        "wished_sensitivity": how.wished_sensitivity,
        "films_without_patient": {
            name: int(labelled.loc[labelled["part"] == name, "patient_id"].isna().sum()) for name in parts
        },
        "unlabelled": {name: int(table.loc[table["part"] == name, "label"].isna().sum()) for name in PARTS},
    }
    return {"_about": about, "_operating_points": {name: dict(point) for name, point in points.items()}, **figures}


def table(found: Mapping[str, Any], part: str) -> pd.DataFrame:
    """The figures of a part as a table: figure, class, value, low, high, n, patients, better, reason.

    >>> found = {"test": {"recall/ill": {"value": 0.9, "low": 0.6, "high": 0.98, "n": 10, "patients": 10}}}
    >>> table(found, "test")[["figure", "class", "value", "better"]].to_numpy().tolist()
    [['sensitivity', 'ill', 0.9, 'higher']]
    """
    rows = []
    for full, figure in _of(found, part).items():
        name, _, of_class = full.partition("/")
        words, better = (OF_A_CLASS if of_class else OVERALL).get(name, (name, ""))
        rows.append(
            {"figure": words, "class": of_class, **{key: figure.get(key) for key in ("value", "low", "high")}}
            | {"n": figure["n"], "patients": figure["patients"], "better": better, "reason": figure.get("reason", "")}
        )
    return pd.DataFrame(rows).astype({"value": float, "low": float, "high": float, "n": "Int64", "patients": "Int64"})


def sentence(name: str, figure: Mapping[str, Any], part: str) -> str:
    """A figure as prose has it: never without interval and n.

    >>> sentence("recall/covid-19", {"value": 0.9, "low": 0.596, "high": 0.982, "n": 10, "patients": 10}, "test")
    'sensitivity of covid-19 0.90 [0.60, 0.98], n = 10 patients, test'
    >>> sentence("precision/covid-19", {"value": None, "reason": "no film is called covid-19"}, "test")
    'precision of covid-19 undefined (no film is called covid-19), test'
    """
    bare, _, of_class = name.partition("/")
    words = (OF_A_CLASS if of_class else OVERALL).get(bare, (bare, ""))[0] + (f" of {of_class}" if of_class else "")
    if figure["value"] is None:
        return f"{words} undefined ({figure.get('reason', 'nothing to compute it from')}), {part}"
    films, patients = figure["n"], figure["patients"]
    n = f"{films} films" if patients is None else f"{patients} patients"
    n += f" ({films} films)" if patients is not None and films != patients else ""
    value, low, high = figure["value"], figure["low"], figure["high"]
    if low is None:
        return f"{words} {value:.2f} [no interval], n = {n}, {part}"
    # A third decimal only where the interval does not swallow it.
    digits = 3 if high - low < 0.1 else 2
    return f"{words} {value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}], n = {n}, {part}"


def save(found: Mapping[str, Any], path: Path | str) -> None:
    """Write metrics.json whole or not at all."""
    write_json(path, found)


def load(path: Path | str) -> dict[str, Any]:
    """Read a metrics.json; refused with RequestError where there is none, with DataError where it is broken."""
    path = Path(path)
    if not path.is_file():
        raise RequestError("there is no such file of figures", where=str(path))
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"this is no JSON: {error}", where=str(path)) from None
    if not isinstance(found, dict) or "_about" not in found:
        raise DataError("this is no metrics.json of hilum: it has no '_about'", where=str(path))
    return found


def _of(found: Mapping[str, Any], part: str) -> Mapping[str, Figure]:
    if part not in found or part.startswith("_"):
        there = ", ".join(name for name in found if not name.startswith("_"))
        raise RequestError(f"there are no figures of the part {part!r}; there are {there}")
    of_part: Mapping[str, Figure] = found[part]
    return of_part


def _check_prevalence(how: Evaluate, classes: list[str]) -> None:
    for name in how.prevalence:
        if name not in classes:
            raise RequestError(
                f"{name!r} is none of the classes {', '.join(classes)}",
                where="evaluate.prevalence",
                next_step="Correct the name or leave it out.",
            )


def _choose(labelled: pd.DataFrame, classes: list[str], how: Evaluate) -> dict[str, dict[str, Any]]:
    validation = labelled[labelled["part"] == "validation"]
    y = class_numbers(validation["label"], classes)
    points = choose_thresholds(y, probabilities_of(validation), classes, how.wished_sensitivity)
    if validation.empty:
        points = {
            name: point | {"reason": "there is no validation part to choose it on"} for name, point in points.items()
        }
    return points


def _with_figures(points: Mapping[str, Mapping[str, Any]], validation: Mapping[str, Figure] | None) -> dict[str, Any]:
    """Operating points with what they reach on the part they were chosen on."""
    return {
        name: {**point} | {key: (validation or {}).get(f"op_{key}/{name}") for key in ("sensitivity", "specificity")}
        for name, point in points.items()
    }


def _part(
    films: pd.DataFrame,
    classes: list[str],
    how: Evaluate,
    temperature: float | None,
    points: Mapping[str, Mapping[str, Any]],
) -> Part:
    y = class_numbers(films["label"], classes)
    own = np.bincount(y, minlength=len(classes)) / len(y)
    return Part(
        classes=classes,
        y=y,
        predicted=class_numbers(films["predicted"], classes),
        p=probabilities_of(films),
        patients=patient_numbers(films["patient_id"], films["image_id"]),
        patients_known=bool(films["patient_id"].notna().any()),
        thresholds=thresholds_of(points, classes, films["fold"]),
        temperature=temperature,
        prevalence=np.array([how.prevalence.get(name, own[number]) for number, name in enumerate(classes)]),
        how=how,
    )
