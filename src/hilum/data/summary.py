"""What a manifest holds, counted: the answer of `hilum data inspect`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from hilum.data import duplicates
from hilum.data.leaks import find_leaks
from hilum.data.readers.common import left_out

# Columns by whose values each label's films are counted, where a source tells them.
BY_LABEL = ("source", "view", "modality", "split", "format", "mode")
MISSING = ("label", "patient_id", "view", "sex", "age_years", "offset_days", "split")
UNKNOWN = "(missing)"


def summarise(manifest: pd.DataFrame) -> dict[str, Any]:
    """Counts of a manifest, ready for JSON; the columns of files are counted where they are filled.

    films, patients, labels (a record each: films, patients, F, M, age_years), by_label[column][label][value],
    missing[column], sizes_px, duplicates, split_leaks (of the published split) and left_out; sizes_px, duplicates and
    split_leaks are None where they are not known.

    >>> films = pd.DataFrame({"image_id": ["a", "b"], "label": ["normal", None], "patient_id": [None, None],
    ...                       "sex": ["F", None], "age_years": [60.0, None]})
    >>> summary = summarise(films)
    >>> summary["films"], summary["patients"], summary["labels"][0]["label"], summary["missing"]["label"]
    (2, 0, 'normal', 1)
    """
    labels = manifest["label"].astype("string").fillna(UNKNOWN)
    return {
        "films": len(manifest),
        "patients": int(manifest["patient_id"].nunique()),
        "labels": [_of_label(str(label), films) for label, films in manifest.groupby(labels, sort=False)],
        "by_label": {
            name: _counts(labels, manifest[name])
            for name in BY_LABEL
            if name in manifest and manifest[name].notna().any()
        },
        "missing": {name: int(manifest[name].isna().sum()) for name in MISSING if name in manifest},
        "sizes_px": _sizes(manifest),
        "duplicates": _duplicates(manifest),
        "split_leaks": _split_leaks(manifest),
        "left_out": [{"what": what, "count": count} for what, count in left_out(manifest)],
    }


def _of_label(label: str, films: pd.DataFrame) -> dict[str, Any]:
    return {
        "label": label,
        "films": len(films),
        "patients": int(films["patient_id"].nunique()),
        "F": int((films["sex"] == "F").sum()),
        "M": int((films["sex"] == "M").sum()),
        "age_years": _range(films["age_years"]),
    }


def _range(column: pd.Series) -> dict[str, float] | None:
    known = column.dropna().astype("float64")
    if known.empty:
        return None
    return {"n": len(known), "min": known.min(), "median": known.median(), "max": known.max()}


def _counts(labels: pd.Series, column: pd.Series) -> dict[str, dict[str, int]]:
    table = pd.crosstab(labels, column.astype("string").fillna(UNKNOWN))
    return {
        str(label): {str(value): int(count) for value, count in row.items() if count} for label, row in table.iterrows()
    }


def _sizes(manifest: pd.DataFrame) -> Mapping[str, dict[str, float] | None] | None:
    if "width" not in manifest or manifest["width"].isna().all():
        return None
    return {"width": _range(manifest["width"]), "height": _range(manifest["height"])}


def _duplicates(manifest: pd.DataFrame) -> dict[str, Any] | None:
    """Pairs of equal films, and how many of them the source labels differently."""
    if "sha256" not in manifest or manifest["sha256"].isna().all():
        return None
    pairs = duplicates.find(manifest)
    label = manifest.set_index("image_id")["label"].astype("string")
    a = label.reindex(pairs["image_id_a"]).reset_index(drop=True)
    b = label.reindex(pairs["image_id_b"]).reset_index(drop=True)
    contradictory = (a.notna() & b.notna() & (a != b).fillna(False)).to_numpy()
    return {
        "exact_pairs": int((pairs["kind"] == "exact").sum()),
        "near_pairs": int((pairs["kind"] == "near").sum()),
        "pairs_of_two_labels": int(contradictory.sum()),
        "examples_of_two_labels": pairs.loc[contradictory, ["image_id_a", "image_id_b"]].head(5).to_numpy().tolist(),
    }


def _split_leaks(manifest: pd.DataFrame) -> dict[str, int] | None:
    """Patients and duplicates in two parts of the published split, by kind; None where films have no published part."""
    if "split" not in manifest or manifest["split"].isna().all():
        return None
    if "sha256" not in manifest or manifest["sha256"].isna().all():
        return None
    published = manifest[manifest["split"].notna()]
    leaks = find_leaks(published.assign(part=published["split"]))
    return {str(kind): int(count) for kind, count in leaks["kind"].value_counts().items()}
