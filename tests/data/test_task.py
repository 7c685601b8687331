"""From labels to classes."""

from __future__ import annotations

import pandas as pd
import pytest

from hilum.data.task import apply_task
from hilum.errors import DataError, RequestError
from hilum.recipe.schema import Data, Task


def manifest(*labels: str | None, patients: list[str | None] | None = None) -> pd.DataFrame:
    """A film per label, of a patient each."""
    return pd.DataFrame(
        {
            "image_id": [f"s/{row}.png" for row in range(len(labels))],
            "label": pd.Series(labels, dtype="string"),
            "patient_id": pd.Series(patients or [f"s/{row}" for row in range(len(labels))], dtype="string"),
        }
    )


EVERYTHING = (
    "covid-19",
    "covid-19/ards",
    "normal",
    "pneumonia",
    "pneumonia/bacterial",
    "pneumonia/bacterial/streptococcus",
    "pneumonia/viral",
    "pneumonia/viral/sars",
    "pneumonia/viral/mers",
    "pneumonia/fungal/pneumocystis",
    "tuberculosis",
    "negative",
)

COVID_AND_NORMAL = {"covid-19": "covid-19", "covid-19/ards": "covid-19", "normal": "normal"}
CAUSES = {
    "pneumonia/bacterial": "bacterial",
    "pneumonia/bacterial/streptococcus": "bacterial",
    "pneumonia/viral": "viral",
    "pneumonia/viral/sars": "viral",
    "pneumonia/viral/mers": "viral",
}


@pytest.mark.parametrize(
    ("task", "classes", "becomes"),
    [
        (
            "covid-3",
            ["covid-19", "pneumonia", "normal"],
            COVID_AND_NORMAL
            | {
                "pneumonia": "pneumonia",
                "pneumonia/bacterial": "pneumonia",
                "pneumonia/bacterial/streptococcus": "pneumonia",
                "pneumonia/viral": "pneumonia",
                "pneumonia/viral/sars": "pneumonia",
                "pneumonia/viral/mers": "pneumonia",
                "pneumonia/fungal/pneumocystis": "pneumonia",
            },
        ),
        (
            "covid-4",
            ["covid-19", "bacterial", "viral", "normal"],
            COVID_AND_NORMAL | CAUSES,
        ),
        (
            "covid-binary",
            ["covid-19", "other"],
            {label: "covid-19" if label.startswith("covid") else "other" for label in EVERYTHING},
        ),
        (
            "covid-vs-normal",
            ["covid-19", "normal"],
            COVID_AND_NORMAL,
        ),
        (
            "pneumonia-3",
            ["bacterial", "viral", "normal"],
            {"normal": "normal"} | CAUSES,
        ),
        ("labels", sorted(EVERYTHING), {label: label for label in EVERYTHING}),
    ],
)
def test_a_task_gives_each_label_its_class_and_leaves_out_the_others(task, classes, becomes):
    mapped = apply_task(manifest(*EVERYTHING, *EVERYTHING), Data(task=task), Task())
    assert mapped.classes == classes
    assert dict(zip(mapped.manifest["label"], mapped.manifest["class"], strict=True)) == becomes
    assert set(mapped.left_out["label"]) == set(EVERYTHING) - set(becomes)
    assert set(mapped.left_out["count"]) <= {2}


def test_every_film_is_either_mapped_or_counted_with_its_reason():
    films = manifest(*EVERYTHING, *EVERYTHING, None, None, None)
    mapped = apply_task(films, Data(task="covid-3", drop=["pneumonia/fungal", "todo"]), Task())
    assert len(mapped.manifest) + mapped.left_out["count"].sum() == len(films)
    reasons = {
        "missing" if pd.isna(label) else label: (count, reason)
        for label, count, reason in mapped.left_out.itertuples(index=False)
    }
    assert reasons["missing"] == (3, "no label")
    assert reasons["tuberculosis"] == (2, "not in task 'covid-3'")
    assert reasons["pneumonia/fungal/pneumocystis"] == (2, "dropped, as asked by data.drop")
    assert reasons["todo"] == (0, "dropped, as asked by data.drop, but no film has it")


def test_usual_spellings_are_understood_and_labels_stay_as_written():
    films = manifest(*["COVID19", "NORMAL", "Viral Pneumonia", "No_findings", "Covid-19", "bacterial"] * 2)
    mapped = apply_task(films, Data(task="covid-4"), Task())
    assert mapped.manifest["class"].tolist()[:6] == ["covid-19", "normal", "viral", "normal", "covid-19", "bacterial"]
    assert mapped.manifest["label"].tolist() == films["label"].tolist()


def test_a_label_is_no_subtype_of_one_that_it_merely_begins_like():
    films = manifest(*["normal", "normality", "covid-19"] * 2)
    mapped = apply_task(films, Data(task="covid-vs-normal"), Task())
    assert mapped.left_out["label"].tolist() == ["normality"]


