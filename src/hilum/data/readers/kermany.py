"""Kermany et al. 2018: chest films of children, normal, bacterial and viral pneumonia.

Images      5856 JPEG: normal 1583, bacterial 2780, viral 1493. Published parts: train 5216, validation 16, test 624.
Layout      chest_xray/{train,val,test}/{NORMAL,PNEUMONIA} (Kaggle paultimothymooney/chest-xray-pneumonia), the
            authors' own {train,test}, or flat {NORMAL,BACTERIAL,VIRAL}. The path is the folder that holds chest_xray,
            or chest_xray itself.
Labels      the folder, the cause from the name. Read by two physicians, the test films by a third; from the routine
            of one hospital, without a laboratory's proof of the cause.
Patients    from the names, in all parts together. Kaggle's names are `person12_bacteria_46.jpeg`,
            `IM-0115-0001.jpeg`, `NORMAL2-IM-0201-0001-0002.jpeg`. Measured on all 5856 names: the image counter rises
            with the person's number over train, val and test as one series for bacteria and one for viruses, and no
            (cause, number) or IM number stands in two parts. So numbers do not start again in a part: the parts were
            cut from one list. They do start again by cause: films of person N with bacteria and of person N with a
            virus are no more alike (mean correlation of 24 x 24 thumbnails 0.712) than those of N and N + 1 (0.719),
            against 0.759 for two films of one (bacterial) child; the same holds of IM-N against NORMAL2-IM-N. The ids
            are therefore `kermany/person12-bacteria`, `kermany/person12-virus`, `kermany/IM-0115`,
            `kermany/NORMAL2-IM-0201`. The authors' own names (`BACTERIA-1083680-0001.jpeg`: disease, patient, image)
            give `kermany/1083680`.
View        AP, as the authors say of all films; no film tells its own.
Faults      Children of 1 to 5 years of one hospital (Guangzhou): against adults of any other collection, age
            separates the classes. The published validation part has 16 films and is too small to choose anything by.
            Some children have 30 films. Exact duplicates stand under two numbers (NORMAL2-IM-0095 and -0096).
Access      Mendeley Data 10.17632/rscbjbr9sj, CC BY 4.0; Kaggle.
Citation    Kermany et al. 2018, Cell 172:1122, 10.1016/j.cell.2018.02.010.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from hilum.data.readers.common import files_below, finish, first_film, folders_in, need_folder, part_of
from hilum.errors import DataError, RequestError

NAME = "kermany"
VIEW = "AP"
OPTIONS: Mapping[str, str] = {}
_PERSON = re.compile(r"(person\d+)_(bacteria|virus)_\d+")
_NORMAL = re.compile(r"((?:NORMAL2-)?IM-\d+)-\d+")
_AUTHORS = re.compile(r"(NORMAL|BACTERIA|VIRUS)-(\d+)-\d+")
_CAUSES = {"bacteria": "pneumonia/bacterial", "virus": "pneumonia/viral", "normal": "normal"}
_FOLDERS = {
    "normal": "normal",
    "pneumonia": "pneumonia",
    "bacterial": "pneumonia/bacterial",
    "viral": "pneumonia/viral",
}


def recognises(path: Path) -> bool:
    """Whether the class folders are there and a film in them is named as this collection names its films."""
    root = path / folders_in(path).get("chest_xray", "chest_xray")
    for folder in (root, path):
        inner = folders_in(folder)
        if {"train", "test"} <= set(inner):
            classes = folders_in(folder / inner["train"])
            return set(classes) == {"normal", "pneumonia"} and all(
                _of_name(first_film(folder / inner["train"] / name)) is not None for name in classes.values()
            )
        if {"normal", "bacterial", "viral"} <= set(inner):
            return _of_name(first_film(folder / inner["bacterial"])) is not None
    return False


def read(path: Path) -> pd.DataFrame:
    """The manifest of the collection; see the module for what it holds.

    Refused with RequestError: a path that is not there or not one of the layouts. Refused with DataError: no film,
    a name that says another class than its folder.
    """
    root = _root(path)
    films, others = files_below(root)
    rows: list[dict[str, str | None]] = []
    elsewhere = 0
    for film in films:
        *folders, name = film.split("/")
        label = _FOLDERS.get(folders[-1].lower()) if folders else None
        split = part_of(folders[0]) if len(folders) == 2 else None
        if label is None or (len(folders) != 1 and split is None):
            elsewhere += 1  # Kaggle's archive holds the whole tree a second time, as chest_xray/chest_xray
            continue
        rows.append(_row(root, film, name, label, split))
    left_out = [("files that are no film", others), ("films outside the class folders", elsewhere)]
    return finish(rows, left_out, where=path)


def _root(path: Path) -> Path:
    need_folder(path)
    for folder in (path / folders_in(path).get("chest_xray", "chest_xray"), path):
        inner = set(folders_in(folder))
        if "train" in inner or {"normal", "bacterial", "viral"} & inner:
            return folder
    raise RequestError(
        "this is not the layout of the collection: it needs chest_xray/{train,val,test}/{NORMAL,PNEUMONIA} or "
        f"{{NORMAL,BACTERIAL,VIRAL}}, and holds {', '.join(folders_in(path).values()) or 'no folder'}",
        where=str(path),
        next_step="Name the folder above chest_xray, or read it as one's own films with folder:PATH.",
    )


def _row(root: Path, film: str, name: str, label: str, split: str | None) -> dict[str, str | None]:
    known = _of_name(name)
    patient = f"{NAME}/{known[0]}" if known else None
    if known:
        fine = known[1]
        if not fine.startswith(label):
            raise DataError(
                f"the folder says {label!r} and the name says {fine!r}",
                where=str(root / film),
                next_step="Move the file to the folder of its class, or read the folder with folder:PATH.",
            )
        label = fine
    return {
        "image_id": f"{NAME}/{film}",
        "path": str(root / film),
        "label": label,
        "patient_id": patient,
        "source": NAME,
        "view": VIEW,
        "split": split,
    }


def _of_name(name: str) -> tuple[str, str] | None:
    """Patient and label that a file's name tells, or None.

    >>> _of_name("person12_bacteria_46.jpeg"), _of_name("NORMAL2-IM-0201-0001-0002.jpeg")
    (('person12-bacteria', 'pneumonia/bacterial'), ('NORMAL2-IM-0201', 'normal'))
    """
    if found := _PERSON.match(name):
        return f"{found[1]}-{found[2]}", _CAUSES[found[2]]
    if found := _NORMAL.match(name):
        return found[1], "normal"
    if found := _AUTHORS.match(name):
        return found[2], _CAUSES[found[1].lower()]
    return None
