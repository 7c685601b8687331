"""A search: trials of a recipe with other values, judged on the validation part. The test part is never predicted.

OUT/
  recipe.toml, manifest.parquet, environment.json   as in a run: what was asked, of which films, on which machine
  study.sqlite      the trials, where no other database is named
  trials.csv        a row per trial
  search.json       the best, and the effect of each parameter
  search.html       the same to look at
  best.toml         the recipe with the best values, for `hilum train --recipe`
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import torch
from optuna.trial import Trial, TrialState

from hilum.errors import HilumError, RequestError
from hilum.evaluation.run_folder import RunFolder
from hilum.files import write_json
from hilum.model import classifier as classifiers
from hilum.model import machine
from hilum.progress import SILENT, Progress
from hilum.recipe.schema import Recipe
from hilum.training.checks import check_network, check_same, check_vacant, checked_films
from hilum.training.features import featured, has_frozen_backbone, head_alone
from hilum.training.heads import train_together
from hilum.training.prepared import prepare_films, settle
from hilum.training.search_heads import TOGETHER, HeadTrials, Trained
from hilum.training.search_plan import Plan
from hilum.training.search_results import write_results
from hilum.training.search_space import parameters, with_values
from hilum.training.stage import train_stage
from hilum.training.study import Store, errors_of, fail, open_store, put_back, put_back_dead, take, take_known
from hilum.training.train import begin, kept_epoch, stage_jobs

_POLL_SECONDS = 0.5


def search(
    recipe: Recipe,
    out: Path | str,
    *,
    trials: int | None = None,
    storage: str = "",
    resume: bool = False,
    progress: Progress = SILENT,
    elsewhere: Elsewhere | None = None,
) -> Path:
    """Run the trials of the recipe's [search] that are not done yet, and write what they say into the folder `out`.

    trials: in place of search.trials. storage: URL of the database, by default a file in the folder; the study in it is
    called like the folder. With `resume` a search goes on, or another process joins one that is running; a trial whose
    process has died is run again. elsewhere: who trains the trials, several at once, in place of this process. The
    value is the folder.

    Refused with RequestError, before anything is trained: what `parameters` refuses, a folder that holds something else
    or (with `resume`) another search, a study of another space or of other films; with DataError: a database that
    cannot be used.
    """
    out = Path(out)
    recipe = (_resumed(recipe, out) if resume else _started(recipe, out, trials, storage, progress)).recipe()
    bench = _Bench(RunFolder(out), recipe, _plan(recipe, trials), _open(recipe, out, storage), progress)
    try:
        if elsewhere is None:
            _all_of(bench)
        else:
            with elsewhere(bench.films, bench.about) as (train_there, at_once):
                there = replace(bench, train=train_there)
                at_once(lambda: _all_of(replace(there, store=_open(recipe, out, storage))))
    except KeyboardInterrupt:
        write_results(bench.run, bench.store, bench.plan)
        raise
    write_results(bench.run, bench.store, bench.plan)
    with contextlib.suppress(OSError):  # there is none, or another process has a trial in it
        (out / "trials").rmdir()
    return out


@dataclass(frozen=True)
class TrialJob:
    """The training of one trial. films: of train and validation. about: environment.json. folder: for checkpoints."""

    name: str
    films: pd.DataFrame
    about: dict[str, Any]
    recipe: Recipe
    folder: Path


# Trains a trial, and tells each epoch's row of the history, which may raise optuna.TrialPruned.
TrainTrial = Callable[[TrialJob, Callable[[Mapping[str, float]], None], Progress], dict[str, Any]]
# Of the films and environment.json: who trains trials while the block is open, and what does its work in many threads.
Elsewhere = Callable[
    [pd.DataFrame, dict[str, Any]], AbstractContextManager[tuple[TrainTrial, Callable[[Callable[[], None]], None]]]
]


@dataclass(frozen=True)
class _Bench:
    """What all trials of this process share. train: None trains here."""

    run: RunFolder
    recipe: Recipe
    plan: Plan
    store: Store
    progress: Progress
    train: TrainTrial | None = None

    @cached_property
    def about(self) -> dict[str, Any]:
        return self.run.environment()

    @cached_property
    def films(self) -> pd.DataFrame:
        """The train and validation parts; the search never sees the test part."""
        return _judged(self.run.manifest())

    @cached_property
    def heads(self) -> HeadTrials | None:
        """Who trains the trials of this search together, where they differ in nothing but their heads."""
        keys = [parameter.key for parameter in self.plan.parameters]
        shared = settle(_in_search(self.recipe))
        if self.train is not None or self.recipe.search.prune or not train_together(shared, keys):
            return None
        return HeadTrials(shared, self.films, self.about, self.progress)


def _all_of(bench: _Bench) -> None:
    known, total = bench.plan.known, bench.plan.total
    distributions = {parameter.key: parameter.distribution for parameter in bench.plan.parameters}
    while True:
        if bench.heads and (several := take_known(bench.store, total, known, distributions, TOGETHER)):
            _run_together(bench, bench.heads, several)
        elif (taken := take(bench.store, total)) is not None:
            _run(bench, *taken)
        else:
            return


def _plan(recipe: Recipe, trials: int | None) -> Plan:
    return Plan(recipe.search, tuple(parameters(recipe)), trials or recipe.search.trials)


def _started(recipe: Recipe, out: Path, trials: int | None, storage: str, progress: Progress) -> RunFolder:
    check_vacant(out)
    plan = _plan(recipe, trials)
    if not any(stage.epochs for stage in _in_search(recipe).stage):
        raise RequestError("the stages of the search have no epoch, so nothing could be chosen", where="stage.epochs")
    device = machine.accelerator(recipe.training.device)
    collection = checked_films(recipe, progress)
    check_network(recipe)
    if storage:  # another search's study is refused before there is a folder
        open_store(storage, out.absolute().name, _about(recipe, collection.manifest), search=recipe.search)
    progress.say(f"search: {plan.total} trials of {', '.join(parameter.key for parameter in plan.parameters)}")
    return begin(recipe, out, collection, device=device)


def _resumed(recipe: Recipe, out: Path) -> RunFolder:
    run = RunFolder(out)
    if not run.recipe().search.space:
        raise RequestError(
            "this is a run, not a search", where=str(out), next_step=f"Go on with: hilum train --resume -o {out}"
        )
    check_same(recipe, run)
    return run


def _open(recipe: Recipe, out: Path, storage: str) -> Store:
    run = RunFolder(out)
    url = storage or f"sqlite:///{(out / 'study.sqlite').absolute()}"
    store = open_store(url, out.absolute().name, _about(recipe, run.manifest()), search=recipe.search)
    write_json(out / "environment.json", {**run.environment(), "study": store.study.study_name})
    return store


def _about(recipe: Recipe, manifest: pd.DataFrame) -> dict[str, Any]:
    """What two processes must agree on to work on one study, by words that can stand in an error."""
    asked = recipe.model_dump(mode="json")
    films = _judged(manifest)[["sha256", "class", "part"]].astype(str).agg("/".join, axis=1)
    return {
        "space": asked["search"]["space"],
        "method": recipe.search.method,
        "monitor": recipe.search.monitor,
        "seed": recipe.search.seed,
        "recipe": _digest({name: asked[name] for name in (*_TRAINED, "stage")} | {"stages": recipe.search.stages}),
        "set of films": _digest(sorted(films)),
    }


_TRAINED = ("prepare", "augment", "model", "balance", "training")


def _judged(manifest: pd.DataFrame) -> pd.DataFrame:
    return manifest[manifest["part"].isin(["train", "validation"])].reset_index(drop=True)


def _in_search(recipe: Recipe) -> Recipe:
    """The recipe as a trial trains it: its first stages, where the search asks for those alone."""
    return recipe.model_copy(update={"stage": recipe.stage[: recipe.search.stages]})


def _run(bench: _Bench, trial: Trial, place: int) -> None:
    """One trial, from its values to its figure in the study."""
    try:
        values = bench.plan.values(trial, place, bench.store)
        while values is None:  # what it builds on is still being tried elsewhere
            with bench.store.held():
                put_back_dead(bench.store)
            if repeat := take(bench.store, bench.plan.total, repeats_only=True):
                _run(bench, *repeat)
            time.sleep(_POLL_SECONDS)
            values = bench.plan.values(trial, place, bench.store)
        with errors_of(bench.store.url):
            _judge(bench, trial, place, values)
    except BaseException:
        put_back(bench.store, trial)
        raise


def _run_together(bench: _Bench, heads: HeadTrials, taken: Sequence[tuple[Trial, int]]) -> None:
    """Trials whose heads are trained at once; one that an earlier trial was before takes its figures."""
    left = {trial.number: trial for trial, _ in taken}
    digests: dict[str, int] = {}
    asked: list[tuple[Trial, int, Recipe]] = []
    again: list[tuple[Trial, int]] = []
    before = bench.store.trials().values()
    done = {trial.user_attrs.get("recipe") for trial in before if trial.state == TrialState.COMPLETE}
    try:
        for trial, place in taken:
            recipe = _tried(bench, bench.plan.read(trial.params))
            if isinstance(recipe, HilumError) or _of(recipe) in done or digests.setdefault(_of(recipe), place) != place:
                again.append((trial, place))
            else:
                asked.append((trial, place, recipe))
        with bench.progress.task("training heads", len(asked)) as advance, errors_of(bench.store.url):
            for several in heads.train([recipe for _, _, recipe in asked], advance):
                with bench.store.one_commit():
                    for number, found in several:
                        trial, place, _ = asked[number]
                        _judge(bench, trial, place, bench.plan.read(trial.params), found)
                for number, _ in several:
                    del left[asked[number][0].number]
        for trial, place in again:
            _judge(bench, trial, place, bench.plan.read(trial.params))
            del left[trial.number]
    except BaseException:
        put_back(bench.store, *left.values())
        raise


def _judge(
    bench: _Bench, trial: Trial, place: int, values: Mapping[str, Any], found: Trained | HilumError | None = None
) -> None:
    """Its figure, from training it or as `found`."""
    name = f"trial {place + 1} of {bench.plan.total}"
    words = ", ".join(f"{key} = {value}" for key, value in values.items())
    started = time.monotonic()
    try:
        recipe = _tried(bench, values)
        if isinstance(recipe, HilumError):
            raise recipe
        digest = _of(recipe)
        trial.set_user_attr("recipe", digest)
        if isinstance(found, HilumError):
            raise found
        if found is not None:
            kept = asdict(found)
        else:
            kept = _same(bench.store, digest, place) or _trained(bench, trial, recipe, name)
        value = kept["row"][f"validation_{bench.recipe.search.monitor}"]
        if not np.isfinite(value):
            raise HilumError(f"{bench.recipe.search.monitor} of the validation part is undefined")
    except optuna.TrialPruned:
        trial.set_user_attr("seconds", round(time.monotonic() - started, 2))
        bench.store.study.tell(trial, state=TrialState.PRUNED)
        bench.progress.say(f"{name}: {words}: ended early, below the median of the others")
        return
    except HilumError as error:
        fail(bench.store, trial, error)
        bench.progress.say(f"{name}: {words}: failed: {error}")
        return
    for key, fact in {"seconds": round(time.monotonic() - started, 2), **kept}.items():
        trial.set_user_attr(key, fact)
    bench.store.study.tell(trial, value)
    bench.progress.say(f"{name}: {words}: {bench.recipe.search.monitor} {value:.4f}")


def _tried(bench: _Bench, values: Mapping[str, Any]) -> Recipe | HilumError:
    """The recipe as a trial trains it, or why there is none with these values together."""
    try:
        return settle(_in_search(with_values(bench.recipe, values)))
    except HilumError as error:
        return error


def _of(recipe: Recipe) -> str:
    return _digest(recipe.model_dump(mode="json"))


def _same(store: Store, digest: str, place: int) -> dict[str, Any] | None:
    """What an earlier trial of the very same recipe gave: training it again would give it again."""
    for other, trial in store.trials().items():
        if trial.state == TrialState.COMPLETE and trial.user_attrs.get("recipe") == digest and other != place:
            return {**{key: trial.user_attrs[key] for key in ("row", "epochs")}, "same_as": other + 1}
    return None


def _trained(bench: _Bench, trial: Trial, recipe: Recipe, name: str) -> dict[str, Any]:
    """Train a trial's recipe; what `train_trial` says of it."""
    if bench.heads is not None:
        (((_, found),),) = bench.heads.train([recipe])
        if isinstance(found, HilumError):
            raise found
        return asdict(found)
    epochs = 0

    def told(row: Mapping[str, float]) -> None:
        nonlocal epochs
        epochs += 1
        trial.report(row[f"validation_{bench.recipe.search.monitor}"], step=epochs)
        if trial.should_prune():
            raise optuna.TrialPruned

    job = TrialJob(name, bench.films, bench.about, recipe, bench.run.path / "trials" / str(trial.number))
    return (bench.train or train_trial)(job, told, _Named(bench.progress, name))


