"""What a run costs: the size of its network, and how long it was trained. Read from its files, without torch."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pandas as pd
import safetensors

from hilum.errors import DataError, HilumError
from hilum.evaluation.run_folder import RunFolder

# What a weights file holds beside what training learns: batch norm's statistics, and what normalises the films.
_MEASURED = re.compile(r"^normalise\.|\.(running_mean|running_var|num_batches_tracked)$")
T = TypeVar("T")


@dataclass(frozen=True)
class Costs:
    """What the files of a run tell, None where they do not. A cross-validation counts all its folds in the seconds.

    `parameters` and `megabytes` are of one network and of its weights' file; `seconds` those of the epochs;
    `films_per_second` the films of train and validation that an epoch took through the network in a second;
    `predicted_per_second` the prepared films of all parts that the run predicted in a second.
    """

    backbone: str | None = None
    parameters: int | None = None
    megabytes: float | None = None
    seconds: float | None = None
    films_per_second: float | None = None
    predicted_per_second: float | None = None
    machine: str | None = None


def costs_of(run: RunFolder) -> Costs:
    """The costs of a run or of a cross-validation; a file that is absent or broken leaves its numbers missing."""
    runs = run.folds or [run]
    weights = _known(lambda: runs[0].weights_path)
    histories = _known(lambda: [each.history() for each in runs])
    manifests = _known(lambda: [each.manifest() for each in runs])
    recipe, about = _known(run.recipe), _known(runs[0].environment) or {}
    seconds = sum(float(history["seconds"].sum()) for history in histories) if histories else None
    return Costs(
        backbone=recipe.model.backbone if recipe else None,
        parameters=_known(lambda: parameters_of(weights)) if weights else None,
        megabytes=weights.stat().st_size / 1e6 if weights else None,
        seconds=seconds,
        films_per_second=_films(histories, manifests) / seconds if seconds and histories and manifests else None,
        predicted_per_second=about.get("predicted_per_second"),
        machine=about.get("accelerator") or about.get("processor"),
    )


def parameters_of(weights: Path) -> int:
    """How many numbers a network has that training may learn, from its weights' file.

    Refused with DataError: no whole safetensors file.
    """
    try:
        with safetensors.safe_open(weights, framework="np") as file:
            names = [name for name in file.keys() if not _MEASURED.search(name)]  # noqa: SIM118
            return sum(math.prod(file.get_slice(name).get_shape()) for name in names)
    except (safetensors.SafetensorError, OSError) as error:
        raise DataError(f"this is no whole safetensors file: {error}", where=str(weights)) from None


def _films(histories: list[pd.DataFrame], manifests: list[pd.DataFrame]) -> float:
    """Films that all epochs of all folds took through the network."""
    return sum(
        len(history) * int(manifest["part"].isin(["train", "validation"]).sum())
        for history, manifest in zip(histories, manifests, strict=True)
    )


def _known(read: Callable[[], T]) -> T | None:
    try:
        return read()
    except HilumError:
        return None
