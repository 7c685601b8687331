"""How long work says how far it is. Functions take a `Progress`; only the command line brings one that draws."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Progress:
    """The silent one; `hilum.cli.console` has the one that draws.

    >>> with SILENT.task("decoding", total=2) as advance:
    ...     advance(1)
    """

    @contextmanager
    def task(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """A piece of work of `total` steps; the value is called with the steps done since the last call."""
        yield lambda steps: None

    def say(self, message: str) -> None:
        """One line that the user should read: a size before it is spent, a count of what was left out."""


SILENT = Progress()


def in_lines(what: str, total: int, tell: Callable[[str], None], every_seconds: float = 10.0) -> Callable[[int], None]:
    """The value that a task gives where progress is told in lines: how far and how long still, seldom enough to read.

    >>> advance = in_lines("decoding", 2, print, every_seconds=0.0)
    >>> advance(1); advance(1)  # doctest: +ELLIPSIS
    decoding: 1 of 2, 0 s left
    """
    start = told = time.monotonic()
    done = 0

    def advance(steps: int) -> None:
        nonlocal done, told
        done += steps
        now = time.monotonic()
        if now - told >= every_seconds and done < total:
            told = now
            tell(f"{what}: {done} of {total}, {(now - start) / done * (total - done):.0f} s left")

    return advance
