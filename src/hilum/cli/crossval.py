"""`hilum crossval`: the same training once for each fold."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from hilum.cli.console import terminal
from hilum.cli.run import CLUSTER, DATA, RECIPE, SET, WHERE, need_torch, new_folder, on_cluster, stoppable, tell, toml

if TYPE_CHECKING:
    from hilum.evaluation.run_folder import RunFolder


def crossval(
    data: DATA = [],  # noqa: B006 - typer reads the default, nobody changes it
    recipe: RECIPE = [],  # noqa: B006
    setting: SET = [],  # noqa: B006
    where: WHERE = "",
    folds: Annotated[
        int | None, typer.Option("--folds", help="How many; default split.folds of the recipe, or 5.")
    ] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="The folder; default runs/DATE-TIME.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the interrupted one in --out.")] = False,
    cluster: CLUSTER = "",
) -> None:
    """Train once for each fold of the patients, and judge every film by the model that has not seen it.

    For example: hilum crossval --data darkcovidnet:films --set data.task=covid-3 --folds 5 -o runs/cv
    """
    from hilum.errors import RequestError
    from hilum.recipe.load import load_recipe

    given = [("data.source", data), ("data.where", where)]
    asked = load_recipe(recipe, [*setting, *(f"{key}={toml(value)}" for key, value in given if value)])
    if resume and out is None:
        raise RequestError("--resume needs the folder of the cross-validation", next_step="Name it with -o.")
    out = out or new_folder()
    need_torch()
    from hilum.training.crossval import crossval as run_folds
    from hilum.training.crossval import in_turn

    again = f"hilum crossval --resume -o {quote(str(out))}" + (f" --cluster {cluster}" if cluster else "")
    with stoppable(out, again), on_cluster(cluster):
        if cluster:
            from hilum.scale.runs import train_runs
        whole = run_folds(
            asked,
            out,
            folds=folds,
            resume=resume,
            train_all=train_runs if cluster else in_turn,
            progress=terminal.progress(),
        )
    _tell_spread(whole)
    tell(whole.metrics(), whole.path, whole.environment()["notes"])


def _tell_spread(whole: RunFolder) -> None:
    """How the first figures vary from fold to fold."""
    spread = whole.metrics()["_folds"]
    for name in ("accuracy", "macro_f1"):
        figure = spread["figures"][name]
        if figure["mean"] is not None:
            each = ", ".join("undefined" if value is None else f"{value:.3f}" for value in figure["values"])
            sd = "" if figure["sd"] is None else f", SD {figure['sd']:.3f}"
            terminal.say(f"{name} by fold: mean {figure['mean']:.3f}{sd} ({each})")