def train_trial(job: TrialJob, told: Callable[[Mapping[str, float]], None], progress: Progress) -> dict[str, Any]:
    """Train a trial; the epoch whose weights its last stage keeps, and the number of epochs. told: of each epoch."""
    recipe, parts = job.recipe, job.films["part"].to_numpy(object)
    classes = job.about["classes"]
    films = prepare_films(job.films, classes, recipe.prepare, workers=recipe.training.workers, progress=progress)
    train, validation = films.where(parts == "train"), films.where(parts == "validation")
    classifier = classifiers.build(recipe.model, classes, side_px=recipe.prepare.side_px, seed=recipe.training.seed)
    classifiers.fit_normalisation(classifier, train.batches())
    classifier = classifier.to(memory_format=torch.channels_last).to(job.about["device"])
    frozen = has_frozen_backbone(recipe)
    network = head_alone(classifier) if frozen else classifier
    shas = [*job.films["sha256"][parts == "train"], *job.films["sha256"][parts == "validation"]]
    epochs = 0
    try:
        for stage in stage_jobs(recipe, films, parts, job.about, job.folder):
            if frozen:
                stage = featured(classifier, stage, train, validation, shas, progress)
            history = train_stage(network, replace(stage, told=told), progress)
            row = kept_epoch(history, stage.stage)
            epochs += len(history)
            classifier = classifier.to(job.about["device"])  # Lightning leaves it on the processor
    finally:
        shutil.rmtree(job.folder, ignore_errors=True)
    return {"row": {key: _number(value) for key, value in row.items()}, "epochs": epochs}


@dataclass(frozen=True)
class _Named(Progress):
    """Progress that says of which trial it is."""

    within: Progress
    name: str

    @contextmanager
    def task(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        with self.within.task(f"{self.name}, {what}", total) as advance:
            yield advance


def _number(value: Any) -> float | None:
    """As JSON has it."""
    return float(value) if np.isfinite(value) else None


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
