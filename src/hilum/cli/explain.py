"""`hilum explain`: where do a run's answers come from, and may the maps that say so be believed?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hilum.cli.console import terminal


def explain(
    run: Annotated[Path, typer.Argument(help="The run's folder.")],
    films: Annotated[
        list[Path], typer.Argument(help="Films and folders of films; without any, films of the run are explained.")
    ] = [],  # noqa: B006 - typer reads the default, nobody changes it
    part: Annotated[str, typer.Option("--part", help="Whose films: train, validation or test; default test.")] = "",
    method: Annotated[
        list[str],
        typer.Option("--method", help="grad-cam, grad-cam++, eigen-cam, occlusion, integrated-gradients; repeatable."),
    ] = [],  # noqa: B006
    class_: Annotated[
        str | None,
        typer.Option("--class", help="The class that the maps are for; default: on each film the called one."),
    ] = None,
    most: Annotated[
        int | None, typer.Option("--films", min=1, help="Most films of the part, drawn from each class alike.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="The folder; default RUN/explanations, or explanations/DATE-TIME for films."),
    ] = None,
) -> None:
    """Make maps of where the answers come from, and judge them: inside the lungs, or not; learned, or not.

    For example: hilum explain runs/first --part test, or: hilum explain runs/first film.dcm --class pneumonia
    """
    from hilum.cli.run import need_torch, stoppable
    from hilum.errors import RequestError
    from hilum.report.maps import FOLDER

    if films and (part or most):
        raise RequestError(
            "films were named, and --part and --films choose films of the run", next_step="Leave out one or the other."
        )
    if out is not None and (out / "recipe.toml").exists():
        raise RequestError("this is a run", where=str(out), next_step="Choose another folder.")
    need_torch()
    from hilum.explain.run import explain_films, explain_part
    from hilum.predict.films import films_of
    from hilum.report.page import write_report

    asked: dict[str, Any] = {"methods": method, "class_": class_, "progress": terminal.progress()}
    with stoppable(None, ""):
        if films:
            found = explain_films(run, films_of(films), out=out or _new_folder(), **asked)
        else:
            found = explain_part(run, part=part, films=most, out=out, **asked)
            if found.path == run / FOLDER:
                write_report(run)
    _tell(found.summary, found.path)
    if found.summary["failed"] == found.summary["films"]:
        raise typer.Exit(1)


def _tell(summary: dict[str, Any], path: Path) -> None:
    from rich.table import Table

    from hilum.report.maps import ALL, FIGURES, verdict
    from hilum.report.tables import shown

    for name, method in summary["methods"].items():
        there = [key for key in FIGURES if key in method["figures"][ALL]]
        table = Table(name, *(FIGURES[key] for key in there))
        for group, figures in method["figures"].items():
            cells = [shown(figures.get(key)) for key in there]
            table.add_row(group, *(f"{cell.value} {cell.interval}\n{cell.n}" for cell in cells))
        if there:
            terminal.show(table)
        words = verdict(method)
        terminal.say(f"{words['line']} {words['rest']}".strip())
    if summary["doubted"]:
        terminal.say(f"lungs unknown on {summary['doubted']} of {summary['films']} films, see the column doubt")
    if summary["failed"]:
        terminal.say(f"{summary['failed']} of {summary['films']} films could not be explained, see the column error")
    terminal.say(f"{path / 'maps.html'}")
    terminal.say("Research use only: this is not a medical device.")
    terminal.answer({"folder": str(path), **summary})


def _new_folder() -> Path:
    import datetime

    return Path("explanations") / datetime.datetime.now().strftime("%Y-%m-%d-%H%M%S")
