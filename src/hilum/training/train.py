"""One run: from a recipe to a folder with weights, predictions and figures. A killed run goes on where it was."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from hilum.data.collect import Collection
from hilum.data.manifest import write_manifest
from hilum.errors import RequestError
from hilum.evaluation.calibration import fit_temperature
from hilum.evaluation.evaluate import evaluate
from hilum.evaluation.predictions import from_probabilities, write_predictions
from hilum.evaluation.run_folder import HISTORY_COLUMNS, RunFolder
from hilum.files import whole_file, write_json, write_text
from hilum.model import classifier as classifiers
from hilum.model import machine
from hilum.model.classifier import Classifier
from hilum.model.engine import Engine
from hilum.model.inference import logits, softmax
from hilum.progress import SILENT, Progress
from hilum.recipe.load import to_toml
from hilum.recipe.schema import Recipe, Stage
from hilum.report.page import write_report
from hilum.training import schedule
from hilum.training.checks import check_network, check_same, check_vacant, checked_films
from hilum.training.environment import describe_environment, now, sha256_of
from hilum.training.features import featured, has_frozen_backbone, head_alone
from hilum.training.prepared import Films, prepare_films, settle, with_doubts
from hilum.training.stage import StageJob, train_stage
from hilum.training.start import start_note

NOT_TRAINED = (
    "UNTRAINED HEAD, not trained: every stage has epochs = 0, so these are the figures of a random head, a baseline"
)
# Trains a stage of a run to its last epoch and leaves its checkpoints, which `train_stage` then finds, in its folder.
TrainElsewhere = Callable[[RunFolder, Classifier, StageJob, Progress], None]


def train(
    recipe: Recipe,
    out: Path | str,
    *,
    resume: bool = False,
    elsewhere: TrainElsewhere | None = None,
    progress: Progress = SILENT,
) -> RunFolder:
    """Train, evaluate and report one run into the folder `out`.

    With `resume` an interrupted run goes on after its last finished epoch, and ends with the weights that it would
    have had; its own recipe and manifest are used. elsewhere: who trains the stages in which the backbone learns, as
    `hilum.scale.parallel` does on a cluster. Refused with RequestError: a folder that holds a run already (or,
    with `resume`, none; or one that was asked for differently), and whatever the recipe asks that cannot be.
    """
    out = Path(out)
    run = _resumed(recipe, out) if resume else start(recipe, out, progress=progress)
    recipe = run.recipe()
    if not (out / "weights.safetensors").is_file():
        _fit(run, recipe, elsewhere, progress)
    if not (out / "predictions.csv").is_file():
        _predict(run, recipe, progress)
    if not (out / "metrics.json").is_file():
        about = classifiers.read_metadata(run.weights_path)
        with progress.task("figures and their intervals", 1) as advance:
            figures = evaluate(
                run.predictions(), recipe.evaluate, temperature=about["temperature"], seed=recipe.training.seed
            )
            figures["_about"]["notes"] = run.environment()["notes"]
            write_json(out / "metrics.json", figures)
            advance(1)
    _note(run, finished=now())
    with progress.task("report", 1) as advance:
        write_report(out)
        advance(1)
    shutil.rmtree(out / "checkpoints", ignore_errors=True)
    return run


def start(recipe: Recipe, out: Path, *, progress: Progress = SILENT) -> RunFolder:
    """A run folder that `train` goes on with when it is asked to resume. Refused as by `train`."""
    check_vacant(out)
    kind = machine.accelerator(recipe.training.device)
    collection = checked_films(recipe, progress)
    check_network(recipe)
    return begin(recipe, out, collection, device=kind)


def begin(recipe: Recipe, out: Path, collection: Collection, *, device: Literal["cpu", "cuda"]) -> RunFolder:
    """A run folder that `train` goes on with when it is asked to resume: these films, nothing trained yet."""
    about = {
        **describe_environment(),
        "device": device,
        "precision": machine.precision(recipe.training.precision, device),
        "seed": recipe.training.seed,
        "classes": collection.classes,
        "scheme": collection.scheme,
        "left_out": dict(collection.left_out),
        "notes": collection.notes,
    }
    try:
        write_manifest(collection.manifest, out / "manifest.parquet")
        write_json(out / "environment.json", about)
        write_text(out / "recipe.toml", to_toml(settle(recipe)))
    except BaseException:  # half a run could be neither started nor resumed
        for name in ("manifest.parquet", "environment.json", "recipe.toml"):
            (out / name).unlink(missing_ok=True)
        raise
    return RunFolder(out)


def _resumed(recipe: Recipe, out: Path) -> RunFolder:
    run = RunFolder(out)
    if run.folds:
        raise RequestError(
            "this is a cross-validation, not a single run",
            where=str(out),
            next_step=f"Go on with: hilum crossval --resume -o {out}",
        )
    if "study" in run.environment():
        raise RequestError(
            "this is a search, not a single run",
            where=str(out),
            next_step=f"Go on with: hilum search --resume -o {out}",
        )
    check_same(recipe, run)
    if run.environment()["device"] != "cpu":
        machine.accelerator("gpu")
    return run


def _fit(run: RunFolder, recipe: Recipe, elsewhere: TrainElsewhere | None, progress: Progress) -> None:
    about = run.environment()
    machine.keep_memory()
    films, parts = _films(run, recipe, progress)
    classifier = classifiers.build(
        recipe.model, about["classes"], side_px=recipe.prepare.side_px, seed=recipe.training.seed, progress=progress
    )
    classifiers.fit_normalisation(classifier, films.where(parts == "train").batches())
    classifier = classifier.to(memory_format=torch.channels_last).to(about["device"])
    manifest, doubts = with_doubts(run.manifest(), recipe.prepare)
    if "lungs_doubt" in manifest:
        write_manifest(manifest, run.path / "manifest.parquet")
    for note in doubts:
        progress.say(f"note: {note}")
    history = _stages(run, recipe, classifier, films, parts, elsewhere, progress)
    classifier = classifier.to(about["device"])  # Lightning leaves it on the processor
    with whole_file(run.path / "history.csv") as part:
        history.to_csv(part, index=False)
    notes = [*about["notes"], *doubts]
    temperature = 1.0
    if history.empty:
        notes.append(NOT_TRAINED)
    elif recipe.evaluate.calibrate:
        validation = films.where(parts == "validation")
        engine = _engine(classifier, recipe)
        fitted = fit_temperature(validation.y, softmax(logits(engine, validation.batches())))
        temperature = fitted.value
        notes += [fitted.note] if fitted.note else []
    origin = classifier.origin
    if origin is not None and origin.kind == "none":
        notes.append(origin.note)
    notes += [note] if (note := start_note(recipe, run.manifest())) else []
    notes = list(dict.fromkeys(notes))
    # Known before the weights are written, because a run with weights is not trained again.
    _note(
        run,
        notes=notes,
        backbone_weights=origin.as_dict() if origin else None,
        training_seconds=round(history["seconds"].sum() + run.environment().get("feature_seconds", 0.0), 1),
    )
    extra = {"temperature": temperature, "flip": recipe.predict.flip, "zoom": recipe.predict.zoom, "notes": notes}
    classifiers.save(classifier, run.path / "weights.safetensors", recipe.prepare, extra)


def _engine(classifier: Classifier, recipe: Recipe) -> Engine:
    return Engine(classifier, recipe.predict.engine, flip=recipe.predict.flip, zoom=recipe.predict.zoom)


def _films(run: RunFolder, recipe: Recipe, progress: Progress) -> tuple[Films, NDArray[np.object_]]:
    """The run's films, and the part of each."""
    manifest = run.manifest()
    classes = run.environment()["classes"]
    workers = recipe.training.workers
    films = prepare_films(manifest, classes, recipe.prepare, workers=workers, progress=progress)
    return films, manifest["part"].to_numpy(object)


