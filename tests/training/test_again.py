"""The same recipe, seed and machine give the same figures to the last digit; and a run that was not trained says so."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

import hilum
from hilum.evaluation.run_folder import HISTORY_COLUMNS, RunFolder
from hilum.model import classifier as classifiers
from hilum.training import stage
from hilum.training.environment import sha256_of

# Everything that draws numbers: weights, dropout in backbone and head, every augmentation, the order of the films.
RANDOM = (
    "model.dropout=0.3",
    "model.head={ layers = 1, units = 16, dropout = 0.3 }",
    "augment.rotation_deg=10",
    "augment.flip_horizontal=true",
    "augment.blur=0.5",
    "augment.erase=0.5",
    "augment.mixup=0.4",
    "balance.how=over",
    "stage.epochs=2",
    "stage.batch_size=64",
    "stage.ema=0.9",
)


@pytest.mark.usefixtures("no_pages")
def test_the_same_recipe_and_seed_give_the_same_figures_to_the_last_digit(
    phantoms: Path, small: tuple[str, ...], tmp_path: Path
) -> None:
    settings = [*small, *RANDOM, "prepare.side_px=32"]
    one = hilum.train(data=str(phantoms), settings=settings, out=tmp_path / "one")
    torch.manual_seed(99)  # what the caller drew before must not matter
    other = hilum.train(data=str(phantoms), settings=settings, out=tmp_path / "other")
    assert sha256_of(one.weights_path) == sha256_of(other.weights_path)
    for name in ("predictions.csv", "metrics.json"):
        assert (one.path / name).read_bytes() == (other.path / name).read_bytes()
    pd.testing.assert_frame_equal(one.history().drop(columns="seconds"), other.history().drop(columns="seconds"))


@pytest.fixture(scope="module")
def untrained(phantoms: Path, small: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    settings = [*small, "stage.epochs=0", "model.backbone=resnet10t", "training.seed=4"]
    return hilum.train(data=str(phantoms), settings=settings, out=tmp_path_factory.mktemp("runs") / "untrained")


def test_an_untrained_run_has_predictions_figures_and_a_history_without_an_epoch(untrained: RunFolder) -> None:
    assert tuple(untrained.history().columns) == HISTORY_COLUMNS
    assert untrained.history().empty
    assert len(untrained.predictions()) == len(untrained.manifest())
    assert {"train", "validation", "test"} <= set(untrained.metrics())
    assert untrained.environment()["training_seconds"] == 0.0


def test_an_untrained_run_has_the_weights_that_it_was_built_with(untrained: RunFolder) -> None:
    classes = untrained.environment()["classes"]
    built = classifiers.build(untrained.recipe().model, classes, side_px=64, seed=4).state_dict()
    kept = load_file(untrained.weights_path)
    assert built.keys() == kept.keys()
    assert all(torch.equal(built[name], kept[name]) for name in built)


def test_every_output_of_an_untrained_run_says_so(untrained: RunFolder) -> None:
    about = classifiers.read_metadata(untrained.weights_path)
    for notes in (untrained.environment()["notes"], about["notes"], untrained.metrics()["_about"]["notes"]):
        assert any("UNTRAINED HEAD, not trained" in note for note in notes)
    assert about["temperature"] == 1.0  # a temperature would be fitted, and so trained
    page = untrained.report_path.read_text()
    assert "UNTRAINED HEAD, not trained" in page  # at the top
    assert "<b>Untrained head, not trained.</b>" in page  # in the section on training
    assert "history.csv has no epoch" not in page
    assert any("UNTRAINED HEAD" in note for note in hilum.load(untrained.path).notes)


@pytest.mark.usefixtures("no_pages")
def test_a_stage_without_epochs_is_passed_over(phantoms: Path, small: tuple[str, ...], tmp_path: Path) -> None:
    recipe = tmp_path / "two.toml"
    recipe.write_text("[[stage]]\nepochs = 0\n[[stage]]\nepochs = 1\n")
    settings = [*small, "prepare.side_px=32"]
    run = hilum.train(str(recipe), data=str(phantoms), settings=settings, out=tmp_path / "run")
    assert run.history()["stage"].tolist() == [2]
    assert not any("UNTRAINED HEAD" in note for note in run.environment()["notes"])


@pytest.mark.usefixtures("no_pages")
def test_whitening_is_fitted_on_the_train_part_alone_and_again_when_a_run_goes_on(
    phantoms: Path, small: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = ["model.normalise=zca", "model.backbone=cnn", "model.cnn={ channels = [4, 8], pools = [2] }"]
    settings = [*small, *keys, "prepare.side_px=32", "stage.epochs=2"]
    whole = hilum.train(data=str(phantoms), settings=settings, out=tmp_path / "whole")
    weights = load_file(whole.weights_path)
    train = int((whole.manifest()["part"] == "train").sum())
    assert weights["normalise.directions"].shape == (32 * 32, train)

    judge = stage.validation_figures
    seen = []

    def stops_in_the_second_epoch(*arguments: object) -> dict[str, float]:
        seen.append(1)
        if len(seen) == 2:
            raise RuntimeError("the machine was lost")
        return judge(*arguments)

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="lost"):
        patch.setattr(stage, "validation_figures", stops_in_the_second_epoch)
        hilum.train(data=str(phantoms), settings=settings, out=tmp_path / "broken")
    resumed = hilum.train(out=tmp_path / "broken", resume=True)
    again = load_file(resumed.weights_path)
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    pd.testing.assert_frame_equal(whole.predictions(), resumed.predictions())
