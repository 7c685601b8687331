"""What readers share: files of a folder, text tables, spellings of views, sexes and ages, and rows into a manifest."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pandas as pd

from hilum.data.lines import decoded, separator_of
from hilum.data.manifest import conform
from hilum.errors import DataError, RequestError
from hilum.recipe.load import nearest

DICOM_SUFFIXES = frozenset({".dcm", ".dicom", ".dic"})
FILM_SUFFIXES = DICOM_SUFFIXES | {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".tif", ".tiff", ".webp"}
OLDEST_YEARS = 120.0  # NIH ChestX-ray holds ages up to 414; nobody has been that old

# "None" is not among them: it is how some tables write that nothing was found.
_EMPTY_CELLS = ["", "NA", "N/A", "#N/A", "NaN", "nan", "null", "NULL", "<NA>"]
_UNKNOWN = frozenset({"?", "unknown", "unk", "u", "o", "other", "not visible"})
_VIEWS = {
    "pa": "PA",
    "pa erect": "PA",
    "ap": "AP",
    "ap erect": "AP",
    "ap supine": "AP supine",
    "supine": "AP supine",
    "l": "lateral",
    "ll": "lateral",
    "rl": "lateral",
    "lat": "lateral",
    "lateral": "lateral",
    "axial": "axial",
    "coronal": "coronal",
}
_SEXES = {"f": "F", "female": "F", "woman": "F", "w": "F", "m": "M", "male": "M", "man": "M"}
_PARTS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}

# What a reader left out, and how often: ("rows whose image is not there", 14).
LeftOut = Sequence[tuple[str, int]]


# Folders and files ---------------------------------------------------------------------------------------------------


def need_folder(path: Path) -> Path:
    """The same path when it is a folder; else refused with RequestError naming the nearest sibling."""
    if path.is_dir():
        return path
    if path.is_file():
        raise RequestError(
            "this is a file, and a folder is needed", where=str(path), next_step="Name the folder that it lies in."
        )
    raise absent(path)


def need_file(path: Path, *, what: str = "file") -> Path:
    """The same path when it is a file; else refused with RequestError naming the nearest sibling."""
    if path.is_file():
        return path
    raise absent(path, what=what)


def absent(path: Path, *, what: str = "file or folder") -> RequestError:
    """The error for a path that is not there: how far the path is right, and the name that comes nearest."""
    there = path.parent
    wanted = path.name
    while not there.is_dir() and there != there.parent:
        there, wanted = there.parent, there.name
    names = sorted(entry.name for entry in there.iterdir() if not entry.name.startswith(".")) if there.is_dir() else []
    hint = nearest(wanted, names) if names else ""
    if not hint.startswith("Did you mean"):
        place = "The working folder" if there == Path() else str(there)
        hint = f"{place} holds: {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}" if names else ""
    return RequestError(f"there is no such {what}", where=str(path), next_step=hint)


def refuse_unreadable(error: OSError) -> NoReturn:
    """Stop at a folder that may not be read: going on would leave its films out without a word."""
    raise DataError(
        f"the folder cannot be read: {error.strerror}", where=str(error.filename), next_step="Check its permissions."
    )


def need_readable_name(path: Path) -> None:
    """Refuse with DataError a file whose name is no UTF-8: no table and no report could tell it."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise DataError(
            f"the file's name {os.fsencode(path.name)!r} is no UTF-8",
            where=os.fsencode(path.parent).decode(errors="replace"),
            next_step="Rename it; convmv renames whole folders.",
        ) from None


