"""The tables behind the curves, against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference

from evaluation.tables import CLASSES, predictions
from hilum.evaluation.curves import calibration_points, confusion_matrix, curve_points
from hilum.evaluation.predictions import check


def test_the_confusion_matrix_has_every_class_even_one_without_films() -> None:
    table = check(predictions(60))
    table = table[table["label"] != "pneumonia"]
    counts = confusion_matrix(table)
    assert counts.index.tolist() == counts.columns.tolist() == CLASSES
    expected = reference.confusion_matrix(table["label"], table["predicted"], labels=CLASSES)
    assert counts.to_numpy().tolist() == expected.tolist()


def test_the_points_of_the_curves_equal_those_of_scikit_learn() -> None:
    table = check(predictions(90)).round({f"p_{name}": 2 for name in CLASSES})
    points = curve_points(table)
    for name in CLASSES:
        of_class, positive = points[points["class"] == name], table["label"] == name
        score = table[f"p_{name}"]
        wrong, right, thresholds = reference.roc_curve(positive, score, drop_intermediate=False)
        assert of_class["sensitivity"].to_numpy() == pytest.approx(right)
        assert 1 - of_class["specificity"].to_numpy() == pytest.approx(wrong)
        assert of_class["threshold"].to_numpy() == pytest.approx(thresholds)
        precision, _, _ = reference.precision_recall_curve(positive, score)
        assert of_class["precision"].to_numpy()[1:] == pytest.approx(precision[:-1][::-1])
        assert np.isnan(of_class["precision"].iloc[0]), "nothing is called positive at infinity"


def test_a_class_that_all_or_no_films_have_has_no_curve() -> None:
    table = check(predictions(30))
    assert curve_points(table[table["label"] == "normal"]).empty
    two = curve_points(table[table["label"] != "normal"])
    assert set(two["class"]) == {"covid-19", "pneumonia"}


def test_films_without_a_label_are_left_out_of_every_curve() -> None:
    table = check(predictions(60))
    table.loc[:29, "label"] = None
    assert confusion_matrix(table).to_numpy().sum() == 30
    assert calibration_points(table).groupby("class")["films"].sum().tolist() == [30, 30, 30]
    assert curve_points(table).equals(curve_points(table.iloc[30:]))
