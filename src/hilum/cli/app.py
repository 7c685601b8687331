"""The command `hilum`. Commands import what they need inside themselves, so that `--help` answers at once."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from hilum.cli import (
    audit,
    compare,
    concepts,
    crossval,
    data,
    dicom,
    ensemble,
    explain,
    export,
    paperwork,
    recipes,
    run,
    search,
    segment,
    serve,
    weights,
)
from hilum.cli.console import terminal

app = typer.Typer(
    name="hilum",
    help="Train, judge and explain chest X-ray classifiers. Research use only: not a medical device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (
    run.demo,
    run.train,
    search.search,
    crossval.crossval,
    run.evaluate,
    compare.compare,
    audit.audit,
    explain.explain,
    concepts.concepts,
    concepts.mistakes,
    paperwork.paperwork,
    ensemble.ensemble,
    run.predict,
    export.export,
    run.doctor,
):
    app.command()(command)
app.add_typer(data.app, name="data")
app.add_typer(dicom.app, name="dicom")
app.add_typer(recipes.app, name="recipes")
app.add_typer(segment.app, name="segment")
app.add_typer(serve.app, name="serve")
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
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    """Train, judge and explain chest X-ray classifiers. Research use only: not a medical device."""
    terminal.quiet, terminal.json = quiet, json


def main() -> None:
    """Run the command; a foreseen failure is one line on standard error and an exit status, never a traceback."""
    from hilum.errors import HilumError

    # The two flags may stand anywhere, as people type them.
    words = sys.argv[1:]
    sys.argv[1:] = [word for word in ("--quiet", "--json") if word in words] + [
        word for word in words if word not in ("--quiet", "--json")
    ]
    try:
        app()
    except HilumError as error:
        _fail(str(error), error.exit_status)
    except SystemExit as stopped:
        if stopped.code == 130:  # typer leaves without a word on Ctrl-C
            _fail("stopped; what was finished is kept. Give the same command again.", 130)
        raise
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        _fail(f"{place}{error.strerror or error}. What was finished is kept; mend this and give the command again.", 1)


def _fail(message: str, status: int) -> None:
    terminal.err.print("error: ", style="bold red", end="")
    terminal.err.print(message, markup=False)
    sys.exit(status)


if __name__ == "__main__":
    main()