def files_below(folder: Path) -> tuple[list[str], int]:
    """Films below a folder, as sorted relative paths with slashes, and the number of other files.

    What operating systems leave behind (hidden files, Thumbs.db, desktop.ini, __MACOSX) counts as neither. Links to
    folders are followed, each folder once.
    """
    films, others, seen = [], 0, set()
    for here, folders, names in os.walk(folder, followlinks=True, onerror=refuse_unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        real = os.path.realpath(here)
        if real in seen:
            folders[:] = []
            continue
        seen.add(real)
        for name in names:
            if name.startswith(".") or name.lower() in ("thumbs.db", "desktop.ini"):
                continue
            if is_film(Path(here) / name):
                need_readable_name(Path(here) / name)
                films.append((Path(here) / name).relative_to(folder).as_posix())
            else:
                others += 1
    return sorted(films), others


def is_film(path: Path) -> bool:
    """By its suffix; a file without one, or with a number as DICOM's unique names have, by DICOM's mark at byte 128."""
    suffix = path.suffix.lower()
    if suffix in FILM_SUFFIXES:
        return True
    if suffix and not suffix[1:].isdigit():
        return False
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def folders_in(path: Path) -> dict[str, str]:
    """Names of the folders directly inside, by their lower-case form; empty where the path is no folder.

    >>> folders_in(Path("/no/such/folder"))
    {}
    """
    if not path.is_dir():
        return {}
    try:
        entries = sorted(path.iterdir())
    except OSError as error:
        refuse_unreadable(error)
    return {entry.name.lower(): entry.name for entry in entries if entry.is_dir()}


def inner_folder(path: Path, name: str, marks: Iterable[str]) -> Path:
    """The folder that holds `marks` (lower-case folder names): `path` itself, or `path/name` as archives unpack.

    Refused with RequestError where neither holds them.
    """
    need_folder(path)
    marks = list(marks)
    for folder in (path, path / folders_in(path).get(name.lower(), name)):
        if set(marks) <= set(folders_in(folder)):
            return folder
    found = ", ".join(folders_in(path).values()) or "no folder"
    raise RequestError(
        f"this is not the layout of the collection: it needs the folders {', '.join(marks)}, and holds {found}",
        where=str(path),
        next_step="Name the folder above them, or read it as one's own films with folder:PATH.",
    )


def first_film(folder: Path) -> str:
    """The name of the first film found directly in a folder, or ""."""
    if not folder.is_dir():
        return ""
    return next((entry.name for entry in folder.iterdir() if entry.suffix.lower() in FILM_SUFFIXES), "")


# Text tables ---------------------------------------------------------------------------------------------------------


def read_table(path: Path) -> pd.DataFrame:
    """A text table with every cell as text, empty cells missing; separator, and Windows' old encoding, are recognised.

    Refused with DataError: an empty file, one that is no table, one with two columns of one name.
    """
    need_file(path)
    text = decoded(path.read_bytes())
    if not text.strip():
        raise empty_table(path)
    separator = separator_of(text.lstrip().split("\n", 1)[0])
    try:
        # pandas would rename a column that stands there twice.
        head = [name.strip() for name in next(csv.reader(io.StringIO(text.lstrip()), delimiter=separator))]
        frame = pd.read_csv(
            io.StringIO(text), sep=separator, dtype="string", keep_default_na=False, na_values=_EMPTY_CELLS
        )
    except (ValueError, OverflowError, csv.Error) as error:  # ParserError is a ValueError
        raise DataError(
            f"this is no table: {error}",
            where=str(path),
            next_step="Save it as text with a heading line, separated by commas, semicolons or tabs.",
        ) from None
    twice = [name for name in head if name and head.count(name) > 1]
    if twice:
        raise DataError(f"two columns are named {twice[0]!r}", where=str(path), next_step="Rename one of them.")
    if frame.empty:
        raise DataError(
            f"the table has no row below its heading; the columns are {', '.join(map(str, frame.columns))}",
            where=str(path),
            next_step="Name the table that has the films.",
        )
    frame.columns = pd.Index([str(name).strip() for name in frame.columns])
    return frame.apply(lambda column: column.str.strip())


def empty_table(path: Path) -> DataError:
    """The error for a table that holds nothing."""
    return DataError("the table is empty", where=str(path), next_step="Copy it again, or name the one with the films.")


def header_of(path: Path) -> list[str]:
    """Column names of a text table without reading it whole; [] where there is none."""
    if not path.is_file():
        return []
    with path.open("rb") as file:
        line = decoded(file.readline(65536)).strip()
    separator = separator_of(line)
    return [name.strip().strip('"') for name in line.split(separator)]


def need_columns(frame: pd.DataFrame, names: Iterable[str], *, where: str) -> None:
    """Refuse with DataError a table that lacks one of the columns, naming the nearest that it has."""
    for name in names:
        if name not in frame.columns:
            raise DataError(
                f"the column {name!r} is missing; the columns are {', '.join(map(str, frame.columns))}",
                where=where,
                next_step=_nearest_column(name, frame) or "Is this the table of the collection?",
            )


def _nearest_column(name: str, frame: pd.DataFrame) -> str:
    hint = nearest(name, map(str, frame.columns))
    return hint if hint.startswith("Did you mean") else ""  # else it lists the columns, which the error has done


# Spellings -----------------------------------------------------------------------------------------------------------


def views(column: pd.Series) -> pd.Series:
    """Views in one spelling: PA, AP, AP supine, lateral, axial, coronal; unknown is missing, others stay as written.

    >>> views(pd.Series(["AP Supine", "L", "?", "AP erect", "oblique"], dtype="string")).tolist()
    ['AP supine', 'lateral', <NA>, 'AP', 'oblique']
    """
    text = column.astype("string").str.strip()
    return text.map(lambda value: pd.NA if value.lower() in _UNKNOWN else _VIEWS.get(value.lower(), value), "ignore")


def sexes(column: pd.Series) -> pd.Series:
    """F or M; everything else is missing.

    >>> sexes(pd.Series(["male", "F", "unknown"], dtype="string")).tolist()
    ['M', 'F', <NA>]
    """
    return column.astype("string").str.strip().str.lower().map(_SEXES).astype("string")


def ages(column: pd.Series) -> pd.Series:
    """Ages in years from numbers and from DICOM's age strings; what is no age, or above 120, is missing.

    >>> ages(pd.Series(["65", "042Y", "018M", "50+", "412"], dtype="string")).tolist()
    [65.0, 42.0, 1.5, <NA>, <NA>]
    """
    parts = column.astype("string").str.strip().str.extract(r"^(\d+(?:\.\d+)?)([DWMYdwmy]?)$")
    per_year = parts[1].str.upper().map({"": 1.0, "Y": 1.0, "M": 12.0, "W": 52.18, "D": 365.25})
    years = pd.to_numeric(parts[0], errors="coerce").astype("Float64") / per_year.astype("Float64")
    return years.mask(years > OLDEST_YEARS)


def numbers(column: pd.Series) -> pd.Series:
    """Numbers, missing where there is none.

    >>> numbers(pd.Series(["3", "-2.5", "?"], dtype="string")).tolist()
    [3.0, -2.5, <NA>]
    """
    return pd.to_numeric(column.astype("string"), errors="coerce").astype("Float64")


def part_of(name: str) -> str | None:
    """The part that a folder's or a cell's name stands for, or None.

    >>> part_of("Val"), part_of("NORMAL")
    ('validation', None)
    """
    return _PARTS.get(name.strip().lower())


def is_unknown(value: str) -> bool:
    """Whether a cell's text says that the value is not known.

    >>> is_unknown("Unknown"), is_unknown("weiblich")
    (True, False)
    """
    return value.strip().lower() in _UNKNOWN


# Rows into a manifest ------------------------------------------------------------------------------------------------


def merge_rows(
    frame: pd.DataFrame, *, agree: Sequence[str], name_of_row: Mapping[Any, str]
) -> tuple[pd.DataFrame, int]:
    """One row per `path`: rows that name a film again are merged into the first, and counted.

    A cell that the first row lacks is taken from the next. Refused with DataError, naming both rows: two rows of one
    film that disagree in a column of `agree`. `name_of_row` names a row by its index.
    """
    again = frame["path"].duplicated(keep=False)
    if not again.any():
        return frame, 0
    for path, rows in frame[again].groupby("path", sort=False):
        for column in (name for name in agree if name in rows):
            known = rows[column].dropna()
            others = known[known != known.iloc[0]] if len(known) else known
            if len(others):
                first, other = known.index[0], others.index[0]
                raise DataError(
                    f"{name_of_row[first]} says {column} {known[first]!r} of {path}, "
                    f"and {name_of_row[other]} says {known[other]!r}",
                    next_step="Correct or remove one of the rows.",
                )
    merged = frame[again].groupby("path", sort=False, as_index=False).first()
    order = frame["path"].drop_duplicates()
    out = pd.concat([frame[~again], merged]).set_index("path").loc[order].reset_index()
    return out, len(frame) - len(out)


def finish(rows: pd.DataFrame | list[dict[str, Any]], left_out: LeftOut, *, where: Path | str) -> pd.DataFrame:
    """The reader's manifest, with what it left out in `attrs["left_out"]`; refused with DataError without a film."""
    frame = pd.DataFrame(rows)
    told = [(what, int(count)) for what, count in left_out if count]
    if frame.empty:
        because = "; ".join(f"{what}: {count}" for what, count in told)
        raise DataError(
            f"there is no film in it{f' ({because})' if because else ''}",
            where=str(where),
            next_step="Films are PNG, JPEG or DICOM files.",
        )
    manifest = conform(frame, where=str(where))
    manifest.attrs["left_out"] = told
    return manifest


def left_out(manifest: pd.DataFrame) -> list[tuple[str, int]]:
    """What the reader left out of a manifest, and how often.

    >>> left_out(pd.DataFrame())
    []
    """
    return [(what, int(count)) for what, count in manifest.attrs.get("left_out", [])]
