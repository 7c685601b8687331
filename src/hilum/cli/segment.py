"""`hilum segment`: outline the lungs on films, train a lung network, judge one."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from hilum.cli.console import terminal


class _FilmsByDefault(TyperGroup):
    """`hilum segment PATH` is `hilum segment films PATH`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, "--help"):
            args = ["films", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_FilmsByDefault,
    help="The lungs on films: outline them (hilum segment PATH -o FOLDER), or train the network that does.",
    no_args_is_help=True,
)


@app.command()
def films(
    paths: Annotated[list[Path], typer.Argument(help="Films and folders of films: PNG, JPEG, DICOM.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The folder for masks, overlays and lungs.csv.")],
    network: Annotated[
        Path | None, typer.Option("--network", help="Weights of `hilum segment train`; default: those that ship.")
    ] = None,
) -> None:
    """Write a mask of each film's lungs, the film with their outline, and a table. `films` may be left out.

    A film whose lungs are not believable gets no mask: the table says why. So does a file that cannot be read, and the
    others go on. For example: hilum segment films/ -o lungs
    """
    from hilum.cli.run import stoppable
    from hilum.predict.lungs import outline_lungs

    with stoppable(None, ""):
        table = outline_lungs(paths, out, network=network, progress=terminal.progress())
    failed, doubted = int(table["error"].notna().sum()), int(table["doubt"].notna().sum())
    for row in table[table["doubt"].notna() | table["error"].notna()].head(20).itertuples():
        terminal.say(f"{row.path!s}: {row.error if isinstance(row.error, str) else row.doubt!s}")
    found = len(table) - failed - doubted
    terminal.say(
        f"lungs on {found} of {len(table)} films, in {out}; without believable lungs {doubted}, not read {failed}"
    )
    terminal.say("Research use only: this is not a medical device.")
    terminal.answer({"films": len(table), "found": found, "doubted": doubted, "failed": failed, "folder": str(out)})
    if not found:
        raise typer.Exit(1)


@app.command()
def train(
    data: Annotated[
        Path | None, typer.Argument(help="A folder with pairs.csv: films, and masks that people drew.")
    ] = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="The run folder.")] = Path("runs/lungs"),
    setting: Annotated[
        list[str], typer.Option("--set", help="section.key=value, as in stage.epochs=10; may be repeated.")
    ] = [],  # noqa: B006 - typer reads the default, nobody changes it
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the interrupted run in --out.")] = False,
) -> None:
    """Train a lung network, and judge it on films of patients that it has not seen.

    For example: hilum segment train lung-masks -o runs/lungs
    """
    from hilum.cli.run import need_torch, stoppable
    from hilum.errors import RequestError

    if data is None and not resume:
        raise RequestError("a folder with pairs.csv is needed", next_step="Name it: hilum segment train DATA")
    need_torch()
    from hilum.data.marked import read_marked
    from hilum.evaluation.run_folder import RunFolder
    from hilum.training import segment

    progress = terminal.progress()
    with stoppable(out, f"hilum segment train --resume -o {quote(str(out))}"):
        if data is None or resume:
            run = RunFolder(out)
        else:
            run = segment.start(read_marked(data), segment.recipe_of(data, setting), out, progress=progress)
        segment.go_on(run, progress=progress)
    _tell(run.metrics(), run.path)


def _tell(metrics: dict[str, Any], path: Path) -> None:
    from rich.table import Table

    part = "test" if "test" in metrics else "validation"
    percent = f"{metrics['_about']['interval']:.0%}"
    table = Table("figure", part, f"{percent} interval by patient", "films", "patients")
    for name, figure in metrics[part].items():
        numbers = ["-" if figure[key] is None else f"{figure[key]:.3f}" for key in ("value", "low", "high")]
        table.add_row(name, numbers[0], f"{numbers[1]} to {numbers[2]}", str(figure["n"]), str(figure["patients"]))
    terminal.show(table)
    terminal.say(f"weights and figures: {path}")
    terminal.say("Research use only: this is not a medical device.")
    terminal.answer({"run": str(path), "part": part, "metrics": metrics[part]})
