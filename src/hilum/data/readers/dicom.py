"""One's own films: a tree of DICOM files, as a PACS, a CD or an anonymiser writes it.

Layout      any folders, any names, with or without a suffix; every file is looked at, and those that are no DICOM
            counted.
Labels      none, as headers do not tell a finding: `label` is missing. Where folders are classes read them with
            `folder:PATH`, where a table tells the labels with `csv:TABLE`; both fill the rest from the headers too.
Patients    PatientID, as `NAME/PatientID`. An anonymiser that gives every film the same PatientID makes them one
            patient.
Filled      view (ViewPosition, view code), sex, age_years (PatientAge, else from the dates), and beyond the
            manifest's columns modality, body_part, manufacturer, model, institution, study_date, header_notes.
Left out    objects without a picture (reports, DICOMDIR), and those that say that they are no film of the chest:
            modality other than CR, DX, DR or RG, another body part, an unknown position. Each reason is counted.
Source      the folder's name, or `name=`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from hilum.data.readers.common import finish, need_folder, need_readable_name, refuse_unreadable
from hilum.data.readers.headers import fill_from_headers, is_dicom

NAME = "dicom"
OPTIONS: Mapping[str, str] = {"name": "the source's name; else the folder's"}


def recognises(path: Path) -> bool:
    """Whether its first twenty files, in the order of their names, are all DICOM."""
    first = _files(path, at_most=20) if path.is_dir() else []
    return bool(first) and all(is_dicom(path / name) for name in first)


def read(path: Path, *, name: str = "") -> pd.DataFrame:
    """The manifest of a tree of DICOM files; see the module for what is filled and left out.

    Refused with RequestError: a path that is not there. Refused with DataError: no DICOM film of the chest in it.
    """
    need_folder(path)
    source = name or path.resolve().name
    names = _files(path)
    films = [film for film in names if is_dicom(path / film)]
    rows = pd.DataFrame(
        {
            "image_id": [f"{source}/{film}" for film in films],
            "path": [str(path / film) for film in films],
            "label": pd.Series(pd.NA, index=range(len(films)), dtype="string"),
            "source": source,
        }
    )
    rows, left_out = fill_from_headers(rows, source, by_name=False)
    return finish(rows, [("files that are no DICOM", len(names) - len(films)), *left_out], where=path)


def _files(path: Path, at_most: int | None = None) -> list[str]:
    """All files below, hidden ones and what operating systems leave apart."""
    found: list[str] = []
    for here, folders, names in os.walk(path, onerror=refuse_unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        for name in sorted(names):
            if not name.startswith(".") and name.lower() not in ("thumbs.db", "desktop.ini"):
                need_readable_name(Path(here) / name)
                found.append((Path(here) / name).relative_to(path).as_posix())
                if at_most and len(found) >= at_most:
                    return found
    return found
