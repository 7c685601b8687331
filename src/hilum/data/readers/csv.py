"""One's own films: a text table with a row per film and any column names.

Layout      a table with a heading line, separated by commas, semicolons or tabs.
            `csv:films.csv?path=file&label=diagnosis` says that its column `file` holds the path and `diagnosis` the
            label; a column that has the manifest's name already needs no saying. Paths are absolute, or relative to
            the table's folder (or to `root=`).
Columns     path and label are needed; patient_id, source, view, sex, age_years, offset_days, split and modality are
            read when they are there or named. Every other column is kept under its own name, as text.
Labels      as written; a blank cell is a missing label.
Split       train, val, valid, validation, test and the like in the column `split` become the published split.
DICOM       files fill what the table does not tell (patient, view, sex, age, ...) from their headers.
Source      the column named by `source=`, else `name=`, else the table's name.
Refused     a film named twice with different labels or patients; an age, sex or part that cannot be understood. Rows
            whose film is not there are counted, and refused only when no film is there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from hilum.data.lines import row_name
from hilum.data.manifest import COLUMNS
from hilum.data.readers.common import (
    ages,
    finish,
    header_of,
    is_unknown,
    merge_rows,
    need_file,
    need_folder,
    numbers,
    part_of,
    read_table,
    sexes,
    views,
)
from hilum.data.readers.headers import fill_from_headers
from hilum.errors import DataError, RequestError
from hilum.recipe.load import nearest

NAME = "csv"
_COLUMNS = (
    "path",
    "label",
    "patient_id",
    "source",
    "view",
    "sex",
    "age_years",
    "offset_days",
    "split",
    "modality",
)
OPTIONS: Mapping[str, str] = {
    **{name: f"the table's column that holds {name}" for name in _COLUMNS},
    "name": "the source's name; else the table's",
    "root": "the folder that paths are relative to; else the table's",
}


def recognises(path: Path) -> bool:
    """Whether it is a text table with the columns path and label."""
    return is_table(path) and {"path", "label"} <= set(header_of(path))


def is_table(path: Path) -> bool:
    """By its suffix."""
    return path.suffix.lower() in (".csv", ".tsv", ".txt")


def read(path: Path, /, *, name: str = "", root: str = "", **columns: str) -> pd.DataFrame:
    """The manifest of a table; `columns` maps the manifest's columns to the table's, see the module.

    Refused with RequestError: a table or root that is not there, a mapping to a column that is not there. Refused
    with DataError: no column for path or label, no row with its film, two rows of one film that disagree in label or
    patient, an age, sex or part that cannot be understood.
    """
    table = read_table(need_file(path, what="table"))
    chosen = _mapping(table, columns, path)
    folder = need_folder(Path(root)) if root else path.parent
    source = name or path.stem

    films = table[chosen["path"]].map(lambda cell: _film(folder, cell), "ignore")
    there = pd.Series([isinstance(film, str) and Path(film).is_file() for film in films], index=films.index)
    rows = _rows(table[there], films[there], chosen, source, path, folder)
    if len(rows):
        line = {int(row): row_name(path, int(row)) for row in rows.index}
        rows, again = merge_rows(rows, agree=("label", "patient_id"), name_of_row=line)
        rows, no_chest = fill_from_headers(rows, source)
    else:
        again, no_chest = 0, []
    absent = films[films.notna() & ~there]
    left_out = [
        ("rows without a path", int(films.isna().sum())),
        (f"rows whose film is not there, the first {absent.iloc[0]}" if len(absent) else "", len(absent)),
        ("rows that name a film again, merged into the first", again),
        *no_chest,
    ]
    if not len(rows) and films.notna().any():
        raise DataError(
            f"no row names a film that is there; the first is {films.dropna().iloc[0]}",
            where=str(path),
            next_step=f"Name the folder that paths are relative to, as in: '{NAME}:{path}?root=FOLDER'",
        )
    return finish(rows, left_out, where=path)


def _mapping(table: pd.DataFrame, columns: Mapping[str, str], path: Path) -> dict[str, str]:
    """Manifest column -> the table's column."""
    for column, named in columns.items():
        if named not in table.columns:
            raise RequestError(
                f"{column}={named}: the table has no column {named!r}",
                where=str(path),
                next_step=nearest(named, map(str, table.columns)),
            )
    chosen = {column: columns.get(column, column) for column in _COLUMNS}
    chosen = {column: named for column, named in chosen.items() if named in table.columns}
    for column in ("path", "label"):
        if column not in chosen:
            raise DataError(
                f"no column is named {column}; the columns are {', '.join(map(str, table.columns))}",
                where=str(path),
                next_step=f"Say which one it is, as in: '{NAME}:{path}?{column}={table.columns[0]}'",
            )
    return chosen


def _film(folder: Path, cell: str) -> str:
    """The path that a cell names; tables made on Windows have backslashes."""
    given = str(folder / cell)
    if "\\" in cell and not Path(given).exists():
        given = str(folder / cell.replace("\\", "/"))
    return os.path.normpath(given)


def _rows(
    table: pd.DataFrame, films: pd.Series, chosen: Mapping[str, str], source: str, path: Path, root: Path
) -> pd.DataFrame:
    raw = {column: table[named] for column, named in chosen.items() if column != "path"}
    rows = pd.DataFrame({"path": films.astype("string")}, index=table.index)
    inside = [os.path.relpath(film, root).replace(os.sep, "/") for film in films]
    rows["image_id"] = [f"{source}/{film}" for film in inside]
    rows["label"] = raw["label"]
    rows["source"] = raw["source"].fillna(source) if "source" in raw else source
    if "patient_id" in raw:
        rows["patient_id"] = source + "/" + raw["patient_id"]
    if "view" in raw:
        rows["view"] = views(raw["view"])
    if "modality" in raw:
        rows["modality"] = raw["modality"]
    _read_strictly(rows, raw, "sex", sexes, path)
    _read_strictly(rows, raw, "age_years", ages, path)
    _read_strictly(rows, raw, "offset_days", numbers, path)
    _read_strictly(rows, raw, "split", lambda cells: cells.map(part_of, "ignore").astype("string"), path)
    more = table.drop(columns=list(set(chosen.values())))
    # A column of the manifest means something of its own: the table's `class` or `width` is kept under another name.
    return pd.concat(
        [rows, more.rename(columns={name: f"{name}_in_table" for name in more if name in COLUMNS})], axis=1
    )


def _read_strictly(
    rows: pd.DataFrame,
    raw: Mapping[str, pd.Series],
    column: str,
    reading: Callable[[pd.Series], pd.Series],
    path: Path,
) -> None:
    """Read a column, and refuse a cell that says something which is not understood."""
    if column not in raw:
        return
    rows[column] = reading(raw[column])
    lost = raw[column].notna() & rows[column].isna() & ~raw[column].map(is_unknown, "ignore").fillna(False).astype(bool)
    if lost.any():
        row = int(lost.index[lost][0])
        wanted = {
            "sex": "F or M",
            "age_years": "a number of years up to 120, or DICOM's 042Y",
            "offset_days": "a number of days",
            "split": "train, validation or test",
        }[column]
        raise DataError(
            f"{column} {raw[column][row]!r} is not understood",
            where=row_name(path, row),
            next_step=f"Write {wanted}, or leave it blank.",
        )