def test_in_an_own_task_the_longest_label_wins_and_an_empty_class_leaves_out():
    task = Task(labels={"pneumonia": "ill", "pneumonia/viral": "viral", "pneumonia/fungal": "", "*": "rest"})
    mapped = apply_task(manifest(*EVERYTHING * 2), Data(task="own"), task)
    becomes = dict(zip(mapped.manifest["label"], mapped.manifest["class"], strict=True))
    assert mapped.classes == ["ill", "viral", "rest"]
    assert becomes["pneumonia/bacterial/streptococcus"] == "ill"
    assert becomes["pneumonia/viral/sars"] == "viral"
    assert becomes["normal"] == "rest"
    assert mapped.left_out.to_numpy().tolist() == [
        ["pneumonia/fungal/pneumocystis", 2, "mapped to no class in task.labels"]
    ]


def test_the_classes_of_an_own_task_keep_the_order_given():
    task = Task(classes=["b", "a"], labels={"normal": "a", "covid-19": "b"})
    assert apply_task(manifest("normal", "covid-19", "normal", "covid-19"), Data(task="own"), task).classes == [
        "b",
        "a",
    ]


@pytest.mark.parametrize(
    ("task", "complaint"),
    [
        (Task(labels={"norml": "a", "covid-19": "b"}), "no film has the label 'norml'. Did you mean 'normal'"),
        (Task(classes=["a", "bad"], labels={"normal": "a", "covid-19": "bat"}), "class 'bat' is not in .*'bad'"),
        (Task(classes=["a", "b", "c"], labels={"normal": "a", "covid-19": "b"}), "no label is mapped to the class 'c'"),
        (Task(labels={"normal": "a", "Normal": "b"}), "twice, in two spellings"),
    ],
)
def test_an_own_task_that_does_not_fit_is_refused(task, complaint):
    with pytest.raises(RequestError, match=complaint):
        apply_task(manifest("normal", "covid-19", "normal", "covid-19"), Data(task="own"), task)


def test_an_unknown_task_is_refused_with_the_nearest():
    with pytest.raises(RequestError, match=r"no task 'covid3'. Did you mean 'covid-3'"):
        apply_task(manifest("normal"), Data(task="covid3"), Task())


@pytest.mark.parametrize(
    ("labels", "complaint"),
    [
        (["todo", "todo"], r"no film has a label of it. Labels left out: todo \(2\). Take .* --set data.task=labels"),
        (["normal", "normal", "covid-19", "covid-19"], "class 'pneumonia' has no film"),
        (["normal", "normal", "covid-19", "covid-19", "pneumonia"], "class 'pneumonia' has one film, s/4.png"),
        ([], "no film"),
    ],
)
def test_a_class_too_small_to_be_learned_and_tested_is_refused(labels, complaint):
    with pytest.raises(DataError, match=complaint):
        apply_task(manifest(*labels), Data(task="covid-3"), Task())


def test_a_class_of_one_patient_is_refused_and_named():
    films = manifest("ill", "ill", "well", "well", patients=["s/ann", "s/ann", "s/bob", "s/cat"])
    with pytest.raises(DataError, match=r"all 2 films of the class 'ill' are of one patient, s/ann"):
        apply_task(films, Data(), Task())


def test_a_class_whose_patients_are_partly_unknown_is_not_taken_for_one_patient():
    films = manifest("ill", "ill", "well", "well", patients=["s/ann", None, None, None])
    assert len(apply_task(films, Data(), Task()).manifest) == 4


def test_one_class_only_is_refused():
    with pytest.raises(DataError, match=r"only the class 'ill'"):
        apply_task(manifest("ill", "ill"), Data(), Task())


def test_for_judging_on_other_films_classes_may_be_absent():
    mapped = apply_task(manifest("covid-19"), Data(task="covid-3"), Task(), every_class=False)
    assert mapped.classes == ["covid-19", "pneumonia", "normal"]
    task = Task(labels={"normal": "a", "covid-19": "b"})
    assert apply_task(manifest("normal"), Data(task="own"), task, every_class=False).classes == ["a", "b"]


def test_labels_that_are_one_in_two_spellings_are_no_two_classes():
    with pytest.raises(DataError, match=r"'COVID19' and 'covid-19' are two spellings of one"):
        apply_task(manifest("COVID19", "covid-19", "normal", "normal"), Data(task="labels"), Task())


@pytest.mark.real
def test_cohen_with_kermany_gives_the_four_classes(shared):
    from hilum.data import sources
    from hilum.data.where import where

    films = sources.read(shared / "data" / "cohen", shared / "data" / "kermany-large")
    mapped = apply_task(films, Data(task="covid-4"), Task())
    # cohen: COVID-19 498 and with ARDS 12; bacterial 13 + 8 + 8 + 4 + 4 + 4; viral 16 + 5 + 2; No Finding 23
    # (three pneumonias and two legionella of README's 716 rows are named again; see the reader)
    assert mapped.manifest["class"].value_counts().to_dict() == {
        "covid-19": 510,
        "bacterial": 41 + 210,
        "viral": 23 + 210,
        "normal": 23 + 210,
    }
    assert set(mapped.left_out["label"].dropna()) == {
        "ards",
        "pneumonia",
        "pneumonia/fungal/pneumocystis",
        "pneumonia/lipoid",
    }
    assert set(where(mapped.manifest, 'view == "PA"')["source"]) == {"cohen"}  # kermany's are AP
    both = where(mapped.manifest, 'view == "PA" or source == "kermany"')
    assert both["source"].value_counts()["kermany"] == 630
