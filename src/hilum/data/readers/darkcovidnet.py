"""Data of Ozturk et al. 2020 (DarkCovidNet): COVID-19 from `cohen`, no findings and pneumonia from NIH ChestX-ray8.

Images      1125: Covid-19 125, No_findings 500, Pneumonia 500 (the repository holds 125, 500, 500; 124 readable
            here).
Layout      {Covid-19,No_findings,Pneumonia}; the path is the folder that holds them.
Labels      the folder. NIH's are mined from radiology reports by text; the authors of ChestX-ray8 give over 90 % as
            right.
Patients    NIH's names tell patient and follow-up (`00001280_004.jpg`): 332 patients in No_findings, 371 in
            Pneumonia, 21 in both. Those of Covid-19 are unknown here and missing; all 124 names are also in `cohen`,
            which knows them.
Sources     `darkcovidnet/nih` (one hospital, adults) and `darkcovidnet/cohen` (many hospitals): the class COVID-19
            and the source are the same thing. A film of No_findings or Pneumonia without NIH's kind of name is of
            nobody knows where: its source is `darkcovidnet`.
Faults      COVID-19 can be told from the rest without seeing a lung: AUROC 0.982 with both lungs boxed out, 0.891 on
            a grey-level histogram (patient-wise cross-validation on frozen ImageNet features).
Access      github.com/muhammedtalo/COVID-19; NIH films without restriction with citation, Cohen's per image.
Citation    Ozturk et al. 2020, Comput. Biol. Med. 121:103792; Wang et al. 2017, CVPR, ChestX-ray8.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from hilum.data.readers.common import files_below, finish, folders_in, inner_folder

NAME = "darkcovidnet"
OPTIONS: Mapping[str, str] = {}
_NIH = re.compile(r"(\d{8})_(\d{3})\.")
_LABELS = {"covid-19": "covid-19", "no_findings": "normal", "pneumonia": "pneumonia"}


def recognises(path: Path) -> bool:
    """Whether the three class folders are there, spelt as the authors spell them."""
    return set(_LABELS) <= set(folders_in(path))


def read(path: Path) -> pd.DataFrame:
    """The manifest of the collection; see the module for what it holds. `follow_up` is NIH's number of the film.

    Refused with RequestError: a path that is not there or not this layout. Refused with DataError: no film in it.
    """
    root = inner_folder(path, "X-Ray Image DataSet", _LABELS)
    films, others = files_below(root)
    rows, elsewhere = [], 0
    for film in films:
        folder, *rest = film.split("/")
        if folder.lower() not in _LABELS or not rest:
            elsewhere += 1
            continue
        label = _LABELS[folder.lower()]
        nih = _NIH.match(rest[-1])
        source = f"{NAME}/nih" if nih else f"{NAME}/cohen" if label == "covid-19" else NAME
        rows.append(
            {
                "image_id": f"{NAME}/{film}",
                "path": str(root / film),
                "label": label,
                "patient_id": f"{source}/{nih[1]}" if nih else None,
                "source": source,
                "follow_up": int(nih[2]) if nih else None,
            }
        )
    left_out = [("files that are no film", others), ("films outside the class folders", elsewhere)]
    manifest = finish(rows, left_out, where=path)
    manifest["follow_up"] = manifest["follow_up"].astype("Int64")
    return manifest
