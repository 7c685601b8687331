"""agchung/Figure1-COVID-chestxray-dataset: films that physicians shared on the Figure 1 platform.

Images      55: COVID-19 35, No finding 3, Pneumonia 2, blank 15.
Layout      metadata.csv and images/; the path is the folder that holds them. `patientid` is the stem of the image's
            name.
Labels      `finding` as the physician gives it, kept in `finding`; a blank is no finding, and the label is missing.
Patients    `patientid` without its last letter: COVID-00039a, b and c are one woman of 77 over three films, and 40a
            is 40b a year earlier.
View        PA, AP (AP erect too), mostly missing; as written in `view_as_written`.
Faults      Very few films, most without age, sex or view. Ages as "50+" or "early 40s" are missing, and kept in
            `age_as_written`. No proof of the finding. Photographs of screens.
Access      github.com/agchung/Figure1-COVID-chestxray-dataset, licence per image on the platform.
Citation    Chung, A. Figure 1 COVID-19 Chest X-ray Dataset Initiative, 2020.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from hilum.data.manifest import COLUMNS
from hilum.data.readers.common import (
    ages,
    files_below,
    finish,
    header_of,
    need_columns,
    need_folder,
    numbers,
    read_table,
    sexes,
    views,
)
from hilum.data.readers.findings import labels

NAME = "figure1"
OPTIONS: Mapping[str, str] = {}
_NEEDED = ("patientid", "offset", "sex", "age", "finding", "view", "modality")
_NOT_KEPT = {"patientid", "offset", "sex", "age", "view"}


def recognises(path: Path) -> bool:
    """Whether metadata.csv has the columns of the collection, and no `filename`, which `cohen` has."""
    header = set(header_of(path / "metadata.csv"))
    return set(_NEEDED) <= header and "filename" not in header


def read(path: Path) -> pd.DataFrame:
    """The manifest of the collection; see the module for what it holds.

    Refused with RequestError: a path or metadata.csv that is not there. Refused with DataError: a missing column,
    no row with its image.
    """
    table_path = need_folder(path) / "metadata.csv"
    table = read_table(table_path)
    need_columns(table, _NEEDED, where=str(table_path))
    films, others = files_below(need_folder(path / "images"))
    by_stem = {Path(film).stem: f"images/{film}" for film in films}
    relative = table["patientid"].map(by_stem).astype("string")
    there = relative.notna()
    table, relative = table[there], relative[there]
    rows = pd.DataFrame(
        {
            "image_id": NAME + "/" + relative,
            "path": [str(path / name) for name in relative],
            "label": labels(table["finding"]),
            "patient_id": NAME + "/" + table["patientid"].str.replace(r"(?<=\d)[a-z]$", "", regex=True),
            "source": NAME,
            "view": views(table["view"]),
            "sex": sexes(table["sex"]),
            "age_years": ages(table["age"]),
            "offset_days": numbers(table["offset"]),
            "view_as_written": table["view"],
            "age_as_written": table["age"],
        }
    )
    more = [name for name in table.columns if name not in _NOT_KEPT and name not in COLUMNS]
    left_out = [
        ("rows whose image is not there", int((~there).sum())),
        ("films that no row names", len(films) - len(set(relative))),
        ("files that are no film", others),
    ]
    return finish(pd.concat([rows, table[more]], axis=1), left_out, where=path)
