"""metrics.json from a predictions table."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as reference

from evaluation.tables import CLASSES, predictions
from hilum.errors import DataError, RequestError
from hilum.evaluation.calibration import apply_temperature
from hilum.evaluation.evaluate import evaluate, load, save, sentence, table
from hilum.evaluation.intervals import wilson_interval
from hilum.evaluation.part import OF_A_CLASS, OVERALL
from hilum.evaluation.predictions import check
from hilum.recipe.schema import Evaluate

HOW = Evaluate(bootstrap=200)
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "figures.md"


def three_parts(**kwargs: Any) -> pd.DataFrame:
    return pd.concat(
        [predictions(90, part=part, seed=seed, **kwargs) for seed, part in enumerate(("train", "validation", "test"))]
    )


def test_every_part_has_every_figure_and_none_is_missing() -> None:
    found = evaluate(three_parts(), HOW, temperature=1.2)
    names = [*OVERALL, *(f"{name}/{of_class}" for of_class in CLASSES for name in OF_A_CLASS)]
    for part in ("train", "validation", "test"):
        assert list(found[part]) == names
        for figure in found[part].values():
            assert 0 <= figure["low"] <= figure["value"] <= figure["high"]
            assert 0 < figure["n"] <= 90
            assert figure["patients"] == figure["n"], "a film per patient"


def test_values_equal_those_of_scikit_learn() -> None:
    films = check(predictions(120))
    found = evaluate(films, HOW)["test"]
    y, predicted, p = films["label"], films["predicted"], films[[f"p_{name}" for name in CLASSES]].to_numpy()
    number = y.map({name: i for i, name in enumerate(CLASSES)}).to_numpy(int)
    expected = {
        "accuracy": reference.accuracy_score(y, predicted),
        "balanced_accuracy": reference.balanced_accuracy_score(y, predicted),
        "macro_recall": reference.recall_score(y, predicted, average="macro"),
        "macro_precision": reference.precision_score(y, predicted, average="macro"),
        "macro_f1": reference.f1_score(y, predicted, average="macro"),
        "macro_f2": reference.fbeta_score(y, predicted, beta=2, average="macro"),
        "macro_auroc": reference.roc_auc_score(number, p, multi_class="ovr"),
        "macro_average_precision": reference.average_precision_score(np.eye(3)[number], p, average="macro"),
        "kappa": reference.cohen_kappa_score(y, predicted),
        "log_loss": reference.log_loss(number, p),
        "recall/pneumonia": reference.recall_score(y, predicted, labels=["pneumonia"], average="macro"),
        "auroc/normal": reference.roc_auc_score(y == "normal", films["p_normal"]),
    }
    assert {name: found[name]["value"] for name in expected} == pytest.approx(expected)


def test_the_order_of_the_rows_changes_nothing() -> None:
    films = predictions(90, films_per_patient=3)
    shuffled = films.sample(frac=1, random_state=1)
    assert_close(evaluate(films, HOW)["test"], evaluate(shuffled, HOW)["test"])


def assert_close(one: dict[str, Any], other: dict[str, Any]) -> None:
    for name, figure in one.items():
        for key in ("value", "low", "high", "n", "patients"):
            assert figure[key] == pytest.approx(other[name][key], abs=1e-9), (name, key)


def test_the_same_seed_gives_the_same_file_and_what_is_missing_is_null(tmp_path: Path) -> None:
    films = three_parts()
    films = films[(films["part"] != "test") | (films["label"] != "normal")]
    save(evaluate(films, HOW, seed=3), tmp_path / "a.json")
    save(evaluate(films, HOW, seed=3), tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert "NaN" not in (tmp_path / "a.json").read_text()
    assert load(tmp_path / "a.json")["test"]["recall/normal"]["value"] is None


def test_a_class_that_is_not_there_has_no_figure_and_the_macro_says_so() -> None:
    films = predictions(90)
    found = evaluate(films[films["label"] != "normal"], HOW)["test"]
    for name in ("recall", "auroc", "average_precision", "ppv"):
        missing = found[f"{name}/normal"]
        assert (missing["value"], missing["low"], missing["high"]) == (None, None, None)
        assert missing["reason"] == "no film is normal"
    assert found["specificity/normal"]["value"] is not None
    assert found["macro_recall"]["value"] is None
    assert found["macro_recall"]["reason"] == "undefined for normal: no film is normal"
    assert found["accuracy"]["value"] is not None


def test_a_class_that_is_never_called_has_no_precision_and_a_sensitivity_of_0() -> None:
    films = predictions(60).assign(predicted="normal")
    found = evaluate(films, HOW)["test"]
    assert found["precision/covid-19"]["value"] is None
    assert found["precision/covid-19"]["reason"] == "no film is called covid-19"
    assert found["ppv/covid-19"]["value"] is None
    assert found["recall/covid-19"]["value"] == 0.0
    assert found["recall/covid-19"]["low"] == 0.0
    assert found["recall/covid-19"]["high"] == pytest.approx(wilson_interval(0, 20)[1])
    assert found["f1/covid-19"]["value"] == 0.0
    assert found["kappa"]["value"] == pytest.approx(0.0)


def test_a_part_of_one_class_has_neither_auroc_nor_specificity() -> None:
    films = predictions(60)
    found = evaluate(films[films["label"] == "normal"], HOW)["test"]
    assert found["auroc/normal"]["reason"] == "every film is normal"
    assert found["specificity/normal"]["reason"] == "every film is normal"
    assert found["recall/normal"]["value"] is not None


def test_all_right_is_not_called_certain() -> None:
    films = predictions(30, separation=60.0)
    found = evaluate(films, HOW)["test"]
    for name in ("accuracy", "recall/normal", "macro_f1", "kappa", "auroc/normal", "macro_auroc", "ppv/normal"):
        assert found[name]["value"] == pytest.approx(1.0)
        assert found[name]["low"] < 0.98, name
    assert found["recall/normal"]["low"] == pytest.approx(wilson_interval(10, 10)[0])
    assert found["accuracy"]["low"] == pytest.approx(wilson_interval(30, 30)[0])
    assert found["brier"]["high"] > 0.01


def test_films_of_few_patients_are_worth_less_than_films_of_many() -> None:
    rng = np.random.default_rng(4)
    films = predictions(240, films_per_patient=12, separation=50.0)
    wrong = rng.choice(films["patient_id"].unique(), 4, replace=False)
    films["predicted"] = films["label"].where(~films["patient_id"].isin(wrong), "normal")
    by_patient = evaluate(films, HOW)
    by_film = evaluate(films.assign(patient_id=None), HOW)
    assert by_patient["_about"]["resampled_by"] == {"test": "patient"}
    assert by_film["_about"]["resampled_by"] == {"test": "film"}
    assert (by_patient["test"]["accuracy"]["patients"], by_film["test"]["accuracy"]["patients"]) == (20, None)
    one, other = by_patient["test"]["accuracy"], by_film["test"]["accuracy"]
    assert one["value"] == other["value"]
    assert one["high"] - one["low"] > 2 * (other["high"] - other["low"])


def test_operating_points_are_chosen_on_validation_and_only_read_on_test() -> None:
    films = three_parts()
    found = evaluate(films, HOW)
    other = films.copy()
    of_test = (other["part"] == "test").to_numpy()
    other.loc[of_test, "label"] = other.loc[of_test, "label"].sample(frac=1, random_state=0).to_numpy()
    spoiled = evaluate(other, HOW)
    assert spoiled["_operating_points"] == found["_operating_points"]
    for name in CLASSES:
        point = found["_operating_points"][name]
        validation = films[films["part"] == "validation"]
        positive = validation["label"] == name
        reached = (validation.loc[positive, f"p_{name}"] >= point["threshold"]).mean()
        assert reached >= HOW.wished_sensitivity
        assert point["sensitivity"]["value"] == pytest.approx(reached)
        assert point["specificity"]["low"] is not None
        test = films[films["part"] == "test"]
        called = test[f"p_{name}"] >= point["threshold"]
        assert found["test"][f"op_sensitivity/{name}"]["value"] == pytest.approx(called[test["label"] == name].mean())
        assert found["test"][f"op_specificity/{name}"]["value"] == pytest.approx(
            (~called)[test["label"] != name].mean()
        )
        assert found["test"][f"op_ppv/{name}"]["value"] == pytest.approx((test["label"] == name)[called].mean())


def test_films_of_elsewhere_are_scored_with_the_runs_operating_points_and_temperature(tmp_path: Path) -> None:
    save(evaluate(three_parts(), HOW, temperature=1.5), tmp_path / "metrics.json")
    run = load(tmp_path / "metrics.json")
    elsewhere = predictions(60, seed=9).drop(columns=["part", "source", "patient_id"])
    found = evaluate(elsewhere, HOW, temperature=1.5, operating_points=run["_operating_points"])
    assert found["_operating_points"] == run["_operating_points"]
    called = elsewhere["p_normal"] >= run["_operating_points"]["normal"]["threshold"]
    expected = called[elsewhere["label"] == "normal"].mean()
    assert found["test"]["op_sensitivity/normal"]["value"] == pytest.approx(expected)


def test_without_validation_there_is_no_operating_point_and_the_reason_is_told() -> None:
    found = evaluate(predictions(30), HOW)
    assert found["_operating_points"]["normal"]["threshold"] is None
    assert found["test"]["op_ppv/normal"]["value"] is None
    assert found["test"]["op_ppv/normal"]["reason"] == "there is no validation part to choose it on"


def test_the_calibration_error_before_the_temperature_is_that_of_the_first_probabilities() -> None:
    films = check(predictions(200, separation=1.0))
    columns = [f"p_{name}" for name in CLASSES]
    before = evaluate(films, HOW)["test"]
    calibrated = films.copy()
    calibrated[columns] = apply_temperature(films[columns].to_numpy(), 2.0)
    after = evaluate(calibrated, HOW, temperature=2.0)["test"]
    assert after["calibration_error_uncalibrated"]["value"] == pytest.approx(before["calibration_error"]["value"])
    assert "calibration_error_uncalibrated" not in before
    assert after["accuracy"] == before["accuracy"]


def test_a_stated_prevalence_changes_ppv_and_npv_alone() -> None:
    films = predictions(120)
    rare = Evaluate(bootstrap=200, prevalence={"covid-19": 0.01})
    plain, stated = evaluate(films, HOW)["test"], evaluate(films, rare)["test"]
    sensitivity, specificity = (stated[f"{name}/covid-19"]["value"] for name in ("recall", "specificity"))
    by_bayes = sensitivity * 0.01 / (sensitivity * 0.01 + (1 - specificity) * 0.99)
    assert stated["ppv/covid-19"]["value"] == pytest.approx(by_bayes)
    assert stated["ppv/covid-19"]["prevalence"] == 0.01
    assert plain["ppv/covid-19"]["value"] == pytest.approx(plain["precision/covid-19"]["value"])
    same = [name for name in plain if not name.endswith(("pv/covid-19",))]
    assert {name: plain[name] for name in same} == {name: stated[name] for name in same}
    with pytest.raises(RequestError, match=r"evaluate\.prevalence: 'covid'.*covid-19, pneumonia, normal"):
        evaluate(films, Evaluate(prevalence={"covid": 0.1}))


def test_films_without_a_label_are_left_out_and_counted() -> None:
    films = predictions(60)
    films.loc[:9, "label"] = None
    found = evaluate(films, HOW)
    assert found["test"]["accuracy"]["n"] == 50
    assert found["_about"]["unlabelled"]["test"] == 10
    with pytest.raises(DataError, match="no film has a label"):
        evaluate(films.assign(label=None), HOW)


@pytest.mark.parametrize("films", [1, 2, 3])
def test_a_handful_of_films_has_figures_as_uncertain_as_they_are(films: int) -> None:
    found = evaluate(predictions(films), HOW)["test"]
    json.dumps(found, allow_nan=False)
    accuracy = found["accuracy"]
    assert accuracy["high"] - accuracy["low"] > 0.5


def test_the_table_has_a_row_per_figure_and_says_which_way_is_better() -> None:
    found = evaluate(predictions(60), HOW)
    shown = table(found, "test")
    assert len(shown) == len(found["test"])
    assert set(shown.loc[shown["better"] == "lower", "figure"]) == {"Brier score", "log loss", "calibration error"}
    assert shown["value"].dtype == float
    with pytest.raises(RequestError, match="'validation'; there are test"):
        table(found, "validation")


def test_a_figure_in_a_sentence_has_its_interval_and_its_n() -> None:
    figure = {"value": 0.97125, "low": 0.9601, "high": 0.9799, "n": 1252, "patients": 900}
    assert sentence("macro_f1", figure, "test") == "macro F1 0.971 [0.960, 0.980], n = 900 patients (1252 films), test"
    assert sentence("kappa", figure | {"patients": None}, "test").endswith("n = 1252 films, test")


def test_a_file_that_is_no_metrics_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no such"):
        load(tmp_path / "metrics.json")
    for text in ("{", "[]", "{}"):
        (tmp_path / "metrics.json").write_text(text)
        with pytest.raises(DataError, match=r"metrics\.json"):
            load(tmp_path / "metrics.json")


def test_every_figure_is_documented() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    missing = [name for name in [*OVERALL, *(f"{name}/CLASS" for name in OF_A_CLASS)] if f"`{name}`" not in text]
    assert not missing
    keys = evaluate(three_parts(), HOW)["_about"]
    assert not [key for key in keys if f"`{key}`" not in text]


def test_a_figure_that_is_certain_to_be_low_has_a_low_interval() -> None:
    found = evaluate(predictions(300, separation=-3.0), HOW)["test"]
    assert found["auroc/normal"]["high"] < 0.5
    assert found["kappa"]["high"] < 0
    assert found["kappa"]["low"] >= -1
    assert math.isfinite(found["log_loss"]["high"])
