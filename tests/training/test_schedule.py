"""Learning rates equal torch's own schedulers; stopping counts epochs without gain."""

from __future__ import annotations

import math

import pytest
import torch

from hilum.recipe.schema import Stage
from hilum.training.schedule import best_epoch, has_stopped, learning_rate

STEPS = 7


def torch_rates(make: object, steps: int, *, per_epoch: bool) -> list[float]:
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = make(optimiser)  # type: ignore[operator]
    rates = []
    for step in range(steps):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        if not per_epoch or (step + 1) % STEPS == 0:
            scheduler.step()
    return rates


@pytest.mark.parametrize(
    ("stage", "make", "per_epoch"),
    [
        (
            Stage(schedule="one_cycle", learning_rate=0.1, epochs=4),
            lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=4 * STEPS, cycle_momentum=False),
            False,
        ),
        (
            Stage(schedule="cosine", learning_rate=0.1, epochs=4, lowest_learning_rate=0.01),
            lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 4 * STEPS, eta_min=0.01),
            False,
        ),
        (
            Stage(schedule="step", learning_rate=0.1, epochs=4, decay=0.5, decay_epochs=2),
            lambda o: torch.optim.lr_scheduler.StepLR(o, 2, 0.5),
            True,
        ),
        (
            Stage(schedule="exponential", learning_rate=0.1, epochs=4, decay=0.9),
            lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.9),
            True,
        ),
        (
            Stage(schedule="inverse_time", learning_rate=0.1, epochs=4, decay=1e-2),
            lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda step: 1 / (1 + 1e-2 * step)),
            False,
        ),
    ],
    ids=lambda value: value.schedule if isinstance(value, Stage) else "",
)
def test_a_schedule_equals_torchs(stage: Stage, make: object, per_epoch: bool) -> None:
    ours = [learning_rate(stage, step, STEPS) for step in range(4 * STEPS)]
    assert ours == pytest.approx(torch_rates(make, 4 * STEPS, per_epoch=per_epoch))


def test_plateau_equals_torchs() -> None:
    losses = [1.0, 0.9, 0.95, 0.91, 0.92, 0.93, 0.8, 0.81, 0.82, 0.83, 0.84, 0.85, 0.86]
    stage = Stage(schedule="plateau", learning_rate=0.1, decay=0.5, decay_epochs=2, epochs=len(losses) + 1)
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, factor=0.5, patience=2, threshold=0.0)
    for epoch, loss in enumerate(losses, 1):
        scheduler.step(loss)
        ours = learning_rate(stage, epoch * STEPS, STEPS, losses[:epoch])
        assert ours == pytest.approx(optimiser.param_groups[0]["lr"]), epoch


def test_the_rate_never_falls_below_the_lowest() -> None:
    stage = Stage(schedule="step", learning_rate=0.1, decay=0.1, decay_epochs=1, epochs=9, lowest_learning_rate=1e-3)
    assert learning_rate(stage, 8 * STEPS, STEPS) == 1e-3


def test_training_stops_after_so_many_epochs_without_gain() -> None:
    assert not has_stopped([0.5, 0.6, 0.6], 2, higher=True)
    assert has_stopped([0.5, 0.6, 0.6, 0.59], 2, higher=True)
    assert not has_stopped([0.5, 0.6, 0.6, 0.59, 0.7], 2, higher=True)
    assert not has_stopped([], 1, higher=False)
    assert not has_stopped([1.0, 2.0, 3.0], None, higher=False)


def test_the_best_epoch_is_the_first_of_equals_and_never_an_undefined_one() -> None:
    assert best_epoch([0.9, 0.95, 0.95], higher=True) == 1
    assert best_epoch([math.nan, 0.7, math.nan], higher=False) == 1
