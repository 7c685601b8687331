"""The network of a run and the films of one of its parts, ready to be explained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch

from hilum.data.manifest import PARTS
from hilum.errors import DataError, RequestError
from hilum.evaluation.run_folder import RunFolder
from hilum.image.prepare import settled
from hilum.model import classifier as classifiers
from hilum.model import machine
from hilum.model.classifier import Classifier
from hilum.progress import Progress
from hilum.recipe.schema import Prepare
from hilum.training.environment import sha256_of
from hilum.training.prepared import Films, prepare_films


@dataclass(frozen=True)
class Trained:
    """A run's network, and what belongs to it: how films are prepared for it, its temperature, its file's SHA-256."""

    run: RunFolder
    classifier: Classifier
    preparation: Prepare
    temperature: float
    sha256: str

    @property
    def classes(self) -> tuple[str, ...]:
        return self.classifier.architecture.classes

    def prepared(self, films: pd.DataFrame, progress: Progress) -> Films:
        """The films, rows of the run's manifest, as the network takes them. DataError where one cannot be read."""
        return prepare_films(films, self.classes, self.preparation, workers=None, progress=progress)


def trained(run: Path | str) -> Trained:
    """The network of a run folder, in evaluation mode.

    Refused with RequestError: a folder that is no run, a cross-validation or an ensemble, which have no network of
    their own; with DataError: a run without weights; with WeightsError: broken ones.
    """
    folder = RunFolder(Path(run))
    if (folder.path / "ensemble.json").is_file():
        raise RequestError(
            "an ensemble has no network of its own, so there are no features of it",
            where=str(folder.path),
            next_step="Name one of its members, which its ensemble.json lists.",
        )
    path = folder.weights_path
    classifier, about = classifiers.load(path)
    classifier = classifier.to(memory_format=torch.channels_last).to(machine.accelerator("auto"))
    how = settled(Prepare.model_validate(about["preparation"]))
    return Trained(folder, classifier.eval(), how, float(about.get("temperature", 1.0)), sha256_of(path))


def films_of_part(run: RunFolder, part: str) -> pd.DataFrame:
    """The part's rows of predictions.csv, with what manifest.parquet knows of each film.

    Refused with RequestError: no such part, or no film in it; with DataError: a predicted film that is not in the
    manifest.
    """
    if part not in PARTS:
        raise RequestError(f"there is no part {part!r}", where="--part", next_step=f"It is one of: {', '.join(PARTS)}.")
    predictions = run.predictions()
    chosen = predictions[predictions["part"] == part]
    if chosen.empty:
        there = ", ".join(name for name in PARTS if (predictions["part"] == name).any()) or "none"
        raise RequestError(
            f"the run has no film in the part {part!r}",
            where=str(run.path),
            next_step=f"Its parts with films are: {there}.",
        )
    manifest = run.manifest().set_index("image_id")
    strangers = ~chosen["image_id"].isin(manifest.index)
    if strangers.any():
        raise DataError(
            f"{chosen['image_id'][strangers].iloc[0]!r} is predicted but not in the manifest", where=str(run.path)
        )
    known = [name for name in manifest.columns if name not in chosen.columns]
    return chosen.join(manifest[known], on="image_id").reset_index(drop=True)
