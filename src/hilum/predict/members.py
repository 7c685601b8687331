"""What a path to predict with stands for: one trained network, the folds of a cross-validation, or an ensemble."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pydantic
from numpy.typing import NDArray

from hilum.errors import DataError, RequestError, WeightsError
from hilum.evaluation.conformal import COVERAGE, FEWEST_FILMS, Conformal, fit
from hilum.evaluation.predictions import class_numbers, classes_of, probabilities_of
from hilum.evaluation.run_folder import RunFolder
from hilum.model.exported import exported_file
from hilum.training.environment import sha256_of

Floats = NDArray[np.float64]
WEIGHTS = "weights.safetensors"
ENSEMBLE = "ensemble.json"
# A probability that was rounded to 0 still has a logarithm.
_SMALLEST = 1e-12


class Combination(pydantic.BaseModel):
    """How the probabilities of several networks become one.

    average: their mean. stack: the softmax of a linear function of their logarithms (Wolpert 1992, Stacked
    generalization, Neural Networks 5:241), whose coefficients (K, M K) and intercept (K,) were fitted on validation
    films; the first K columns belong to the first network.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    how: Literal["average", "stack"] = "average"
    coefficients: tuple[tuple[float, ...], ...] = ()
    intercept: tuple[float, ...] = ()

    def __call__(self, p: Floats) -> Floats:
        """Probabilities (N, K) of those of M networks (M, N, K).

        >>> p = np.array([[[0.8, 0.2]], [[0.6, 0.4]]])
        >>> Combination()(p).round(3)
        array([[0.7, 0.3]])
        >>> alike = ((0.5, 0.0, 0.5, 0.0), (0.0, 0.5, 0.0, 0.5))          # the geometric mean of both
        >>> Combination(how="stack", coefficients=alike, intercept=(0.0, 0.0))(p).round(3)
        array([[0.71, 0.29]])
        """
        if self.how == "average":
            return np.asarray(p.mean(axis=0))
        z = log_probabilities(p) @ np.array(self.coefficients).T + np.array(self.intercept)
        raised = np.exp(z - z.max(axis=1, keepdims=True))
        return np.asarray(raised / raised.sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class MeanOfEnsembles:
    """The mean of what ensembles of as many networks each say: of the folds of a cross-validation of ensembles."""

    ensembles: tuple[Combination, ...]

    def __call__(self, p: Floats) -> Floats:
        """Probabilities (N, K) of those of all networks (M, N, K), ensemble after ensemble."""
        apart = np.split(p, len(self.ensembles))
        return np.mean([combine(of_one) for combine, of_one in zip(self.ensembles, apart, strict=True)], axis=0)


def log_probabilities(p: Floats) -> Floats:
    """The logarithms (N, M K) of the probabilities (M, N, K) of M networks, film by film."""
    return np.log(np.maximum(p, _SMALLEST)).transpose(1, 0, 2).reshape(p.shape[1], -1)


class MemberRecord(pydantic.BaseModel):
    """One run of an ensemble: its folder, as seen from the ensemble's, and its weights' SHA-256."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    run: str
    weights_sha256: str


class EnsembleRecord(pydantic.BaseModel):
    """ensemble.json."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    classes: tuple[str, ...]
    members: tuple[MemberRecord, ...]
    combination: Combination


@dataclass(frozen=True)
class Members:
    """The networks' files behind a path, in order, how their probabilities become one, and what kind of path it is."""

    weights: tuple[Path, ...]
    combination: Combination | MeanOfEnsembles
    kind: Literal["run", "folds", "ensemble", "exported"]

    def learned(self) -> pd.DataFrame:
        """The films that any member learned from, as rows of their manifests: all but its test part."""
        if self.kind == "exported":
            raise RequestError(
                "an exported network does not tell which films it learned from",
                where=str(self.weights[0]),
                next_step="Name the run that it was exported from.",
            )
        films = [RunFolder(weights.parent).manifest() for weights in self.weights]
        learned = pd.concat([rows[rows["part"] != "test"] for rows in films], ignore_index=True)
        return learned.drop_duplicates("image_id", ignore_index=True)


def members_of(path: Path) -> Members:
    """The networks behind a run folder, a weights file, a folder of `hilum crossval`, `ensemble` or `export`.

    Refused with RequestError: none of these, or folds that are not all trained; with WeightsError: a member of an
    ensemble that is gone or has other weights than it had; with DataError: a broken ensemble.json.
    """
    if (path / ENSEMBLE).is_file():
        return _of_ensemble(path)
    if (file := exported_file(path)) is not None:
        return Members((file,), Combination(), "exported")
    if path.is_file() or (path / WEIGHTS).is_file():
        return Members((path / WEIGHTS if path.is_dir() else path,), Combination(), "run")
    folds = RunFolder(path).folds if (path / "recipe.toml").is_file() else []
    if not folds:
        raise RequestError(
            f"there is no trained run here (no {WEIGHTS})" if path.exists() else "there is no such run",
            where=str(path),
            next_step=f"Train one with: hilum train --data SOURCE -o {path}",
        )
    if all((fold.path / ENSEMBLE).is_file() for fold in folds):
        parts = [_of_ensemble(fold.path) for fold in folds]
        together = MeanOfEnsembles(tuple(read_record(fold.path).combination for fold in folds))
        return Members(tuple(file for part in parts for file in part.weights), together, "folds")
    for fold in folds:
        if not (fold.path / WEIGHTS).is_file():
            raise RequestError(
                "this fold is not trained yet",
                where=str(fold.path),
                next_step=f"Go on with: hilum crossval --resume -o {path}",
            )
    return Members(tuple(fold.weights_path for fold in folds), Combination(), "folds")


def _of_ensemble(folder: Path) -> Members:
    record = read_record(folder)
    weights = [folder / member.run / WEIGHTS for member in record.members]
    for member, file in zip(record.members, weights, strict=True):
        advice = f"Bring {member.run} back as it was, or make the ensemble again with: hilum ensemble RUN... -o NEW"
        if not file.is_file():
            raise WeightsError("a member of the ensemble is gone", where=str(file), next_step=advice)
        if sha256_of(file) != member.weights_sha256:
            raise WeightsError(
                "this member of the ensemble has other weights than when the ensemble was made",
                where=str(file),
                next_step=advice,
            )
    return Members(tuple(weights), record.combination, "ensemble")


def read_record(folder: Path) -> EnsembleRecord:
    """The ensemble.json of a folder. Refused with DataError: one that is broken."""
    path = folder / ENSEMBLE
    try:
        return EnsembleRecord.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, pydantic.ValidationError) as error:
        raise DataError(
            f"this is no ensemble of this hilum: {str(error).splitlines()[0]}",
            where=str(path),
            next_step="Make it again with: hilum ensemble RUN... -o NEW",
        ) from None


def refuse_other_classes(classes: Sequence[Sequence[str]], names: Sequence[Path]) -> None:
    """RequestError where not all have the classes of the first, in its order."""
    for name, other in zip(names, classes, strict=True):
        if list(other) != list(classes[0]):
            raise RequestError(
                f"its classes are {', '.join(other)}, and those of {names[0]} {', '.join(classes[0])}",
                where=str(name),
                next_step="Combine runs of the same task.",
            )


def sets_of(run: Path, classes: Sequence[str]) -> Conformal | None:
    """Prediction sets of a run, fitted on what it said of its own validation films, of which it needs a hundred."""
    if not (run / "predictions.csv").is_file():
        return None
    table = RunFolder(run).predictions()
    films = table[(table["part"] == "validation") & table["label"].notna()]
    if len(films) < FEWEST_FILMS or tuple(classes_of(films)) != tuple(classes):
        return None
    y = class_numbers(films["label"], list(classes))
    return fit(y, probabilities_of(films), classes, coverage=COVERAGE)
