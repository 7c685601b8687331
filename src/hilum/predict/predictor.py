"""From files to probabilities with a trained run: the only way in which hilum predicts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from hilum.errors import FilmError, RequestError
from hilum.image.facts import reason
from hilum.image.prepare import prepare_file
from hilum.image.workers import map_films
from hilum.model import classifier as classifiers
from hilum.model import machine
from hilum.model.classifier import Classifier
from hilum.model.inference import BATCH, logits, softmax
from hilum.progress import SILENT, Progress
from hilum.recipe.schema import Prepare

IGNORED = {".ds_store", "thumbs.db", "desktop.ini", "dicomdir"}


@dataclass(frozen=True)
class Predictor:
    """A trained network with everything that belongs to it: classes in order, preparation, temperature, notes."""

    classifier: Classifier
    classes: tuple[str, ...]
    preparation: Prepare
    temperature: float
    notes: tuple[str, ...]

    def probabilities(self, films: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Calibrated probabilities (N, K) of prepared films, uint8 (N, side, side)."""
        return self.of_batches(films[start : start + BATCH] for start in range(0, len(films), BATCH))

    def of_batches(
        self, batches: Iterable[NDArray[np.uint8]], advance: Callable[[int], None] = lambda films: None
    ) -> NDArray[np.float64]:
        """The same of films that come a batch at a time; `advance` is told how many were done."""
        return softmax(logits(self.classifier, batches, advance), self.temperature)

    def predict(
        self, paths: Path | str | Iterable[Path | str], *, workers: int | None = None, progress: Progress = SILENT
    ) -> pd.DataFrame:
        """A row per film, in the order of the paths: path, predicted, p_<class>..., error.

        paths: a film or folder, or several; of a folder all files are taken. A file that cannot be read, or whose DICOM
        header says that it is no film of the chest, is a row with its error and no prediction, and the others go on.
        Refused with RequestError: a path that is not there, a folder that cannot be read, nothing to predict.
        """
        files = films_of(paths)
        p = np.full((len(files), len(self.classes)), np.nan)
        errors: dict[int, str] = {}
        waiting: dict[int, NDArray[np.uint8]] = {}

        def empty() -> None:
            for index, row in zip(waiting, self.probabilities(np.stack(list(waiting.values()))), strict=True):
                p[index] = row
            waiting.clear()

        with progress.task("predicting", len(files)) as advance:
            job = partial(prepare_file, how=self.preparation, chest_only=True)
            for index, film in map_films(job, files, workers=workers):
                if isinstance(film, FilmError):
                    errors[index] = reason(film)
                else:
                    waiting[index] = film
                if len(waiting) == BATCH:
                    empty()
                advance(1)
            if waiting:
                empty()
        return self._table(files, p, errors)

    def _table(self, files: Sequence[Path], p: NDArray[np.float64], errors: dict[int, str]) -> pd.DataFrame:
        named = np.array([*self.classes, None], dtype=object)
        best = [int(row.argmax()) if index not in errors else len(self.classes) for index, row in enumerate(p)]
        columns: dict[str, Any] = {"path": [str(file) for file in files], "predicted": named[best]}
        columns |= {f"p_{name}": p[:, k] for k, name in enumerate(self.classes)}
        columns["error"] = [errors.get(index) for index in range(len(files))]
        return pd.DataFrame(columns).astype({"path": "string", "predicted": "string", "error": "string"})


def load(run: Path | str, *, device: str = "auto") -> Predictor:
    """The predictor of a run folder, or of its weights file.

    Refused with RequestError: a path that is neither. With WeightsError: a file that is broken or not hilum's.
    """
    path = Path(run)
    weights = path / "weights.safetensors" if path.is_dir() else path
    if not weights.is_file():
        raise RequestError(
            "there is no trained run here (no weights.safetensors)",
            where=str(path),
            next_step="Train one with: hilum train --data SOURCE -o " + str(path),
        )
    classifier, about = classifiers.load(weights)
    kind = machine.accelerator(device)  # type: ignore[arg-type]
    return Predictor(
        classifier.to(memory_format=torch.channels_last).to(kind),
        tuple(about["classes"]),
        Prepare.model_validate(about["preparation"]),
        float(about.get("temperature", 1.0)),
        tuple(about.get("notes", ())),
    )


def films_of(paths: Path | str | Iterable[Path | str]) -> list[Path]:
    """The files meant: each path itself, or, of a folder, all files below it but hidden ones, sorted by name."""
    files: list[Path] = []
    asked = [Path(paths)] if isinstance(paths, Path | str) else [Path(path) for path in paths]
    for path in asked:
        if path.is_dir():
            files += sorted(file for file in _below(path) if file.name.lower() not in IGNORED)
        elif path.exists():
            files.append(path)
        else:
            raise RequestError("there is no such file or folder", where=str(path))
    if not files:
        raise RequestError("there is no file here to predict", where=", ".join(map(str, asked)))
    return files


def _below(folder: Path) -> Iterable[Path]:
    for where, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith((".", "__MACOSX"))]
        yield from (Path(where) / name for name in names if not name.startswith("."))


def _refuse(error: OSError) -> None:
    raise RequestError(f"the folder cannot be read: {error.strerror}", where=str(error.filename))
