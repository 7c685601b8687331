"""What can go wrong, in words a user can act on: the thing, the place, the next step."""

from __future__ import annotations


class HilumError(Exception):
    """A failure that hilum foresaw; the command line shows its message and never a traceback.

    what: what is wrong, naming the thing.
    where: the file, row, key or phase, or "".
    next_step: what the user can do now, or "".

    >>> print(HilumError("the file is empty", where="films/a.png", next_step="Delete it or copy it again."))
    films/a.png: the file is empty. Delete it or copy it again.
    """

    exit_status = 1

    def __init__(self, what: str, *, where: str = "", next_step: str = "") -> None:
        self.what, self.where, self.next_step = what.rstrip(". "), where, next_step
        super().__init__(what)

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        return f"{place}{self.what}. {self.next_step}".strip()

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions cross process borders while films are decoded in parallel; the default would lose the keywords.
        return (_rebuild, (type(self), self.what, self.where, self.next_step))


def _rebuild(kind: type[HilumError], what: str, where: str, next_step: str) -> HilumError:
    return kind(what, where=where, next_step=next_step)


class RequestError(HilumError):
    """The request was wrong: a flag, a name, a recipe key, a path that is not there. Exit status 2."""

    exit_status = 2


class DataError(HilumError):
    """The data cannot do what was asked: a missing column, an unknown label, a class of one film, a leak."""


class FilmError(HilumError):
    """One film cannot be read or must not be used; a batch goes on without it and counts it."""


class WeightsError(HilumError):
    """Weights are absent, broken, or belong to another network."""


class StoppedError(HilumError):
    """The user stopped the work (Ctrl-C); what was finished is kept. Exit status 130, as shells have it."""

    exit_status = 130


class MissingExtraError(HilumError):
    """A part of hilum that is an optional install was asked for.

    >>> print(MissingExtraError("train"))
    this needs the extra 'train'. Install it with: pip install 'hilum[train]'
    """

    exit_status = 2

    def __init__(self, extra: str, **_: str) -> None:
        super().__init__(f"this needs the extra '{extra}'", next_step=f"Install it with: pip install 'hilum[{extra}]'")

    def __reduce__(self) -> tuple[object, ...]:
        return (MissingExtraError, (self.what.split("'")[1],))
