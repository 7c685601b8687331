"""COVIDx of COVID-Net (Wang, Lin, Wong 2020): text lists over films gathered from several collections.

Images      by version: COVIDx3 to 5 about 14 000 to 16 000, CXR-2 about 16 000, CXR-3 about 30 000, CXR-4 about 84
            000.
Layout      lists train*.txt and test*.txt (and val*.txt) in the folder or in its folder `labels`; films in data/train
            and data/test, or train and test. The path is the folder above. Where lists of several versions lie side
            by side, name one: `covidx:PATH?version=COVIDx5`.
Labels      lists of three columns, `patientid filename class`, or four, `patientid filename class source`. Classes:
            COVID-19, pneumonia, normal; in the first version bacteria and viral; from COVIDx6 on, positive and
            negative. `positive` is covid-19; `negative` is every film without COVID-19, healthy or not, and stays
            `negative`.
Patients    `patientid`, kept apart by source. In the first version's normal films it joins children: 10000500 is
            IM-0500 and NORMAL2-IM-0500 of `kermany`. RSNA's are one to a film.
Sources     `covidx/cohen`, `covidx/rsna`, `covidx/ricord`, ... where the list has four columns, else `covidx`.
Faults      The class follows the source: nearly all COVID-19 comes from sources without other films. Some films are
            listed twice under two patients (Cohen's 287 and 340). The test part is small and from few sources.
Access      built with github.com/lindawangg/COVID-Net, or Kaggle andyczhao/covidx-cxr2; licences of the parts.
Citation    Wang, Lin, Wong 2020, Sci. Rep. 10:19549, 10.1038/s41598-020-76550-z.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from hilum.data.readers.common import files_below, finish, merge_rows, need_folder, part_of
from hilum.errors import DataError, RequestError
from hilum.recipe.load import nearest

NAME = "covidx"
OPTIONS: Mapping[str, str] = {"version": "the lists to read where several lie side by side, as COVIDx5"}
_LIST = re.compile(r"(train|val|test)[_-]?(.*)\.txt", re.IGNORECASE)
_CLASSES = {
    "covid-19": "covid-19",
    "positive": "covid-19",
    "negative": "negative",
    "pneumonia": "pneumonia",
    "normal": "normal",
    "bacteria": "pneumonia/bacterial",
    "bacterial": "pneumonia/bacterial",
    "viral": "pneumonia/viral",
}


def recognises(path: Path) -> bool:
    """Whether a train list is there and its first line ends as such lists end."""
    for name in (name for lists in _lists(path).values() for name in lists.values()):
        with name.open(encoding="utf-8", errors="replace") as file:
            if _fields(file.readline()) is None:
                return False
    return any("train" in lists for lists in _lists(path).values())


def read(path: Path, *, version: str = "") -> pd.DataFrame:
    """The manifest of the collection; see the module for what it holds.

    Refused with RequestError: a path or list that is not there, lists of several versions without `version`. Refused
    with DataError: a line that is not of the form, no listed film that is there, a film listed under two classes.
    """
    lists = _chosen(_lists(need_folder(path)), version, path)
    rows, absent, listed = [], 0, set()
    for part, file in lists.items():
        folder = next((f for f in (path / "data" / part, path / part) if f.is_dir()), path / "data" / part)
        names = set(files_below(folder)[0]) if folder.is_dir() else set()
        for number, line in enumerate(file.read_text(encoding="utf-8-sig", errors="replace").splitlines(), 1):
            if not line.strip():
                continue
            row = _row(line, names, path, folder, f"{file} line {number}")
            absent += row is None
            if row is not None:
                rows.append({**row, "split": part_of(part), "_line": f"{file} line {number}"})
        listed |= {(folder / name).as_posix() for name in names}
    frame = pd.DataFrame(rows, columns=None if rows else ["path", "_line"])
    unlisted = len(listed - set(frame["path"].map(lambda name: Path(name).as_posix())))
    frame, again = merge_rows(frame, agree=("label",), name_of_row=frame["_line"].to_dict())
    left_out = [
        ("lines whose film is not there", absent),
        ("lines that name a film again, merged into the first", again),
        ("films that no list names", unlisted),
    ]
    return finish(frame.drop(columns="_line"), left_out, where=path)


def _lists(path: Path) -> dict[str, dict[str, Path]]:
    """Version -> part -> list file."""
    found: dict[str, dict[str, Path]] = {}
    for folder in (path, path / "labels"):
        for file in sorted(folder.glob("*.txt")) if folder.is_dir() else []:
            if match := _LIST.fullmatch(file.name):
                found.setdefault(match[2], {}).setdefault(match[1].lower(), file)
    return found


def _chosen(lists: dict[str, dict[str, Path]], version: str, path: Path) -> dict[str, Path]:
    if not lists:
        raise RequestError(
            "there is no list train*.txt or test*.txt in it, nor in its folder labels",
            where=str(path),
            next_step="COVIDx's lists are in COVID-Net's repository; put them beside the folder data.",
        )
    if version and version not in lists:
        raise RequestError(
            f"there is no list of version {version!r}", where=str(path), next_step=nearest(version, lists)
        )
    if not version and len(lists) > 1:
        raise RequestError(
            f"there are lists of {len(lists)} versions: {', '.join(sorted(lists))}",
            where=str(path),
            next_step=f"Choose one, as in: '{NAME}:{path}?version={max(lists)}'",
        )
    return lists[version] if version else next(iter(lists.values()))


def _fields(line: str) -> tuple[str, str, str] | None:
    """What stands before the class (patient and film, which may hold spaces), the class, and the source or ""."""
    words = line.split()
    if len(words) >= 3 and words[-1].lower() in _CLASSES:
        return " ".join(words[:-1]), words[-1].lower(), ""
    if len(words) >= 4 and words[-2].lower() in _CLASSES:
        return " ".join(words[:-2]), words[-2].lower(), words[-1].lower()
    return None


def _row(line: str, names: set[str], root: Path, folder: Path, where: str) -> dict[str, str] | None:
    """A manifest row, or None where the film is not there."""
    fields = _fields(line)
    if fields is None:
        raise DataError(
            f"the line {line[:80]!r} is neither 'patientid filename class' nor 'patientid filename class source'",
            where=where,
            next_step=f"Classes are: {', '.join(_CLASSES)}.",
        )
    named, label, origin = fields
    words = named.split(" ")
    # Patient and film are told apart by the file that is there, as either may hold spaces.
    cuts = (cut for cut in range(1, len(words)) if " ".join(words[cut:]) in names)
    cut = next(cuts, None)
    if cut is None:
        return None
    film = folder / " ".join(words[cut:])
    source = f"{NAME}/{origin}" if origin else NAME
    return {
        "image_id": f"{NAME}/{film.relative_to(root).as_posix()}",
        "path": str(film),
        "label": _CLASSES[label],
        "patient_id": f"{source}/{' '.join(words[:cut])}",
        "source": source,
    }
