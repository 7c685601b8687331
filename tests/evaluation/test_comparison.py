"""Runs compared on the same films: who may be compared, on what, and what comes out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as reference

from evaluation.tables import CLASSES, predictions
from hilum.errors import DataError, RequestError
from hilum.evaluation.comparison import Comparison, compare, disagreements, names_of
from hilum.evaluation.contenders import Contender, read_contenders
from hilum.evaluation.evaluate import evaluate
from hilum.evaluation.predictions import check, write_predictions
from hilum.recipe.schema import Evaluate

HOW = Evaluate(bootstrap=200)


def contender(name: str, table: pd.DataFrame) -> Contender:
    return Contender(name, Path(name), check(table))


def pair(**kwargs: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The same films as two models see them, the second a little better."""
    return predictions(120, seed=1, separation=1.0, **kwargs), predictions(120, seed=2, separation=2.0, **kwargs)


def compared(one: pd.DataFrame, other: pd.DataFrame, **kwargs: object) -> Comparison:
    return compare([contender("one", one), contender("other", other)], how=HOW, **kwargs)  # type: ignore[arg-type]


def test_differences_are_those_of_scikit_learns_figures() -> None:
    one, other = pair()
    found = compared(one, other)
    y = check(one)["label"]
    number = y.map({name: i for i, name in enumerate(CLASSES)}).to_numpy(int)
    columns = [f"p_{name}" for name in CLASSES]

    def figures(table: pd.DataFrame) -> dict[str, float]:
        said, p = check(table)["predicted"], table[columns].to_numpy()
        return {
            "accuracy": reference.accuracy_score(y, said),
            "balanced_accuracy": reference.balanced_accuracy_score(y, said),
            "macro_f1": reference.f1_score(y, said, average="macro"),
            "macro_auroc": reference.roc_auc_score(number, p, multi_class="ovr"),
            "brier": ((p - np.eye(3)[number]) ** 2).sum(1).mean(),
            "recall/normal": reference.recall_score(y, said, labels=["normal"], average="macro"),
            "auroc/pneumonia": reference.roc_auc_score(y == "pneumonia", p[:, 1]),
        }

    first, second = figures(one), figures(other)
    told = found.differences["other"]
    assert list(told) == names_of(CLASSES)
    for name in first:
        assert told[name]["value"] == pytest.approx(second[name] - first[name])
        assert told[name]["low"] < told[name]["value"] < told[name]["high"]
        assert told[name]["n"] == (40 if name.startswith("recall") else 120)


def test_figures_are_those_of_the_runs_own_report() -> None:
    one, other = pair()
    assert compared(one, other).figures["one"]["macro_f1"] == evaluate(one, HOW)["test"]["macro_f1"]


def test_a_run_does_not_differ_from_itself_and_the_interval_says_how_sure_that_is() -> None:
    one, _ = pair()
    found = compared(one, one)
    for figure in found.differences["other"].values():
        assert figure["value"] == 0
        assert figure["low"] < 0 < figure["high"]
    assert found.tests["other"]["p_holm"] == 1


def test_pairing_makes_the_interval_of_alike_models_narrower() -> None:
    one, _ = pair()
    alike = one.copy()
    rng = np.random.default_rng(0)
    columns = [f"p_{name}" for name in CLASSES]
    alike[columns] = alike[columns].to_numpy() * rng.uniform(0.9, 1.1, (120, 3))
    alike[columns] = alike[columns].div(alike[columns].sum(axis=1), axis=0)
    figure, difference = (
        each["brier"] for each in (compared(one, alike).figures["one"], compared(one, alike).differences["other"])
    )
    assert difference["high"] - difference["low"] < 0.3 * (figure["high"] - figure["low"])


def test_films_of_one_patient_do_not_make_a_difference_sure() -> None:
    one, other = pair(films_per_patient=12)
    by_patient = compared(one, other)
    by_film = compared(one.assign(patient_id=None), other.assign(patient_id=None))
    assert (
        by_patient.tests["other"]["p_films"]
        == by_film.tests["other"]["p_films"]
        == by_film.tests["other"]["p_patients"]
    )
    assert by_patient.tests["other"]["p_patients"] > by_film.tests["other"]["p_patients"]


def test_the_order_of_rows_and_of_classes_changes_nothing() -> None:
    one, other = pair(films_per_patient=3)
    turned = other.sample(frac=1, random_state=0)[[*other.columns[:5], "p_normal", "p_covid-19", "p_pneumonia"]]
    first, second = compared(one, other), compared(one, turned)
    assert second.classes == CLASSES
    for name, figure in first.differences["other"].items():
        assert second.differences["other"][name] == pytest.approx(figure)


def test_the_counts_of_mcnemar_are_the_films() -> None:
    one, other = (check(table) for table in pair())
    right, also = one["predicted"] == one["label"], other["predicted"] == other["label"]
    test = compared(one, other).tests["other"]
    assert test["only_reference"] == (right & ~also).sum()
    assert test["only_run"] == (also & ~right).sum()
    assert test["both_right"] + test["both_wrong"] + test["only_run"] + test["only_reference"] == 120


def test_disagreements_are_the_films_that_one_run_alone_has_right() -> None:
    one, other = pair()
    found = compared(one, other)
    films = disagreements(found)
    test = found.tests["other"]
    assert len(films) == test["only_run"] + test["only_reference"]
    assert (films["right"] == 1).all()
    apart = (films["p/one"] - films["p/other"]).abs()
    assert apart.is_monotonic_decreasing


def test_one_run_is_no_comparison() -> None:
    with pytest.raises(RequestError, match="needs two runs, and there is 1"):
        compare([contender("one", predictions(60))])


