"""Many heads trained at once on the same features, as one batched computation, each as `train_stage` would train it.

Heads of the same layers and widths are stacked: their weights are one tensor (heads, outputs, inputs), so that a step
of all of them is one matrix product. Each head keeps its own rate and schedule, and its optimiser's settings; as an
optimiser changes each number by itself, one object moves all heads of a kind, by windows into the stacked weights.
Whatever a head would have seen alone it sees here: the same first weights, batches, dropout masks and order of
arithmetic, in float32 and in bfloat16.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hilum.errors import HilumError
from hilum.evaluation.run_folder import HISTORY_COLUMNS
from hilum.model.classifier import Classifier, new_head
from hilum.model.inference import BATCH
from hilum.recipe.schema import Model, Recipe, Stage
from hilum.training import balance as balancing
from hilum.training.features import has_frozen_backbone
from hilum.training.prepared import Batch
from hilum.training.schedule import has_stopped, higher_is_better, kept_epoch, learning_rate
from hilum.training.stacked import Stack, drawn_from
from hilum.training.stage import OPTIMISERS, StageJob, no_number, parameter_groups, validation_figures

# Keys in which heads that train together may differ. The others change the films, the batches or the backbone.
OF_A_HEAD = ("model.dropout", "model.head.")
OF_A_STAGE = (
    "optimiser",
    "learning_rate",
    "momentum",
    "weight_decay",
    "schedule",
    "decay",
    "decay_epochs",
    "lowest_learning_rate",
    "patience",
    "monitor",
    "keep",
)
# Weights and what the optimisers keep of them, of the heads that are stacked at a time.
_BYTES = 512 * 1024 * 1024
_COPIES = 5


def train_together(recipe: Recipe, keys: Sequence[str]) -> bool:
    """Whether trials of a recipe that differ in these keys alone can be trained as heads on the same features.

    >>> recipe = Recipe(stage=[Stage(unfreeze="none")])
    >>> train_together(recipe, ["model.head.units", "stage.1.optimiser"]), train_together(recipe, ["stage.batch_size"])
    (True, False)
    """
    stays = has_frozen_backbone(recipe) and not recipe.model.block.layers and not any(s.ema for s in recipe.stage)
    return stays and all(key.startswith(OF_A_HEAD) or _of_a_stage(key) for key in keys)


def _of_a_stage(key: str) -> bool:
    section, _, rest = key.partition(".")
    number, _, name = rest.rpartition(".")
    return section == "stage" and (not number or number.isdigit()) and name in OF_A_STAGE


@dataclass
class Trainee:
    """A head on its way through a stage. failed: why it ended, if it did; the others go on without it."""

    head: nn.Sequential
    stage: Stage
    rows: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    failed: HilumError | None = None

    @property
    def monitored(self) -> list[float]:
        return [row[f"validation_{self.stage.monitor}"] for row in self.rows]

    @property
    def is_finished(self) -> bool:
        higher = higher_is_better(self.stage.monitor)
        stopped = has_stopped(self.monitored, self.stage.patience, higher=higher)
        return self.failed is not None or stopped or len(self.rows) >= self.stage.epochs

    @property
    def history(self) -> pd.DataFrame:
        return pd.DataFrame(self.rows, columns=list(HISTORY_COLUMNS))


def alike(models: Sequence[Model], classifier: Classifier) -> list[list[int]]:
    """The numbers of the models whose heads have the same layers, and so can be stacked, as many as memory allows.

    classifier: of `build`, which says what the heads take.
    """
    groups: dict[str, list[int]] = {}
    size: dict[str, int] = {}
    layers_of: dict[str, str] = {}
    for number, model in enumerate(models):
        if repr(model) not in layers_of:
            with torch.device("meta"):
                head = new_head(classifier, model)
            layers_of[repr(model)] = repr(head)
            size[repr(head)] = sum(weight.numel() for weight in head.parameters()) * 4 * _COPIES
        groups.setdefault(layers_of[repr(model)], []).append(number)
    return [
        numbers[start : start + max(1, _BYTES // size[layers])]
        for layers, numbers in groups.items()
        for start in range(0, len(numbers), max(1, _BYTES // size[layers]))
    ]


def train_heads(
    heads: Sequence[nn.Sequential], stages: Sequence[Stage], job: StageJob
) -> list[pd.DataFrame | HilumError]:
    """Train heads of the same layers in place, each to the best weights of its stage; its history, or why it failed.

    job: of the features (`features.featured`), whose own stage says the batches and epochs, the same for all heads.
    stages: of each head, differing in `OF_A_STAGE` alone.
    """
    trainees = [Trainee(head, stage) for head, stage in zip(heads, stages, strict=True)]
    if trainees:
        with torch.random.fork_rng():
            _train(trainees, job)
    return [trainee.failed or trainee.history for trainee in trainees]


def _train(trainees: list[Trainee], job: StageJob) -> None:
    device = torch.device(job.accelerator)
    for trainee in trainees:
        trainee.head.to(device)
    stack = Stack([trainee.head for trainee in trainees])
    windows = _windows(trainees)
    optimisers = _optimisers(stack, windows)
    weights = None
    if job.balance.how == "weights":
        counted = balancing.class_weights(job.train.y, len(job.classes))
        weights = torch.tensor(counted, dtype=torch.float32, device=device)
    for epoch in range(job.stage.epochs):
        if all(trainee.is_finished for trainee in trainees):
            break
        losses = _learn(stack, windows, optimisers, job, epoch, weights)
        _judge(stack, trainees, job, epoch, losses)
    for trainee in trainees:
        trainee.head.load_state_dict(trainee.best or trainee.head.state_dict())


@dataclass
class _Window:
    """Neighbours in the stack, from `start` on, whose rates are the same at each step. groups: of their optimiser."""

    trainees: list[Trainee]
    start: int
    groups: list[dict[str, Any]] = field(default_factory=list)

    @property
    def stage(self) -> Stage:
        return self.trainees[0].stage

    def pieces(self, stack: Stack, *, gradients: bool = False) -> tuple[list[Tensor], list[Tensor]]:
        return stack.pieces(self.start, self.start + len(self.trainees), gradients=gradients)


def _windows(trainees: list[Trainee]) -> list[_Window]:
    # On a plateau the rate depends on what the head has reached, so that each has a window of its own.
    alike = [(trainee.stage, n if trainee.stage.schedule == "plateau" else -1) for n, trainee in enumerate(trainees)]
    found, start = [], 0
    for _, same in groupby(zip(alike, trainees, strict=True), key=lambda each: each[0]):
        found.append(_Window([trainee for _, trainee in same], start))
        start += len(found[-1].trainees)
    return found


def _optimisers(stack: Stack, windows: list[_Window]) -> list[torch.optim.Optimizer]:
    """One of each kind, with the groups of all windows that ask for it."""
    made = []
    for kind in dict.fromkeys(window.stage.optimiser for window in windows):
        asked = [
            (window, group)
            for window in windows
            if window.stage.optimiser == kind
            for group in parameter_groups(*window.pieces(stack), window.stage)
        ]
        made.append(OPTIMISERS[kind]([group for _, group in asked]))
        for (window, _), group in zip(asked, made[-1].param_groups, strict=True):
            window.groups.append(group)
    return made


def _hand_out(stack: Stack, windows: list[_Window]) -> None:
    """Give the optimisers the gradients; none to heads that have finished."""
    for window in windows:
        is_going = not all(trainee.is_finished for trainee in window.trainees)
        for group, part in zip(window.groups, window.pieces(stack, gradients=True), strict=True):
            for piece, gradient in zip(group["params"], part, strict=True):
                piece.grad = gradient if is_going else None


def _learn(
    stack: Stack,
    windows: list[_Window],
    optimisers: list[torch.optim.Optimizer],
    job: StageJob,
    epoch: int,
    weights: Tensor | None,
) -> Tensor:
    """One epoch; the mean loss of each head."""
    stack.train()
    _hand_out(stack, windows)
    device, losses = torch.device(job.accelerator), []
    heads = sum(len(window.trainees) for window in windows)
    for step, films in enumerate(job.batches(epoch)):
        x = job.train.read(Batch(epoch, step, films)).to(device)
        y = torch.from_numpy(job.train.y[films]).to(device)
        # `torch.manual_seed` writes down, on machines without a GPU, each time who asked for it.
        drawn_from(x.device).manual_seed(job.generator(epoch, step).initial_seed())
        targets = F.one_hot(y, len(job.classes)).float().repeat(heads, 1)
        with torch.autocast(device.type, torch.bfloat16, enabled=job.precision == "bf16-mixed"):
            z = stack(x)
        each = F.cross_entropy(
            z.float().flatten(0, 1),
            targets,
            weight=weights,
            label_smoothing=job.stage.label_smoothing,
            reduction="none",
        )
        each = each.view(heads, len(films)).mean(1)
        each.sum().backward()
        stack.gather()
        losses.append(each.detach())
        done = epoch * job.steps_per_epoch + step
        for window in windows:
            rate = learning_rate(window.stage, done, job.steps_per_epoch, window.trainees[0].monitored)
            for group in window.groups:
                group["lr"] = rate
        for optimiser in optimisers:
            optimiser.step()
    return torch.stack(losses).mean(0)


def _judge(
    stack: Stack,
    trainees: list[Trainee],
    job: StageJob,
    epoch: int,
    losses: Tensor,
) -> None:
    """The figures of an epoch, and the weights where it is the best so far."""
    stack.eval()
    device, y = torch.device(job.accelerator), torch.from_numpy(job.validation.y)
    found = []
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=job.precision == "bf16-mixed"):
        for step, start in enumerate(range(0, len(y), BATCH)):
            films = np.arange(start, min(start + BATCH, len(y)))
            found.append(stack(job.validation.read(Batch(0, step, films)).to(device)).float().cpu())
    logits = torch.cat(found, dim=1).double()
    last = (epoch + 1) * job.steps_per_epoch - 1
    for trainee, z, loss in zip(trainees, logits, losses.tolist(), strict=True):
        if trainee.is_finished:
            continue
        if not math.isfinite(loss):
            trainee.failed = no_number(job.number, epoch + 1, trainee.stage)
            continue
        about = {"stage": job.number, "epoch": epoch + 1, "train_loss": loss}
        rate = learning_rate(trainee.stage, last, job.steps_per_epoch, trainee.monitored)
        trainee.rows.append({**about, **validation_figures(y, z), "learning_rate": rate, "seconds": 0.0})
        if kept_epoch(trainee.stage, trainee.monitored) == epoch:
            trainee.best = {name: tensor.clone() for name, tensor in trainee.head.state_dict().items()}
