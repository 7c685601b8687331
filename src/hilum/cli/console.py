"""The terminal: tables and progress drawn on standard error's console, answers on standard output."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hilum.progress import SILENT, Progress, in_lines

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


class Terminal:
    """What the flags --quiet and --json made of this process's output."""

    def __init__(self) -> None:
        self.quiet = False
        self.json = False

    @property
    def out(self) -> Console:
        """The console of answers: standard output."""
        from rich.console import Console

        return Console(highlight=False, soft_wrap=True)

    @property
    def err(self) -> Console:
        """The console of progress and errors: standard error."""
        from rich.console import Console

        return Console(stderr=True, highlight=False, soft_wrap=True)

    def say(self, message: str) -> None:
        """A line for people; silent with --quiet, on standard error with --json so that standard output stays JSON."""
        if not self.quiet:
            (self.err if self.json else self.out).print(message, markup=False)

    def show(self, table: Table) -> None:
        """A table for people; not shown with --quiet or --json."""
        if not self.quiet and not self.json:
            self.out.print(table)

    def answer(self, value: Any) -> None:
        """The machine's answer, as JSON on standard output, when --json was given."""
        if self.json:
            sys.stdout.write(json.dumps(value, allow_nan=False, default=str) + "\n")

    def progress(self) -> Progress:
        """Bars with time left on a terminal, plain lines elsewhere, nothing with --quiet."""
        if self.quiet:
            return SILENT
        return BarProgress(self) if self.err.is_terminal else LineProgress(self)


class BarProgress(Progress):
    """Bars with the time left."""

    def __init__(self, terminal: Terminal) -> None:
        self.terminal = terminal

    @contextmanager
    def task(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as Bars

        columns = ("[progress.description]{task.description}", BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Bars(*columns, TextColumn("left"), TimeRemainingColumn(), console=self.terminal.err) as bars:
            job = bars.add_task(what, total=total)
            yield lambda steps: bars.advance(job, steps)

    def say(self, message: str) -> None:
        self.terminal.say(message)


class LineProgress(Progress):
    """A plain line at the start, then at most one in ten seconds, and one at the end."""

    def __init__(self, terminal: Terminal, every_seconds: float = 10.0) -> None:
        self.terminal, self.every_seconds = terminal, every_seconds

    @contextmanager
    def task(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        if not total:  # all of it is remembered from before
            yield lambda steps: None
            return
        start, counted = time.monotonic(), 0
        self._line(f"{what}: {total} to do")
        tell = in_lines(what, total, self._line, self.every_seconds)

        def advance(steps: int) -> None:
            nonlocal counted
            counted += steps
            tell(steps)

        yield advance
        self._line(f"{what}: {counted} of {total} in {time.monotonic() - start:.1f} s")

    def _line(self, message: str) -> None:
        self.terminal.err.print(message, markup=False)

    def say(self, message: str) -> None:
        self.terminal.say(message)


terminal = Terminal()
