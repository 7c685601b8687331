"""The sections of a report: facts of a run in, what the section's template shows out. Pictures are made at `draw`.

A section that has nothing to show raises HilumError with the reason, and the page shows that reason in its place.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from hilum.data.leaks import describe, find_leaks
from hilum.data.manifest import PARTS
from hilum.errors import DataError
from hilum.evaluation.metrics import confusion
from hilum.recipe.load import to_toml
from hilum.report import figures
from hilum.report.facts import Facts
from hilum.report.gallery import sample_films
from hilum.report.limits import limits
from hilum.report.tables import (
    KEY_FIGURES,
    MEANINGS,
    count_of,
    counts,
    figure_groups,
    known_fields,
    parts_of,
    shown,
    words_of,
)

# Makes a picture of a figure: (figure, file name, alternative text, caption) -> what the template shows.
Draw = Callable[..., Any]
Context = dict[str, Any]

FILES = {
    "recipe.toml": "everything that was asked for, defaults written out",
    "environment.json": "versions, machine, commit, seed, weights' hash, notes",
    "manifest.parquet": "the films used, with class, part and fold",
    "history.csv": "a row per epoch: loss, figures, learning rate, seconds",
    "weights.safetensors": "the model, with its classes in order and how films are prepared",
    "predictions.csv": "what the model said of each film",
    "metrics.json": "the figures of this page, with intervals and n",
    "audit.json": "the audit's checks",
}
_SHOWN_ELSEWHERE = ("notes", "command", "left_out", "classes")
FIELDS = ("patient_id", "view", "sex", "age_years", "offset_days")
MOST_CALIBRATION_CURVES = 8


def headline(facts: Facts, draw: Draw) -> Context:
    """The figures that a reader wants first, and one sentence about them."""
    part = facts.judged
    if not part:
        raise DataError("metrics.json has no part", where=str(facts.run.path))
    figures_of_part = facts.metrics[part]
    published = facts.recipe.about.published
    keys = [
        (words_of(name), MEANINGS[name], shown(figures_of_part[name]), published.get(name))
        for name in KEY_FIGURES
        if name in figures_of_part
    ]
    return {"part": part, "keys": keys, "weakest": _weakest(figures_of_part, facts.classes), "classes": facts.classes}


def audit(facts: Facts, draw: Draw) -> Context:
    """The audit's checks, the worst first."""
    rank = {"fail": 0, "warn": 1, "pass": 2}
    fields = ("check", "verdict", "meaning", "advice", "value", "low", "high", "n")
    checks: list[Context] = [{name: check.get(name) for name in fields} for check in facts.run.audit() or []]
    checks.sort(key=lambda check: rank.get(str(check["verdict"]), 1))
    return {"checks": [{**check, "shown": _audit_value(check)} for check in checks]}


def data(facts: Facts, draw: Draw) -> Context:
    """What the films are."""
    films = facts.manifest
    classes = facts.classes
    by_class = {
        "source": ("source", counts(films["source"], films["class"], corner="source", column_order=classes)),
        "view": ("view", counts(films["view"], films["class"], corner="view", column_order=classes)),
        "sex": ("sex", counts(films["sex"], films["class"], corner="sex", column_order=classes)),
    }
    known_ages = int(films["age_years"].notna().sum())
    ages = None
    if known_ages:
        ages = draw(
            figures.age_histogram(films["age_years"], films["class"], classes),
            "age",
            f"Histogram of age by class, {count_of(known_ages, 'film')} of known age",
            f"Age by class. Known for {known_ages} of {len(films)} films.",
        )
    return {
        **sample_films(facts),
        "films": len(films),
        "patients": int(films["patient_id"].nunique()),
        "without_patient": int(films["patient_id"].isna().sum()),
        "by_part": counts(films["class"], films["part"], corner="class", row_order=classes, column_order=PARTS),
        "tables": [by_class[name] for name in ("source", "view", "sex") if films[name].notna().any()],
        "unknown_altogether": [name for name in ("view", "sex", "age_years") if not films[name].notna().any()],
        "ages": ages,
        "fields": known_fields(films, FIELDS),
        "labels": None
        if films["label"].equals(films["class"])
        else counts(films["label"], films["class"], corner="label of the source", column_order=classes),
        "left_out": _left_out(facts),
        "where": facts.recipe.data.where,
        "per_class": facts.recipe.data.per_class,
        "sources": facts.recipe.data.source,
        "task": facts.recipe.data.task,
    }


