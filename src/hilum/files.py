"""Files appear whole or not at all; caches have one place."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import platformdirs

from hilum.errors import RequestError


@contextmanager
def whole_file(path: Path | str) -> Iterator[Path]:
    """A path to write to, which becomes `path` when the block ends well and vanishes when it does not.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with whole_file(folder / "note.txt") as part:
    ...     _ = part.write_text("all of it")
    >>> [file.name for file in folder.iterdir()]
    ['note.txt']
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The suffix stays last, because writers choose their format by it.
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None  # the file that was meant
    os.close(handle)
    part = Path(name)
    try:
        yield part
        umask = os.umask(0)
        os.umask(umask)
        part.chmod(0o666 & ~umask)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def need_place(path: Path, example: str) -> None:
    """Refuse with RequestError a file that cannot be written, before the work and not after it.

    >>> need_place(Path("/"), "-o out.csv")
    Traceback (most recent call last):
    ...
    hilum.errors.RequestError: /: a file cannot be written here. Name a file, as: -o out.csv
    """
    above = next((folder for folder in path.absolute().parents if folder.exists()), path)
    if path.is_dir() or not above.is_dir() or not os.access(above, os.W_OK):
        raise RequestError("a file cannot be written here", where=str(path), next_step=f"Name a file, as: {example}")


def write_text(path: Path | str, text: str) -> None:
    """Write a text file whole or not at all, as UTF-8."""
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path | str, value: Any) -> None:
    """Write JSON whole or not at all; a number that is not finite is refused with ValueError."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def cache_folder() -> Path:
    """Where prepared films, facts and weights are kept: $HILUM_CACHE, or the user's cache folder."""
    named = os.environ.get("HILUM_CACHE")
    return Path(named) if named else Path(platformdirs.user_cache_dir("hilum"))


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
