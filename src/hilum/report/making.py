"""The sections on how a run was made: its films, split, training, limits and files, and how to make it again.

A section that has nothing to show raises HilumError with the reason, and the page shows that reason in its place.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

import pandas as pd

from hilum.data import duplicates
from hilum.data.leaks import describe, find_leaks
from hilum.data.manifest import PARTS
from hilum.errors import DataError
from hilum.recipe.load import to_toml
from hilum.report import figures
from hilum.report.facts import Context, Draw, Facts
from hilum.report.gallery import sample_films
from hilum.report.limits import limits
from hilum.report.tables import count_of, counts, known_fields

FILES = {
    "recipe.toml": "everything that was asked for, defaults written out",
    "environment.json": "versions, machine, commit, seed, weights' hash, notes",
    "manifest.parquet": "the films used, with class, part and fold",
    "history.csv": "a row per epoch: loss, figures, learning rate, seconds",
    "weights.safetensors": "the model, with its classes in order and how films are prepared",
    "predictions.csv": "what the model said of each film",
    "metrics.json": "the figures of this page, with intervals and n",
    "audit.json": "the audit's checks",
    "explanations/explanations.csv": "how much of each film's map lies inside the lungs, and whether to believe it",
    "explanations/maps.html": "films with their maps",
    "concepts.html": "kinds of patches that speak for or against a class",
    "concepts.csv": "the figures of each concept",
    "mistakes.html": "each misclassified film with maps and the training films nearest to it",
    "mistakes.csv": "the misclassified films and their neighbours",
    "paperwork/model-card.md": "a model card; TRIPOD+AI and CLAIM lie beside it",
    "ensemble.json": "the runs that it is made of, their weights' SHA-256, how they are combined",
}
FIELDS = ("patient_id", "view", "sex", "age_years", "offset_days")
_SHOWN_ELSEWHERE = ("notes", "command", "left_out", "classes")


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
        "by_part": counts(films["class"], _parts(facts), corner="class", row_order=classes, column_order=PARTS),
        "folds": len(facts.folds),
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
    column, names = ("fold", range(len(facts.folds))) if facts.folds else ("part", PARTS)
    parts = [
        (
            name,
            len(rows),
            int(rows["patient_id"].nunique()),
            int(rows["patient_id"].isna().sum()),
            len(rows) / max(len(films), 1),
        )
        for name in names
        if len(rows := films[films[column] == name])
    ]
    leaks, unchecked = _leaks(films[films["part"].notna()], len(facts.folds))
    return {
        "folds": len(facts.folds),
        "how": facts.recipe.split,
        "scheme": facts.environment.get("scheme"),
        "opened": facts.environment.get("test_part_opened"),
        "parts": parts,
        "leaks": leaks,
        "unchecked": unchecked,
    }


def training(facts: Facts, draw: Draw) -> Context:
    """How training went, or that there was none."""
    history = facts.history
    trained = any(stage.epochs for stage in facts.recipe.stage)
    if trained and history.empty:
        raise DataError("history.csv has no epoch", where=str(facts.run.path))
    epochs = count_of(len(history), "epoch")
    return {
        "pictures": _curves(history, facts.environment.get("kept_epochs") or {}, epochs, draw) if trained else [],
        "trained": trained,
        "epochs": epochs,
        "seconds": float(history["seconds"].sum()),
        "stages": list(enumerate(facts.recipe.stage, 1)),
        "model": facts.recipe.model,
        "balance": facts.recipe.balance,
        "prepare": facts.recipe.prepare,
    }


def _curves(history: pd.DataFrame, kept: Mapping[str, int], epochs: str, draw: Draw) -> list[Any]:
    stage, epoch = history["stage"], history["epoch"]
    rows = [row for row in range(len(history)) if kept.get(f"stage {stage[row]}") == epoch[row]]
    line = f" Upright line: the epoch whose weights were kept, {', '.join(_kept(kept))}." if rows else ""
    return [
        draw(
            figures.loss_curves(history, rows),
            "loss",
            f"Loss by epoch over {epochs}",
            f"Loss of the train and validation parts. Dot: the lowest of validation.{line}",
        ),
        draw(
            figures.validation_curves(history, rows),
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


def _kept(kept: Mapping[str, int]) -> list[str]:
    return [str(epoch) if len(kept) == 1 else f"{epoch} of {stage}" for stage, epoch in kept.items()]


def cautions(facts: Facts, draw: Draw) -> Context:
    """What the model may not be used for."""
    return {"limits": limits(facts.manifest, facts.classes)}


def again(facts: Facts, draw: Draw) -> Context:
    """What someone needs to get the same figures."""
    folder = shlex.quote(str(facts.run.path))
    command = facts.environment.get("command")
    verb = "crossval" if facts.folds else "train"
    return {
        "command": shlex.join(map(str, command)) if isinstance(command, list) else command,
        "again": ""
        if facts.is_ensemble
        else f"hilum {verb} --recipe {shlex.quote(str(facts.run.path / 'recipe.toml'))} -o {folder}-again",
        "predict": f"hilum predict {shlex.quote(str(facts.run.path))} FILM_OR_FOLDER... -o predictions.csv",
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
    there += [(f"{run.path.name}/", "a run of its own: weights, history, report", "") for run in facts.folds]
    pictures = sorted((folder / "figures").glob("*.*"))
    size = _bytes(sum(picture.stat().st_size for picture in pictures))
    there.append(("figures/", f"{count_of(len(pictures), 'picture')}: those of this page, as SVG and PNG", size))
    return {"folder": folder.resolve().name, "files": there}


def _left_out(facts: Facts) -> list[str]:
    """What environment.json says was left out, in sentences; and rows of the manifest that are in no part."""
    noted = facts.environment.get("left_out") or []
    lines = [f"{reason}: {n}" for reason, n in noted.items()] if isinstance(noted, Mapping) else [str(x) for x in noted]
    idle = int((facts.manifest["part"].isna() | facts.manifest["class"].isna()).sum())
    return [*lines, f"{count_of(idle, 'row')} of the manifest in no part or of no class"] if idle else lines


def _parts(facts: Facts) -> pd.Series:
    """The part of each film; of a cross-validation, in which all are tested, the fold."""
    films = facts.manifest
    return "fold " + films["fold"].astype("string") if facts.folds else films["part"]


def _leaks(films: pd.DataFrame, folds: int) -> tuple[str, str]:
    """What is in two parts (or folds), in words, or ""; and why that could not be looked for, or ""."""
    try:
        leaks = _between(films, folds) if folds else find_leaks(films)
    except DataError as error:
        return "", str(error)
    return (describe(leaks) if len(leaks) else ""), ""


def _between(films: pd.DataFrame, folds: int) -> pd.DataFrame:
    """What is in the test part of one fold and in the train part of it too, each told once."""
    links = duplicates.links(films)
    found = [
        find_leaks(films.assign(part=(films["fold"] == fold).map({True: "test", False: "train"})), links=links)
        for fold in range(folds)
    ]
    leaks = pd.concat(found, ignore_index=True)
    return leaks[~(leaks["kind"] + leaks["image_ids"].map(str)).duplicated()]


def _flat(value: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            rows += _flat(inner, f"{prefix}{key}, ")
        elif inner is not None:
            rows.append((f"{prefix}{key}", ", ".join(map(str, inner)) if isinstance(inner, list) else str(inner)))
    return [(key.replace("_", " "), text) for key, text in rows]


def _bytes(size: int) -> str:
    """
    >>> _bytes(812), _bytes(48_200), _bytes(9_340_000)
    ('812 B', '48 kB', '9.3 MB')
    """
    return f"{size} B" if size < 1000 else f"{size / 1e3:.0f} kB" if size < 1e6 else f"{size / 1e6:.1f} MB"
