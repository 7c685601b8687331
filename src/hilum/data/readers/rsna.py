"""RSNA Pneumonia Detection Challenge 2018: adults' films of NIH ChestX-ray8, with boxes drawn by radiologists.

Images      26 684 labelled films: Normal 8851, No Lung Opacity / Not Normal 11 821, Lung Opacity 6012. DICOM, 1024 x
            1024, 8 bits. The 3000 films of stage_2_test_images have no labels and are not read.
Layout      stage_2_train_labels.csv (patientId, x, y, width, height, Target; a row per box),
            stage_2_detailed_class_info.csv (patientId, class), stage_2_train_images/*.dcm. The path is the folder
            that holds them.
Labels      Lung Opacity is `pneumonia`, Normal `normal`, No Lung Opacity / Not Normal `other`: abnormal, but without
            the opacity of pneumonia. As the source writes them in `finding`. Read by radiologists, three for a part,
            without the clinical picture: an opacity is not proof of pneumonia.
Boxes       `boxes`, JSON [[x, y, width, height], ...] in pixels of the film; missing where there is none.
Patients    `patientId` as given, one to a film; the films come from fewer patients of ChestX-ray8, which the
            collection does not tell, so a split by patient here is a split by film.
View        PA and AP from the headers, with sex and age. AP, of patients in bed, is far commoner among Lung Opacity.
Faults      Ages up to 155 in the headers; such ones are missing here. JPEG inside: films were compressed twice.
Access      Kaggle rsna-pneumonia-detection-challenge; RSNA's and NIH's terms ask for attribution.
Citation    Shih et al. 2019, Radiol. Artif. Intell. 1:e180041, 10.1148/ryai.2019180041.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from hilum.data.lines import row_name
from hilum.data.readers.common import files_below, finish, need_columns, need_folder, read_table
from hilum.data.readers.headers import fill_from_headers
from hilum.errors import DataError
from hilum.recipe.load import nearest

NAME = "rsna"
OPTIONS: Mapping[str, str] = {}
_LABELS_CSV = "stage_2_train_labels.csv"
_CLASSES_CSV = "stage_2_detailed_class_info.csv"
_IMAGES = "stage_2_train_images"
_BOX = ("x", "y", "width", "height")
_LABELS = {"Lung Opacity": "pneumonia", "Normal": "normal", "No Lung Opacity / Not Normal": "other"}


def recognises(path: Path) -> bool:
    """Whether the two tables are there by their names."""
    return (path / _LABELS_CSV).is_file() and (path / _CLASSES_CSV).is_file()


def read(path: Path) -> pd.DataFrame:
    """The manifest of the labelled part; see the module for what it holds.

    Refused with RequestError: a path, table or image folder that is not there. Refused with DataError: a missing
    column, an unknown or a contradictory class, a Target that contradicts the class, no row with its film.
    """
    need_folder(path)
    labels = read_table(path / _LABELS_CSV)
    need_columns(labels, ("patientId", *_BOX, "Target"), where=str(path / _LABELS_CSV))
    images = need_folder(path / _IMAGES)
    findings = _findings(path / _CLASSES_CSV)
    _check_targets(labels, findings, path / _LABELS_CSV)
    boxes = _boxes(labels, path / _LABELS_CSV)

    films, others = files_below(images)
    by_stem = {Path(film).stem: film for film in films}
    patients = labels["patientId"].dropna().drop_duplicates()
    there = patients[patients.isin(list(by_stem))]
    relative = [f"{_IMAGES}/{by_stem[patient]}" for patient in there]
    rows = pd.DataFrame(
        {
            "image_id": [f"{NAME}/{film}" for film in relative],
            "path": [str(path / film) for film in relative],
            "label": there.map(findings).map(_LABELS).to_numpy(),
            "patient_id": (NAME + "/" + there).to_numpy(),
            "source": NAME,
            "finding": there.map(findings).to_numpy(),
            "boxes": there.map(boxes).to_numpy(),
        }
    )
    rows, left_out = fill_from_headers(rows, NAME, patients=False)
    told = [
        ("patients whose film is not there", len(patients) - len(there)),
        ("films that no row names", len(films) - len(there)),
        ("files that are no film", others),
        *left_out,
    ]
    return finish(rows, told, where=path)


def _findings(table_path: Path) -> dict[str, str]:
    """Class of each patient."""
    table = read_table(table_path)
    need_columns(table, ("patientId", "class"), where=str(table_path))
    strange = table["class"].isna() | ~table["class"].isin(list(_LABELS))
    if strange.any():
        row = int(strange.to_numpy().argmax())
        raise DataError(
            f"the class {table['class'].iloc[row]!r} is not one of the collection's",
            where=row_name(table_path, row),
            next_step=nearest(str(table["class"].iloc[row]), _LABELS),
        )
    classes = table.drop_duplicates(["patientId", "class"])
    twice = classes[classes["patientId"].duplicated()]
    if len(twice):
        patient = twice["patientId"].iloc[0]
        both = classes.loc[classes["patientId"] == patient, "class"]
        raise DataError(
            f"patient {patient} has two classes: "
            + ", ".join(f"{name!r} ({row_name(table_path, int(row))})" for row, name in both.items()),
            next_step="Remove one of the two lines.",
        )
    return dict(zip(classes["patientId"], classes["class"], strict=True))


def _check_targets(labels: pd.DataFrame, findings: Mapping[str, str], table_path: Path) -> None:
    finding = labels["patientId"].map(findings)
    for wrong, why in (
        (finding.isna(), f"has no class in {_CLASSES_CSV}"),
        ((finding == "Lung Opacity") != (labels["Target"] == "1"), "has a Target that contradicts its class"),
    ):
        wrong = wrong.fillna(True).astype(bool)
        if wrong.any():
            row = int(wrong.to_numpy().argmax())
            raise DataError(
                f"patient {labels['patientId'].iloc[row]} {why}",
                where=row_name(table_path, row),
                next_step="The two tables must be of the same stage.",
            )


def _boxes(labels: pd.DataFrame, table_path: Path) -> dict[str, str]:
    """JSON of the boxes of each patient who has one."""
    boxed = labels[labels["Target"] == "1"]
    values = boxed[list(_BOX)].apply(pd.to_numeric, errors="coerce").astype("float64")
    broken = values.isna().any(axis=1)
    if broken.any():
        row = int(boxed.index[broken.to_numpy().argmax()])
        raise DataError(
            "a box lacks a number",
            where=row_name(table_path, row),
            next_step="Write x, y, width and height, or a Target of 0.",
        )
    return {
        str(patient): json.dumps(values.loc[rows.index].to_numpy().tolist())
        for patient, rows in boxed.groupby("patientId", sort=False)
    }
