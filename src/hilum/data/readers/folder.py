"""One's own films: a folder per class.

Layout      PATH/CLASS/films, or PATH/{train,val,test}/CLASS/films, where the parts become the published split. Below
            the class folder films may lie deeper (a folder per patient, say).
Labels      the class folder's name, as written. The tasks that ship with hilum understand the usual spellings
            (COVID19, NORMAL, Viral Pneumonia); `labels` takes every folder as its own class.
Patients    by a pattern with a group named `patient`, searched in the path below PATH:
            `folder:PATH?patient=(?P<patient>[^_/]+)_`. A film that the pattern does not match has no patient. Without
            a pattern, DICOM files tell theirs; for other films the patient is missing, and splits can then keep only
            duplicates together.
DICOM       files fill patient, view, sex, age, modality and body part from their headers.
Source      the folder's name, or `name=`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from hilum.data.readers.common import FILM_SUFFIXES, files_below, finish, folders_in, need_folder, part_of
from hilum.data.readers.headers import fill_from_headers
from hilum.errors import DataError, RequestError

NAME = "folder"
OPTIONS: Mapping[str, str] = {
    "patient": "a regular expression with a group (?P<patient>...), searched in each path below PATH",
    "name": "the source's name; else the folder's",
}


def recognises(path: Path) -> bool:
    """Whether two or more folders in it, or in its part folders, hold films, directly or one folder deeper."""
    inner = folders_in(path)
    parts = [path / name for name in inner.values() if part_of(name)]
    return any(
        sum(_holds_films(folder / name) for name in folders_in(folder).values()) >= 2 for folder in parts or [path]
    )


def _holds_films(folder: Path) -> bool:
    return any(
        entry.suffix.lower() in FILM_SUFFIXES
        for inside in (folder, *(folder / name for name in folders_in(folder).values()))
        for entry in inside.iterdir()
    )


def read(path: Path, *, patient: str = "", name: str = "") -> pd.DataFrame:
    """The manifest of a folder of class folders; see the module for the layout.

    Refused with RequestError: a path that is not there, a pattern that is no regular expression, has no group
    `patient`, or matches no film. Refused with DataError: no film in a class folder.
    """
    need_folder(path)
    source = name or path.resolve().name
    films, others = files_below(path)
    rows, loose = [], 0
    for film in films:
        *folders, _ = film.split("/")
        split = part_of(folders[0]) if len(folders) > 1 else None
        classes = folders[1:] if split else folders
        if not classes:
            loose += 1
            continue
        rows.append(
            {
                "image_id": f"{source}/{film}",
                "path": str(path / film),
                "label": classes[0],
                "source": source,
                "split": split,
                "_film": film,
            }
        )
    left_out = [("files that are no film", others), ("films outside a class folder", loose)]
    frame = pd.DataFrame(rows)
    if loose and frame.empty:
        raise DataError(
            f"none of its {loose} films lies in a folder of its class",
            where=str(path),
            next_step=f"Put the films of each class into a folder, as {path.name}/pneumonia/a.png, or name their "
            "classes in a table: csv:films.csv. DICOM files are read without classes by dicom:FOLDER.",
        )
    if not frame.empty:
        if patient:
            frame["patient_id"] = _patients(frame["_film"], patient, source)
        frame, no_chest = fill_from_headers(frame.drop(columns="_film"), source)
        left_out += no_chest
    return finish(frame, left_out, where=path)


def _patients(films: pd.Series, pattern: str, source: str) -> pd.Series:
    where = f"patient={pattern}"
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise RequestError(
            f"this is no regular expression: {error}", where=where, next_step="Write one, as in: (?P<patient>[^_/]+)_"
        ) from None
    if "patient" not in compiled.groupindex:
        raise RequestError(
            "the pattern has no group named patient", where=where, next_step="Write one, as in: (?P<patient>[^_/]+)_"
        )
    found = films.map(lambda film: match["patient"] if (match := compiled.search(film)) else None)
    if found.isna().all():
        raise RequestError(
            f"the pattern matches none of the {len(films)} films", where=where, next_step=f"A path is: {films.iloc[0]}"
        )
    return (source + "/" + found.astype("string")).astype("string")
