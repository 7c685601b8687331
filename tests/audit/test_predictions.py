"""The audit of predictions, ours or anybody's: what is planted is found, what cannot be known is said, with why."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import numpy as np
import pandas as pd
import pytest

from hilum.audit.brought import brought, read_brought
from hilum.audit.limits import LIMITS
from hilum.audit.predictions import audit_predictions
from hilum.audit.subgroups import mantel_haenszel
from hilum.audit.verdict import Check
from hilum.errors import DataError, RequestError

N = 400  # films, each of a patient of its own


def table(
    right: float | np.ndarray = 0.9, *, sure: float = 0.9, n: int = N, seed: int = 1, **columns: object
) -> pd.DataFrame:
    """n films, ill and well in turn, named rightly in `right` of them, with `sure` as the probability of the class."""
    rng = np.random.default_rng(seed)
    ill = np.arange(n) % 2 == 0
    hit = rng.random(n) < right
    said_ill = ill == hit
    p_ill = np.where(said_ill, sure, 1 - sure) + rng.uniform(-0.02, 0.02, n)
    rows = {
        "image_id": [f"f{i:03d}" for i in range(n)],
        "patient_id": [f"p{i:03d}" for i in range(n)],
        "label": np.where(ill, "ill", "well"),
        "p_ill": p_ill,
        "p_well": 1 - p_ill,
    }
    return pd.DataFrame(rows | columns)


def judged(predictions: pd.DataFrame, manifest: pd.DataFrame | None = None) -> dict[str, Check]:
    return {check.name: check for check in audit_predictions(predictions, manifest)}


def test_every_check_of_predictions_is_named_in_the_table_of_limits_and_made_once() -> None:
    made = [check.name for check in audit_predictions(table())]
    assert len(made) == len(set(made)) == 12
    assert set(made) <= set(LIMITS)


def test_a_model_that_says_what_the_source_says_agrees_with_it() -> None:
    source = np.where(np.arange(N) % 2 == 0, "a", "b")
    found = judged(table(1.0, source=source))
    assert found["source-baseline"].verdict == "fail"
    assert found["source-baseline"].value == pytest.approx(1.0)
    assert found["classes-within-a-source"].value == 2
    assert found["within-source"].verdict == "not done"
    assert "class and source" in found["by-source"].reason or "source and class" in found["by-source"].reason


def test_agreement_with_the_source_is_cohens_kappa() -> None:
    # Of 400 films the source says ill 200 times; the model agrees on 300: (0.75 - 0.5) / (1 - 0.5).
    rows = table(1.0, source=np.where(np.arange(N) % 2 == 0, "a", "b"))
    rows["predicted"] = np.where(np.arange(N) % 8 < 2, rows["label"].map({"ill": "well", "well": "ill"}), rows["label"])
    assert judged(rows)["source-baseline"].value == pytest.approx(0.5)


def test_a_source_that_is_mixed_says_nothing_of_the_class() -> None:
    source = np.where(np.arange(N) // 2 % 2 == 0, "a", "b")
    found = judged(table(source=source))
    assert found["source-baseline"].verdict == "pass"
    assert found["classes-within-a-source"].verdict == "pass"
    assert found["within-source"].verdict == "pass"
    assert found["by-source"].verdict == "pass"


def test_what_told_hospitals_apart_is_lost_within_them() -> None:
    # 90 % of a is ill and 10 % of b; the model says the hospital and nothing else.
    number = np.arange(N)
    in_a = number % 20 < 10
    ill = np.where(in_a, number % 10 < 9, number % 10 == 0)
    p = np.where(in_a, 0.9, 0.1) + np.random.default_rng(0).uniform(-0.05, 0.05, N)
    rows = table(label=np.where(ill, "ill", "well"), source=np.where(in_a, "a", "b"), p_ill=p, p_well=1 - p)
    found = judged(rows)["within-source"]
    assert found.verdict == "fail"
    # Over all: 0.9 x 0.9 of the pairs are a's ill before b's well, 0.18 within a source at even odds, 0.01 the wrong
    # way: 0.81 + 0.09 = 0.90; within: 0.5.
    assert found.value == pytest.approx(0.4, abs=0.06)
    assert found.low is not None and found.low > 0.15


def test_a_group_that_the_model_fails_is_found_with_holms_correction_named() -> None:
    sex = np.where(np.arange(N) // 2 % 2 == 0, "F", "M")
    found = judged(table(np.where(sex == "F", 0.6, 0.95), sex=sex))["by-sex"]
    assert found.verdict == "fail"
    assert found.value == pytest.approx(0.35, abs=0.1)
    assert found.n == 200 and found.patients == 200
    assert "sex F" in found.meaning
    assert any("after Holm for 2 comparisons" in line for line in found.details)


def test_two_groups_that_differ_by_chance_pass() -> None:
    number = np.random.default_rng(5).integers(0, 4, N)
    found = judged(table(view=np.array(["PA", "AP", "L", "AP Supine"])[number], age_years=number * 20.0))
    assert found["by-view"].verdict == "pass"
    # Four views, and three bands of age: 0, 20, and 40 and 60 together.
    assert "no more than chance may do among 7 comparisons" in found["by-view"].meaning
    assert found["by-age"].verdict == "pass"


def test_a_group_with_another_mix_of_classes_is_not_blamed_for_it() -> None:
    # The model finds 60 % of the ill and all of the well; b has nine times as many ill. Each class alone is alike.
    number = np.arange(N)
    ill = np.where(number < 200, number % 10 == 0, number % 10 != 0)
    rng = np.random.default_rng(2)
    said_ill = ill & (rng.random(N) < 0.6)
    p = np.where(said_ill, 0.9, 0.1)
    source = np.where(number < 200, "a", "b")
    rows = table(label=np.where(ill, "ill", "well"), p_ill=p, p_well=1 - p, source=source)
    found = judged(rows)["by-source"]
    assert found.verdict == "pass"
    assert abs(found.value or 0) < 0.1  # plain accuracies are 0.96 and 0.64


def test_the_mantel_haenszel_test_is_that_worked_out_by_hand() -> None:
    # Two strata of 2 x 2: (10 of 20 against 5 of 20), (8 of 10 against 5 of 10).
    # a: 18; its mean 7.5 + 6.5 = 14; its variance 20 20 15 25 / (40^2 39) + 10 10 13 7 / (20^2 19) = 3.601;
    # chi2 = (|18 - 14| - 0.5)^2 / 3.601 = 3.402, p = 0.0651.
    hit = np.array([1] * 10 + [0] * 10 + [1] * 5 + [0] * 15 + [1] * 8 + [0] * 2 + [1] * 5 + [0] * 5, bool)
    inside = np.array([1] * 20 + [0] * 20 + [1] * 10 + [0] * 10, bool)
    strata = np.repeat([0, 1], [40, 20])
    assert mantel_haenszel(hit, inside, strata, np.arange(60)) == pytest.approx(0.0651, abs=0.0005)


def test_films_of_few_patients_do_not_pass_for_many() -> None:
    hit = np.array([True] * 40 + [False] * 40)
    inside = np.repeat([True, False], 40)
    alone = mantel_haenszel(hit, inside, np.zeros(80, int), np.arange(80))
    of_eight = mantel_haenszel(hit, inside, np.zeros(80, int), np.arange(80) // 10)
    assert alone < 1e-6 < of_eight


def test_a_model_that_is_surer_than_right_is_warned_of_where_it_is() -> None:
    source = np.where(np.arange(N) // 2 % 2 == 0, "a", "b")
    found = judged(table(np.where(source == "a", 0.95, 0.7), sure=0.95, source=source))
    assert found["calibration-by-source"].verdict == "fail"
    assert found["calibration-by-source"].value == pytest.approx(0.25, abs=0.08)
    assert "films of b" in found["calibration-by-source"].meaning
    assert found["confident-mistakes"].verdict == "fail"
    assert found["confident-mistakes"].value == pytest.approx(0.175, abs=0.05)
    assert "ill with 9" in " ".join(found["confident-mistakes"].details)


def test_a_model_that_is_as_right_as_it_is_sure_passes() -> None:
    found = judged(table(0.92, sure=0.92, n=1000))
    assert found["calibration-by-source"].verdict == "pass"
    assert found["confident-mistakes"].verdict == "pass"


def test_prediction_sets_hold_on_films_like_those_of_validation_and_fail_on_others() -> None:
    part = np.where(np.arange(N) // 2 % 2 == 0, "validation", "test")
    rng = np.random.default_rng(4)

    def spread(share_right: np.ndarray) -> pd.DataFrame:
        rows = table(share_right, part=part)
        sure = rng.uniform(0.5, 1, N)
        said = rows["p_ill"].to_numpy() > 0.5
        p = np.where(said, sure, 1 - sure)
        return rows.assign(p_ill=p, p_well=1 - p)

    alike = judged(spread(np.full(N, 0.9)))["prediction-sets"]
    assert alike.verdict == "pass"
    assert alike.n == N // 2
    elsewhere = judged(spread(np.where(part == "validation", 0.95, 0.6)))["prediction-sets"]
    assert elsewhere.verdict == "fail"


def test_without_validation_films_the_sets_are_not_judged_and_the_rest_is() -> None:
    found = judged(table())
    assert "0 labelled validation films" in found["prediction-sets"].reason
    assert found["confident-mistakes"].verdict == "pass"


# Bad input: each check says whether it can still be done.


def test_of_logits_the_classes_called_are_judged_and_the_probabilities_are_not() -> None:
    rows = table(source=np.where(np.arange(N) // 2 % 2 == 0, "a", "b"))
    rows[["p_ill", "p_well"]] = np.log(rows[["p_ill", "p_well"]])
    found = judged(rows)
    for name in ("within-source", "calibration-by-source", "confident-mistakes", "prediction-sets"):
        assert found[name].verdict == "not done", name
        assert "logits" in found[name].reason
    assert found["by-source"].verdict == "pass"
    assert found["source-baseline"].verdict == "pass"


def test_probabilities_that_do_not_sum_to_one_are_said_to_be_none() -> None:
    rows = table()
    rows["p_well"] = 0.9
    found = judged(rows)
    assert "sum to" in found["calibration-by-source"].reason
    assert "not 1" in found["confident-mistakes"].reason


def test_percentages_are_recognised() -> None:
    rows = table()
    rows[["p_ill", "p_well"]] *= 100
    assert "percentages" in judged(rows)["confident-mistakes"].reason


def test_labels_that_are_no_class_are_counted_and_left_out() -> None:
    rows = table()
    rows.loc[:9, "label"] = "tuberculosis"
    found = judged(rows)
    assert found["confident-mistakes"].n is not None and found["confident-mistakes"].n <= N - 10
    assert any("tuberculosis (10)" in line for line in found["predictions-and-films"].details)


def test_a_class_without_a_column_is_not_made_up() -> None:
    rows = table().drop(columns="p_well")
    with pytest.raises(DataError, match="neither a column 'predicted' nor two columns p_<class>"):
        audit_predictions(rows)
    found = judged(rows.drop(columns="p_ill").assign(predicted=rows["label"]))
    assert found["confident-mistakes"].reason == "only the classes called are told, no probabilities"


def test_of_one_source_nothing_is_said_about_sources() -> None:
    found = judged(table(source="a"))
    for name in ("classes-within-a-source", "source-baseline", "within-source", "by-source"):
        assert found[name].verdict == "not done", name
        assert "one source, a" in found[name].reason
    assert found["calibration-by-source"].verdict != "not done"


def test_without_patients_each_film_counts_and_none_is_made_up() -> None:
    found = judged(table(source=np.where(np.arange(N) // 2 % 2 == 0, "a", "b")).drop(columns="patient_id"))
    assert found["by-source"].verdict == "pass"
    assert all(check.patients is None for check in found.values())


def test_without_labels_every_check_of_films_says_so() -> None:
    found = judged(table().drop(columns="label"))
    assert {check.verdict for check in found.values()} == {"not done"}
    assert "no film of the test part has both a label" in found["by-sex"].reason


def manifest_of(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[["image_id", "patient_id", "label"]].assign(part="test", source="a", sex="F")


def test_predictions_of_unknown_films_and_films_without_a_prediction_are_counted() -> None:
    rows = table()
    known = manifest_of(rows)
    found = judged(rows.iloc[:390], known.iloc[40:])["predictions-and-films"]
    # 40 predictions of films that are not there, 10 films without one, of 400 in all.
    assert found.value == pytest.approx(50 / 400)
    assert found.verdict == "fail"
    assert "40 predictions are of films that the manifest does not have" in found.meaning
    assert "10 films of the test part have no prediction" in found.meaning
    assert judged(rows, known)["predictions-and-films"].verdict == "pass"


def test_another_label_than_the_manifests_is_told() -> None:
    rows = table()
    known = manifest_of(rows)
    rows.loc[0, "label"] = "well"
    found = judged(rows, known)["predictions-and-films"]
    assert found.verdict == "warn"
    assert "1 film has another label" in found.meaning


def test_what_the_table_does_not_tell_the_manifest_does() -> None:
    rows = table()
    found = brought(rows[["image_id", "p_ill", "p_well"]], manifest_of(rows)).part("test")
    assert found.films["sex"].eq("F").all()
    assert (found.y == np.arange(N) % 2).all()


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (pd.DataFrame({"film": ["a"]}), "the column 'image_id' is missing"),
        (pd.DataFrame({"image_id": [], "p_a": [], "p_b": []}), "there is no row"),
        (pd.DataFrame({"image_id": ["a", "a"], "p_a": [1, 1], "p_b": [0, 0]}), "stands there twice"),
    ],
)
def test_what_leaves_nothing_to_judge_is_refused(rows: pd.DataFrame, told: str) -> None:
    with pytest.raises(DataError, match=told):
        audit_predictions(rows)


def test_a_file_that_is_no_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no such table"):
        read_brought(tmp_path / "none.csv")
    (tmp_path / "picture.csv").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00")
    with pytest.raises(DataError, match="no CSV table"):
        read_brought(tmp_path / "picture.csv")


# The command, in an environment without torch.

_WITHOUT_TORCH = """
    import sys
    class NoTorch:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in ("torch", "torchvision", "timm", "lightning", "torchmetrics"):
                raise ModuleNotFoundError(name)
    sys.meta_path.insert(0, NoTorch())
    from hilum.cli.app import main
    main()
