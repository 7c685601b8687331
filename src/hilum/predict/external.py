"""A run judged on films that it was not made from: its own classes, preparation, temperature, operating points."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from hilum.data import duplicates
from hilum.data.collect import Collection, films_of_task
from hilum.data.manifest import write_manifest
from hilum.errors import DataError, RequestError
from hilum.evaluation import elsewhere
from hilum.evaluation.evaluate import evaluate as figures_of
from hilum.evaluation.predictions import from_probabilities, write_predictions
from hilum.evaluation.run_folder import RunFolder
from hilum.files import write_json
from hilum.predict.members import members_of
from hilum.predict.predictor import load
from hilum.progress import SILENT, Progress
from hilum.recipe.load import load_recipe
from hilum.recipe.schema import Data, Predict, Recipe
from hilum.training.prepared import prepare_films, with_doubts

# What settings may say of films of elsewhere; the rest belongs to the trained run.
_OF_THE_FILMS = ("data", "task", "evaluate", "training", "about")
_REQUEST = "evaluation.json"


@dataclass(frozen=True)
class External:
    """What came of it, and where it lies: manifest.parquet, predictions.csv, metrics.json, evaluation.json."""

    path: Path
    predictions: pd.DataFrame
    metrics: dict[str, Any]
    notes: list[str]


def evaluate(
    run: Path | str,
    data: Sequence[str],
    settings: Sequence[str] = (),
    *,
    out: Path | None = None,
    progress: Progress = SILENT,
) -> External:
    """Judge a run on the films of `data`, which become its part `test`; films it learned from are left out and counted.

    run: a run, a cross-validation (the mean of its folds) or an ensemble. The task is the run's, unless `settings`
    (section.key=value) say how other labels map to its classes. Classes may be absent. out: default
    RUN/evaluations/NAME, after the sources; NAME-2 and so on where NAME is of another request. Refused with
    RequestError: a setting that belongs to the trained run, an `out` that is a run. With DataError: a class that the
    run does not know, no film that is left.
    """
    folder = RunFolder(Path(run))
    if out is not None and (out / "recipe.toml").exists():
        raise RequestError(
            "this is a run, whose own figures would be overwritten", where=str(out), next_step="Choose another folder."
        )
    recipe = _recipe(folder.recipe(), data, settings)
    predictor = load(folder.path, engine=recipe.predict.engine)
    films = films_of_task(recipe.data, recipe.task, every_class=False, progress=progress)
    manifest, notes = _unseen(_known(films, predictor.classes), members_of(folder.path).learned())
    prepared = [
        prepare_films(manifest, predictor.classes, how, workers=None, progress=progress)
        for how in predictor.preparations
    ]
    doubts: list[str] = []
    for how in predictor.preparations:
        manifest, of_how = with_doubts(manifest, how)
        doubts += of_how
    notes = [*predictor.notes, *films.notes, *notes, *doubts]
    for note in notes[len(predictor.notes) :]:
        progress.say(f"note: {note}")
    with progress.task("predicting", len(manifest)) as advance:
        p = predictor.of_batches(zip(*(each.batches() for each in prepared), strict=True), advance)
    for note in predictor.engine_notes:
        progress.say(f"note: {note}")
    notes += predictor.engine_notes
    predictions = from_probabilities(manifest, p, list(predictor.classes))
    own = folder.metrics()
    metrics = figures_of(
        predictions,
        recipe.evaluate,
        temperature=predictor.networks[0].temperature if len(predictor.networks) == 1 else None,
        operating_points=own["_operating_points"],
        seed=recipe.training.seed,
    )
    metrics["_about"]["notes"] = notes
    metrics["_called"] = elsewhere.called(predictions)
    metrics["_pairs"] = elsewhere.pairs(predictions, seed=recipe.training.seed)
    if predictor.sets is not None:
        metrics["_sets"] = elsewhere.sets_kept(predictor.sets, predictions, seed=recipe.training.seed)
    metrics["_drop"] = elsewhere.drops(own.get("test", {}), metrics["test"])
    request = {"data": list(data), "settings": list(settings)}
    name = "+".join(sorted(set(manifest["source"].str.replace("/", "-"))))
    out = out or _own_folder(folder.path / "evaluations", name, request)
    write_json(out / _REQUEST, request)
    write_manifest(manifest, out / "manifest.parquet")
    write_predictions(predictions, out / "predictions.csv")
    write_json(out / "metrics.json", metrics)
    return External(out, predictions, metrics, notes)


def _recipe(recipe: Recipe, data: Sequence[str], settings: Sequence[str]) -> Recipe:
    """The run's recipe with other sources: its filter and its number of films a class were for its own."""
    own = recipe.data
    elsewhere = Data(source=list(data), task=own.task, drop=own.drop)
    base = recipe.model_copy(update={"data": elsewhere})
    asked = load_recipe(settings=settings, base=base.model_dump(mode="json", exclude_none=True))
    changed = [name for name in Recipe.model_fields if getattr(asked, name) != getattr(base, name)]
    for name in changed:
        if name not in _OF_THE_FILMS and not (name == "predict" and _only_engine(asked.predict, base.predict)):
            raise RequestError(
                f"[{name}] belongs to the trained run and stays as it is",
                where="--set",
                next_step=f"Set keys of {', '.join(_OF_THE_FILMS[:-1])} or predict.engine, or train another run.",
            )
    return asked


def _only_engine(asked: Predict, own: Predict) -> bool:
    return asked.model_copy(update={"engine": own.engine}) == own


def _own_folder(above: Path, name: str, request: dict[str, Any]) -> Path:
    """The folder of this request: the first of NAME, NAME-2, NAME-3... that is of no other."""
    number = 1
    while (folder := above / (name if number == 1 else f"{name}-{number}")).exists() and _request(folder) != request:
        number += 1
    return folder


def _request(folder: Path) -> Any:
    try:
        return json.loads((folder / _REQUEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # of an earlier version, or broken: not this request
        return None


def _known(films: Collection, classes: Sequence[str]) -> pd.DataFrame:
    strange = sorted(set(films.manifest["class"]) - set(classes))
    if strange:
        raise DataError(
            f"the run does not know the class {strange[0]!r}; its classes are {', '.join(classes)}",
            next_step="Map the labels: --set data.task=own --set 'task.labels={ LABEL = \"CLASS\" }', or drop them "
            "with --set 'data.drop=[\"LABEL\"]'.",
        )
    return films.manifest


def _unseen(films: pd.DataFrame, learned: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The films that the run has not learned from: neither they, nor copies of them, nor their patients."""
    ours = films.assign(image_id="new/" + films["image_id"])
    theirs = learned.assign(image_id="run/" + learned["image_id"])
    cluster = duplicates.clusters(pd.concat([ours, theirs], ignore_index=True))
    of_film, of_learned = cluster.iloc[: len(ours)], cluster.iloc[len(ours) :]
    copies = of_film.isin(of_learned).to_numpy(bool)
    patients = films["patient_id"].isin(learned["patient_id"].dropna()).to_numpy(bool)
    seen = copies | patients
    if seen.all():
        raise DataError(
            "the run has learned from every one of these films or from their patients",
            next_step="Judge it on films of other patients; its own test part stands in its report.",
        )
    notes = []
    if seen.any():
        notes.append(
            f"{int(seen.sum())} of {len(films)} films were left out because the run learned from them: "
            f"{int(copies.sum())} as copies, {int((patients & ~copies).sum())} more of the same patients"
        )
    return films[~seen].reset_index(drop=True).assign(part="test"), notes
