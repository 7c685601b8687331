"""One stage of training, through Lightning: its loop, precision, devices and checkpoints are the library's."""

from __future__ import annotations

import io
import json
import logging
import math
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback, Checkpoint
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from hilum.errors import HilumError
from hilum.evaluation import metrics
from hilum.evaluation.run_folder import HISTORY_COLUMNS
from hilum.files import whole_file
from hilum.model.classifier import Classifier, set_unfrozen
from hilum.model.folding import folded
from hilum.model.inference import BATCH
from hilum.progress import Progress
from hilum.recipe.schema import Augment, Balance, Stage
from hilum.training import balance as balancing
from hilum.training import loaders
from hilum.training.augment import augment, mix
from hilum.training.prepared import Examples
from hilum.training.schedule import has_stopped, higher_is_better, kept_epoch, learning_rate
from hilum.training.share import ALONE, Share

OPTIMISERS: Mapping[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "rmsprop": torch.optim.RMSprop,
    "adagrad": torch.optim.Adagrad,
    "adadelta": torch.optim.Adadelta,
    "adam": torch.optim.Adam,
    "amsgrad": torch.optim.Adam,
    "adamax": torch.optim.Adamax,
    "nadam": torch.optim.NAdam,
    "adamw": torch.optim.AdamW,
}


def _unheard(row: Mapping[str, float]) -> None:
    """What is done with an epoch's figures when nobody asks."""


@dataclass(frozen=True)
class StageJob:
    """Everything one stage needs besides the network.

    train, validation: films, or their features where the network is a head alone. told: is given the figures of each
    epoch, named as in the history, and may end the stage by raising.
    """

    number: int
    stage: Stage
    classes: tuple[str, ...]
    train: Examples
    validation: Examples
    augment: Augment
    balance: Balance
    seed: int
    precision: str
    accelerator: str
    folder: Path
    told: Callable[[Mapping[str, float]], None] = _unheard

    @cached_property
    def steps_per_epoch(self) -> int:
        return balancing.batches_per_epoch(
            self.train.y, self.train.sources, self.classes, self.balance, self.stage.batch_size
        )

    def batches(self, epoch: int) -> list[NDArray[np.int64]]:
        """The numbers of the films of each step of an epoch."""
        rng = np.random.default_rng([self.seed, self.number, epoch])
        train = self.train
        return balancing.epoch_batches(train.y, train.sources, self.classes, self.balance, self.stage.batch_size, rng)

    def generator(self, epoch: int, step: int) -> torch.Generator:
        """Randomness that depends on nothing but where in the training we are."""
        words = np.random.SeedSequence([self.seed, self.number, epoch, step]).generate_state(2, np.uint32)
        return torch.Generator().manual_seed(int(words[0]) << 31 | int(words[1]) >> 1)


def train_stage(classifier: Classifier, job: StageJob, progress: Progress) -> pd.DataFrame:
    """Train the classifier in place to the stage's best weights; the value is the stage's history.

    A stage that was killed goes on after its last whole epoch, and ends with the weights that it would have had.
    Raises HilumError when the loss is no number any more, KeyboardInterrupt when the user stopped it.
    """
    module = _trained(classifier, job, progress, ALONE)
    best = torch.load(job.folder / "best.ckpt", map_location="cpu", weights_only=True)
    module.load_state_dict(best["state_dict"])
    classifier.load_state_dict(module.judged.state_dict())
    return module.history


def train_share(classifier: Classifier, job: StageJob, progress: Progress, share: Share) -> None:
    """Train a stage together with other processes, each with the same job and network, up to its last epoch.

    It leaves the stage's checkpoints in the folder of the first process, from which `train_stage` ends the stage on any
    machine; each goes on after the last.ckpt in its own folder. Raises as `train_stage` does, in every process.
    """
    _trained(classifier, job, progress, share)


def _trained(classifier: Classifier, job: StageJob, progress: Progress, share: Share) -> _StageModule:
    module = _StageModule(classifier, job, share)
    last = job.folder / "last.ckpt"
    if last.is_file():
        module.load_history(torch.load(last, map_location="cpu", weights_only=True)["history"])
    if not module.is_finished():
        _fit(module, job, last if last.is_file() else None, progress)
    return module


