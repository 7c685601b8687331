"""Kaggle prashant268/chest-xray-covid19-pneumonia: COVID-19, normal and pneumonia, with a published split.

Images      6432 JPEG: train 460 / 1266 / 3418, test 116 / 317 / 855 (COVID19, NORMAL, PNEUMONIA).
Layout      Data/{train,test}/{COVID19,NORMAL,PNEUMONIA}; the path is the folder that holds Data, or Data itself.
Labels      the folder; pneumonia without its cause.
Patients    unknown: names are only counters, so `patient_id` is missing. Near duplicates still find most of them.
Sources     NORMAL and PNEUMONIA are all 5856 films of `kermany` (children of 1 to 5 years, one hospital), named
            `kaggle-covid19-pneumonia/kermany`. COVID19 is `kaggle-covid19-pneumonia/covid-19-collections`: of 436
            films compared by their pixels, 378 are also in `cohen` and 36 in `figure1` (two in both), the others come
            from elsewhere.
View        AP for those of `kermany`, whose authors say so of all films; unknown for COVID19.
Faults      One film of a child is in two classes: COVID19(277) is PNEUMONIA(7). The class is the collection: COVID-19
            are adults of many hospitals, the rest children of one. Age, markers and the look of a hospital tell the
            classes apart. Train and test share at least two children (person59, NORMAL2-IM-0995). Follow-up films of
            one COVID-19 patient stand in both parts.
Access      Kaggle, licence of the parts: Kermany CC BY 4.0; Cohen and Figure1 per image.
Citation    Patel, P. Chest X-ray (Covid-19 & Pneumonia), Kaggle 2020; used by the Liverpool and Covientist studies.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from hilum.data.readers import kermany
from hilum.data.readers.common import files_below, finish, first_film, folders_in, inner_folder

NAME = "kaggle-covid19-pneumonia"
OPTIONS: Mapping[str, str] = {}
_NAMED = re.compile(r"(COVID19|NORMAL|PNEUMONIA)\s?\(\d+\)\.", re.IGNORECASE)
_CLASSES = {
    "covid19": ("covid-19", f"{NAME}/covid-19-collections"),
    "normal": ("normal", f"{NAME}/kermany"),
    "pneumonia": ("pneumonia", f"{NAME}/kermany"),
}


def recognises(path: Path) -> bool:
    """Whether train and test below it, or below its folder Data, hold the three class folders, with films named so.

    The folders alone do not tell: people lay out their own films like this.
    """
    for folder in (path, path / folders_in(path).get("data", "Data")):
        parts = folders_in(folder)
        if {"train", "test"} <= set(parts):
            return all(_holds_classes(folder / parts[part]) for part in ("train", "test"))
    return False


def _holds_classes(folder: Path) -> bool:
    classes = folders_in(folder)
    return set(_CLASSES) <= set(classes) and all(
        _NAMED.match(first_film(folder / classes[name])) is not None for name in _CLASSES
    )


def read(path: Path) -> pd.DataFrame:
    """The manifest of the collection; see the module for what it holds.

    Refused with RequestError: a path that is not there or not this layout. Refused with DataError: no film in it.
    """
    root = inner_folder(path, "Data", ("train", "test"))
    films, others = files_below(root)
    rows, elsewhere = [], 0
    for film in films:
        part, folder, *rest = film.lower().split("/")
        if part not in ("train", "test") or folder not in _CLASSES or not rest:
            elsewhere += 1
            continue
        label, source = _CLASSES[folder]
        rows.append(
            {
                "image_id": f"{NAME}/{film}",
                "path": str(root / film),
                "label": label,
                "source": source,
                "view": kermany.VIEW if source.endswith("/kermany") else None,
                "split": part,
            }
        )
    left_out = [("files that are no film", others), ("films outside the class folders", elsewhere)]
    return finish(rows, left_out, where=path)
