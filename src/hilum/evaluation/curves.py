"""The tables behind the curves: every point of ROC and precision-recall curves, confusion matrices, calibration.

Each takes the rows of one part of a predictions table, such as `predictions[predictions["part"] == "test"]`; rows
without a label are left out.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from hilum.evaluation import metrics
from hilum.evaluation.calibration import reliability
from hilum.evaluation.intervals import patient_numbers
from hilum.evaluation.metrics import Bools, Floats, Ints
from hilum.evaluation.predictions import class_numbers, classes_of, probabilities_of


def confusion_matrix(predictions: pd.DataFrame) -> pd.DataFrame:
    """Films by label (rows) and predicted class (columns), whole numbers, classes in order.

    >>> films = pd.DataFrame({"label": ["ill", "ill"], "predicted": ["ill", "well"]})
    >>> films = films.assign(p_ill=[0.9, 0.4], p_well=[0.1, 0.6])
    >>> confusion_matrix(films).to_numpy().tolist()
    [[1, 1], [0, 0]]
    """
    classes = classes_of(predictions)
    films = predictions[predictions["label"].notna()]
    y, predicted = (class_numbers(films[name], classes) for name in ("label", "predicted"))
    counts = metrics.confusion(y, predicted, len(classes)).astype(int)
    return pd.DataFrame(counts, index=pd.Index(classes, name="label"), columns=pd.Index(classes, name="predicted"))


def curve_points(predictions: pd.DataFrame) -> pd.DataFrame:
    """ROC and precision-recall curves, each class against the rest.

    Columns class, threshold, sensitivity, specificity, precision; a row for each distinct probability, the highest
    first. A film is called positive from the threshold up. The first row, at infinity, calls none, and its precision is
    missing. A class that no film has, or every film, has no curve and no row.

    >>> films = pd.DataFrame({"label": ["ill", "well", "ill"], "p_ill": [0.9, 0.6, 0.3], "p_well": [0.1, 0.4, 0.7]})
    >>> points = curve_points(films).query("`class` == 'ill'")
    >>> points["sensitivity"].tolist(), points["specificity"].tolist()
    ([0.0, 0.5, 0.5, 1.0], [1.0, 1.0, 0.0, 0.0])
    """
    classes, y, p = _scored(predictions)
    columns = ("class", "threshold", "sensitivity", "specificity", "precision")
    tables = [
        pd.DataFrame(dict(zip(columns, (name, *_curve(y == number, p[:, number])), strict=True)))
        for number, name in enumerate(classes)
        if 0 < (y == number).sum() < len(y)
    ]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(columns))


def calibration_points(predictions: pd.DataFrame, *, confidence: float = 0.95) -> pd.DataFrame:
    """How often each class's probability came true, in bins: `class` and the columns of `calibration.reliability`."""
    classes, y, p = _scored(predictions)
    films = predictions[predictions["label"].notna()]
    patients = patient_numbers(films["patient_id"], films["image_id"])
    tables = [
        reliability(p[:, number], y == number, patients, confidence=confidence).assign(**{"class": name})
        for number, name in enumerate(classes)
    ]
    table = pd.concat(tables, ignore_index=True)
    return table[["class", *table.columns.drop("class")]]


def _scored(predictions: pd.DataFrame) -> tuple[list[str], Ints, Floats]:
    classes = classes_of(predictions)
    films = predictions[predictions["label"].notna()]
    return classes, class_numbers(films["label"], classes), probabilities_of(films)


def _curve(positive: Bools, score: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Threshold, sensitivity, specificity and precision at each distinct score, from infinity down."""
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.r_[np.diff(score[order]) != 0, True])
    found = np.r_[0, np.cumsum(positive[order])[last]]
    wrong = np.r_[0, last + 1] - found
    return (
        np.r_[np.inf, score[order][last]],
        found / positive.sum(),
        1 - wrong / (~positive).sum(),
        metrics.ratio(found, found + wrong),
    )
