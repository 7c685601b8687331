"""The main job on real films with real pretrained weights, made small: it learns, and it says what it should."""

from __future__ import annotations

from pathlib import Path

import pytest

import hilum
from hilum.evaluation.run_folder import RunFolder


@pytest.fixture(scope="module")
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    from conftest import SHARED

    if not (SHARED / "data").is_dir():
        pytest.skip(f"no real films at {SHARED}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HILUM_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr("hilum.training.train.write_report", lambda run: None)
        weights = SHARED / "weights" / "mobilenetv2_100.safetensors"
        settings = [
            "data.task=pneumonia-3",
            "prepare.side_px=128",
            f"model.weights={weights}",
            "evaluate.bootstrap=200",
        ]
        out = tmp_path_factory.mktemp("runs") / "kermany"
        yield hilum.train("fine-tune", data=f"kermany:{SHARED / 'data' / 'kermany-large'}", out=out,
                          settings=[*settings, "stage.side_px=128", "stage.epochs=2"])  # fmt: skip


@pytest.mark.real
def test_normal_films_are_told_from_pneumonia(run: RunFolder) -> None:
    figure = run.metrics()["test"]["auroc/normal"]
    assert figure["value"] > 0.9
    assert figure["low"] < figure["value"] < figure["high"]


@pytest.mark.real
def test_the_run_says_where_its_weights_came_from(run: RunFolder) -> None:
    about = run.environment()
    assert about["backbone_weights"]["kind"] == "file"
    assert len(about["backbone_weights"]["sha256"]) == 64
    assert not any("UNTRAINED" in note for note in about["notes"])


@pytest.mark.real
def test_another_collection_is_judged_with_the_runs_own_classes(run: RunFolder, shared: Path, tmp_path: Path) -> None:
    other = hilum.evaluate(run.path, [f"kermany:{shared / 'data' / 'kermany-large'}"], out=tmp_path / "same")
    assert len(other.predictions) == (run.manifest()["part"] == "test").sum()
    assert other.metrics["test"]["accuracy"]["value"] == pytest.approx(run.metrics()["test"]["accuracy"]["value"])
