"""A run judged on films that it was not made from: its own classes, preparation, temperature, operating points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from hilum.data import duplicates
from hilum.data.collect import Collection, films_of_task
from hilum.data.manifest import write_manifest
from hilum.errors import DataError, RequestError
from hilum.evaluation.evaluate import evaluate as figures_of
from hilum.evaluation.predictions import from_probabilities, write_predictions
from hilum.evaluation.run_folder import RunFolder
from hilum.files import write_json
from hilum.predict.predictor import load
from hilum.progress import SILENT, Progress
from hilum.recipe.load import load_recipe
from hilum.recipe.schema import Recipe
from hilum.training.prepared import prepare_films


@dataclass(frozen=True)
class External:
    """What came of it, and where it lies: manifest.parquet, predictions.csv, metrics.json."""

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

    The task is the run's, unless `settings` (section.key=value) say how other labels map to its classes. Classes may
    be absent. out: default RUN/evaluations/NAME, after the sources. Refused with DataError: a class that the run does
    not know, no film that is left.
    """
    folder = RunFolder(Path(run))
    if out is not None and (out / "recipe.toml").exists():
        raise RequestError(
            "this is a run, whose own figures would be overwritten", where=str(out), next_step="Choose another folder."
        )
    recipe = _recipe(folder.recipe(), data, settings)
    predictor = load(folder.path)
    films = films_of_task(recipe.data, recipe.task, every_class=False, progress=progress)
    manifest, notes = _unseen(_known(films, predictor.classes), folder.manifest())
    notes = [*predictor.notes, *films.notes, *notes]
    for note in notes[len(predictor.notes) :]:
        progress.say(f"note: {note}")
    prepared = prepare_films(manifest, predictor.classes, predictor.preparation, workers=None, progress=progress)
    with progress.task("predicting", len(prepared)) as advance:
        p = predictor.of_batches(prepared.batches(), advance)
    predictions = from_probabilities(manifest, p, list(predictor.classes))
    own = folder.metrics()
    metrics = figures_of(
        predictions,
        recipe.evaluate,
        temperature=predictor.temperature,
        operating_points=own["_operating_points"],
        seed=recipe.training.seed,
    )
    metrics["_about"]["notes"] = notes
    out = out or folder.path / "evaluations" / "+".join(sorted(set(manifest["source"].str.replace("/", "-"))))
    write_manifest(manifest, out / "manifest.parquet")
    write_predictions(predictions, out / "predictions.csv")
    write_json(out / "metrics.json", metrics)
    return External(out, predictions, metrics, notes)


def _recipe(recipe: Recipe, data: Sequence[str], settings: Sequence[str]) -> Recipe:
    """The run's recipe with other sources: its filter and its number of films a class were for its own."""
    base = recipe.model_dump(mode="json", exclude_none=True)
    base["data"] |= {"source": list(data), "where": ""}
    for drawn in ("per_class", "draw"):
        base["data"].pop(drawn, None)
    return load_recipe(settings=settings, base=base)


def _known(films: Collection, classes: Sequence[str]) -> pd.DataFrame:
    strange = sorted(set(films.manifest["class"]) - set(classes))
    if strange:
        raise DataError(
            f"the run does not know the class {strange[0]!r}; its classes are {', '.join(classes)}",
            next_step="Map the labels: --set data.task=own --set 'task.labels={ LABEL = \"CLASS\" }', or drop them "
            "with --set 'data.drop=[\"LABEL\"]'.",
        )
    return films.manifest


def _unseen(films: pd.DataFrame, own: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The films that the run has not learned from: neither they, nor copies of them, nor their patients."""
    learned = own[own["part"] != "test"]
    ours = films.assign(image_id="new/" + films["image_id"])
    theirs = learned.assign(image_id="run/" + learned["image_id"])
    cluster = duplicates.clusters(pd.concat([ours, theirs], ignore_index=True))
    of_film, of_learned = cluster.iloc[: len(ours)], cluster.iloc[len(ours) :]
    copies = of_film.isin(of_learned).to_numpy(bool)
    patients = films["patient_id"].isin(learned["patient_id"].dropna()).to_numpy(bool)
    seen = copies | patients
    if seen.all():
        raise DataError("the run has learned from every one of these films or from their patients")
    notes = []
    if seen.any():
        notes.append(
            f"{int(seen.sum())} of {len(films)} films were left out because the run learned from them: "
            f"{int(copies.sum())} as copies, {int((patients & ~copies).sum())} more of the same patients"
        )
    return films[~seen].reset_index(drop=True).assign(part="test"), notes
