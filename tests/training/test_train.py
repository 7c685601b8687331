"""A run from films to a folder: what it holds, and that being killed changes nothing."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

import hilum
from commands import WITHOUT_PAGES, started
from hilum.errors import DataError, HilumError, RequestError
from hilum.evaluation.calibration import apply_temperature, fit_temperature
from hilum.evaluation.predictions import class_numbers, probabilities_of
from hilum.evaluation.run_folder import HISTORY_COLUMNS, RunFolder
from hilum.model import classifier as classifiers
from hilum.recipe.load import load_recipe, to_toml
from hilum.training import stage

TWO_STAGES = """
[predict]
engine = "torch"
[[stage]]
unfreeze = "none"
epochs = 2
learning_rate = 1e-3
[[stage]]
epochs = 3
learning_rate = 1e-3
ema = 0.9
side_px = 48
monitor = "macro_auroc"
"""


def test_a_run_folder_holds_what_the_design_says(small_run: Path) -> None:
    assert {path.name for path in small_run.iterdir()} == {
        "recipe.toml",
        "environment.json",
        "manifest.parquet",
        "history.csv",
        "weights.safetensors",
        "predictions.csv",
        "metrics.json",
        "figures",
        "report.html",
    }
    run = RunFolder(small_run)
    assert tuple(run.history().columns) == HISTORY_COLUMNS
    assert len(run.predictions()) == len(run.manifest())
    assert set(run.metrics()) >= {"train", "validation", "test"}
    assert run.environment()["test_part_opened"] >= run.environment()["started"]
    loss = run.history()["validation_loss"]
    assert run.environment()["kept_epochs"] == {"stage 1": int(loss.argmin()) + 1}


def test_the_recipe_of_a_run_has_every_default_written_out(small_run: Path) -> None:
    written = (small_run / "recipe.toml").read_text()
    assert to_toml(load_recipe([str(small_run / "recipe.toml")])) == written


def test_training_learns_what_the_films_show(small_run: Path) -> None:
    history = RunFolder(small_run).history()
    assert history["train_loss"].iloc[-1] < history["train_loss"].iloc[0] - 0.1


def test_the_weights_tell_their_classes_preparation_and_temperature(small_run: Path) -> None:
    about = classifiers.read_metadata(small_run / "weights.safetensors")
    assert about["classes"] == ["covid-19", "pneumonia", "normal"]
    assert about["preparation"]["side_px"] == 64
    predictions = RunFolder(small_run).predictions()
    mine = predictions[predictions["part"] == "validation"]
    y = class_numbers(mine["label"], about["classes"])
    raw = apply_temperature(probabilities_of(mine), 1 / about["temperature"])
    assert about["temperature"] == pytest.approx(fit_temperature(y, raw).value, rel=1e-3)


def test_a_notebook_shows_the_figures_of_the_test_part(small_run: Path) -> None:
    shown = RunFolder(small_run)._repr_html_()
    assert "<table" in shown and "macro AUROC" in shown


def test_untrained_backbones_are_said_in_the_notes(small_run: Path) -> None:
    assert any("UNTRAINED" in note for note in RunFolder(small_run).environment()["notes"])
    assert "UNTRAINED" in (small_run / "report.html").read_text()


def test_a_patient_is_never_in_two_parts_of_a_run(small_run: Path) -> None:
    manifest = RunFolder(small_run).manifest()
    assert (manifest.groupby("patient_id")["part"].nunique() == 1).all()


def test_prediction_from_files_gives_the_run_its_own_probabilities(small_run: Path) -> None:
    run = RunFolder(small_run)
    films = run.manifest().head(20)
    table = hilum.load(small_run).predict(films["path"].tolist())
    own = run.predictions().set_index("image_id").loc[films["image_id"]]
    columns = ["p_covid-19", "p_pneumonia", "p_normal"]
    np.testing.assert_allclose(table[columns].to_numpy(float), own[columns].to_numpy(float), atol=1e-5)


@pytest.fixture(scope="module")
def two_stages(phantoms: Path, small: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run of two stages; tests read it and do not change it."""
    folder = tmp_path_factory.mktemp("two-stages")
    (folder / "two.toml").write_text(TWO_STAGES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HILUM_CACHE", str(folder / "cache"))
        patch.setattr("hilum.training.train.write_report", lambda run: None)
        return hilum.train(str(folder / "two.toml"), data=str(phantoms), settings=small, out=folder / "run")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["killed", "stopped with Ctrl-C"])
@pytest.mark.usefixtures("no_pages")
def test_an_interrupted_run_that_goes_on_ends_with_the_same_weights(
    how: signal.Signals, two_stages: RunFolder, phantoms: Path, small: tuple[str, ...], tmp_path: Path
) -> None:
    whole, broken = two_stages, tmp_path / "broken"
    words = ["train", "--data", str(phantoms), "--recipe", str(whole.path.parent / "two.toml"), "-o", str(broken)]
    settings = [word for setting in small for word in ("--set", setting)]
    with started([*words, *settings], code=WITHOUT_PAGES) as process:
        deadline = time.monotonic() + 120
        while not (broken / "checkpoints" / "stage-2" / "last.ckpt").is_file():
            assert process.poll() is None, "the run ended before it could be interrupted"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(how)
        assert process.wait(60) == (-9 if how == signal.SIGKILL else 130)
    assert not (broken / "weights.safetensors").exists()

    resumed = hilum.train(out=broken, resume=True)
    one, other = (load_file(run.weights_path) for run in (whole, resumed))
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name
    pd.testing.assert_frame_equal(whole.history().drop(columns="seconds"), resumed.history().drop(columns="seconds"))
    pd.testing.assert_frame_equal(whole.predictions(), resumed.predictions())


