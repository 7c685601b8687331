"""Many heads trained at once on the same features, as one batched computation, each as `train_stage` would train it.

Heads of the same layers and widths are stacked: their weights are one tensor (heads, outputs, inputs), so that a step
of all of them is one matrix product. Each head keeps its own optimiser, rate and schedule, whose parameters are windows
into the stacked ones. Whatever a head would have seen alone it sees here: the same first weights, batches, dropout
masks and order of arithmetic, in float32 and in bfloat16.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

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
from hilum.training.stage import StageJob, make_optimiser, no_number, validation_figures

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
    for number, model in enumerate(models):
        with torch.device("meta"):
            head = new_head(classifier, model)
        groups.setdefault(repr(head), []).append(number)
        size[repr(head)] = sum(weight.numel() for weight in head.parameters()) * 4 * _COPIES
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
    optimisers = [make_optimiser(trainee.head, trainee.stage) for trainee in trainees]
    weights = None
    if job.balance.how == "weights":
        counted = balancing.class_weights(job.train.y, len(job.classes))
        weights = torch.tensor(counted, dtype=torch.float32, device=device)
    for epoch in range(job.stage.epochs):
        if all(trainee.is_finished for trainee in trainees):
            break
        losses = _learn(stack, trainees, optimisers, job, epoch, weights)
        _judge(stack, trainees, optimisers, job, epoch, losses)
    for trainee in trainees:
        trainee.head.load_state_dict(trainee.best or trainee.head.state_dict())


def _learn(
    stack: Stack,
    trainees: list[Trainee],
    optimisers: list[torch.optim.Optimizer],
    job: StageJob,
    epoch: int,
    weights: Tensor | None,
) -> Tensor:
    """One epoch; the mean loss of each head."""
    stack.train()
    device, losses = torch.device(job.accelerator), []
    going = [number for number, trainee in enumerate(trainees) if not trainee.is_finished]
    for step, films in enumerate(job.batches(epoch)):
        x = job.train.read(Batch(epoch, step, films)).to(device)
        y = torch.from_numpy(job.train.y[films]).to(device)
        torch.manual_seed(job.generator(epoch, step).initial_seed())
        targets = F.one_hot(y, len(job.classes)).float().repeat(len(trainees), 1)
        with torch.autocast(device.type, torch.bfloat16, enabled=job.precision == "bf16-mixed"):
            z = stack(x)
        each = F.cross_entropy(
            z.float().flatten(0, 1),
            targets,
            weight=weights,
            label_smoothing=job.stage.label_smoothing,
            reduction="none",
        )
        each = each.view(len(trainees), len(films)).mean(1)
        stack.zero_grad(set_to_none=True)
        each.sum().backward()
        stack.hand_out_gradients()
        losses.append(each.detach())
        done = epoch * job.steps_per_epoch + step
        for number in going:
            trainee, optimiser = trainees[number], optimisers[number]
            rate = learning_rate(trainee.stage, done, job.steps_per_epoch, trainee.monitored)
            for group in optimiser.param_groups:
                group["lr"] = rate
            optimiser.step()
    return torch.stack(losses).mean(0)


def _judge(
    stack: Stack,
    trainees: list[Trainee],
    optimisers: list[torch.optim.Optimizer],
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
    for trainee, z, loss, optimiser in zip(trainees, logits, losses.tolist(), optimisers, strict=True):
        if trainee.is_finished:
            continue
        if not math.isfinite(loss):
            trainee.failed = no_number(job.number, epoch + 1, trainee.stage)
            continue
        about = {"stage": job.number, "epoch": epoch + 1, "train_loss": loss}
        rate = float(optimiser.param_groups[0]["lr"])
        trainee.rows.append({**about, **validation_figures(y, z), "learning_rate": rate, "seconds": 0.0})
        if kept_epoch(trainee.stage, trainee.monitored) == epoch:
            trainee.best = {name: tensor.clone() for name, tensor in trainee.head.state_dict().items()}


class Stack(nn.Module):
    """Heads of the same layers as one network: features (B, F) to the logits of each head (H, B, K).

    The weights of the heads become windows into the stacked ones, so that whoever changes one changes the other.
    """

    def __init__(self, heads: Sequence[nn.Sequential]) -> None:
        super().__init__()
        rows = zip(*(list(head) for head in heads), strict=True)
        self.layers = nn.ModuleList([_stacked(row) for row in rows])

    def forward(self, features: Tensor) -> Tensor:
        x = features.flatten(1)
        for layer in self.layers:
            x = layer(x)
        return x

    def hand_out_gradients(self) -> None:
        """Give each head its windows into the gradients of the last backward pass."""
        for layer in self.layers:
            if isinstance(layer, _Linears | _BatchNorms):
                layer.hand_out_gradients()


def _stacked(layers: Sequence[nn.Module]) -> nn.Module:
    first = layers[0]
    if isinstance(first, nn.Linear):
        return _Linears(layers)
    if isinstance(first, nn.BatchNorm1d):
        return _BatchNorms(layers)
    if isinstance(first, nn.Dropout | nn.AlphaDropout):
        return _SameDropout(first)
    return copy.deepcopy(first)


class _Windows(nn.Module):
    """Layers whose tensors are stacked, and are windows into the stack from then on."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.of = list(layers)  # a plain list, so that their parameters are not counted twice
        for name, _ in layers[0].named_parameters():
            stacked = torch.stack([getattr(layer, name).detach() for layer in layers])
            self.register_parameter(name, nn.Parameter(stacked))
            for layer, window in zip(layers, stacked, strict=True):
                getattr(layer, name).data = window
        for name, buffer in layers[0].named_buffers():
            stacked = torch.stack([getattr(layer, name) for layer in layers])
            self.register_buffer(name, stacked)
            for layer, window in zip(layers, stacked, strict=True):
                setattr(layer, name, window if buffer.ndim else window.view(()))

    def hand_out_gradients(self) -> None:
        for name, stacked in self.named_parameters():
            assert stacked.grad is not None
            for layer, window in zip(self.of, stacked.grad, strict=True):
                getattr(layer, name).grad = window


