"""Trials that differ in nothing but the head and how it learns, trained together on features that are computed once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from hilum.errors import HilumError
from hilum.model import classifier as classifiers
from hilum.model.classifier import Classifier
from hilum.progress import Progress
from hilum.recipe.schema import Recipe
from hilum.training.features import featured
from hilum.training.heads import alike, train_heads
from hilum.training.prepared import prepare_films
from hilum.training.stage import StageJob
from hilum.training.train import kept_epoch, stage_jobs

# Trials that one process takes at a time: enough to be fast, few enough that other processes have some left.
TOGETHER = 1200


@dataclass(frozen=True)
class Trained:
    """What training a trial gave: the epoch whose weights its last stage keeps, epochs, its share of the seconds."""

    row: dict[str, float | None]
    epochs: int
    seconds: float


@dataclass(frozen=True)
class HeadTrials:
    """The trainer of a search's heads. recipe: what all trials share. films: of the parts train and validation.

    about: classes, precision and device, as environment.json has them.
    """

    recipe: Recipe
    films: pd.DataFrame
    about: dict[str, Any]
    progress: Progress

    @cached_property
    def _classifier(self) -> Classifier:
        """The backbone of all, which does not learn."""
        recipe, about = self.recipe, self.about
        made = classifiers.build(
            recipe.model, about["classes"], side_px=recipe.prepare.side_px, seed=recipe.training.seed
        )
        return made.to(memory_format=torch.channels_last)

    @cached_property
    def _jobs(self) -> list[StageJob]:
        """The stages, of features."""
        recipe, parts = self.recipe, self.films["part"].to_numpy(object)
        films = prepare_films(
            self.films,
            self.about["classes"],
            recipe.prepare,
            workers=recipe.training.workers,
            progress=self.progress,
        )
        train, validation = films.where(parts == "train"), films.where(parts == "validation")
        classifiers.fit_normalisation(self._classifier, train.batches())
        classifier = self._classifier.to(self.about["device"])
        shas = [*self.films["sha256"][parts == "train"], *self.films["sha256"][parts == "validation"]]
        jobs = stage_jobs(recipe, films, parts, self.about, Path())  # nothing is written: a trial takes seconds
        return [featured(classifier, job, train, validation, shas, self.progress) for job in jobs]

    def train(
        self, recipes: Sequence[Recipe], advance: Callable[[int], None] = lambda trials: None
    ) -> Iterator[list[tuple[int, Trained | HilumError]]]:
        """(number, what it gave) of every recipe, as they are done, of those that are done together in one list.

        A HilumError stands for one that could not be trained.
        """
        jobs = self._jobs
        # Neighbours that learn alike are moved together.
        order = sorted(range(len(recipes)), key=lambda number: repr(recipes[number].stage))
        for places in alike([recipes[number].model for number in order], self._classifier):
            numbers = [order[place] for place in places]
            started = time.monotonic()
            done = self._trained([recipes[number] for number in numbers], jobs)
            seconds = (time.monotonic() - started) / len(numbers)
            yield [
                (number, row if isinstance(row, HilumError) else Trained(_numbers(row), epochs, round(seconds, 3)))
                for number, (row, epochs) in zip(numbers, done, strict=True)
            ]
            advance(len(numbers))

    def _trained(self, recipes: list[Recipe], jobs: list[StageJob]) -> list[tuple[pd.Series | HilumError, int]]:
        """Of heads of the same layers: the kept row of the last stage, or the error, and how many epochs there were."""
        heads: list[nn.Sequential] = [classifiers.new_head(self._classifier, recipe.model) for recipe in recipes]
        found: list[tuple[pd.Series | HilumError, int]] = [(pd.Series(dtype=float), 0) for _ in recipes]
        for job in jobs:
            going = [number for number, (row, _) in enumerate(found) if not isinstance(row, HilumError)]
            stages = [recipes[number].stage[job.number - 1] for number in going]
            histories = train_heads([heads[number] for number in going], stages, job)
            for number, stage, history in zip(going, stages, histories, strict=True):
                before = found[number][1]
                found[number] = (
                    (history, before)
                    if isinstance(history, HilumError)
                    else (kept_epoch(history, stage), before + len(history))
                )
        return found


def _numbers(row: pd.Series) -> dict[str, float | None]:
    """As JSON has them."""
    return {str(key): float(value) if np.isfinite(value) else None for key, value in row.items()}