def stage_jobs(
    recipe: Recipe, films: Films, parts: NDArray[np.object_], about: Mapping[str, Any], folder: Path
) -> list[StageJob]:
    """A job for each stage that trains. about: classes, precision and device, as `begin` noted them."""
    return [
        StageJob(
            number=number,
            stage=stage,
            classes=tuple(about["classes"]),
            train=films.where(parts == "train"),
            validation=films.where(parts == "validation"),
            augment=recipe.augment,
            balance=recipe.balance,
            seed=recipe.training.seed,
            precision=about["precision"],
            accelerator=about["device"],
            folder=folder / f"stage-{number}",
        )
        for number, stage in enumerate(recipe.stage, 1)
        if stage.epochs
    ]


def kept_epoch(history: pd.DataFrame, stage: Stage) -> pd.Series:
    """The row of the epoch whose weights the stage keeps."""
    monitored = history[f"validation_{stage.monitor}"].tolist()
    return history.iloc[schedule.kept_epoch(stage, monitored)]


def _stages(
    run: RunFolder,
    recipe: Recipe,
    classifier: Classifier,
    films: Films,
    parts: NDArray[np.object_],
    elsewhere: TrainElsewhere | None,
    progress: Progress,
) -> pd.DataFrame:
    histories, kept = [], {}
    sha256 = run.manifest()["sha256"].to_numpy(object)
    for job in stage_jobs(recipe, films, parts, run.environment(), run.path / "checkpoints"):
        network = classifier
        if has_frozen_backbone(recipe, job.stage):
            train, validation = films.where(parts == "train"), films.where(parts == "validation")
            shas = [*sha256[parts == "train"], *sha256[parts == "validation"]]
            started = time.perf_counter()
            job = featured(classifier, job, train, validation, shas, progress, keep=False)
            before = run.environment().get("feature_seconds", 0.0)
            _note(run, feature_seconds=round(before + time.perf_counter() - started, 1))
            network = head_alone(classifier)
        elif elsewhere is not None:
            elsewhere(run, classifier, job, progress)
        history = train_stage(network, job, progress)
        classifier = classifier.to(job.accelerator)  # Lightning leaves what it trained on the processor
        best = kept_epoch(history, job.stage)
        progress.say(
            f"stage {job.number}: of {len(history)} epochs, {int(best['epoch'])} is kept: validation loss "
            f"{best['validation_loss']:.4f}, accuracy {best['validation_accuracy']:.4f}, macro F1 "
            f"{best['validation_macro_f1']:.4f}"
        )
        histories.append(history)
        kept[f"stage {job.number}"] = int(best["epoch"])
    _note(run, kept_epochs=kept)
    return pd.concat(histories, ignore_index=True) if histories else pd.DataFrame(columns=list(HISTORY_COLUMNS))


def _predict(run: RunFolder, recipe: Recipe, progress: Progress) -> None:
    """Predict every part. The test part is looked at here for the first time, and the run says when."""
    classifier, about = classifiers.load(run.weights_path)
    films, _ = _films(run, recipe, progress)
    classifier = classifier.to(memory_format=torch.channels_last).to(run.environment()["device"])
    engine = _engine(classifier, recipe)
    start = time.perf_counter()
    with progress.task("predicting all parts", len(films)) as advance:
        p = softmax(logits(engine, films.batches(), advance), about["temperature"])
    seconds = time.perf_counter() - start
    if engine.note:
        progress.say(f"note: {engine.note}")
    notes = [*run.environment()["notes"], *([engine.note] if engine.note else [])]
    _note(
        run,
        test_part_opened=now(),
        weights_sha256=sha256_of(run.weights_path),
        engine=engine.used,
        predicted_per_second=round(len(films) / seconds, 1),
        notes=list(dict.fromkeys(notes)),
    )
    write_predictions(from_probabilities(run.manifest(), p, about["classes"]), run.path / "predictions.csv")


def _note(run: RunFolder, **facts: Any) -> None:
    write_json(run.path / "environment.json", {**run.environment(), **facts})
