"""Learning rates and stopping as functions of what has happened, so that a resumed run cannot differ."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hilum.recipe.schema import Stage

WARM_UP_SHARE = 0.3  # of one cycle, as in torch's OneCycleLR
START_DIVISOR, END_DIVISOR = 25.0, 1e4  # the same


def higher_is_better(monitor: str) -> bool:
    """Whether a larger value of the monitored figure is the better one.

    >>> higher_is_better("loss"), higher_is_better("macro_f1")
    (False, True)
    """
    return monitor != "loss"


def learning_rate(stage: Stage, step: int, steps_per_epoch: int, monitored: Sequence[float] = ()) -> float:
    """The learning rate of one step of a stage.

    step: counted from 0 over the whole stage. monitored: the figure of each epoch that ended, for "plateau".
    `step` and `exponential` fall by the epoch as Keras' schedulers do, `inverse_time` by the step as the `decay` of
    Keras' optimisers did, `cosine` and `one_cycle` by the step (Smith 2018, arXiv:1803.09820).

    >>> learning_rate(Stage(learning_rate=0.1, schedule="exponential", decay=0.5), step=20, steps_per_epoch=10)
    0.025
    """
    top, epoch, steps = stage.learning_rate, step // steps_per_epoch, steps_per_epoch * stage.epochs
    match stage.schedule:
        case "constant":
            rate = top
        case "one_cycle":
            rate = _one_cycle(top, step, steps)
        case "cosine":
            rate = _between(top, stage.lowest_learning_rate, step / steps)
        case "step":
            rate = top * stage.decay ** (epoch // stage.decay_epochs)
        case "exponential":
            rate = top * stage.decay**epoch
        case "inverse_time":
            rate = top / (1.0 + stage.decay * step)
        case "plateau":
            rate = top * stage.decay ** _falls(monitored, stage.decay_epochs, higher_is_better(stage.monitor))
    return max(rate, stage.lowest_learning_rate)


def has_stopped(monitored: Sequence[float], patience: int | None, *, higher: bool) -> bool:
    """Whether `patience` epochs have gone by without a better value than the best before them.

    >>> has_stopped([0.8, 0.9, 0.9, 0.85], patience=2, higher=True)
    True
    """
    return patience is not None and bool(monitored) and len(monitored) - 1 - best_epoch(monitored, higher) >= patience


def best_epoch(monitored: Sequence[float], higher: bool) -> int:
    """The first epoch, from 0, with the best value; a value that is not a number is never the best.

    >>> best_epoch([0.5, 0.3, float("nan"), 0.3], higher=False)
    1
    """
    worst = -math.inf if higher else math.inf
    values = [worst if math.isnan(value) else value for value in monitored]
    return values.index(max(values) if higher else min(values))


def kept_epoch(stage: Stage, monitored: Sequence[float]) -> int:
    """The epoch, from 0, whose weights the stage keeps, of those that have ended.

    >>> kept_epoch(Stage(monitor="loss"), [0.5, 0.3, 0.4]), kept_epoch(Stage(keep="last"), [0.5, 0.3, 0.4])
    (1, 2)
    """
    return len(monitored) - 1 if stage.keep == "last" else best_epoch(monitored, higher_is_better(stage.monitor))


def _one_cycle(top: float, step: int, steps: int) -> float:
    start, end = top / START_DIVISOR, top / START_DIVISOR / END_DIVISOR
    turn = WARM_UP_SHARE * steps - 1
    if turn > 0 and step <= turn:
        return _between(start, top, step / turn)
    return _between(top, end, (step - turn) / (steps - 1 - turn) if steps - 1 > turn else 1.0)


def _between(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1.0 + math.cos(math.pi * min(share, 1.0))) / 2.0


def _falls(monitored: Sequence[float], patience: int, higher: bool) -> int:
    """How often the rate has fallen: each time more than `patience` epochs passed without gain (ReduceLROnPlateau)."""
    falls, waited, best = 0, 0, -math.inf if higher else math.inf
    for value in monitored:
        better = value > best if higher else value < best
        best, waited = (value, 0) if better else (best, waited + 1)
        if waited > patience:
            falls, waited = falls + 1, 0
    return falls
