"""`hilum ensemble`: several runs as one."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hilum.cli.console import terminal
from hilum.cli.run import need_torch, stoppable, tell


class How(StrEnum):
    """How the runs' probabilities become one."""

    AVERAGE = "average"
    STACK = "stack"


def ensemble(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders with the same classes.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The folder of the ensemble.")],
    how: Annotated[
        How,
        typer.Option("--how", help="average: the mean of their probabilities; stack: a regression on validation."),
    ] = How.AVERAGE,
) -> None:
    """Combine runs into one that predicts, is judged and compared like them.

    For example: hilum ensemble runs/a runs/b runs/c -o runs/abc
    """
    need_torch()
    from hilum.predict.ensemble import ensemble as combine

    with stoppable(None, ""):
        made = combine(runs, out, how=how.value, progress=terminal.progress())
    tell(made.metrics(), made.path, made.environment()["notes"])
