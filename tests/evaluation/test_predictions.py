"""The predictions table: what joins, what is refused, and in which words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from evaluation.tables import CLASSES, predictions
from hilum.errors import DataError, RequestError
from hilum.evaluation.predictions import check, classes_of, from_probabilities, read_predictions, write_predictions


def test_the_classes_are_the_p_columns_in_their_order() -> None:
    assert classes_of(predictions()) == CLASSES


def test_another_teams_table_of_ids_labels_and_probabilities_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "theirs.csv"
    path.write_text("image_id,label,p_ill,p_well,site\n1,ill,0.2,0.8,north\n2,well,0.5,0.5,south\n")
    table = read_predictions(path)
    assert table.columns.tolist() == [
        *("image_id", "patient_id", "source", "part", "fold", "label", "predicted", "p_ill", "p_well", "site")
    ]
    assert table["predicted"].tolist() == ["well", "ill"], "the most probable, and the first of equals"
    assert table[["patient_id", "source", "part", "fold"]].isna().all(axis=None)


def test_a_written_table_reads_back_as_the_same_numbers(tmp_path: Path) -> None:
    table = check(predictions(films=500))
    write_predictions(table, tmp_path / "predictions.csv")
    pd.testing.assert_frame_equal(read_predictions(tmp_path / "predictions.csv"), table, check_exact=True)


def test_a_class_called_none_stays_a_class_while_an_unknown_patient_stays_unknown(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("image_id,patient_id,label,p_None,p_ill\n1,NA,None,0.9,0.1\n2,NA,,0.1,0.9\n")
    table = read_predictions(path)
    assert table["label"].tolist()[0] == "None"
    assert table["label"].isna().tolist() == [False, True]
    assert table["patient_id"].isna().all()


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    path = tmp_path / "excel.csv"
    path.write_text("image_id,label,p_a,p_b\n1,a,1,0\n", encoding="utf-8-sig")
    assert read_predictions(path)["image_id"].tolist() == ["1"]


def spoiled(column: str, row: int, value: object) -> pd.DataFrame:
    table = (
        predictions(6).astype({column: object}) if column in predictions(1) else predictions(6).assign(**{column: None})
    )
    table.loc[row, column] = value
    return table


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (predictions(6).drop(columns="image_id"), ["'image_id' is missing", "patient_id"]),
        (predictions(6)[["image_id", "label"]], ["p_<class>", "image_id, label", "p_covid-19"]),
        (predictions(6)[["image_id", "p_normal"]], ["at least two classes"]),
        (predictions(6).iloc[:0], ["no row"]),
        (spoiled("p_normal", 4, None), ["row 4", "made-up/test-4.png", "p_normal is missing"]),
        (spoiled("p_normal", 4, "high"), ["row 4", "p_normal", "high is no probability"]),
        (spoiled("p_normal", 2, 0.9), ["row 2", "p_covid-19 to p_normal", "not 1"]),
        (spoiled("p_normal", 2, -0.1), ["row 2", "p_normal", "-0.1", "logits"]),
        (spoiled("label", 3, "todo"), ["row 3", "label 'todo'", "covid-19, pneumonia, normal"]),
        (spoiled("predicted", 3, "Normal"), ["row 3", "predicted 'Normal'"]),
        (spoiled("part", 3, "holdout"), ["row 3", "part 'holdout'", "train, validation, test"]),
        (spoiled("part", 3, None), ["row 3", "part is missing"]),
        (spoiled("image_id", 5, "made-up/test-1.png"), ["row 5", "twice in the same part"]),
        (spoiled("image_id", 5, ""), ["row 5", "image_id is empty"]),
        (spoiled("fold", 1, "two"), ["'fold'", "Int64"]),
    ],
)
def test_bad_tables_are_refused_with_their_row_and_column(table: pd.DataFrame, words: list[str]) -> None:
    with pytest.raises(DataError) as refused:
        check(table, where="a.csv")
    assert str(refused.value).startswith("a.csv")
    for word in words:
        assert word in str(refused.value)


def test_logits_and_percentages_are_recognised() -> None:
    table = predictions(20)
    columns = [f"p_{name}" for name in CLASSES]
    with pytest.raises(DataError, match="look like logits; apply softmax first"):
        check(table.assign(**{name: np.log(table[name]) for name in columns}))
    with pytest.raises(DataError, match="look like percentages; divide by 100"):
        check(table.assign(**{name: 100 * table[name] for name in columns}))


def test_rounded_probabilities_are_taken() -> None:
    columns = [f"p_{name}" for name in CLASSES]
    check(predictions(50).round(dict.fromkeys(columns, 4)))


@pytest.mark.parametrize("number", ["0.1234567890123456789", "1e-300", "0.30000000000000004", "3.0000000000000004e-5"])
def test_a_probability_is_read_to_its_last_digit(tmp_path: Path, number: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"image_id,label,p_a,p_b\n1,a,{number},{1 - float(number)}\n")
    assert read_predictions(path)["p_a"].tolist() == [float(number)]


def test_the_same_image_in_two_parts_is_taken() -> None:
    both = pd.concat([predictions(6), predictions(6).assign(part="train")])
    assert len(check(both)) == 12


def test_a_missing_or_broken_file_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="absent"):
        read_predictions(tmp_path / "absent.csv")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(DataError, match="no CSV"):
        read_predictions(tmp_path / "empty.csv")
    (tmp_path / "binary.csv").write_bytes(bytes(range(256)) * 4)
    with pytest.raises(DataError):
        read_predictions(tmp_path / "binary.csv")


def test_films_of_a_manifest_keep_what_is_known_of_them_and_get_their_class_as_label() -> None:
    manifest = pd.DataFrame(
        {
            "image_id": ["a/1", "a/2"],
            "label": ["pneumonia/viral", "normal"],
            "class": ["pneumonia", "normal"],
            "patient_id": ["a/p", None],
            "source": "a",
            "part": ["test", "train"],
        }
    )
    table = from_probabilities(manifest, np.array([[0.8, 0.2], [0.5, 0.5]]), ["pneumonia", "normal"], temperature=2.0)
    assert table["label"].tolist() == ["pneumonia", "normal"]
    assert table["predicted"].tolist() == ["pneumonia", "pneumonia"]
    assert table["patient_id"].tolist()[0] == "a/p" and table["patient_id"].isna()[1]
    # Square roots of 0.8 and 0.2 are as 2 to 1.
    assert table["p_pneumonia"].tolist() == pytest.approx([2 / 3, 1 / 2])
