"""Films that fine-tuning learns from and judges in a second: from the prepared cache, as ever, and from memory.

In memory reading costs nothing, so that what is less from the cache is what the input pipeline costs. A row of
speed.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from hilum.evaluation.run_folder import RunFolder
from hilum.model.classifier import build
from hilum.progress import SILENT
from hilum.training.prepared import Batch, Films, prepare_films
from hilum.training.stage import train_stage
from hilum.training.train import stage_jobs

EPOCHS = 3


@dataclass(frozen=True)
class Held:
    """Films in memory, as a stage reads them."""

    y: NDArray[np.int64]
    sources: NDArray[np.object_]
    films: torch.Tensor

    @classmethod
    def of(cls, films: Films) -> Held:
        return cls(films.y, films.sources, films.read(Batch(0, 0, np.arange(len(films)))))

    def __len__(self) -> int:
        return len(self.y)

    def read(self, batch: Batch) -> torch.Tensor:
        return self.films[batch.films]


def epoch_rate(run_folder: Path, folder: Path, *, in_memory: bool) -> float:
    """Films a second in the best epoch of a run's first stage."""
    run = RunFolder(run_folder)
    manifest, recipe, about = run.manifest(), run.recipe(), run.environment()
    recipe = recipe.model_copy(update={"stage": [recipe.stage[0].model_copy(update={"epochs": EPOCHS})]})
    films = prepare_films(manifest, about["classes"], recipe.prepare, workers=None, progress=SILENT)
    parts = manifest["part"].to_numpy(object)
    (job,) = stage_jobs(recipe, films, parts, about, folder)
    if in_memory:
        train, validation = (Held.of(films.where(parts == part)) for part in ("train", "validation"))
        job = replace(job, train=train, validation=validation)
    network = build(recipe.model, about["classes"], side_px=recipe.prepare.side_px, seed=recipe.training.seed)
    network = network.to(memory_format=torch.channels_last).to(about["device"])
    return len(manifest) / float(train_stage(network, job, SILENT)["seconds"].min())