def split(facts: Facts, draw: Draw) -> Context:
    """Who is in which part, and who is in two."""
    films = facts.manifest
    parts = [
        (
            part,
            len(rows),
            int(rows["patient_id"].nunique()),
            int(rows["patient_id"].isna().sum()),
            len(rows) / max(len(films), 1),
        )
        for part in PARTS
        if len(rows := films[films["part"] == part])
    ]
    leaks, unchecked = _leaks(films[films["part"].notna()])
    return {
        "how": facts.recipe.split,
        "scheme": facts.environment.get("scheme"),
        "parts": parts,
        "leaks": leaks,
        "unchecked": unchecked,
    }


def training(facts: Facts, draw: Draw) -> Context:
    """How training went."""
    history = facts.history
    if history.empty:
        raise DataError("history.csv has no epoch", where=str(facts.run.path))
    epochs = count_of(len(history), "epoch")
    pictures = [
        draw(
            figures.loss_curves(history),
            "loss",
            f"Loss by epoch over {epochs}",
            "Loss of the train and validation parts.",
        ),
        draw(
            figures.validation_curves(history),
            "validation",
            f"Figures of the validation part by epoch over {epochs}",
            "Figures of the validation part, without interval: they choose the epoch and judge nothing.",
        ),
        draw(
            figures.learning_rate_curve(history),
            "learning-rate",
            f"Learning rate by epoch over {epochs}",
            "Learning rate, as each epoch left it.",
        ),
    ]
    return {
        "pictures": pictures,
        "epochs": epochs,
        "seconds": float(history["seconds"].sum()),
        "stages": list(enumerate(facts.recipe.stage, 1)),
        "model": facts.recipe.model,
        "balance": facts.recipe.balance,
        "prepare": facts.recipe.prepare,
    }


def all_figures(facts: Facts, draw: Draw) -> Context:
    """Every figure of metrics.json."""
    parts = parts_of(facts.metrics)
    if not parts:
        raise DataError("metrics.json has no part", where=str(facts.run.path))
    return {
        "parts": parts,
        "judged": facts.judged,
        "groups": figure_groups(facts.metrics, facts.classes),
        "how": _how_made(facts.metrics["_about"], facts.judged),
    }


def confusions(facts: Facts, draw: Draw) -> Context:
    """Which class is taken for which."""
    pictures = []
    for part in ("validation", "test"):
        y, predicted, _ = facts.scored(part)
        if not len(y):
            continue
        matrix = confusion(y, predicted, len(facts.classes)).astype(int)
        rows = [
            f"of {matrix[row].sum()} {name}: "
            + ", ".join(f"{matrix[row, column]} as {other}" for column, other in enumerate(facts.classes))
            for row, name in enumerate(facts.classes)
        ]
        pictures.append(
            draw(
                figures.confusion_matrix(matrix, facts.classes),
                f"confusion-{part}",
                f"Confusion matrix of the {part} part; {'; '.join(rows)}",
                f"{part.capitalize()} part, n = {count_of(len(y), 'film')}. Share of the row below each count.",
            )
        )
    if not pictures:
        raise DataError("no film of the validation or test part has a known class")
    return {"pictures": pictures}


