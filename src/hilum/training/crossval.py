"""Cross-validation: one run for each fold, so that every film is judged by a model that has not seen it.

The films are collected, and their folds drawn, once. The folder then holds a started run for each fold (fold-0, fold-1,
...), which are trained one after the other; what was interrupted goes on where it was. The predictions of the test
parts, each calibrated with its own fold's temperature, are pooled into one table and judged as one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from hilum.data.collect import Collection, drawn_films, parted
from hilum.data.split import fold_count
from hilum.errors import DataError, RequestError
from hilum.evaluation.evaluate import evaluate
from hilum.evaluation.folds import shared_notes, spread
from hilum.evaluation.operating_points import of_folds
from hilum.evaluation.predictions import write_predictions
from hilum.evaluation.run_folder import RunFolder
from hilum.files import write_json
from hilum.model import machine
from hilum.progress import SILENT, Progress
from hilum.recipe.schema import Recipe
from hilum.report.page import write_report
from hilum.training.checks import check_films, check_network, check_same, check_vacant
from hilum.training.environment import now
from hilum.training.train import begin, train

FOLDS = 5
# Trains started runs to their end, whatever the order.
TrainAll = Callable[[Sequence[RunFolder], Progress], None]


def in_turn(runs: Sequence[RunFolder], progress: Progress) -> None:
    """Train started runs on this machine, one after the other."""
    for number, run in enumerate(runs, 1):
        progress.say(f"{run.path.name} ({number} of {len(runs)})")
        train(run.recipe(), run.path, resume=True, progress=progress)


def crossval(
    recipe: Recipe,
    out: Path | str,
    *,
    folds: int | None = None,
    resume: bool = False,
    train_all: TrainAll = in_turn,
    progress: Progress = SILENT,
) -> RunFolder:
    """Train one run for each fold into the folder `out`, pool what they say of their test parts, and report.

    folds: how many; by default the recipe's split.folds, or 5. With `resume` an interrupted cross-validation goes on
    after its last finished epoch and ends with the figures that it would have had. Its manifest has every film in the
    part `test`, with the fold in which it is; metrics.json has besides the pooled figures `_folds`, the spread.
    train_all: who trains the folds that are not finished, as `hilum.scale.runs.train_runs` does on a cluster.

    Refused, before anything is trained, with RequestError: a folder that holds something else, one that was asked for
    differently, a fold of its own (split.fold), published parts; with DataError: fewer patients of a class than folds,
    a fold whose train part lacks a class, and whatever a single run refuses.
    """
    out = Path(out)
    whole = _resumed(recipe, out, folds) if resume else _started(recipe, out, folds, progress)
    runs = whole.folds
    if left := [run for run in runs if not run.finished]:
        train_all(left, progress)
    if not (out / "metrics.json").is_file():
        with progress.task("figures of all folds and their intervals", 1) as advance:
            pool(whole)
            advance(1)
    with progress.task("report", 1) as advance:
        write_report(out)
        advance(1)
    return whole


def _resumed(recipe: Recipe, out: Path, folds: int | None) -> RunFolder:
    whole = RunFolder(out)
    there = len(whole.folds)
    if not there:
        raise RequestError(
            "this is a single run, not a cross-validation",
            where=str(out),
            next_step=f"Go on with: hilum train --resume -o {out}",
        )
    check_same(recipe, whole)
    if folds not in (None, there):
        raise RequestError(
            f"the cross-validation was started with {there} folds, and {folds} are asked for now",
            where=str(out),
            next_step="Resume with --resume and -o alone, or start a new one in another folder.",
        )
    return whole


def _started(recipe: Recipe, out: Path, folds: int | None, progress: Progress) -> RunFolder:
    check_vacant(out)
    recipe = _asked(recipe, folds)
    device = machine.accelerator(recipe.training.device)
    films = drawn_films(recipe, progress=progress)
    for reason, count in films.left_out.items():
        progress.say(f"left out {count}: {reason}")
    recipes = _recipes(recipe, films)
    collections = [_fold(each, films) for each in recipes]
    notes = shared_notes([collection.notes for collection in collections])
    for note in notes:
        progress.say(f"note: {note}")
    check_network(recipe)
    pooled = _in_turn(films, collections, notes)
    out.parent.mkdir(parents=True, exist_ok=True)
    # The folder appears with all its folds or not at all: half of them could be neither started nor resumed.
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.", ignore_cleanup_errors=True) as folder:
        made = Path(folder) / "made"
        begin(recipe, made, pooled, device=device)
        for fold, (each, collection) in enumerate(zip(recipes, collections, strict=True)):
            begin(each, made / f"fold-{fold}", collection, device=device)
        made.replace(out)
    return RunFolder(out)


def _asked(recipe: Recipe, folds: int | None) -> Recipe:
    """The recipe with the number of folds in it; none where each source is a fold."""
    how = recipe.split
    if how.fold is not None:
        raise RequestError(
            f"a cross-validation runs every fold, and split.fold={how.fold} asks for one",
            where="split.fold",
            next_step="Leave it out, or train that one with: hilum train",
        )
    if how.scheme == "source":
        if folds is not None or how.folds is not None:
            raise RequestError(
                "with split.scheme=source each source is a fold",
                where="--folds",
                next_step="Leave the number of folds out.",
            )
        return recipe
    number = folds if folds is not None else how.folds or FOLDS
    if number < 2:
        raise RequestError(f"a cross-validation needs at least 2 folds, not {number}", where="--folds")
    return _with_split(recipe, folds=number)


def _recipes(recipe: Recipe, films: Collection) -> list[Recipe]:
    """The recipe of each fold, which `hilum train` understands too."""
    return [_with_split(recipe, fold=fold) for fold in range(fold_count(films.manifest, recipe.split))]


def _fold(recipe: Recipe, films: Collection) -> Collection:
    """The films in the parts of one fold. What would stop its training is refused here, with the fold's number."""
    collection = parted(films, recipe.split)
    try:
        check_films(recipe, collection)
    except DataError as error:
        test = collection.manifest[collection.manifest["part"] == "test"]
        sources = ", ".join(sorted(test["source"].unique()))
        next_step = error.next_step
        if recipe.split.scheme == "source":
            next_step = "Add another source that has it, leave the class out, or take folds of patients."
        raise DataError(
            error.what, where=f"fold {recipe.split.fold}, which is tested on {sources}", next_step=next_step
        ) from None
    return collection


