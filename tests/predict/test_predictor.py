"""Prediction from files: order, folders, DICOM, errors as rows, and the same numbers whatever comes along."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

import hilum
from hilum.errors import RequestError, WeightsError
from hilum.predict.films import films_of


def some_films(phantoms: Path, count: int) -> list[Path]:
    return sorted(path for path in phantoms.parent.glob("films/*/*"))[:count]


def test_rows_come_in_the_order_of_the_paths(small_run: Path, phantoms: Path) -> None:
    films = some_films(phantoms, 40)[::-1]
    table = hilum.load(small_run).predict(films)
    assert table["path"].tolist() == [str(film) for film in films]
    assert table["error"].isna().all()


def test_a_film_gets_the_same_probabilities_alone_and_among_others(small_run: Path, phantoms: Path) -> None:
    films = some_films(phantoms, 40)
    predictor = hilum.load(small_run)
    columns = [f"p_{name}" for name in predictor.classes]
    together = predictor.predict(films)[columns].to_numpy(float)
    alone = predictor.predict([films[7]])[columns].to_numpy(float)
    np.testing.assert_allclose(alone[0], together[7], atol=1e-5)


def test_probabilities_add_up_to_one_and_the_largest_is_predicted(small_run: Path, phantoms: Path) -> None:
    table = hilum.load(small_run).predict(some_films(phantoms, 10))
    p = table.filter(like="p_")
    np.testing.assert_allclose(p.sum(axis=1), 1.0)
    assert table["predicted"].tolist() == [name.removeprefix("p_") for name in p.idxmax(axis=1)]


def test_a_folder_stands_for_its_files_but_hidden_ones(tmp_path: Path) -> None:
    for name in ("b.png", "sub/a.dcm", ".hidden", ".git/x", "__MACOSX/b.png", "Thumbs.db", "DICOMDIR"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [path.relative_to(tmp_path).as_posix() for path in films_of([tmp_path])] == ["b.png", "sub/a.dcm"]


def test_a_path_that_is_not_there_and_an_empty_folder_are_refused(small_run: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"gone\.png: there is no such file or folder\. Correct the path"):
        hilum.load(small_run).predict([tmp_path / "gone.png"])
    with pytest.raises(RequestError, match="no file here"):
        hilum.load(small_run).predict([tmp_path])


def test_one_path_may_stand_alone(small_run: Path, phantoms: Path) -> None:
    film = some_films(phantoms, 1)[0]
    predictor = hilum.load(small_run)
    assert predictor.predict(film).equals(predictor.predict(str(film)))
    assert len(predictor.predict(iter([film]))) == 1


def test_a_broken_weights_file_is_refused(small_run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "weights.safetensors"
    shutil.copy(small_run / "weights.safetensors", copy)
    copy.write_bytes(copy.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="no whole safetensors"):
        hilum.load(copy)


@pytest.mark.real
def test_dicom_objects_that_are_no_chest_film_are_rows_with_their_reason(small_run: Path, shared: Path) -> None:
    table = hilum.load(small_run).predict([shared / "data" / "dicom"])
    errors = {Path(path).stem: error for path, error in zip(table["path"], table["error"], strict=True)}
    refused = {name for name, error in errors.items() if isinstance(error, str)}
    assert refused == {"cr-extremity-jpeg2000", "nih-tagged-ct", "nih-dx-tagged-ribcage", "nih-position-xx"}
    assert "RIBCAGE" in errors["nih-dx-tagged-ribcage"]


def test_what_is_no_chest_is_predicted_with_a_warning_and_without_one_where_nobody_looks(
    small_run: Path, phantoms: Path, tmp_path: Path
) -> None:
    noise = tmp_path / "noise.png"
    cv2.imwrite(str(noise), np.random.default_rng(0).integers(0, 255, (200, 200), dtype=np.uint8))
    predictor = hilum.load(small_run)
    table = predictor.predict([noise])
    assert table["warnings"][0].startswith("no lungs: ")
    assert table["predicted"].notna().all()
    assert predictor.predict([noise], gate=False)["warnings"].isna().all()


def test_the_classes_that_are_possible_are_those_of_the_validation_films_threshold(
    small_run: Path, phantoms: Path, tmp_path: Path
) -> None:
    # A run that gave the truth of 100 validation films 0.01, 0.02 ... 1: of 101 x 0.9 the 91st largest is 0.10.
    run = Path(shutil.copytree(small_run, tmp_path / "run"))
    predictor = hilum.load(run)
    truth = np.arange(1, 101) / 100
    rows = {"image_id": [str(i) for i in range(100)], "part": "validation", "label": predictor.classes[0]}
    rest = (1 - truth) / (len(predictor.classes) - 1)
    rows |= {f"p_{name}": rest if k else truth for k, name in enumerate(predictor.classes)}
    pd.DataFrame(rows).to_csv(run / "predictions.csv", index=False)
    fitted = hilum.load(run)
    assert fitted.sets is not None
    assert fitted.sets.thresholds == pytest.approx([0.10] * len(predictor.classes))
    table = fitted.predict(some_films(phantoms, 5), gate=False)
    for _, row in table.iterrows():
        asked = [name for name in predictor.classes if row[f"p_{name}"] >= 0.10]
        assert row["possible"] == " or ".join(asked)


def test_without_a_hundred_validation_films_no_set_is_promised(small_run: Path) -> None:
    assert hilum.load(small_run / "weights.safetensors").sets is None
