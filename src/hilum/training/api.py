"""`hilum.train` and `hilum.crossval`, for Python: the commands' words as arguments."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hilum.evaluation.run_folder import RunFolder
from hilum.progress import SILENT, Progress
from hilum.recipe.load import load_recipe
from hilum.recipe.schema import Recipe
from hilum.training import crossval as all_folds
from hilum.training import train as one_run


def train(
    recipe: Recipe | str | Sequence[str] = (),
    *,
    data: str | Sequence[str] = (),
    settings: Sequence[str] = (),
    out: Path | str,
    resume: bool = False,
    progress: Progress = SILENT,
) -> RunFolder:
    """Train one run into the folder `out`, as `hilum train` does.

    recipe: a recipe, or names or files of recipes laid over each other. data: sources, as READER:PATH. settings:
    section.key=value. Refused as by `hilum.training.train.train`.
    """
    return one_run.train(_asked(recipe, data, settings), out, resume=resume, progress=progress)


def crossval(
    recipe: Recipe | str | Sequence[str] = (),
    *,
    data: str | Sequence[str] = (),
    settings: Sequence[str] = (),
    folds: int | None = None,
    out: Path | str,
    resume: bool = False,
    progress: Progress = SILENT,
) -> RunFolder:
    """Train one run for each fold into the folder `out`, and pool them, as `hilum crossval` does.

    The arguments are those of `train`. Refused as by `hilum.training.crossval.crossval`.
    """
    return all_folds.crossval(_asked(recipe, data, settings), out, folds=folds, resume=resume, progress=progress)


def _asked(recipe: Recipe | str | Sequence[str], data: str | Sequence[str], settings: Sequence[str]) -> Recipe:
    if not isinstance(recipe, Recipe):
        recipe = load_recipe([recipe] if isinstance(recipe, str) else recipe, settings)
    elif settings:
        recipe = load_recipe(settings=settings, base=recipe.model_dump(mode="json", exclude_none=True))
    sources = [data] if isinstance(data, str) else list(data)
    if sources:
        recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"source": sources})})
    return recipe
