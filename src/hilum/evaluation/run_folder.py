"""A run folder, read. Who reads one needs no torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from hilum.data.manifest import read_manifest
from hilum.errors import DataError, RequestError
from hilum.evaluation.predictions import read_predictions
from hilum.recipe.load import read_recipe
from hilum.recipe.schema import Recipe

# A row per epoch; `stage` and `epoch` count from 1, figures are of the validation part, seconds are wall time.
HISTORY_COLUMNS = (
    "stage",
    "epoch",
    "train_loss",
    "validation_loss",
    "validation_accuracy",
    "validation_balanced_accuracy",
    "validation_macro_f1",
    "validation_macro_auroc",
    "learning_rate",
    "seconds",
)


# What each fold of a cross-validation has, and the whole has not.
OF_A_FOLD = ("weights.safetensors", "history.csv")


@dataclass(frozen=True)
class RunFolder:
    """The files of one run, or of a cross-validation with its runs inside, each read when asked for.

    Refused with RequestError: a folder that is no run. Refused with DataError: a file of it that is broken.
    """

    path: Path

    def __post_init__(self) -> None:
        if not (self.path / "recipe.toml").is_file():
            raise RequestError(
                "this is no run folder: it has no recipe.toml",
                where=str(self.path),
                next_step="Train one with: hilum train --data SOURCE -o " + str(self.path),
            )

    @property
    def weights_path(self) -> Path:
        return self._file("weights.safetensors")

    @property
    def report_path(self) -> Path:
        return self.path / "report.html"

    @property
    def folds(self) -> list[RunFolder]:
        """The runs of a cross-validation, fold 0 first; empty for a single run."""
        runs: list[RunFolder] = []
        while (self.path / f"fold-{len(runs)}" / "recipe.toml").is_file():
            runs.append(RunFolder(self.path / f"fold-{len(runs)}"))
        return runs

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do: the report is written last, and what would be resumed from is then removed."""
        return self.report_path.is_file() and not (self.path / "checkpoints").exists()

    def recipe(self) -> Recipe:
        """What was asked for, defaults included."""
        return read_recipe(self.path / "recipe.toml")

    def environment(self) -> dict[str, Any]:
        """Versions, machine, commit, seed, weights' hash, seconds, and the notes that every output shows."""
        return self._json("environment.json")

    def manifest(self) -> pd.DataFrame:
        """The rows used, with `class` and `part`."""
        return read_manifest(self._file("manifest.parquet"))

    def history(self) -> pd.DataFrame:
        """A row per stage and epoch, columns `HISTORY_COLUMNS`."""
        return pd.read_csv(self._file("history.csv"))

    def predictions(self) -> pd.DataFrame:
        """What the model said of each film."""
        return read_predictions(self._file("predictions.csv"))

    def metrics(self) -> dict[str, Any]:
        """metrics[part][name] = {value, low, high, n, patients}."""
        return self._json("metrics.json")

    def audit(self) -> list[dict[str, Any]] | None:
        """The audit's checks, or None where none was made."""
        return self._json("audit.json") if (self.path / "audit.json").is_file() else None

    def _repr_html_(self) -> str:
        """What a notebook shows: the figures of the test part."""
        from hilum.evaluation.evaluate import table

        return f"<p><b>{escape(self.path.name)}</b>, test part. Not a medical device.</p>" + str(
            table(self.metrics(), "test").to_html()
        )

    def _file(self, name: str) -> Path:
        path = self.path / name
        if path.is_file():
            return path
        folds = self.folds
        if folds and name in OF_A_FOLD:
            raise RequestError(
                f"a cross-validation has no {name} of its own",
                where=str(self.path),
                next_step=f"Name one of its runs, as {folds[0].path}",
            )
        raise DataError(
            f"the run has no {name}",
            where=str(self.path),
            next_step="The run was stopped before it was made; go on with: "
            f"hilum {'crossval' if folds else 'train'} --resume -o {self.path}",
        )

    def _json(self, name: str) -> Any:
        path = self._file(name)
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DataError(f"this is no JSON: {error}", where=str(path)) from None
