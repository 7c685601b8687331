"""Patients and films that stand in two parts, so that a model is tested on what it was trained on."""

from __future__ import annotations

import numpy as np
import pandas as pd

from hilum.data import duplicates
from hilum.data.groups import components
from hilum.data.manifest import PARTS
from hilum.errors import DataError

KINDS = ("patient", "exact duplicate", "near duplicate")
# A film that leaks is left out of the part that matters less: never of test.
RANK = {part: rank for rank, part in enumerate(PARTS)}
_NAMED = 3  # leaks that an error spells out


def find_leaks(manifest: pd.DataFrame, *, links: np.ndarray | None = None) -> pd.DataFrame:
    """Patients and duplicates in more than one part; a row each: kind, patient_id, image_ids, parts.

    manifest: any with `part` in every row, whoever wrote it. image_ids and parts are lists of one length: all the
    films of that patient, or all the films that are duplicates of each other, and the part each is in. kind: patient,
    exact duplicate (sha256), near duplicate (fingerprint). links: of `duplicates.links`, where the caller has them.
    Refused with DataError: a row without a part, or with one that is not train, validation or test; sha256 and phash
    both empty.

    >>> films = pd.DataFrame({"image_id": ["a", "b"], "patient_id": ["ann", "ann"], "part": ["train", "test"],
    ...                       "sha256": ["1f", "2e"], "phash": pd.NA})
    >>> find_leaks(films).to_dict("records")
    [{'kind': 'patient', 'patient_id': 'ann', 'image_ids': ['a', 'b'], 'parts': ['train', 'test']}]
    """
    check_parts(manifest)
    manifest = manifest.reset_index(drop=True)
    if links is None:
        links = duplicates.links(manifest)
    cluster = pd.Series(components(len(manifest), links))
    content, _ = pd.factorize(manifest["sha256"].fillna(manifest["image_id"]))
    patients = _in_two_parts(manifest["patient_id"], manifest["part"])
    exact = _in_two_parts(manifest["sha256"], manifest["part"])
    near = [rows for rows in _in_two_parts(cluster, manifest["part"]) if np.ptp(content[rows]) > 0]
    patient, image, part = (manifest[name].to_numpy(dtype=object) for name in ("patient_id", "image_id", "part"))
    records = [
        {
            "kind": kind,
            "patient_id": _only(patient[rows]),
            "image_ids": image[rows].tolist(),
            "parts": part[rows].tolist(),
        }
        for kind, leaks in zip(KINDS, (patients, exact, near), strict=True)
        for rows in leaks
    ]
    return pd.DataFrame(records, columns=["kind", "patient_id", "image_ids", "parts"])


def check_parts(manifest: pd.DataFrame) -> None:
    """Refuse with DataError a manifest whose rows do not all have a part, or have an unknown one."""
    if "part" not in manifest:
        raise DataError("the column part is missing", where="manifest", next_step="Split the films first.")
    strange = ~manifest["part"].isin(PARTS).to_numpy()
    if strange.any():
        row = int(strange.argmax())
        value = manifest["part"].iloc[row]
        found = "missing" if pd.isna(value) else repr(value)
        raise DataError(
            f"part is {found}, and so in {int(strange.sum())} of {len(manifest)} films not {', '.join(PARTS)}",
            where=f"manifest row {row}",
            next_step="Fill it in every row, or leave the column out and hilum draws the parts.",
        )


def leaking(manifest: pd.DataFrame, leaks: pd.DataFrame) -> np.ndarray:
    """Which films to leave out so that nothing leaks, (N,) bool: those outside the highest part of each leak.

    The order is train, validation, test: a test film is never left out.
    """
    out: set[str] = set()
    for image_ids, parts in zip(leaks["image_ids"], leaks["parts"], strict=True):
        highest = max(RANK[part] for part in parts)
        out.update(film for film, part in zip(image_ids, parts, strict=True) if RANK[part] < highest)
    return manifest["image_id"].isin(out).to_numpy()


def describe(leaks: pd.DataFrame) -> str:
    """How many leaks of each kind, and the first few by name, for an error or a report.

    >>> describe(pd.DataFrame({"kind": ["patient"], "patient_id": ["ann"], "image_ids": [["a", "b"]],
    ...                        "parts": [["train", "test"]]}))
    '1 patient in two parts: patient ann: a (train), b (test)'
    """
    counts = ", ".join(f"{n} {kind}{'s' * (n > 1)}" for kind in KINDS if (n := int((leaks["kind"] == kind).sum())))
    # One of each kind first: thirty patients must not hide the duplicates.
    first = leaks.assign(turn=leaks.groupby("kind").cumcount()).sort_values("turn", kind="stable").head(_NAMED)
    named = "; ".join(_one(leak) for leak in first.to_dict("records"))
    more = f"; and {len(leaks) - _NAMED} more" if len(leaks) > _NAMED else ""
    return f"{counts} in two parts: {named}{more}"


def _one(leak: dict) -> str:
    # A film of each part is enough to find the leak.
    shown = dict(zip(leak["parts"][::-1], leak["image_ids"][::-1], strict=True))
    films = ", ".join(f"{shown[part]} ({part})" for part in PARTS if part in shown)
    return f"patient {leak['patient_id']}: {films}" if leak["kind"] == "patient" else f"{leak['kind']}: {films}"


def _in_two_parts(labels: pd.Series, part: pd.Series) -> list[np.ndarray]:
    """Row numbers of each label that stands in more than one part; missing labels are no label."""
    codes, _ = pd.factorize(labels.reset_index(drop=True))
    pairs = pd.DataFrame({"label": codes, "part": part.to_numpy(dtype=object)})
    parts = pairs[pairs["label"] >= 0].groupby("label")["part"].nunique()
    rows = pairs.index[pairs["label"].isin(parts.index[parts > 1])]
    return [np.asarray(found) for found in pairs.loc[rows].groupby("label", sort=True).groups.values()]


def _only(values: np.ndarray) -> object:
    """The value that all share, or missing."""
    distinct = {value for value in values if pd.notna(value)}
    return distinct.pop() if len(distinct) == 1 else pd.NA