@pytest.mark.usefixtures("no_pages")
def test_a_run_that_was_moved_goes_on_with_its_best_epoch(
    phantoms: Path, small: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = [*small, "stage.epochs=4", "stage.learning_rate=1e-3", "predict.engine=torch"]
    whole = hilum.train(data=str(phantoms), settings=settings, out=tmp_path / "whole")
    broken = tmp_path / "broken"
    judge = stage.validation_figures
    seen = []

    def stops_in_the_third_epoch(*arguments: object) -> dict[str, float]:
        seen.append(1)
        if len(seen) == 3:
            raise RuntimeError("the machine was lost")
        return judge(*arguments)

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="lost"):
        patch.setattr(stage, "validation_figures", stops_in_the_third_epoch)
        hilum.train(data=str(phantoms), settings=settings, out=broken)
    moved = broken.rename(tmp_path / "moved")
    resumed = hilum.train(out=moved, resume=True)
    one, other = load_file(whole.weights_path), load_file(resumed.weights_path)
    assert all(torch.equal(one[name], other[name]) for name in one)
    pd.testing.assert_frame_equal(whole.history().drop(columns="seconds"), resumed.history().drop(columns="seconds"))


@pytest.mark.usefixtures("no_pages")
def test_augmentation_is_computed_in_float32_whatever_the_network_computes_in(
    phantoms: Path, small: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside: list[bool] = []
    whole = stage.augment

    def watched(films: torch.Tensor, *rest: object) -> torch.Tensor:
        inside.append(torch.is_autocast_enabled("cpu"))
        return whole(films, *rest)

    monkeypatch.setattr(stage, "augment", watched)
    settings = [*small, "stage.epochs=1", "training.precision=bf16", "predict.engine=torch"]
    hilum.train(data=str(phantoms), settings=settings, out=tmp_path / "run")
    assert inside and not any(inside)


@pytest.mark.usefixtures("no_pages")
@pytest.mark.parametrize(
    "setting",
    ["balance.how=weights", "balance.how=over", "augment.mixup=0.4", "stage.unfreeze=3", "model.head.layers=2"],
)
def test_each_way_of_training_reaches_its_end(
    setting: str, phantoms: Path, small: tuple[str, ...], tmp_path: Path
) -> None:
    settings = [*small, "stage.epochs=1", "predict.engine=torch", setting]
    run = hilum.train(data=str(phantoms), settings=settings, out=tmp_path / "run")
    assert run.report_path.is_file()


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (["evaluate.prevalence={ covid = 0.1 }"], "'covid-19'"),
        (["balance.how=share", "balance.share={ covid = 0.3 }"], "'covid-19'"),
        (["split.validation=0"], "split.validation"),
        (["stage.unfreeze=5000"], "stage.unfreeze"),
        (["explain.methods=['gradcam']"], "explain.methods"),
        (["model.weights=absent.safetensors"], "absent.safetensors"),
    ],
)
def test_what_would_end_a_run_late_is_refused_before_it_begins(
    settings: list[str], named: str, phantoms: Path, small: tuple[str, ...], tmp_path: Path
) -> None:
    with pytest.raises(HilumError) as caught:
        hilum.train(data=str(phantoms), settings=[*small, *settings], out=tmp_path / "run")
    assert named in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_not_empty_is_refused(small_run: Path, phantoms: Path, small: tuple[str, ...]) -> None:
    with pytest.raises(RequestError, match="holds a run"):
        hilum.train(data=str(phantoms), settings=small, out=small_run)


def test_resuming_with_another_recipe_is_refused(small_run: Path) -> None:
    with pytest.raises(RequestError, match=r"another \[prepare\]"):
        hilum.train(settings=["prepare.side_px=80"], out=small_run, resume=True)


def test_resuming_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no run folder"):
        hilum.train(out=tmp_path, resume=True)


def test_a_loss_that_is_no_number_is_said_with_the_epoch(
    phantoms: Path, small: tuple[str, ...], tmp_path: Path
) -> None:
    settings = [*small, "stage.optimiser=sgd", "stage.learning_rate=1e30", "stage.epochs=2"]
    with pytest.raises(Exception, match="no number any more") as caught:
        hilum.train(data=str(phantoms), settings=settings, out=tmp_path / "run")
    assert "epoch 1" in str(caught.value)
    assert "stage.learning_rate=1e+29" in str(caught.value)


def test_films_that_vanish_before_a_resume_are_named(
    phantoms: Path, small: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, run = tmp_path / "films", tmp_path / "run"
    films = hilum.read(phantoms).head(90)
    for path, label, image in films[["path", "label", "image_id"]].itertuples(index=False):
        target = folder / label.replace("/", "-") / (image.replace("/", "_") + Path(path).suffix)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(Path(path).read_bytes())
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("hilum.training.train._fit", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        hilum.train(data=f"folder:{folder}", settings=[*small, "data.task=labels"], out=run)
    next(path for path in folder.rglob("*") if path.is_file()).unlink()
    with pytest.raises(DataError, match="cannot be read any more"):
        hilum.train(out=run, resume=True)


@pytest.mark.usefixtures("no_pages")
def test_seconds_of_training_are_those_of_its_features_too(
    phantoms: Path, small: tuple[str, ...], tmp_path: Path, own_cache: Path
) -> None:
    settings = [*small, "stage.unfreeze=none", "stage.epochs=1", "predict.engine=torch"]
    run = hilum.train(data=str(phantoms), settings=settings, out=tmp_path / "run")
    about = run.environment()
    assert about["feature_seconds"] > 0
    assert about["training_seconds"] == pytest.approx(
        about["feature_seconds"] + run.history()["seconds"].sum(), abs=0.1
    )