def _in_turn(films: Collection, collections: list[Collection], notes: list[str]) -> Collection:
    """All films, each with the fold in whose test part it is, once: what the pooled predictions are about."""
    tests = [
        collection.manifest[collection.manifest["part"] == "test"].assign(fold=fold)
        for fold, collection in enumerate(collections)
    ]
    manifest = pd.concat(tests, ignore_index=True).astype({"fold": "Int64"})
    return Collection(manifest, films.classes, films.left_out, notes, collections[0].scheme)


def _with_split(recipe: Recipe, **changed: Any) -> Recipe:
    return recipe.model_copy(update={"split": recipe.split.model_copy(update=changed)})


def pool(whole: RunFolder, members: Sequence[Mapping[str, Any]] = ()) -> None:
    """Write one table of what each fold says of its test part, its figures, and their spread over the folds.

    members: what stands in `_members` of metrics.json, where the folds are ensembles.
    """
    recipe, runs = whole.recipe(), whole.folds
    tables = [run.predictions() for run in runs]
    tests = [table[table["part"] == "test"].assign(fold=fold) for fold, table in enumerate(tables)]
    pooled = pd.concat(tests, ignore_index=True)
    metrics = [run.metrics() for run in runs]
    about = [run.environment() for run in runs]
    notes = shared_notes([each["notes"] for each in about])
    found = evaluate(
        pooled,
        recipe.evaluate,
        operating_points=of_folds([each["_operating_points"] for each in metrics]),
        seed=recipe.training.seed,
    )
    found["_about"]["notes"] = notes
    found["_folds"] = {
        "folds": [
            {
                "films": len(test),
                "sources": sorted(test["source"].unique()),
                "temperature": each["_about"]["temperature"],
            }
            for test, each in zip(tests, metrics, strict=True)
        ],
        "figures": spread(metrics),
    }
    if members:
        found["_members"] = list(members)
    write_predictions(pooled, whole.path / "predictions.csv")
    write_json(
        whole.path / "environment.json",
        whole.environment()
        | {
            "notes": notes,
            "training_seconds": round(sum(each["training_seconds"] for each in about), 1),
            "test_part_opened": min(each["test_part_opened"] for each in about),
            "finished": now(),
        },
    )
    write_json(whole.path / "metrics.json", found)
