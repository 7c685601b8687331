"""`hilum search`: trials of a recipe with other values."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hilum.cli.console import terminal
from hilum.cli.run import CLUSTER, DATA, RECIPE, SET, WHERE, need_torch, on_cluster, stoppable, toml

if TYPE_CHECKING:
    from rich.table import Table


def search(
    data: DATA = [],  # noqa: B006 - typer reads the default, nobody changes it
    recipe: RECIPE = [],  # noqa: B006
    setting: SET = [],  # noqa: B006
    where: WHERE = "",
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the search; the study is called like it.")] = Path(
        "runs/search"
    ),
    trials: Annotated[int | None, typer.Option("--trials", min=1, help="At most so many trials.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the search in --out, or work on it beside another process.")
    ] = False,
    storage: Annotated[
        str, typer.Option("--storage", help="Database URL of the study; default: a SQLite file in --out.")
    ] = "",
    cluster: CLUSTER = "",
) -> None:
    """Try values of a recipe's keys, choose the best on the validation part, and write them as a recipe.

    For example: hilum search --data films --set 'search.space.stage.learning_rate=[1e-2, 1e-3]' -o runs/search

    The test part is never predicted: train best.toml for its figures.
    """
    from hilum.recipe.load import load_recipe

    given = [("data.source", data), ("data.where", where)]
    asked = load_recipe(recipe, [*setting, *(f"{key}={toml(value)}" for key, value in given if value)])
    need_torch()
    from hilum.training.search import search as run_search

    again = f"hilum search --resume -o {quote(str(out))}" + (" --storage URL" if storage else "")
    again += f" --cluster {cluster}" if cluster else ""
    progress, elsewhere = terminal.progress(), None
    with stoppable(out, again), on_cluster(cluster):
        if cluster:
            from hilum.scale.trials import on_cluster as trials_there

            elsewhere = partial(trials_there, progress=progress)
        run_search(asked, out, trials=trials, storage=storage, resume=resume, progress=progress, elsewhere=elsewhere)
    _tell(out)


def _tell(out: Path) -> None:
    import json

    found = json.loads((out / "search.json").read_text(encoding="utf-8"))
    best, counted = found["best"], found["trials"]
    terminal.show(_table(found))
    said = ", ".join(f"{count} {name}" for name, count in counted.items() if count and name != "planned")
    terminal.say(f"trials: {counted['planned']} planned, {said}")
    if counted["running"]:
        terminal.say("Other processes are still at work; the last of them writes the final files.")
    if best is not None:
        terminal.say(
            f"best: trial {best['trial']}, validation {found['monitor']} {best['value']:.4f}, n = {found['n']} films; "
            "it chose, so it judges nothing"
        )
        terminal.say(f"next: hilum train --recipe {quote(str(out / 'best.toml'))} -o runs/NAME")
    terminal.say(f"page: {out / 'search.html'}")
    terminal.say("Research use only: this is not a medical device.")
    terminal.answer({**found, "folder": str(out)})


def _table(found: dict[str, Any]) -> Table:
    """Of each parameter: its values, the best figure of each, and which was chosen."""
    from rich.markup import escape
    from rich.table import Table

    shown = Table("key", "value", f"best validation {found['monitor']}", "trials")
    better = max if found["higher_is_better"] else min
    chosen = found["best"]["values"] if found["best"] else {}
    for effect in found["effects"]:
        values = effect["values"] or ([chosen[effect["key"]]] if effect["key"] in chosen else [])
        for place, value in enumerate(values):
            figures = [point["figure"] for point in effect["points"] if point["value"] == value]
            key = "" if place else effect["key"]
            mark = " ←" if chosen.get(effect["key"]) == value else ""
            figure = f"{better(figures):.4f}" if figures else "–"
            shown.add_row(key, escape(str(value)) + mark, figure, str(len(figures)))
    return shown
