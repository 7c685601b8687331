"""The files that a user means by paths. Needs no torch."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from hilum.errors import RequestError

IGNORED = {".ds_store", "thumbs.db", "desktop.ini", "dicomdir"}


def films_of(paths: Path | str | Iterable[Path | str]) -> list[Path]:
    """The files meant: each path itself, or, of a folder, all files below it but hidden ones, sorted by name."""
    files: list[Path] = []
    asked = [Path(paths)] if isinstance(paths, Path | str) else [Path(path) for path in paths]
    for path in asked:
        if path.is_dir():
            files += sorted(file for file in _below(path) if file.name.lower() not in IGNORED)
        elif path.exists():
            files.append(path)
        else:
            raise RequestError(
                "there is no such file or folder",
                where=str(path),
                next_step=f"Correct the path; it is taken from {Path.cwd()}."
                if not path.is_absolute()
                else "Correct the path.",
            )
    if not files:
        raise RequestError(
            "there is no file here to predict",
            where=", ".join(map(str, asked)),
            next_step="Name films, or a folder that holds some.",
        )
    return files


def _below(folder: Path) -> Iterable[Path]:
    for where, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith((".", "__MACOSX"))]
        yield from (Path(where) / name for name in names if not name.startswith("."))


def _refuse(error: OSError) -> None:
    raise RequestError(
        f"the folder cannot be read: {error.strerror}",
        where=str(error.filename),
        next_step="Allow reading it, or name the films that can be read.",
    )