def _fit(module: _StageModule, job: StageJob, checkpoint: Path | None, progress: Progress) -> None:
    handler = signal.getsignal(signal.SIGINT)
    what = f"stage {job.number}: {job.stage.epochs} epochs"
    steps = (job.stage.epochs - len(module.history)) * job.steps_per_epoch
    # Dropout draws from torch's global generator; what the caller had there comes back afterwards.
    with (
        _quiet_lightning(),
        torch.random.fork_rng(),
        folded(module.classifier),
        progress.task(what, steps) as advance,
    ):
        trainer = L.Trainer(
            accelerator=job.accelerator,
            devices=1,
            precision=job.precision,
            max_epochs=job.stage.epochs,
            strategy=module.share.strategy,
            callbacks=[_Advance(advance), _Checkpoints(), *module.share.callbacks],
            plugins=[_WholeCheckpoints(), *module.share.plugins],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            deterministic="warn" if job.accelerator != "cpu" else None,
        )
        try:
            trainer.fit(
                module,
                loaders.of_training(job, len(module.history)),
                loaders.of_validation(job, module.share),
                ckpt_path=checkpoint,
                weights_only=True if checkpoint else None,
            )
        except SystemExit:  # Lightning's answer to Ctrl-C
            raise KeyboardInterrupt from None
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGINT, handler)  # which Lightning leaves ignored


class _StageModule(L.LightningModule):
    def __init__(self, classifier: Classifier, job: StageJob, share: Share) -> None:
        super().__init__()
        self.classifier, self.job, self.share = classifier, job, share
        self.history = pd.DataFrame(columns=list(HISTORY_COLUMNS))
        set_unfrozen(classifier, job.stage.unfreeze)
        self.averaged = (
            AveragedModel(classifier, multi_avg_fn=get_ema_multi_avg_fn(job.stage.ema), use_buffers=True)
            if job.stage.ema
            else None
        )
        if self.averaged is not None:
            self.averaged.requires_grad_(False)  # no gradient is ever to be waited for
        weights = None
        if job.balance.how == "weights":
            weights = torch.tensor(balancing.class_weights(job.train.y, len(job.classes)), dtype=torch.float32)
        self.register_buffer("class_weights", weights, persistent=False)
        self._losses: list[Tensor] = []
        self._judged = torch.empty(0)
        self._started = 0.0

    @property
    def judged(self) -> nn.Module:
        """The network whose validation counts and whose weights are kept."""
        return self.averaged.module if self.averaged is not None else self.classifier

    @property
    def monitored(self) -> list[float]:
        return [float(value) for value in self.history[f"validation_{self.job.stage.monitor}"]]

    def is_finished(self) -> bool:
        stage = self.job.stage
        stopped = has_stopped(self.monitored, stage.patience, higher=higher_is_better(stage.monitor))
        return stopped or len(self.history) >= stage.epochs

    def load_history(self, text: str) -> None:
        self.history = pd.DataFrame(json.loads(text), columns=list(HISTORY_COLUMNS))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["history"] = json.dumps(self.history.to_dict("records"))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return make_optimiser(self.classifier, self.job.stage)

    def on_train_epoch_start(self) -> None:
        self.classifier.train()  # Lightning leaves the mode as it finds it
        self._started = time.monotonic()
        self._losses = []

    def training_step(self, batch: tuple[Tensor, Tensor], step: int) -> Tensor:
        job, stage = self.job, self.job.stage
        films, y = batch
        generator = job.generator(self.current_epoch, step)
        # For dropout. In each step, because loaders draw from the same generator when they begin.
        torch.manual_seed(generator.initial_seed() + self.share.rank)
        self._set_learning_rate(step)
        # Lightning computes this step in the precision of the network; places on a film need float32.
        with torch.autocast(films.device.type, enabled=False):
            films = augment(self._shrunk(films), job.augment, generator)
        targets = F.one_hot(y, len(job.classes)).float()
        if job.augment.mixup:
            films, targets = mix(films, targets, job.augment.mixup, generator)
        # Drawn and mixed as one machine does, and then divided.
        mine, weight = self.share.films(len(y))
        z = self.classifier(films[mine]).float()
        loss = weight * F.cross_entropy(
            z, targets[mine], weight=self.class_weights, label_smoothing=stage.label_smoothing
        )
        self._losses.append(loss.detach())
        return loss

    def on_train_batch_end(self, *_: Any) -> None:
        if self.averaged is not None:
            self.averaged.update_parameters(self.classifier)

    def on_validation_epoch_start(self) -> None:
        for statistics in self.buffers():  # of batch norms, which each process has of its own films
            if statistics.is_floating_point():
                statistics.copy_(self.share.mean(statistics))
        self._judged = torch.zeros(len(self.job.validation), len(self.job.classes), device=self.device)

    def validation_step(self, batch: tuple[Tensor, Tensor], step: int) -> None:
        films, _ = batch
        if len(films):
            self._judged[step * BATCH : step * BATCH + len(films)] = self.judged(self._shrunk(films)).float()

    def _shrunk(self, films: Tensor) -> Tensor:
        """Films in [0, 1], of the stage's side; an epoch is judged at the side it learns from. Features as they are."""
        return films if films.is_floating_point() else shrunk(films, self.job.stage.side_px)

    def on_train_epoch_end(self) -> None:
        z, y = self.share.sum(self._judged).double(), torch.from_numpy(self.job.validation.y)
        row = {
            "stage": self.job.number,
            "epoch": self.current_epoch + 1,
            "train_loss": float(self.share.mean(torch.stack(self._losses).mean())),
            **validation_figures(y, z.cpu()),
            "learning_rate": float(self.trainer.optimizers[0].param_groups[0]["lr"]),
            "seconds": round(time.monotonic() - self._started, 3),
        }
        if not math.isfinite(row["train_loss"]):
            raise no_number(self.job.number, self.current_epoch + 1, self.job.stage)
        self.history = pd.DataFrame([*self.history.to_dict("records"), row], columns=list(HISTORY_COLUMNS))
        self.trainer.should_stop = self.is_finished()
        self.job.told(row)

    def _set_learning_rate(self, step: int) -> None:
        done = self.current_epoch * self.job.steps_per_epoch + step
        rate = learning_rate(self.job.stage, done, self.job.steps_per_epoch, self.monitored)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = rate


