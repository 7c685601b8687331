"""Runs that start from the weights of another run: what those learned from must not be what this one is judged on."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from hilum.data.leaks import describe, find_leaks
from hilum.errors import DataError
from hilum.evaluation.run_folder import RunFolder
from hilum.model.weights import is_of_hilum
from hilum.recipe.schema import Recipe


def check_start(recipe: Recipe, films: pd.DataFrame) -> None:
    """Refuse with DataError a validation or test film that the starting weights learned from, or one of its patient.

    films: the manifest with its parts. With split.leaks = "allow" it is not refused, and `start_note` says so.
    """
    if recipe.split.leaks == "allow":
        return
    leaks = _leaks(recipe, films)
    if leaks is not None and len(leaks):
        raise DataError(
            f"the starting weights learned from what this run is judged on: {describe(leaks)}",
            where=f"model.weights = {recipe.model.weights}",
            next_step="Train the first run without these films (data.where, or split.keep with the parts of this run's "
            "manifest), or use --set split.leaks=allow, and every output will say so.",
        )


def start_note(recipe: Recipe, films: pd.DataFrame) -> str:
    """What every output says of starting weights that hilum trained: nothing where there are none or nothing leaks."""
    path = Path(recipe.model.weights)
    if not is_of_hilum(path):
        return ""
    leaks = _leaks(recipe, films)
    if leaks is None:
        return f"it is not known which films the starting weights {path} learned from: the run is not beside them"
    if len(leaks):
        return f"the starting weights learned from films of validation or test, so the figures will be too good: {path}"
    return ""


def _leaks(recipe: Recipe, films: pd.DataFrame) -> pd.DataFrame | None:
    """What the weights learned from and stands in validation or test too; None where that is unknown."""
    learned = _learned_from(recipe.model.weights)
    if learned is None:
        return None
    if learned.empty:
        return pd.DataFrame(columns=["kind", "patient_id", "image_ids", "parts"])
    judged = films[films["part"].isin(["validation", "test"])]
    columns = ["image_id", "patient_id", "sha256", "phash"]
    both = pd.concat([learned[columns].assign(part="train"), judged[columns].assign(part="test")], ignore_index=True)
    return find_leaks(both)


def _learned_from(weights: str) -> pd.DataFrame | None:
    """Films of train and validation of the run whose weights these are, and of the run that it started from itself."""
    path = Path(weights)
    if not is_of_hilum(path):
        return pd.DataFrame()
    if not (path.parent / "manifest.parquet").is_file():
        return None
    run = RunFolder(path.parent)
    before = _learned_from(run.recipe().model.weights)
    if before is None:
        return None
    films = run.manifest()
    return pd.concat([before, films[films["part"].isin(["train", "validation"])]], ignore_index=True)
