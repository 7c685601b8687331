"""A run as the server has it: its predictor, what its validation films say of its doubt, and what its audit found."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from hilum.errors import HilumError, RequestError
from hilum.evaluation import conformal
from hilum.evaluation.conformal import Conformal, Kept
from hilum.evaluation.intervals import patient_numbers
from hilum.evaluation.operating_points import choose_thresholds
from hilum.evaluation.predictions import class_numbers, probabilities_of
from hilum.evaluation.run_folder import RunFolder
from hilum.predict.members import members_of
from hilum.predict.predictor import Predictor, load
from hilum.report.audit import in_short
from hilum.training.environment import sha256_of

Points = Mapping[str, Mapping[str, Any]]

VERDICTS = {"fail": "Audit failed", "warn": "Audit warns", "pass": "Audit passed", "none": "Not audited"}
# The sensitivities to choose an operating point from, each fitted on validation.
WISHED = (0.8, 0.9, 0.95, 0.99)


@dataclass(frozen=True)
class Model:
    """One run, ready to be asked.

    model_id: of its weights: the same weights are the same model. sets: how prediction sets are made, or None and
    `why_no_sets`. kept: what they are worth on the run's test films. points: operating points by wished sensitivity,
    by class. audit: the checks of audit.json, or None where none was made.
    """

    model_id: str
    name: str
    path: Path
    predictor: Predictor
    sets: Conformal | None
    why_no_sets: str
    kept: Kept | None
    points: Mapping[float, Points]
    audit: Sequence[Mapping[str, Any]] | None
    metrics: Mapping[str, Any] | None

    @property
    def classes(self) -> tuple[str, ...]:
        return self.predictor.classes

    @property
    def verdict(self) -> str:
        """The worst verdict of the audit: fail, warn, pass, or `none` where there was no audit."""
        verdicts = {str(check.get("verdict")) for check in self.audit or ()}
        return next((each for each in ("fail", "warn", "pass") if each in verdicts), "none")

    @property
    def verdict_why(self) -> str:
        """What stands behind the verdict, in one line."""
        if not self.audit:
            return "whether its figures can be believed is not known"
        worst = next((check for check in self.audit if check.get("verdict") == self.verdict), {})
        meaning = str(worst.get("meaning") or "") if self.verdict in ("fail", "warn") else ""
        return f"{self.verdict_short}. {meaning}".strip()

    @property
    def verdict_short(self) -> str:
        """How many checks of each verdict, in words."""
        return in_short(self.audit) if self.audit else self.verdict_why

    @property
    def verdict_line(self) -> str:
        """The verdict and what stands behind it."""
        return f"{VERDICTS[self.verdict]}: {self.verdict_why}"


def load_model(path: Path, *, name: str = "", coverage: float = 0.9, engine: str = "auto") -> Model:
    """The model of a run folder, a cross-validation, an ensemble, or a weights file. Refused as `predictor.load` does.

    coverage: how often the prediction set shall hold the true class.
    """
    predictor = load(path, engine=engine)  # type: ignore[arg-type]  # a name that load refuses with its own words
    folder = RunFolder(path) if (path / "recipe.toml").is_file() else None
    table = _predictions(folder)
    sets, why, kept = _sets(table, list(predictor.classes), coverage)
    digests = [sha256_of(weights) for weights in members_of(path).weights]
    return Model(
        model_id=digests[0][:12] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()[:12],
        name=name or (path.name if path.is_dir() else path.parent.name),
        path=path,
        predictor=predictor,
        sets=sets,
        why_no_sets=why,
        kept=kept,
        points=_points(table, list(predictor.classes)),
        audit=_read(folder, "audit"),
        metrics=_read(folder, "metrics"),
    )


def load_models(paths: Sequence[Path], *, coverage: float = 0.9, engine: str = "auto") -> list[Model]:
    """The models of several runs, with names that differ. RequestError for the same weights twice."""
    names = [path.resolve().name for path in paths]
    made: list[Model] = []
    for path, short in zip(paths, names, strict=True):
        name = short if names.count(short) == 1 else "/".join(path.resolve().parts[-2:])
        model = load_model(path, name=name, coverage=coverage, engine=engine)
        if any(model.model_id == other.model_id for other in made):
            raise RequestError("this model is loaded already", where=str(path), next_step="Name each run once.")
        made.append(model)
    return made


def _predictions(folder: RunFolder | None) -> pd.DataFrame | None:
    try:
        return folder.predictions() if folder else None
    except HilumError:
        return None


def _read(folder: RunFolder | None, what: str) -> Any:
    """What a run has besides its weights; a server runs without it too."""
    try:
        return getattr(folder, what)() if folder else None
    except HilumError:
        return None


def _of_part(table: pd.DataFrame, part: str) -> pd.DataFrame:
    return table[(table["part"] == part) & table["label"].notna()]


def _sets(table: pd.DataFrame | None, classes: list[str], coverage: float) -> tuple[Conformal | None, str, Kept | None]:
    if table is None:
        return None, "the run has no table of predictions", None
    validation, test = _of_part(table, "validation"), _of_part(table, "test")
    if validation.empty:
        return None, "the run has no validation films to fit prediction sets on", None
    fitted = conformal.fit(
        class_numbers(validation["label"], classes), probabilities_of(validation), classes, coverage=coverage
    )
    if test.empty:
        return fitted, "", None
    y = class_numbers(test["label"], classes)
    sets = fitted.sets(probabilities_of(test))
    return fitted, "", conformal.judge(sets, y, classes, patient_numbers(test["patient_id"], test["image_id"]))


def _points(table: pd.DataFrame | None, classes: list[str]) -> dict[float, Points]:
    if table is None or (validation := _of_part(table, "validation")).empty:
        return {}
    y, p = class_numbers(validation["label"], classes), probabilities_of(validation)
    return {wished: choose_thresholds(y, p, classes, wished) for wished in WISHED}