def curves(facts: Facts, draw: Draw) -> Context:
    """How the probabilities separate the classes, and whether they mean what they say."""
    part, classes = facts.judged, facts.classes
    y, _, p = facts.scored(part)
    if not len(y):
        raise DataError(f"no film of the {part} part has a known class")
    of_part = facts.metrics[part]
    n = f"{part.capitalize()} part, n = {count_of(len(y), 'film')}"
    rings = _points(of_part, classes)
    pictures = [
        draw(
            figures.roc_curves(y, p, classes, words=_words(of_part, "auroc", classes), points=rings),
            "roc",
            f"ROC curves by class, {part} part. AUROC: {_spoken(of_part, 'auroc', classes)}",
            f"ROC curves, each class against the rest, with AUROC and interval. {n}."
            + (" Rings: the operating points." if rings else ""),
        ),
        draw(
            figures.precision_recall_curves(y, p, classes, words=_words(of_part, "average_precision", classes)),
            "precision-recall",
            f"Precision-recall curves by class, {part} part. Average precision: "
            f"{_spoken(of_part, 'average_precision', classes)}",
            f"Precision and recall, with average precision and interval. {n}. Short lines at the left: guessing.",
        ),
    ]
    shown_classes = classes[:MOST_CALIBRATION_CURVES]
    calibration = [
        draw(
            figures.calibration_curve(y == place, p[:, place], name, facts.colours[name]),
            f"calibration-{place + 1}",
            f"Calibration of the probability of {name}, {part} part, "
            f"{int((y == place).sum())} films with it and {int((y != place).sum())} without",
            f"{name}: {int((y == place).sum())} films with it, {int((y != place).sum())} without.",
        )
        for place, name in enumerate(shown_classes)
    ]
    about = facts.metrics.get("_about") or {}
    return {
        "pictures": pictures,
        "calibration": calibration,
        "without_curve": classes[MOST_CALIBRATION_CURVES:],
        "temperature": about.get("temperature"),
        "part": part,
    }


def operating_points(facts: Facts, draw: Draw) -> Context:
    """Thresholds chosen on validation, and what they give there and where the model is judged."""
    chosen = facts.metrics.get("_operating_points") or {}
    if not chosen:
        raise DataError("metrics.json holds no operating point", where=str(facts.run.path))
    parts = [part for part in dict.fromkeys(("validation", facts.judged)) if part in facts.metrics]
    names = ("op_sensitivity", "op_specificity", "op_ppv", "op_npv")
    rows = [
        (
            name,
            chosen[name],
            [(part, [shown(facts.metrics[part].get(f"{figure}/{name}")) for figure in names]) for part in parts],
        )
        for name in facts.classes
        if name in chosen
    ]
    return {"rows": rows, "heads": [words_of(name).removesuffix(" at the operating point") for name in names]}


def cautions(facts: Facts, draw: Draw) -> Context:
    """What the model may not be used for."""
    return {"limits": limits(facts.manifest, facts.classes)}


def again(facts: Facts, draw: Draw) -> Context:
    """What someone needs to get the same figures."""
    folder = shlex.quote(str(facts.run.path))
    command = facts.environment.get("command")
    return {
        "command": shlex.join(map(str, command)) if isinstance(command, list) else command,
        "again": f"hilum train --recipe {shlex.quote(str(facts.run.path / 'recipe.toml'))} -o {folder}-again",
        "predict": f"hilum predict {folder} FILM_OR_FOLDER... -o predictions.csv",
        "environment": _flat({key: value for key, value in facts.environment.items() if key not in _SHOWN_ELSEWHERE}),
        "recipe": to_toml(facts.recipe),
        "citation": facts.recipe.about.citation,
    }


def files(facts: Facts, draw: Draw) -> Context:
    """What lies in the run folder, so that nobody has to guess."""
    folder = facts.run.path
    there = [
        (name, meaning, _bytes((folder / name).stat().st_size))
        for name, meaning in FILES.items()
        if (folder / name).is_file()
    ]
    pictures = sorted((folder / "figures").glob("*.*"))
    size = _bytes(sum(picture.stat().st_size for picture in pictures))
    there.append(("figures/", f"{count_of(len(pictures), 'picture')}: those of this page, as SVG and PNG", size))
    return {"folder": folder.resolve().name, "files": there}


def _bytes(size: int) -> str:
    """
    >>> _bytes(812), _bytes(48_200), _bytes(9_340_000)
    ('812 B', '48 kB', '9.3 MB')
    """
    return f"{size} B" if size < 1000 else f"{size / 1e3:.0f} kB" if size < 1e6 else f"{size / 1e6:.1f} MB"


