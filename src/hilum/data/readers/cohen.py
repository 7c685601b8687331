"""Cohen et al. 2020, ieee8023/covid-chestxray-dataset: films of COVID-19 and other pneumonias from publications.

Images      state of June 2020: 751 rows in metadata.csv, 730 of them films and CT slices, 21 CT volumes. 716 rows
            have their image in the copy measured here; five rows name a film a second time (patients 339 and 340 are
            285 and 287 over again), which leaves 711 films of 357 patients. X-ray and CT (63 slices): filter with
            `modality == "X-ray"`.
Layout      metadata.csv and images/; the path is the folder that holds them. Later states of the collection read too.
Labels      `finding` as the publication, website or hospital gives it, kept as written in `finding`; as label:
            covid-19, covid-19/ards, pneumonia and its causes (pneumonia/bacterial/streptococcus,
            pneumonia/viral/sars, pneumonia/fungal/pneumocystis, pneumonia/lipoid, ...), ards, tuberculosis, normal.
            `todo`, `Unknown` and blank are no finding: the label is missing.
Patients    `patientid`. Letters are different patients of one publication (331a is a woman of 39, 331b a man of 44).
Sources     one, `cohen`; `location` names hospital, city or country for most films, in many spellings.
Faults      Four films of patient 178 are those of patient 97, three of them under another finding, and one of 78 is
            one of 201. 17 of the 23 films with "No Finding" are of patients who have COVID-19 on another film: early
            or recovered, not healthy. Pictures of pictures: arrows, letters, borders, screenshots. What gets
            published is severe and instructive. Of 711 films age is missing for 151, sex for 69, the licence for 234.
View        PA, AP, AP supine, lateral, axial, coronal; as written in `view_as_written`.
Days        `offset_days` since symptoms began or since admission: the collection does not tell which.
Access      github.com/ieee8023/covid-chestxray-dataset; each film its own `license` (Apache 2.0, CC BY-NC-SA, ..., or
            none).
Citation    Cohen, Morrison, Dao 2020, arXiv 2003.11597; Cohen et al. 2020, arXiv 2006.11988.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from hilum.data.lines import row_name
from hilum.data.manifest import COLUMNS
from hilum.data.readers.common import (
    ages,
    files_below,
    finish,
    header_of,
    is_film,
    merge_rows,
    need_columns,
    need_folder,
    numbers,
    read_table,
    sexes,
    views,
)
from hilum.data.readers.findings import labels

NAME = "cohen"
OPTIONS: Mapping[str, str] = {}
_NEEDED = ("patientid", "finding", "view", "modality", "filename")
_NOT_KEPT = {"patientid", "offset", "sex", "age", "view", "folder", "filename"}


def recognises(path: Path) -> bool:
    """Whether metadata.csv has the columns of the collection."""
    return set(_NEEDED) <= set(header_of(path / "metadata.csv"))


def read(path: Path) -> pd.DataFrame:
    """The manifest of the collection; see the module for what it holds.

    Columns beyond the manifest's: `finding` and `view_as_written`, `modality`, `location`, `license`, and the other
    columns of metadata.csv under their own names, as text.

    Refused with RequestError: a path or metadata.csv that is not there. Refused with DataError: a missing column,
    no row with its image, two rows that give one film different findings.
    """
    table_path = need_folder(path) / "metadata.csv"
    table = read_table(table_path)
    need_columns(table, _NEEDED, where=str(table_path))
    folder = table["folder"].fillna("images") if "folder" in table else pd.Series("images", index=table.index)
    relative = folder + "/" + table["filename"]
    films = pd.Series([isinstance(name, str) and is_film(Path(name)) for name in relative], index=table.index)
    there = pd.Series([isinstance(name, str) and (path / name).is_file() for name in relative], index=table.index)
    in_images, _ = files_below(path / "images") if (path / "images").is_dir() else ([], 0)
    unnamed = len(set(in_images) - set(table["filename"].dropna()))

    rows = _rows(table[films & there], path, relative[films & there])
    rows, again = merge_rows(
        rows, agree=("label",), name_of_row={int(row): row_name(table_path, int(row)) for row in rows.index}
    )
    left_out = [
        ("rows that name a CT volume", int((~films).sum())),
        ("rows whose image is not there", int((films & ~there).sum())),
        ("rows that name a film again, merged into the first", again),
        ("films that no row names", unnamed),
    ]
    return finish(rows, left_out, where=path)


def _rows(table: pd.DataFrame, root: Path, relative: pd.Series) -> pd.DataFrame:
    def column(name: str) -> pd.Series:
        return table[name] if name in table else pd.Series(pd.NA, index=table.index, dtype="string")

    rows = pd.DataFrame(
        {
            "image_id": NAME + "/" + relative,
            "path": [str(root / name) for name in relative],
            "label": labels(table["finding"]),
            "patient_id": NAME + "/" + table["patientid"],
            "source": NAME,
            "view": views(table["view"]),
            "sex": sexes(column("sex")),
            "age_years": ages(column("age")),
            "offset_days": numbers(column("offset")),
            "view_as_written": table["view"],
        },
        index=table.index,
    )
    more = [
        name
        for name in table.columns
        if name not in _NOT_KEPT
        and name not in COLUMNS
        and not name.startswith("Unnamed")
        and table[name].notna().any()
    ]
    return pd.concat([rows, table[more]], axis=1)
