"""What the maps of many films say together: means with intervals by patient, for all films and for each class."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from hilum.evaluation.intervals import bootstrap_weights, bounded_interval, patient_numbers
from hilum.evaluation.metrics import Floats, ratio
from hilum.recipe.schema import Evaluate

ALL = "all films"
# Columns of explanations.csv, 0 to 1, whose means are told; True: a share of films.
MEANS: Mapping[str, bool] = {
    "inside_lungs": False,
    "lungs_area": False,
    "pointing": True,
    "inside_finding": False,
    "finding_area": False,
    "insertion": False,
    "deletion": False,
    "random": False,
}


def figures_by_class(table: pd.DataFrame, how: Evaluate, seed: int) -> dict[str, dict[str, dict[str, Any]]]:
    """class -> name -> {value, low, high, n, patients}, first of `ALL`; of the rows of explanations.csv of one method.

    The class of a film is its label, or where that is unknown the class that its map is for. A film on which a figure
    is undefined is left out of it, as its n tells; a figure of no film is left out.
    """
    of_film = table["label"].fillna(table["class"])
    groups = {ALL: table, **{str(name): rows for name, rows in table.groupby(of_film)}}
    return {
        group: {
            name: _figure(rows, name, how, seed, share=share)
            for name, share in MEANS.items()
            if rows[name].notna().any()
        }
        for group, rows in groups.items()
    }


def _figure(rows: pd.DataFrame, name: str, how: Evaluate, seed: int, *, share: bool) -> dict[str, Any]:
    known = rows[rows[name].notna()]
    values: Floats = known[name].to_numpy(np.float64)
    patients = patient_numbers(known["patient_id"], known["image_id"])
    blocks = bootstrap_weights(patients, np.zeros(len(values), np.int64), how.bootstrap, seed)
    means = np.concatenate([ratio(weights @ values, weights.sum(1)) for weights in blocks])
    count = int(patients.max()) + 1
    low, high = bounded_interval(
        float(values.mean()), means, films=len(values) if share else math.inf, patients=count, confidence=how.interval
    )
    return {
        "value": float(values.mean()),
        "low": low,
        "high": high,
        "n": len(values),
        "patients": count if known["patient_id"].notna().all() else None,
    }
