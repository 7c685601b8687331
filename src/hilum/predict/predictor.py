"""From files to probabilities with trained networks: the only way in which hilum predicts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from hilum.errors import FilmError
from hilum.evaluation.folds import shared_notes
from hilum.image.facts import reason
from hilum.image.prepare import settled
from hilum.image.workers import map_films
from hilum.model import classifier as classifiers
from hilum.model import machine
from hilum.model.engine import Asked, Engine
from hilum.model.inference import BATCH, logits, softmax
from hilum.predict.films import films_of, prepared_each
from hilum.predict.members import Combination, members_of, refuse_other_classes
from hilum.progress import SILENT, Progress
from hilum.recipe.schema import Prepare

Films = NDArray[np.uint8]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Network:
    """A trained network with what belongs to it: how films are prepared for it, its temperature, its notes."""

    engine: Engine
    preparation: Prepare
    temperature: float
    notes: tuple[str, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        return self.engine.classifier.architecture.classes

    def probabilities(self, films: Films) -> Floats:
        """Calibrated probabilities (N, K) of prepared films, uint8 (N, side, side)."""
        batches = (films[start : start + BATCH] for start in range(0, len(films), BATCH))
        return softmax(logits(self.engine, batches), self.temperature)


@dataclass(frozen=True)
class Predictor:
    """One trained network, or several whose probabilities become one; all with the same classes in the same order.

    notes: what every output must say of them.
    """

    networks: tuple[Network, ...]
    combination: Combination
    notes: tuple[str, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        return self.networks[0].classes

    @property
    def preparations(self) -> tuple[Prepare, ...]:
        """The different ways in which films are prepared for the networks: a film is decoded once for each."""
        return tuple(dict.fromkeys(network.preparation for network in self.networks))

    @property
    def engine_notes(self) -> tuple[str, ...]:
        """Why a network was not computed on the engine asked for; known once the first films came."""
        return tuple(dict.fromkeys(network.engine.note for network in self.networks if network.engine.note))

    def probabilities(self, *films: Films) -> Floats:
        """Calibrated probabilities (N, K) of prepared films, uint8 (N, side, side), once for each of `preparations`."""
        prepared = dict(zip(self.preparations, films, strict=True))
        return self.combination(np.stack([each.probabilities(prepared[each.preparation]) for each in self.networks]))

    def of_batches(
        self, batches: Iterable[Sequence[Films]], advance: Callable[[int], None] = lambda films: None
    ) -> Floats:
        """The same of films that come a batch at a time; `advance` is told how many were done."""
        found = [np.zeros((0, len(self.classes)))]
        for films in batches:
            found.append(self.probabilities(*films))
            advance(len(films[0]))
        return np.concatenate(found)

    def predict(
        self, paths: Path | str | Iterable[Path | str], *, workers: int | None = None, progress: Progress = SILENT
    ) -> pd.DataFrame:
        """A row per film, in the order of the paths: path, predicted, p_<class>..., error.

        paths: a film or folder, or several; of a folder all files are taken. A file that cannot be read, or whose DICOM
        header says that it is no film of the chest, is a row with its error and no prediction, and the others go on.
        Where films are cut to the lungs, `lungs_doubt` says why one stands whole. Refused with RequestError: a path
        that is not there, a folder that cannot be read, nothing to predict.
        """
        files = films_of(paths)
        p = np.full((len(files), len(self.classes)), np.nan)
        errors: dict[int, str] = {}
        doubts: dict[int, str] = {}
        waiting: dict[int, list[Films]] = {}

        def empty() -> None:
            p[list(waiting)] = self.probabilities(*(np.stack(films) for films in zip(*waiting.values(), strict=True)))
            waiting.clear()

        with progress.task("predicting", len(files)) as advance:
            job = partial(prepared_each, hows=self.preparations)
            for index, film in map_films(job, files, workers=workers):
                if isinstance(film, FilmError):
                    errors[index] = reason(film)
                else:
                    waiting[index] = [each.pixels for each in film]
                    if doubt := next((each.doubt for each in film if each.doubt), ""):
                        doubts[index] = doubt
                if len(waiting) == BATCH:
                    empty()
                advance(1)
            if waiting:
                empty()
        for note in self.engine_notes:
            progress.say(f"note: {note}")
        return self._table(files, p, errors, doubts)

    def _table(self, files: Sequence[Path], p: Floats, errors: dict[int, str], doubts: dict[int, str]) -> pd.DataFrame:
        named = np.array([*self.classes, None], dtype=object)
        best = [int(row.argmax()) if index not in errors else len(self.classes) for index, row in enumerate(p)]
        columns: dict[str, Any] = {"path": [str(file) for file in files], "predicted": named[best]}
        columns |= {f"p_{name}": p[:, k] for k, name in enumerate(self.classes)}
        told = {"error": errors}
        if any(how.lungs != "none" for how in self.preparations):
            told = {"lungs_doubt": doubts, **told}
        columns |= {name: [of.get(index) for index in range(len(files))] for name, of in told.items()}
        return pd.DataFrame(columns).astype(dict.fromkeys(["path", "predicted", *told], "string"))


def load(run: Path | str, *, device: str = "auto", engine: Asked = "auto") -> Predictor:
    """The predictor of a run folder, of its weights file, of a cross-validation, or of an ensemble.

    A cross-validation is the mean of its folds. engine: see `model.engine.Engine`. Refused with RequestError: a path
    that is none of these, an engine that is not here. With WeightsError: a file that is broken or not hilum's, a
    member of an ensemble that is gone or was changed.
    """
    members = members_of(Path(run))
    networks = tuple(_network(weights, device, engine) for weights in members.weights)
    refuse_other_classes([each.classes for each in networks], members.weights)
    notes = [list(each.notes) for each in networks]
    told = shared_notes(notes) if members.kind == "folds" else dict.fromkeys(note for each in notes for note in each)
    return Predictor(networks, members.combination, tuple(told))


def _network(weights: Path, device: str, engine: Asked) -> Network:
    classifier, about = classifiers.load(weights)
    kind = machine.accelerator(device)  # type: ignore[arg-type]
    classifier = classifier.to(memory_format=torch.channels_last).to(kind)
    return Network(
        Engine(classifier, engine, flip=bool(about.get("flip", False)), zoom=float(about.get("zoom", 0.0))),
        settled(Prepare.model_validate(about["preparation"])),
        float(about.get("temperature", 1.0)),
        tuple(about.get("notes", ())),
    )
