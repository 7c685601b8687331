"""One run trained by several workers together on the nodes of a cluster: Ray Train keeps them alive, Lightning trains.

Each worker computes its share of every batch, and the gradients are averaged. Only the stages in which the backbone
learns are trained so; heads that learn from features, and all else of a run, are work for the machine of the command.

After each epoch the first worker brings the checkpoints of the stage to the machine of the command, into the run's
folder. So the nodes share the films and nothing else; the workers go on from there when some of them were lost, and
`train` with `resume` does when the command was stopped, with any number of workers or with none.
"""

from __future__ import annotations

import os
import queue
import tempfile
import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from lightning.pytorch.callbacks import Checkpoint

from hilum.errors import HilumError, RequestError, StoppedError
from hilum.evaluation.run_folder import RunFolder
from hilum.files import whole_file, write_json
from hilum.model import machine
from hilum.model.classifier import Classifier, set_unfrozen
from hilum.progress import SILENT, Progress
from hilum.recipe.schema import Recipe, Stage
from hilum.scale.connect import check_nodes, here, nodes
from hilum.scale.keeper import Keeper, first_line
from hilum.scale.units import ATTEMPTS, Size, Telling, of_the_node, room
from hilum.training import train as one_run
from hilum.training.features import has_frozen_backbone
from hilum.training.prepared import prepare_films
from hilum.training.share import Share
from hilum.training.stage import StageJob, train_share

_HEAR_SECONDS = 0.5


def train(
    recipe: Recipe,
    out: Path | str,
    *,
    workers: int | None = None,
    resume: bool = False,
    progress: Progress = SILENT,
) -> RunFolder:
    """Train one run into the folder `out` with several workers on the cluster that this process is connected to.

    workers: by default as many as there is room for. Each computes with as many threads as torch has here, or fewer
    where so many workers need it; and on one GPU where this machine has one that the recipe uses. environment.json says
    in `trained_on` which nodes they were on. Refused as by `hilum.training.train.train`; with RequestError: more
    workers than there is room for, or than can have two films each of a batch; with DataError: a node without films.
    """
    asked = RunFolder(Path(out)).recipe() if resume else recipe
    gpus = int(machine.accelerator(asked.training.device) != "cpu")
    workers, size = _sized(workers, gpus)
    _check_batches(asked, workers)
    if not resume:
        one_run.start(recipe, Path(out), progress=progress)
    check_nodes([Path(path) for path in RunFolder(Path(out)).manifest()["path"]])
    if has_frozen_backbone(asked):
        progress.say("note: no stage trains the backbone, so that this machine does all and the workers nothing")
    return one_run.train(
        recipe, out, resume=True, elsewhere=partial(_train_stage, workers=workers, size=size), progress=progress
    )


def _sized(workers: int | None, gpus: int) -> tuple[int, Size]:
    """How many workers, and what each takes of a node."""
    found, threads = nodes(), torch.get_num_threads()
    wanted = max(1, room(found, Size(threads, gpus))) if workers is None else workers
    sizes = [Size(cores, gpus) for cores in range(threads, 0, -1)]
    for size in sizes:
        if room(found, size) >= wanted:
            return wanted, size
    most = room(found, sizes[-1])
    raise RequestError(
        f"the cluster has room for {most} workers, each on {'a GPU' if gpus else 'a core'} of its own",
        where=f"--workers {wanted}",
        next_step=f"Give --workers {most}, or let more nodes join with: ray start --address=ADDRESS"
        if most
        else "Let nodes join with: ray start --address=ADDRESS",
    )


def _check_batches(recipe: Recipe, workers: int) -> None:
    for number, stage in enumerate(recipe.stage, 1):
        if stage.epochs and not has_frozen_backbone(recipe, stage) and stage.batch_size < 2 * workers:
            raise RequestError(
                f"each of {workers} workers needs two films of a batch, which has {stage.batch_size}",
                where=f"stage {number}: batch_size",
                next_step=f"Give at most --workers {stage.batch_size // 2}, or use larger batches.",
            )