class _Linears(_Windows):
    """Linear layers: (B, F) for all, or (H, B, F), to (H, B, O)."""

    weight: Tensor
    bias: Tensor

    def forward(self, x: Tensor) -> Tensor:
        heads, outputs, inputs = self.weight.shape
        if x.ndim == 2:  # of all heads in one product, which is what makes it fast
            z = F.linear(x, self.weight.view(heads * outputs, inputs), self.bias.view(-1))
            return z.view(len(x), heads, outputs).transpose(0, 1)
        return torch.baddbmm(self.bias[:, None], x, self.weight.transpose(1, 2))


class _BatchNorms(_Windows):
    """Batch normalisations: (B, F) for all, or (H, B, F), to (H, B, F); every head's channels are channels of one."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def forward(self, x: Tensor) -> Tensor:
        first = self.of[0]
        assert isinstance(first, nn.BatchNorm1d) and first.momentum is not None
        heads = len(self.weight)
        x = x.expand(heads, *x.shape) if x.ndim == 2 else x
        if self.training:
            self.num_batches_tracked.add_(1)
        flat = F.batch_norm(
            x.transpose(0, 1).reshape(x.shape[1], -1),
            self.running_mean.view(-1),
            self.running_var.view(-1),
            self.weight.view(-1),
            self.bias.view(-1),
            self.training,
            first.momentum,
            first.eps,
        )
        return flat.view(x.shape[1], heads, -1).transpose(0, 1)


class _SameDropout(nn.Module):
    """Dropout that leaves out of every head what it would leave out of one alone."""

    def __init__(self, layer: nn.Dropout | nn.AlphaDropout) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or x.ndim == 2:  # before the first layer, all heads see one thing
            dropped: Tensor = self.layer(x)
            return dropped
        on_gpu = x.device.type == "cuda"
        draws = torch.cuda.default_generators[x.device.index] if on_gpu else torch.default_generator
        state, kept = draws.get_state(), []
        for one in x:
            draws.set_state(state)
            kept.append(self.layer(one))
        return torch.stack(kept)
