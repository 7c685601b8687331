"""How long work says how far it is. Functions take a `Progress`; only the command line brings one that draws."""

from __future__ import annotations

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
