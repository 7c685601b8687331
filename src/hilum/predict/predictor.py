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

from hilum.errors import RequestError
from hilum.evaluation.conformal import Conformal
from hilum.evaluation.folds import shared_notes
from hilum.image.facts import reason
from hilum.image.prepare import settled
from hilum.image.taken import Taken, taken_in
from hilum.image.workers import map_films
from hilum.model import classifier as classifiers
from hilum.model import machine
from hilum.model.engine import Asked, Engine
from hilum.model.exported import Exported
from hilum.model.inference import BATCH, logits, softmax
from hilum.predict.films import films_of
from hilum.predict.members import Combination, MeanOfEnsembles, Members, members_of, refuse_other_classes, sets_of
from hilum.progress import SILENT, Progress
from hilum.recipe.schema import Prepare

Films = NDArray[np.uint8]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Network:
    """A trained network with what belongs to it: how films are prepared for it, its temperature, its notes."""

    engine: Engine | Exported
    preparation: Prepare
    temperature: float
    notes: tuple[str, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        return self.engine.classes

    def probabilities(self, films: Films) -> Floats:
        """Calibrated probabilities (N, K) of prepared films, uint8 (N, side, side)."""
        batches = (films[start : start + BATCH] for start in range(0, len(films), BATCH))
        return softmax(logits(self.engine, batches), self.temperature)


@dataclass(frozen=True)
class Predictor:
    """One trained network, or several whose probabilities become one; all with the same classes in the same order.

    notes: what every output must say of them. sets: from which probability on a class is possible, fitted on the run's
    validation films; None where those are not to be had.
    """

    networks: tuple[Network, ...]
    combination: Combination | MeanOfEnsembles
    notes: tuple[str, ...]
    sets: Conformal | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        return self.networks[0].classes

    @property
    def preparations(self) -> tuple[Prepare, ...]:
        """The different ways in which films are prepared for the networks: a film is decoded once for each."""
        hows = [network.preparation for network in self.networks]
        return tuple(how for place, how in enumerate(hows) if how not in hows[:place])

    @property
    def engine_notes(self) -> tuple[str, ...]:
        """Why a network was not computed on the engine asked for; known once the first films came."""
        return tuple(dict.fromkeys(network.engine.note for network in self.networks if network.engine.note))

    def probabilities(self, *films: Films) -> Floats:
        """Calibrated probabilities (N, K) of prepared films, uint8 (N, side, side), once for each of `preparations`."""
        hows = self.preparations
        said = [each.probabilities(films[hows.index(each.preparation)]) for each in self.networks]
        return self.combination(np.stack(said))

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
        self,
        paths: Path | str | Iterable[Path | str],
        *,
        gate: bool = True,
        workers: int | None = None,
        progress: Progress = SILENT,
    ) -> pd.DataFrame:
        """A row per film, in the order of the paths: path, predicted, p_<class>..., possible, warnings, error.

        paths: a film or folder, or several; of a folder all files are taken. A file that cannot be read, or whose DICOM
        header says that it is no film of the chest, is a row with its error and no prediction, and the others go on.
        Where films are cut to the lungs, `lungs_doubt` says why one stands whole. `possible` are the classes that a
        film may have (`Conformal.sets`): where it is not one, the answer is left to a person. `warnings` say what
        speaks against predicting the film at all (`image.gate`); without `gate` nobody looks for it. Refused with
        RequestError: a path that is not there, a folder that cannot be read, nothing to predict.
        """
        files = films_of(paths)
        p = np.full((len(files), len(self.classes)), np.nan)
        errors: dict[int, str] = {}
        doubts: dict[int, str] = {}
        warned: dict[int, str] = {}
        waiting: dict[int, list[Films]] = {}

        def empty() -> None:
            p[list(waiting)] = self.probabilities(*(np.stack(films) for films in zip(*waiting.values(), strict=True)))
            waiting.clear()

        with progress.task("predicting", len(files)) as advance:
            job = partial(taken_in, hows=self.preparations, gate=gate)
            for index, film in map_films(job, files, workers=workers):
                if isinstance(film, Taken):
                    waiting[index] = [each.pixels for each in film.prepared]
                    if doubt := next((each.doubt for each in film.prepared if each.doubt), ""):
                        doubts[index] = doubt
                    if film.warnings:
                        warned[index] = "; ".join(map(str, film.warnings))
                else:
                    errors[index] = reason(film)
                if len(waiting) == BATCH:
                    empty()
                advance(1)
            if waiting:
                empty()
        for note in self.engine_notes:
            progress.say(f"note: {note}")
        told = {"warnings": warned, "error": errors}
        if any(how.lungs != "none" for how in self.preparations):
            told = {"lungs_doubt": doubts, **told}
        return self._table(files, p, told)

    def _table(self, files: Sequence[Path], p: Floats, told: dict[str, dict[int, str]]) -> pd.DataFrame:
        named = np.array([*self.classes, None], dtype=object)
        errors = told["error"]
        best = [int(row.argmax()) if index not in errors else len(self.classes) for index, row in enumerate(p)]
        columns: dict[str, Any] = {"path": [str(file) for file in files], "predicted": named[best]}
        columns |= {f"p_{name}": p[:, k] for k, name in enumerate(self.classes)}
        if self.sets is not None:
            told = {"possible": self._possible(p, errors), **told}
        columns |= {name: [of.get(index) for index in range(len(files))] for name, of in told.items()}
        return pd.DataFrame(columns).astype(dict.fromkeys(["path", "predicted", *told], "string"))

    def _possible(self, p: Floats, errors: dict[int, str]) -> dict[int, str]:
        """The classes that each film may have, by its number; "none" where all are less likely than they should be."""
        assert self.sets is not None
        there = self.sets.sets(np.nan_to_num(p))
        return {
            index: " or ".join(name for name, held in zip(self.classes, row, strict=True) if held) or "none"
            for index, row in enumerate(there)
            if index not in errors
        }


def load(run: Path | str, *, device: str = "auto", engine: Asked = "auto") -> Predictor:
    """The predictor of a run folder, of its weights file, of a cross-validation, an ensemble, or an exported network.

    A cross-validation is the mean of its folds. engine: see `model.engine.Engine`. Refused with RequestError: a path
    that is none of these, an engine that is not here. With WeightsError: a file that is broken or not hilum's, a
    member of an ensemble that is gone or was changed.
    """
    members = members_of(Path(run))
    make = _exported if members.kind == "exported" else _network
    networks = tuple(make(weights, device, engine) for weights in members.weights)
    refuse_other_classes([each.classes for each in networks], members.weights)
    notes = [list(each.notes) for each in networks]
    told = shared_notes(notes) if members.kind == "folds" else dict.fromkeys(note for each in notes for note in each)
    return Predictor(networks, members.combination, tuple(told), _sets(Path(run), members, networks))


def _sets(run: Path, members: Members, networks: Sequence[Network]) -> Conformal | None:
    engine = networks[0].engine
    if isinstance(engine, Exported):
        return engine.record.conformal()
    return sets_of(run, networks[0].classes) if members.kind == "run" else None


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


def _exported(file: Path, device: str, engine: Asked) -> Network:
    if engine == "torch" or device == "gpu":
        raise RequestError(
            "OpenVINO computes exported networks, on the processor",
            where=str(file),
            next_step="Leave the engine at auto, or name the run that it was exported from.",
        )
    made = Exported(file)
    return Network(made, made.record.preparation, made.record.temperature, made.record.notes)
