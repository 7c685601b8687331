"""What the sections of a report read: a run's files, each read once and only when asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from hilum.data.manifest import PARTS
from hilum.evaluation.predictions import classes_of
from hilum.evaluation.run_folder import RunFolder
from hilum.recipe.schema import Recipe
from hilum.report.palette import class_colours
from hilum.report.tables import parts_of

# Makes a picture of a figure: (figure, file name, alternative text, caption) -> what the template shows.
Draw = Callable[..., Any]
# What a section's template is given.
Context = dict[str, Any]

# What a film's card tells of it besides what the model said.
_OF_THE_MANIFEST = ("path", "view", "sex", "age_years")


class Facts:
    """A run folder whose files are kept once read; a file that is missing or broken raises where it is asked for."""

    def __init__(self, run: RunFolder) -> None:
        self.run = run

    @cached_property
    def folds(self) -> list[RunFolder]:
        """The runs of a cross-validation; empty for a single run."""
        return self.run.folds

    @cached_property
    def recipe(self) -> Recipe:
        return self.run.recipe()

    @cached_property
    def environment(self) -> dict[str, Any]:
        return self.run.environment()

    @cached_property
    def manifest(self) -> pd.DataFrame:
        return self.run.manifest()

    @cached_property
    def history(self) -> pd.DataFrame:
        return self.run.history()

    @cached_property
    def predictions(self) -> pd.DataFrame:
        return self.run.predictions()

    @cached_property
    def metrics(self) -> dict[str, Any]:
        return self.run.metrics()

    @cached_property
    def classes(self) -> list[str]:
        """In the order of the weights' outputs."""
        return classes_of(self.predictions)

    @cached_property
    def colours(self) -> dict[str, str]:
        return class_colours(self.classes)

    @property
    def is_ensemble(self) -> bool:
        """Whether the run is made of others, or each of its folds is."""
        return any((run.path / "ensemble.json").is_file() for run in (self.run, *self.folds))

    @property
    def backbone(self) -> str:
        """The network's backbone; of an ensemble, those of its members."""
        members = self.metrics.get("_members", []) if self.is_ensemble else []
        return " + ".join(dict.fromkeys(member["backbone"] for member in members)) or self.recipe.model.backbone

    @property
    def many_sources(self) -> bool:
        """Whether a film's source tells a reader anything."""
        return len(self.manifest["source"].unique()) > 1

    @cached_property
    def films(self) -> pd.DataFrame:
        """The predictions, with what the manifest knows of each film; a film that is not in it has missing values."""
        known = self.manifest.set_index("image_id")[list(_OF_THE_MANIFEST)]
        bare = self.predictions.drop(columns=[name for name in _OF_THE_MANIFEST if name in self.predictions])
        return bare.join(known, on="image_id")

    @cached_property
    def judged(self) -> str:
        """The part whose figures head the report: test, else validation, else what there is."""
        parts = parts_of(self.metrics)
        return next((part for part in (*reversed(PARTS), *parts) if part in parts), "")

    def scored(self, part: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """y (N,), predicted (N,) and p (N, K) of the part's films of known class; predicted is a class number too."""
        rows = self.predictions[(self.predictions["part"] == part) & self.predictions["label"].isin(self.classes)]
        place: Mapping[str, int] = {name: number for number, name in enumerate(self.classes)}
        return (
            rows["label"].map(place).to_numpy(int),
            rows["predicted"].map(place).to_numpy(int),
            rows[[f"p_{name}" for name in self.classes]].to_numpy(float),
        )