def test_other_classes_are_refused_by_name() -> None:
    one, _ = pair()
    with pytest.raises(RequestError, match=r"other: its classes are ill, well; those of one are covid-19, pneumonia"):
        compared(one, predictions(120, classes=["ill", "well"]))


def test_a_part_that_is_not_there_is_refused_with_those_that_are() -> None:
    one, other = pair()
    with pytest.raises(RequestError, match=r"one: it has no film in the part 'validation'; its films: test 120"):
        compared(one, other, part="validation")
    with pytest.raises(RequestError, match="there is no part 'tset'; the parts are train, validation, test"):
        compared(one, other, part="tset")


def test_other_test_parts_are_refused_with_counts_or_compared_on_the_common_films() -> None:
    one, other = pair()
    with pytest.raises(RequestError, match=r"one 120, other 90; 90 are in all of them.*--common"):
        compared(one, other.head(90))
    found = compared(one, other.head(90), common=True)
    assert len(found.films) == 90
    assert "rests on these alone" in found.notes[0]
    assert found.figures["one"]["accuracy"] == evaluate(one.head(90), HOW)["test"]["accuracy"]
    with pytest.raises(RequestError, match="No film is common"):
        compared(one, other.assign(image_id=other["image_id"] + "x"), common=True)


def test_a_film_that_one_run_learned_from_is_never_compared_on() -> None:
    one, other = pair()
    learned = other.assign(part=["train"] * 30 + ["test"] * 90)
    with pytest.raises(RequestError, match=r"30 of one are films that another run learned from"):
        compared(one, learned)
    found = compared(one, learned, common=True)
    assert not set(found.films["image_id"]) & set(learned.loc[learned["part"] == "train", "image_id"])


def test_a_patient_whom_only_one_run_knows_is_refused_or_left_out() -> None:
    one, other = pair(films_per_patient=2)
    more = other.head(20).assign(part="train", image_id=[f"more/{i}" for i in range(20)])
    with pytest.raises(RequestError, match=r"20 films are of patients of whom only some runs .*: one 0, other 20"):
        compared(one, pd.concat([more, other]))
    found = compared(one, pd.concat([more, other]), common=True)
    assert len(found.films) == 100
    assert not set(found.films["patient_id"]) & set(more["patient_id"])


def test_patients_whom_all_runs_know_are_kept_and_told() -> None:
    one, other = pair(films_per_patient=2)
    more = other.head(20).assign(part="train", image_id=[f"more/{i}" for i in range(20)])
    found = compared(pd.concat([more, one]), pd.concat([more, other]))
    assert len(found.films) == 120
    assert any("every run learned from other films of the patients of 20" in note for note in found.notes)


def test_a_table_that_does_not_tell_what_was_learned_from_is_said_to() -> None:
    assert "one does not tell which films it learned from" in compared(*pair()).notes[0]


def test_a_film_of_two_labels_is_refused_by_name() -> None:
    one, other = pair()
    other = other.copy()
    other.loc[7, "label"] = "normal" if other.loc[7, "label"] != "normal" else "covid-19"
    with pytest.raises(DataError, match=r"made-up/test-7.png is 'pneumonia' in one and 'normal' in other, and 1 films"):
        compared(one, other)


def test_patients_that_one_table_knows_hold_for_all() -> None:
    one, other = pair(films_per_patient=4)
    known = compared(one, other)
    half = compared(one.drop(columns="patient_id"), other)
    assert half.tests == known.tests
    assert half.differences["other"]["accuracy"] == known.differences["other"]["accuracy"]


def test_a_class_without_films_leaves_its_difference_missing_with_the_reason() -> None:
    one, other = (table[table["label"] != "normal"] for table in pair())
    told = compared(one, other).differences["other"]
    assert told["recall/normal"]["value"] is None
    assert told["recall/normal"]["reason"] == "no film is normal"
    assert (told["macro_f1"]["low"], told["macro_f1"]["high"]) == (None, None), (
        "nobody knows how F1 of no patient varies"
    )
    assert told["accuracy"]["low"] is not None


def test_runs_are_named_by_what_tells_them_apart(tmp_path: Path) -> None:
    places = [tmp_path / "a" / "cohen", tmp_path / "b" / "cohen", tmp_path / "theirs"]
    for place in places:
        write_predictions(predictions(30), place / "predictions.csv")
    write_predictions(predictions(30), tmp_path / "own.csv")
    named = read_contenders([places[0], places[1] / "predictions.csv", places[2], tmp_path / "own.csv"])
    assert [each.name for each in named][:2] == ["a/cohen", "b/cohen"]
    assert len({each.name for each in named}) == 4


@pytest.mark.parametrize(
    ("what", "told"),
    [("nothing", "there is no run here"), ("film.png", "no run folder and no table"), ("empty", "no run folder")],
)
def test_what_is_no_run_is_refused_by_its_path(what: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "film.png").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(RequestError, match=told) as caught:
        read_contenders([tmp_path / what])
    assert what in str(caught.value)


def test_the_same_run_twice_is_refused(tmp_path: Path) -> None:
    write_predictions(predictions(30), tmp_path / "a" / "predictions.csv")
    with pytest.raises(RequestError, match="twice"):
        read_contenders([tmp_path / "a", tmp_path / "a" / "predictions.csv"])


def test_broken_predictions_are_refused_with_the_row(tmp_path: Path) -> None:
    table = predictions(30)
    table.loc[3, "p_normal"] = 7.0
    (tmp_path / "a").mkdir()
    table.to_csv(tmp_path / "a" / "predictions.csv", index=False)
    with pytest.raises(DataError, match="row 3"):
        read_contenders([tmp_path / "a"])
