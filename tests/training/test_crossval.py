"""Cross-validation: what the folder holds, that being killed changes nothing, and what is refused."""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import hilum
from commands import started
from hilum.cli.app import main
from hilum.cli.console import terminal
from hilum.data.manifest import read_manifest, write_manifest
from hilum.errors import DataError, HilumError, RequestError
from hilum.evaluation.predictions import probabilities_of
from hilum.evaluation.run_folder import RunFolder
from hilum.model.classifier import read_metadata
from hilum.training import crossval as module

SETTINGS = (
    "data.task=covid-3",
    "split.validation=0.3",
    "prepare.side_px=32",
    "model.backbone=mobilenetv3_small_050",
    "model.weights=none",
    "stage.epochs=2",
    "training.workers=1",
    "evaluate.bootstrap=100",
    "predict.engine=torch",
)
# Reports take most of the time; the folds' own are held by the tests of single runs.
SHORT = """
import sys
from pathlib import Path
from hilum.training import train
train.write_report = lambda run: (Path(run) / "report.html").write_text("")
import hilum
hilum.crossval(data=sys.argv[1], settings=sys.argv[3:], folds=3, out=sys.argv[2])
"""


def _short_report(run: Path) -> None:
    (run / "report.html").write_text("")


@pytest.fixture(scope="module")
def whole(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished cross-validation of three folds; tests read it and do not change it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HILUM_CACHE", str(tmp_path_factory.mktemp("cv-cache")))
        patch.setattr("hilum.training.train.write_report", _short_report)
        return hilum.crossval(data=str(phantoms), settings=SETTINGS, folds=3, out=tmp_path_factory.mktemp("cv") / "cv")


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cross-validation stops before its first fold is trained."""

    def stops(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "train", stops)


def test_the_folder_holds_the_pooled_files_and_a_run_for_each_fold(whole: RunFolder) -> None:
    assert {path.name for path in whole.path.iterdir()} == {
        "recipe.toml",
        "environment.json",
        "manifest.parquet",
        "predictions.csv",
        "metrics.json",
        "figures",
        "report.html",
        "fold-0",
        "fold-1",
        "fold-2",
    }
    assert [run.path.name for run in whole.folds] == ["fold-0", "fold-1", "fold-2"]
    assert whole.recipe().split.folds == 3
    assert [run.recipe().split.fold for run in whole.folds] == [0, 1, 2]


def test_folds_are_disjoint_and_cover_all_films(whole: RunFolder, phantoms: Path) -> None:
    films = set(read_manifest(phantoms)["image_id"])
    tests = [frozenset(run.manifest().query("part == 'test'")["image_id"]) for run in whole.folds]
    assert frozenset.union(*tests) == films
    assert sum(map(len, tests)) == len(films)
    pooled = whole.predictions()
    assert set(pooled["image_id"]) == films
    assert len(pooled) == len(films)
    assert (pooled["part"] == "test").all()
    for fold, run in enumerate(whole.folds):
        assert set(pooled.loc[pooled["fold"] == fold, "image_id"]) == tests[fold]
        assert set(run.manifest()["image_id"]) == films
    assert whole.manifest()[["image_id", "fold"]].equals(pooled[["image_id", "fold"]])


def test_a_patient_is_in_one_fold_and_in_one_part_of_each(whole: RunFolder) -> None:
    assert (whole.manifest().groupby("patient_id")["fold"].nunique() == 1).all()
    for run in whole.folds:
        assert (run.manifest().groupby("patient_id")["part"].nunique() == 1).all()


def test_the_pooled_predictions_are_what_each_fold_says_of_its_test_part(whole: RunFolder) -> None:
    pooled = whole.predictions().set_index("image_id")
    for run in whole.folds:
        own = run.predictions().query("part == 'test'").set_index("image_id")
        pd.testing.assert_frame_equal(pooled.loc[own.index], own)


def test_the_pooled_figures_and_their_spread_are_those_of_a_hand_calculation(whole: RunFolder) -> None:
    pooled, found = whole.predictions(), whole.metrics()
    hit = (pooled["predicted"] == pooled["label"]).to_numpy(bool)
    accuracy = found["test"]["accuracy"]
    assert accuracy["value"] == pytest.approx(hit.mean())
    assert accuracy["low"] < accuracy["value"] < accuracy["high"]
    assert (accuracy["n"], accuracy["patients"]) == (len(pooled), pooled["patient_id"].nunique())
    each = [hit[pooled["fold"] == fold].mean() for fold in range(3)]
    spread = found["_folds"]["figures"]["accuracy"]
    assert spread["values"] == pytest.approx(each)
    assert spread["mean"] == pytest.approx(np.mean(each))
    assert spread["sd"] == pytest.approx(np.std(each, ddof=1))


def test_temperature_and_operating_points_come_from_each_folds_own_validation(whole: RunFolder) -> None:
    found, pooled = whole.metrics(), whole.predictions()
    temperatures = [read_metadata(run.weights_path)["temperature"] for run in whole.folds]
    assert len(set(temperatures)) > 1
    assert [fold["temperature"] for fold in found["_folds"]["folds"]] == temperatures
    thresholds = [run.metrics()["_operating_points"]["pneumonia"]["threshold"] for run in whole.folds]
    assert found["_operating_points"]["pneumonia"]["by_fold"] == thresholds
    ill = pooled[pooled["label"] == "pneumonia"]
    called = ill["p_pneumonia"].to_numpy(float) >= np.array(thresholds)[ill["fold"].to_numpy(int)]
    assert found["test"]["op_sensitivity/pneumonia"]["value"] == pytest.approx(called.mean())


def test_the_weights_of_each_fold_are_kept_and_give_its_probabilities(whole: RunFolder) -> None:
    films = whole.manifest().query("fold == 1").head(8)
    table = hilum.load(whole.folds[1].path).predict(films["path"].tolist())
    own = whole.predictions().set_index("image_id").loc[films["image_id"]]
    np.testing.assert_allclose(
        table[["p_covid-19", "p_pneumonia", "p_normal"]].to_numpy(float), probabilities_of(own), atol=1e-5
    )


def test_the_report_shows_the_folds_and_tells_what_must_be_known(whole: RunFolder) -> None:
    html = whole.report_path.read_text()
    assert "could not be made" not in html
    assert "Fold by fold" in html
    assert 'id="training"' not in html
    assert "fold-2/report.html" in html
    assert "each judged by the one of <b>3</b> models" in html
    assert "No known patient is in two folds" in html
    assert "UNTRAINED" in html
    assert "hilum crossval --recipe" in html


def test_a_fold_can_be_trained_again_alone(whole: RunFolder, phantoms: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), pytest.MonkeyPatch.context() as patch:
        patch.setattr("hilum.training.train._fit", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        hilum.train(str(whole.path / "fold-1" / "recipe.toml"), out=tmp_path / "alone")
    alone, fold = RunFolder(tmp_path / "alone").manifest(), whole.folds[1].manifest()
    pd.testing.assert_frame_equal(alone[["image_id", "part", "fold"]], fold[["image_id", "part", "fold"]])


@pytest.mark.usefixtures("no_pages")
def test_one_killed_in_its_third_fold_goes_on_there_and_ends_with_the_same_figures(
    whole: RunFolder, phantoms: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "cv"
    with started([str(phantoms), str(broken), *SETTINGS], code=SHORT) as process:
        deadline = time.monotonic() + 120
        while not (broken / "fold-2" / "checkpoints" / "stage-1" / "last.ckpt").is_file():
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.kill()
    assert not (broken / "metrics.json").exists()
    weights = (broken / "fold-0" / "weights.safetensors").stat().st_mtime_ns

    resumed = hilum.crossval(out=broken, resume=True)
    assert (broken / "fold-0" / "weights.safetensors").stat().st_mtime_ns == weights
    assert resumed.metrics() == whole.metrics()
    assert (broken / "predictions.csv").read_bytes() == (whole.path / "predictions.csv").read_bytes()


@pytest.mark.usefixtures("untrained")
def test_resuming_a_finished_one_trains_nothing_and_answers_in_json(
    whole: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copytree(whole.path, tmp_path / "cv"))
    monkeypatch.setattr(module, "write_report", _short_report)
    monkeypatch.setattr(terminal, "json", False)  # main sets it, and the next test must not find it
    monkeypatch.setattr(sys, "argv", ["hilum", "crossval", "--resume", "-o", str(copy), "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    said = capsys.readouterr()
    answer = json.loads(said.out)
    assert answer["metrics"]["accuracy"] == whole.metrics()["test"]["accuracy"]
    assert answer["folds"] == whole.metrics()["_folds"]
    assert "accuracy by fold: mean" in said.err


@pytest.mark.usefixtures("untrained")
def test_random_folds_are_refused_unless_leaks_are_allowed_and_then_marked(phantoms: Path, tmp_path: Path) -> None:
    settings = [*SETTINGS, "split.scheme=random"]
    with pytest.raises(DataError, match=r"split\.leaks=allow"):
        hilum.crossval(data=str(phantoms), settings=settings, out=tmp_path / "cv")
    assert not list(tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt):
        hilum.crossval(data=str(phantoms), settings=[*settings, "split.leaks=allow"], folds=4, out=tmp_path / "cv")
    notes = " ".join(RunFolder(tmp_path / "cv").environment()["notes"])
    assert "films were drawn one by one, not by patient" in notes
    assert "leaks were allowed, so the figures will be too good" in notes
    assert RunFolder(tmp_path / "cv").manifest()["fold"].value_counts().between(29, 32).all()  # of 121 films


@pytest.mark.usefixtures("untrained")
def test_each_source_is_left_out_once(phantoms: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        hilum.crossval(data=str(phantoms), settings=[*SETTINGS, "split.scheme=source"], out=tmp_path / "cv")
    runs = RunFolder(tmp_path / "cv").folds
    tested = [set(run.manifest().query("part == 'test'")["source"]) for run in runs]
    assert tested == [{"phantom-north"}, {"phantom-south"}]
    for run, sources in zip(runs, tested, strict=True):
        assert not sources & set(run.manifest().query("part != 'test'")["source"])


@pytest.mark.usefixtures("untrained")
def test_the_recipe_says_how_many_folds_where_no_flag_does(phantoms: Path, tmp_path: Path) -> None:
    for out, asked, flag, there in (
        ("a", [], None, 5),
        ("b", ["split.folds=2"], None, 2),
        ("c", ["split.folds=2"], 3, 3),
    ):
        with pytest.raises(KeyboardInterrupt):
            hilum.crossval(data=str(phantoms), settings=[*SETTINGS, *asked], folds=flag, out=tmp_path / out)
        assert len(RunFolder(tmp_path / out).folds) == there


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize(
    ("settings", "folds", "kind", "told"),
    [
        ([], 16, DataError, "has 15 patients"),
        ([], 1, RequestError, "at least 2 folds"),
        (["split.folds=5", "split.fold=1"], None, RequestError, "hilum train"),
        (["split.scheme=published"], 3, RequestError, "published"),
        (["split.scheme=source"], 3, RequestError, "each source is a fold"),
        (["split.scheme=source", 'data.where=source == "phantom-north"'], None, DataError, "one source"),
        (["split.validation=0"], 3, RequestError, "validation"),
        (["model.weights=absent.safetensors"], 3, HilumError, "absent.safetensors"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    settings: list[str], folds: int | None, kind: type[HilumError], told: str, phantoms: Path, tmp_path: Path
) -> None:
    with pytest.raises(kind) as caught:
        hilum.crossval(data=str(phantoms), settings=[*SETTINGS, *settings], folds=folds, out=tmp_path / "cv")
    assert told in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("untrained")
def test_a_fold_whose_train_part_lacks_a_class_is_named_with_its_source(phantoms: Path, tmp_path: Path) -> None:
    films = read_manifest(phantoms)
    only_north = films[(films["label"] != "covid-19") | (films["source"] == "phantom-north")]
    only_north = only_north.assign(path=[str(phantoms.parent / path) for path in only_north["path"]])
    write_manifest(only_north, tmp_path / "films.parquet")
    with pytest.raises(DataError) as caught:
        hilum.crossval(
            data=str(tmp_path / "films.parquet"), settings=[*SETTINGS, "split.scheme=source"], out=tmp_path / "cv"
        )
    told = str(caught.value)
    assert "fold 0" in told and "phantom-north" in told and "no film of the class 'covid-19'" in told


def test_a_folder_of_another_kind_is_refused_with_the_command_that_goes_on(whole: RunFolder) -> None:
    single = whole.folds[0].path
    with pytest.raises(RequestError, match="hilum train --resume"):
        hilum.crossval(out=single, resume=True)
    with pytest.raises(RequestError, match="hilum crossval --resume"):
        hilum.train(out=whole.path, resume=True)
    with pytest.raises(RequestError, match="holds a run"):
        hilum.crossval(out=single)


def test_resuming_with_other_settings_is_refused(whole: RunFolder) -> None:
    with pytest.raises(RequestError, match=r"another \[prepare\]"):
        hilum.crossval(settings=["prepare.side_px=80"], out=whole.path, resume=True)
    with pytest.raises(RequestError, match="3 folds, and 4 are asked"):
        hilum.crossval(folds=4, out=whole.path, resume=True)


def test_what_only_a_fold_has_is_asked_for_there(whole: RunFolder) -> None:
    with pytest.raises(RequestError, match="fold-0"):
        _ = whole.weights_path
    with pytest.raises(RequestError, match="fold-0"):
        whole.history()
