"""An exported network gives the run's answers, in hilum and in another program, or it is not handed over."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import hilum
from hilum.errors import DataError, HilumError, RequestError, WeightsError
from hilum.image.prepare import prepared_file
from hilum.model.exported import Exported
from hilum.predict import export_run
from hilum.predict.export_run import Export, export
from hilum.predict.predictor import load

# Not by importing it here: `hilum.model.engine` imports it without the part that calls home, if it is the first.
pytestmark = pytest.mark.skipif(find_spec("openvino") is None, reason="openvino is not installed")
needs_nncf = pytest.mark.skipif(find_spec("nncf") is None, reason="nncf is not installed")


@pytest.fixture(scope="module")
def made(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Export:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HILUM_CACHE", str(tmp_path_factory.mktemp("export-cache")))
        return export(small_run, tmp_path_factory.mktemp("exports") / "openvino")


@pytest.fixture
def films(phantoms: Path) -> list[Path]:
    return sorted(file for file in phantoms.parent.rglob("*.png"))[:9]


def softmax(z: np.ndarray) -> np.ndarray:
    raised = np.exp(z - z.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def test_the_exported_folder_predicts_what_the_run_predicts(small_run: Path, made: Export, films: list[Path]) -> None:
    asked = load(small_run, engine="torch").predict(films)
    told = load(made.folder).predict(films)
    pd.testing.assert_frame_equal(asked, told, atol=1e-4, rtol=0)
    assert made.checked.part == "validation" and made.checked.largest_difference <= 1e-4


def test_the_file_travels_alone(made: Export, films: list[Path], tmp_path: Path) -> None:
    for suffix in ("xml", "bin"):
        shutil.copy(made.folder / f"model.{suffix}", tmp_path)
    told = load(tmp_path / "model.xml").predict(films)
    pd.testing.assert_frame_equal(load(made.folder).predict(films), told)


def test_onnx_runtime_alone_gives_the_probabilities_of_the_run(
    small_run: Path, films: list[Path], tmp_path: Path
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    folder = export(small_run, tmp_path / "onnx", runtime="onnx").folder
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    record: dict[str, Any] = json.loads(session.get_modelmeta().custom_metadata_map["hilum"])
    run = load(small_run, engine="torch")
    squares = np.stack([prepared_file(film.read_bytes(), run.preparations[0]).pixels for film in films])
    (z,) = session.run(["logits"], {"films": squares[:, None]})
    table = run.predict(films)
    expected = table[[f"p_{name}" for name in record["classes"]]].to_numpy()
    np.testing.assert_allclose(softmax(z / record["temperature"]), expected, atol=1e-4)
    pd.testing.assert_frame_equal(load(folder).predict(films), table, atol=1e-4, rtol=0)


def test_bfloat16_is_judged_on_validation_and_stores_half_the_bytes(
    small_run: Path, made: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_run, "FALL", 1.0)
    half = export(small_run, tmp_path / "half", precision="bfloat16")
    sizes = [(each.folder / "model.bin").stat().st_size for each in (half, made)]
    assert sizes[0] < 0.6 * sizes[1]
    assert half.checked.films == (pd.read_csv(small_run / "predictions.csv")["part"] == "validation").sum()
    assert half.checked.of_run is not None and half.checked.balanced_accuracy is not None


@needs_nncf
def test_int8_that_loses_too_much_is_refused_and_leaves_nothing(
    small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def worse(y: np.ndarray, z: np.ndarray) -> float:
        asked.append(z)
        return 0.9 if len(asked) == 2 else 0.894  # the file is judged first, then the run

    monkeypatch.setattr(export_run, "_balanced_accuracy", worse)
    with pytest.raises(HilumError, match=r"int8 loses too much: .* 0\.8940, in float32 0\.9000.*--precision bfloat16"):
        export(small_run, tmp_path / "int8", precision="int8")
    assert len(asked) == 2 and list(tmp_path.iterdir()) == []


@needs_nncf
def test_int8_whose_loss_is_allowed_is_written_and_predicts(
    small_run: Path, films: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_run, "FALL", 1.0)
    made = export(small_run, tmp_path / "int8", precision="int8")
    assert "FakeQuantize" in (made.folder / "model.xml").read_text()
    assert load(made.folder).predict(films)["error"].isna().all()


def test_weights_without_their_films_are_compared_on_synthetic_ones(small_run: Path, tmp_path: Path) -> None:
    shutil.copy(small_run / "weights.safetensors", tmp_path / "mine.safetensors")
    made = export(tmp_path / "mine.safetensors", tmp_path / "out")
    assert made.checked.part == "synthetic"
    with pytest.raises(DataError, match="films, which are not here"):
        export(tmp_path / "mine.safetensors", tmp_path / "int8", precision="int8")


def test_what_cannot_be_exported_is_refused_with_what_can(small_run: Path, made: Export, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="not in int8"):
        export(small_run, tmp_path / "x", runtime="onnx", precision="int8")
    with pytest.raises(RequestError, match="not empty"):
        export(small_run, made.folder)
    with pytest.raises(RequestError, match="single network"):
        export(made.folder, tmp_path / "x")


def test_an_exported_network_says_what_it_cannot_do(made: Export) -> None:
    with pytest.raises(RequestError, match="OpenVINO computes exported networks"):
        load(made.folder, engine="torch")
    with pytest.raises(RequestError, match="only predicts"):
        _ = load(made.folder).networks[0].engine.classifier
    with pytest.raises(RequestError):
        hilum.evaluate(made.folder, data="films")


def test_a_broken_or_foreign_file_is_refused(made: Export, tmp_path: Path) -> None:
    text = (made.folder / "model.xml").read_text()
    shutil.copy(made.folder / "model.bin", tmp_path / "model.bin")
    (tmp_path / "model.xml").write_text(text[: len(text) // 2])
    with pytest.raises(WeightsError, match="no whole exported network"):
        Exported(tmp_path / "model.xml")
    (tmp_path / "model.xml").write_text(text.replace("<hilum", "<other"))
    with pytest.raises(WeightsError, match="not exported by hilum"):
        Exported(tmp_path / "model.xml")
