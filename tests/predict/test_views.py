"""Two views of a film in a run: fitted, predicted and judged with, and stored with the weights."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

import hilum
from hilum.evaluation.run_folder import RunFolder
from hilum.model.classifier import read_metadata
from hilum.model.engine import views


@pytest.mark.usefixtures("no_pages")
def test_a_run_with_flip_says_the_same_of_a_film_and_of_its_mirror_image(
    phantoms: Path, small: tuple[str, ...], tmp_path: Path
) -> None:
    settings = [*small, "stage.epochs=1", "predict.flip=true", "predict.engine=torch"]
    run = RunFolder(hilum.train(data=str(phantoms), settings=settings, out=tmp_path / "run").path)
    assert read_metadata(run.weights_path)["flip"] is True
    assert run.environment()["engine"] == "torch"
    rows = run.manifest().head(3)
    predictor = hilum.load(run.path)
    columns = [f"p_{name}" for name in predictor.classes]
    found = predictor.predict(rows["path"].tolist())[columns].to_numpy(float)
    own = run.predictions().set_index("image_id").loc[rows["image_id"], columns].to_numpy(float)
    np.testing.assert_allclose(found, own, atol=1e-4)
    mirrored = tmp_path / "mirrored.png"
    cv2.imwrite(str(mirrored), cv2.imread(rows["path"].iloc[0], cv2.IMREAD_GRAYSCALE)[:, ::-1])
    np.testing.assert_allclose(predictor.predict(mirrored)[columns].to_numpy(float)[0], found[0], atol=1e-4)


def test_views_are_enlarged_and_reduced_about_the_middle() -> None:
    film = np.zeros((1, 101, 101), np.uint8)
    film[0, 30:71, 30:71] = 200  # a square of 41 px around the middle, (50, 50)
    large, small = views(film, flip=False, zoom=0.2)
    for seen, factor in ((large, 1.2), (small, 0.8)):
        rows, columns = np.nonzero(seen[0] > 100)
        assert (rows.min() + rows.max(), columns.min() + columns.max()) == (100, 100)
        assert abs((np.ptp(rows) + 1) - 41 * factor) <= 1.0


def test_the_reduced_view_is_the_mirrored_one() -> None:
    film = np.zeros((1, 64, 64), np.uint8)
    film[0, 20:40, 5:15] = 255  # on the left
    enlarged, reduced = views(film, flip=True, zoom=0.05)
    assert np.argmax(enlarged[0].sum(axis=0)) < 32 < np.argmax(reduced[0].sum(axis=0))


def test_a_run_records_its_engine_and_predicts_alike_with_both(small_run: Path) -> None:
    run = RunFolder(small_run)
    engine = run.environment()["engine"]
    assert engine in ("torch", "openvino")
    paths = run.manifest()["path"].head(6).tolist()
    table = {name: hilum.load(small_run, engine=name).predict(paths) for name in {"torch", engine}}
    p = [each.filter(like="p_").to_numpy(float) for each in table.values()]
    np.testing.assert_allclose(p[0], p[-1], atol=1e-4)
