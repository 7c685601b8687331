"""The command `hilum`. Commands import what they need inside themselves, so that `--help` answers at once."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from hilum.cli import data, weights
from hilum.cli.console import terminal

app = typer.Typer(
    name="hilum",
    help="Train, judge and explain chest X-ray classifiers. Research use only: not a medical device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(data.app, name="data")
app.add_typer(weights.app, name="weights")


def _version(asked: bool) -> None:
    if asked:
        from hilum import __version__

        typer.echo(f"hilum {__version__}")
        raise typer.Exit


@app.callback()
def options(
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing but errors.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Answer in JSON on standard output.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")] = False,
) -> None:
    """Train, judge and explain chest X-ray classifiers. Research use only: not a medical device."""
    terminal.quiet, terminal.json = quiet, json


def main() -> None:
    """Run the command; a foreseen failure is one line on standard error and an exit status, never a traceback."""
    from hilum.errors import HilumError

    try:
        app()
    except HilumError as error:
        terminal.err.print(f"[bold red]error:[/] ", end="")
        terminal.err.print(str(error), markup=False)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        terminal.err.print("stopped; what was finished is kept")
        sys.exit(130)