"""


def hilum_without_torch(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", dedent(_WITHOUT_TORCH), *words], capture_output=True, text=True, timeout=120
    )


def test_somebody_elses_predictions_are_audited_without_torch(tmp_path: Path) -> None:
    rows = table(1.0, source=np.where(np.arange(N) % 2 == 0, "a", "b"))
    rows.to_csv(tmp_path / "theirs.csv", index=False)
    done = hilum_without_torch("audit", "--predictions", str(tmp_path / "theirs.csv"), "-o", str(tmp_path / "audit"))
    assert done.returncode == 0, done.stderr
    assert "FAIL" in done.stdout and "kappa 1.00" in done.stdout
    checks = {check["check"]: check for check in json.loads((tmp_path / "audit" / "audit.json").read_text())}
    assert checks["source-baseline"]["verdict"] == "fail"
    assert "Agreement with the source" in (tmp_path / "audit" / "audit.html").read_text()


def test_a_table_that_cannot_be_judged_gives_one_line_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "theirs.csv").write_text("film,score\na,1\n")
    done = hilum_without_torch("audit", "--predictions", str(tmp_path / "theirs.csv"), "-o", str(tmp_path / "audit"))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "the column 'image_id' is missing" in done.stderr and "theirs.csv" in done.stderr
    assert not (tmp_path / "audit").exists()