def _weakest(of_part: Mapping[str, Any], classes: list[str]) -> tuple[str, Any] | None:
    """The class with the lowest sensitivity, and it."""
    known = {name: of_part.get(f"recall/{name}") for name in classes}
    values = {name: figure["value"] for name, figure in known.items() if figure and figure.get("value") is not None}
    if len(values) < 2:
        return None
    name = min(values, key=lambda each: values[each])
    return name, shown(known[name])


def _how_made(about: Mapping[str, Any], part: str) -> list[str]:
    """How the intervals came about, at which prevalence PPV and NPV stand, and what was left out."""
    by = (about.get("resampled_by") or {}).get(part, "film")
    lines = [
        f"{100 * about['interval']:g} % intervals from {about['bootstrap']} resamples of the {by}s"
        + ("." if by == "patient" else "; patients are unknown, so the intervals may be too narrow.")
    ]
    prevalence = (about.get("prevalence") or {}).get(part) or {}
    if prevalence:
        stated = "as stated in the recipe" if about.get("prevalence_stated") else f"the {part} part's own"
        each = ", ".join(f"{name} {share:.3f}" for name, share in prevalence.items())
        lines.append(f"PPV and NPV of the {part} part hold at this prevalence, {stated}: {each}.")
    unlabelled = {name: n for name, n in (about.get("unlabelled") or {}).items() if n}
    if unlabelled:
        each = ", ".join(f"{name} {n}" for name, n in unlabelled.items())
        lines.append(f"Films of unknown class, left out of every figure: {each}.")
    return lines


def _points(of_part: Mapping[str, Any], classes: list[str]) -> dict[str, tuple[float, float]]:
    """class -> (specificity, sensitivity) at its operating point, where both are defined."""
    found = {}
    for name in classes:
        specificity, sensitivity = (
            (of_part.get(f"op_{key}/{name}") or {}).get("value") for key in ("specificity", "sensitivity")
        )
        if specificity is not None and sensitivity is not None:
            found[name] = (specificity, sensitivity)
    return found


def _audit_value(check: Mapping[str, Any]) -> str:
    value, low, high = (check.get(key) for key in ("value", "low", "high"))
    if not isinstance(value, int | float):
        return "–"
    if isinstance(value, int):
        return str(value)
    interval = f" [{low:.3f}, {high:.3f}]" if low is not None and high is not None else ""
    n = f", n = {check['n']}" if check.get("n") is not None else ""
    return f"{value:.3f}{interval}{n}"


def _left_out(facts: Facts) -> list[str]:
    """What environment.json says was left out, in sentences; and rows of the manifest that are in no part."""
    noted = facts.environment.get("left_out") or []
    lines = [f"{reason}: {n}" for reason, n in noted.items()] if isinstance(noted, Mapping) else [str(x) for x in noted]
    idle = int((facts.manifest["part"].isna() | facts.manifest["class"].isna()).sum())
    return [*lines, f"{count_of(idle, 'row')} of the manifest in no part or of no class"] if idle else lines


def _leaks(films: pd.DataFrame) -> tuple[str, str]:
    """What is in two parts, in words, or ""; and why that could not be looked for, or ""."""
    try:
        leaks = find_leaks(films)
    except DataError as error:
        return "", str(error)
    return (describe(leaks) if len(leaks) else ""), ""


def _words(of_part: Mapping[str, Any], name: str, classes: list[str]) -> dict[str, str]:
    """class -> value and interval, for a legend."""
    each = {class_: shown(of_part.get(f"{name}/{class_}")) for class_ in classes}
    return {class_: f"{figure.value} {figure.interval}".strip() for class_, figure in each.items()}


def _spoken(of_part: Mapping[str, Any], name: str, classes: list[str]) -> str:
    return "; ".join(f"{class_} {shown(of_part.get(f'{name}/{class_}')).line}" for class_ in classes)


def _flat(value: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            rows += _flat(inner, f"{prefix}{key}, ")
        else:
            rows.append((f"{prefix}{key}", ", ".join(map(str, inner)) if isinstance(inner, list) else str(inner)))
    return [(key.replace("_", " "), text) for key, text in rows]
