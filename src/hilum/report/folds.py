"""The section of a cross-validation's report that shows its folds beside each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hilum.errors import DataError, HilumError
from hilum.evaluation.run_folder import RunFolder
from hilum.report.facts import Context, Draw, Facts
from hilum.report.tables import KEY_FIGURES, shown, words_of


def folds(facts: Facts, draw: Draw) -> Context:
    """The figures of each fold, and how each was trained."""
    spread = facts.metrics.get("_folds")
    if spread is None:
        raise DataError("metrics.json has no _folds", where=str(facts.run.path))
    names = [*KEY_FIGURES, *(f"recall/{name}" for name in facts.classes)]
    return {
        "folds": range(len(spread["folds"])),
        "rows": [
            (figure_words(name), shown(facts.metrics["test"].get(name)), *_of_folds(spread["figures"][name]))
            for name in names
            if name in spread["figures"]
        ],
        "runs": [
            {**of_fold, **_trained(run), "report": f"{run.path.name}/report.html"}
            for of_fold, run in zip(spread["folds"], facts.folds, strict=True)
        ],
        "many_sources": facts.many_sources,
    }


def figure_words(name: str) -> str:
    """What a figure is called, with its class.

    >>> figure_words("macro_f1"), figure_words("recall/covid-19")
    ('macro F1', 'sensitivity of covid-19')
    """
    bare, _, of_class = name.partition("/")
    return words_of(bare) + (f" of {of_class}" if of_class else "")


def _of_folds(figure: Mapping[str, Any]) -> tuple[str, str, list[str]]:
    """Mean, SD and each value, as text."""
    return _number(figure["mean"]), _number(figure["sd"]), [_number(value) for value in figure["values"]]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _trained(run: RunFolder) -> Context:
    """Epochs and minutes of a fold's training, or why they are not known. An ensemble has its members' minutes."""
    if (run.path / "ensemble.json").is_file():
        return {"epochs": "–", "minutes": f"{run.environment()['training_seconds'] / 60:.1f}", "why": ""}
    try:
        history = run.history()
    except HilumError as error:
        return {"epochs": "–", "minutes": "–", "why": str(error)}
    return {"epochs": str(len(history)), "minutes": f"{history['seconds'].sum() / 60:.1f}", "why": ""}
