"""The files that a user means by paths, prepared for each network that will see them. Needs no torch."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hilum.errors import RequestError
from hilum.image.decode import decode, read_bytes
from hilum.image.gate import Warned, warnings_of
from hilum.image.prepare import Prepared, prepared_file
from hilum.recipe.schema import Prepare

IGNORED = {".ds_store", "thumbs.db", "desktop.ini", "dicomdir"}


# The gate looks at films of this side; the lung network sees fewer pixels.
_GATE_PX = 448


@dataclass(frozen=True)
class Taken:
    """A film as each preparation has it, and what speaks against predicting it."""

    prepared: list[Prepared]
    warnings: tuple[Warned, ...]


def taken_in(source: Path, hows: Sequence[Prepare], *, gate: bool) -> Taken:
    """A film, prepared and with `gate` looked at; FilmError where it cannot be read or is no film of the chest."""
    data = read_bytes(source)
    prepared = [prepared_file(data, how, where=str(source), chest_only=True) for how in hows]
    if not gate:
        return Taken(prepared, ())
    film = decode(data, at_least_px=_GATE_PX, where=str(source))
    return Taken(prepared, warnings_of(film.pixels, film.header))


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