def shrunk(films: Tensor, side_px: int | None) -> Tensor:
    """Films uint8 (B, 1, H, W) as float in [0, 1], of the side asked for."""
    films = films.float() / 255.0
    if side_px is None or side_px == films.shape[-1]:
        return films
    return F.interpolate(films, size=(side_px, side_px), mode="area")


def make_optimiser(network: nn.Module, stage: Stage) -> torch.optim.Optimizer:
    """The stage's optimiser over the parameters that learn; biases and norms do not decay."""
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    weights, others = ([p for p in learning if (p.ndim > 1) == is_weight] for is_weight in (True, False))
    return OPTIMISERS[stage.optimiser](parameter_groups(weights, others, stage))


def parameter_groups(weights: Sequence[Tensor], others: Sequence[Tensor], stage: Stage) -> list[dict[str, Any]]:
    """What the stage's optimiser is made with. weights: what decays. others: biases and norms, which do not."""
    options: dict[str, Any] = {"lr": stage.learning_rate}
    if stage.optimiser in ("sgd", "rmsprop"):
        options["momentum"] = stage.momentum
    if stage.optimiser == "amsgrad":
        options["amsgrad"] = True
    decays = ((weights, stage.weight_decay), (others, 0.0))
    return [{"params": params, "weight_decay": decay, **options} for params, decay in decays if params]


def no_number(number: int, epoch: int, stage: Stage) -> HilumError:
    """What is raised where a loss becomes infinite or undefined."""
    return HilumError(
        "the training loss is no number any more",
        where=f"stage {number}, epoch {epoch}",
        next_step=f"Try a lower rate: --set stage.learning_rate={stage.learning_rate / 10:g}",
    )


def validation_figures(classes: Tensor, logits: Tensor) -> dict[str, float]:
    """The history's figures of the validation part: class numbers (N,) and logits (N, K), float64."""
    y, p = classes.numpy(), logits.softmax(1).numpy()
    counts = metrics.confusion(y, p.argmax(axis=1), p.shape[1])
    return {
        "validation_loss": float(F.cross_entropy(logits, classes)),
        "validation_accuracy": float(metrics.accuracy(counts)),
        "validation_balanced_accuracy": float(metrics.macro(metrics.recall(counts))),
        "validation_macro_f1": float(metrics.macro(metrics.f_beta(counts, 1.0))),
        "validation_macro_auroc": float(metrics.macro(metrics.by_class(metrics.auroc, y, p))),
    }


class _Advance(Callback):
    def __init__(self, advance: Callable[[int], None]) -> None:
        self.advance = advance

    def on_train_batch_end(self, *_: Any) -> None:
        self.advance(1)


class _Checkpoints(Checkpoint):
    """best.ckpt with the weights of the epoch that is kept so far, then last.ckpt, from which a killed stage goes on.

    Which it is is told by the history, which a moved or copied run folder keeps.
    """

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        assert isinstance(module, _StageModule)
        folder = module.job.folder
        if kept_epoch(module.job.stage, module.monitored) == len(module.monitored) - 1:
            trainer.save_checkpoint(folder / "best.ckpt", weights_only=True)
        trainer.save_checkpoint(folder / "last.ckpt")


class _WholeCheckpoints(TorchCheckpointIO):
    """Lightning writes to the system's temporary folder and moves; from another disk that can leave half a file."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        with whole_file(path) as part:
            part.write_bytes(buffer.getbuffer())


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Without Lightning's banners and its advice for other people's loaders."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            warnings.filterwarnings("ignore", category=UserWarning, message=".*(dataloader|num_workers|checkpoint).*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