def _train_stage(
    run: RunFolder, classifier: Classifier, job: StageJob, progress: Progress, *, workers: int, size: Size
) -> None:
    """Have a stage trained to its last epoch by the workers, so that its checkpoints are in the job's folder."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    own = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    keeper = (
        ray.remote(Keeper)
        .options(num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy=own)
        .remote(job.folder.absolute(), f"stage {job.number}")
    )
    asked = _Asked(
        job.number,
        run.recipe(),
        run.environment(),
        ray.put(run.manifest()),
        ray.put(classifier.cpu()),
        keeper,
        size.threads,
    )
    ended: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
    # In a thread, because in the main one Ray Train takes Ctrl-C for itself, and does not give it back.
    threading.Thread(target=lambda: ended.put(_fitted(asked, workers, size, job.stage)), daemon=True).start()
    try:
        failure = _heard(keeper, ended, progress)
    except BaseException:
        keeper.refuse.remote(StoppedError("stopped"))  # where the cluster lives on, they end after their epoch
        raise
    if failure is not None:
        raise _failed(failure, run.path, workers) from failure
    before = run.environment().get("trained_on", {}).get("nodes", [])
    names = list(dict.fromkeys([*before, *ray.get(keeper.names.remote())]))
    where = {"nodes": names, "workers": workers, "cores_each": size.threads, "gpus_each": size.gpus}
    write_json(run.path / "environment.json", {**run.environment(), "trained_on": where})


def _fitted(asked: _Asked, workers: int, size: Size, stage: Stage) -> BaseException | None:
    """Run the workers to their end; what it could not be done for."""
    # Paths of films may be relative to where the command was given. Before Ray 2.51 the API of Train is asked for.
    os.environ.update(RAY_CHDIR_TO_TRIAL_DIR="0", RAY_TRAIN_V2_ENABLED="1")
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    each = {"CPU": size.threads, **({"GPU": size.gpus} if size.gpus else {})}
    # The keeper ends sooner what fails again and again; this is for workers that do not come so far.
    failures = FailureConfig(max_failures=ATTEMPTS * stage.epochs, controller_failure_limit=ATTEMPTS - 1)
    try:
        with tempfile.TemporaryDirectory(prefix="hilum-") as nothing:  # Ray Train wants storage, and is given no files
            TorchTrainer(
                _work,
                train_loop_config={"asked": asked},
                scaling_config=ScalingConfig(num_workers=workers, use_gpu=bool(size.gpus), resources_per_worker=each),
                run_config=RunConfig(name="stage", storage_path=nothing, failure_config=failures),
            ).fit()
    except BaseException as error:
        return error
    return None


def _heard(keeper: Any, ended: queue.SimpleQueue[BaseException | None], progress: Progress) -> BaseException | None:
    """Say what the workers tell until they have ended; raise what they refuse. The value is that of `ended`."""
    import ray

    over = False
    while not over:
        try:
            failure = ended.get(timeout=_HEAR_SECONDS)
            over = True
        except queue.Empty:
            failure = None
        lines, refused = ray.get(keeper.heard.remote())
        for line in lines:
            progress.say(line)
        if refused is not None:
            raise refused
    return failure


def _failed(failure: BaseException, out: Path, workers: int) -> HilumError:
    """What Ray Train gives up for, in words."""
    from ray.train import ControllerError

    cause = failure.controller_failure if isinstance(failure, ControllerError) else failure
    if type(cause).__name__ == "WorkerGroupStartupTimeoutError":
        return HilumError(
            f"the cluster has had no room for {workers} workers for {ATTEMPTS} minutes",
            next_step="Let nodes join, or go on with fewer: "
            f"hilum train --resume -o {out} --cluster ADDRESS --workers N; what was finished is kept.",
        )
    return HilumError(
        f"the workers could not be kept alive: {first_line(cause)}",
        next_step="Look at the nodes' /tmp/ray/session_latest/logs; what was finished is kept: "
        f"go on with hilum train --resume -o {out} --cluster ADDRESS",
    )


# On a node -----------------------------------------------------------------------------------------------------------


class _Asked(NamedTuple):
    number: int
    recipe: Recipe
    about: dict[str, Any]
    manifest: Any
    classifier: Any
    keeper: Any
    threads: int


def _work(config: Mapping[str, _Asked]) -> None:
    """What each worker does: the stage from its last whole epoch on, its share of it."""
    import ray
    import ray.train
    from ray.train.lightning import RayDDPStrategy, RayLightningEnvironment

    asked, context = config["asked"], ray.train.get_context()
    share = Share(
        context.get_world_rank(),
        context.get_world_size(),
        # A backbone may have weights that it never uses, which a static graph allows. Buffers are averaged each epoch.
        strategy=RayDDPStrategy(static_graph=True, broadcast_buffers=False),
        plugins=[RayLightningEnvironment()],
        callbacks=[_Bringing(asked.keeper)],
    )
    checkpoint = _begun(asked.keeper, share)
    if checkpoint is None:
        return
    try:
        _train_share(asked, share, checkpoint)
    except (HilumError, OSError) as error:
        refused = error if isinstance(error, HilumError) else of_the_node(error)
        refused.where = refused.where if here() in refused.where else f"{refused.where} on the node {here()}".strip()
        ray.get(asked.keeper.refuse.remote(refused))
        raise
    except Exception as error:
        ray.get(asked.keeper.wrong.remote(f"worker {share.rank}: {first_line(error)}"))
        raise


def _begun(keeper: Any, share: Share) -> bytes | None:
    """What the keeper says to the first worker, which every worker hears."""
    import ray

    found: list[Any] = [None] * share.size
    torch.distributed.all_gather_object(found, (ray.get_runtime_context().get_node_id(), here()))
    answer = [ray.get(keeper.begin.remote(dict(found))) if share.rank == 0 else None]
    torch.distributed.broadcast_object_list(answer, src=0)
    return answer[0]


def _train_share(asked: _Asked, share: Share, checkpoint: bytes) -> None:
    import ray

    os.environ["OMP_NUM_THREADS"] = str(asked.threads)
    torch.set_num_threads(asked.threads)
    machine.keep_memory()
    progress = Telling(lambda line: asked.keeper.tell.remote(line)) if share.rank == 0 else SILENT
    manifest: pd.DataFrame = ray.get(asked.manifest)
    recipe, about = asked.recipe, asked.about
    films = prepare_films(
        manifest, about["classes"], recipe.prepare, workers=recipe.training.workers, progress=progress
    )
    with tempfile.TemporaryDirectory(prefix="hilum-") as folder:
        jobs = one_run.stage_jobs(recipe, films, manifest["part"].to_numpy(object), about, Path(folder))
        job = next(job for job in jobs if job.number == asked.number)
        classifier: Classifier = ray.get(asked.classifier)
        if job.accelerator == "cuda":
            _synchronise(classifier, job.stage)
        if checkpoint:
            with whole_file(job.folder / "last.ckpt") as part:
                part.write_bytes(checkpoint)
        train_share(classifier, job, progress, share)


def _synchronise(classifier: Classifier, stage: Stage) -> None:
    """Let the batch norms that learn see the whole batch, as on one machine; torch can on GPUs.

    By timm's function, because torch's loses the activation that timm's batch norms have within.
    """
    from timm.layers import convert_sync_batchnorm
    from torch.nn.modules.batchnorm import _BatchNorm

    set_unfrozen(classifier.train(), stage.unfreeze)
    for parent in list(classifier.modules()):
        for name, child in parent.named_children():
            if isinstance(child, _BatchNorm) and child.training:
                setattr(parent, name, convert_sync_batchnorm(child))


class _Bringing(Checkpoint):
    """Brings the checkpoints of the first worker to the keeper; the order is that in which `stage` writes them."""

    def __init__(self, keeper: Any) -> None:
        self.keeper = keeper

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        import ray

        if not trainer.is_global_zero:
            return
        for name in ("best.ckpt", "last.ckpt"):
            file = module.job.folder / name
            if file.is_file():
                refused = ray.get(self.keeper.keep.remote(name, file.read_bytes(), trainer.current_epoch + 1))
                if refused is not None:
                    raise refused
                file.unlink()
