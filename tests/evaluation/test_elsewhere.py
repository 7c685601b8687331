"""What films of elsewhere cost a run: drops, what they are taken for, and each two classes alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from hilum.evaluation.elsewhere import called, drops, pairs, sentences


def predictions(n: int = 200) -> pd.DataFrame:
    """n films, half ill and half well, all taken for flu; ill and well still told apart a little."""
    rng = np.random.default_rng(0)
    ill = np.arange(n) % 2 == 0
    z = rng.normal(ill * 1.0, 1.0)
    p_ill = 0.1 / (1 + np.exp(-z))
    return pd.DataFrame(
        {
            "image_id": [f"f{i}" for i in range(n)],
            "patient_id": [f"p{i // 2}" for i in range(n)],
            "label": np.where(ill, "ill", "well"),
            "predicted": "flu",
            "p_flu": 0.9,
            "p_ill": p_ill,
            "p_well": 0.1 - p_ill,
        }
    )


def test_a_class_that_swallows_all_films_does_not_hide_what_is_left() -> None:
    films = predictions()
    found = pairs(films)
    assert list(found) == ["ill | well"]  # there is no film of flu
    odds = films["p_ill"] / films["p_well"]
    assert found["ill | well"]["value"] == pytest.approx(roc_auc_score(films["label"] == "ill", odds))
    assert found["ill | well"]["low"] < found["ill | well"]["value"] < found["ill | well"]["high"]
    assert (found["ill | well"]["n"], found["ill | well"]["patients"]) == (200, 100)


def test_films_are_counted_by_what_they_are_called() -> None:
    films = predictions(10)
    films.loc[0, "predicted"] = "ill"
    assert called(films) == {"ill": {"flu": 4, "ill": 1}, "well": {"flu": 5}}
    assert "of 5 films of ill, 4 are called flu and 1 ill" in sentences({"_called": called(films)})


def test_a_figure_that_is_undefined_has_no_drop() -> None:
    own = {"accuracy": {"value": 0.9, "low": 0.8, "high": 0.95}, "auroc/ill": {"value": 0.9, "low": 0.8, "high": 0.95}}
    here = {"accuracy": {"value": 0.9, "low": 0.8, "high": 0.95}, "auroc/ill": {"value": None}}
    found = drops(own, here)
    assert list(found) == ["accuracy"]
    assert found["accuracy"]["value"] == 0
    assert found["accuracy"]["low"] < 0 < found["accuracy"]["high"]
