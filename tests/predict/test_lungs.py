"""Masks and overlays of many films; what is no film, and what shows no lungs, is a row that says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from hilum.errors import RequestError, WeightsError
from hilum.image.lungs import Lungs
from hilum.predict import lungs
from image.lung_pictures import PAIR, untrained


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A network that is never asked: lungs are where PAIR has them, except on films darker than 10."""
    path = untrained(tmp_path / "lungs.safetensors")
    monkeypatch.setattr(
        lungs, "lungs_of", lambda pixels, _: Lungs(PAIR, "only one lung is seen" if pixels.max() < 10 else "")
    )
    return path


def _film(path: Path, grey: int, size: tuple[int, int] = (90, 120)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(size, grey, np.uint8)).save(path)
    return path


def test_a_mask_has_its_films_size_and_the_table_its_place(tmp_path: Path, network: Path) -> None:
    film = _film(tmp_path / "films/ward/a.png", 100)
    table = lungs.outline_lungs([tmp_path / "films"], tmp_path / "out", network=network)
    mask = np.asarray(Image.open(tmp_path / "out/masks/ward/a.png"))
    assert mask.shape == (90, 120) and set(np.unique(mask)) == {0, 255}
    assert table["path"].tolist() == [str(film)]
    assert table["area"][0] == pytest.approx((mask > 0).mean(), abs=1e-4)
    assert np.asarray(Image.open(tmp_path / "out/overlays/ward/a.png")).shape == (90, 120, 3)
    assert len(pd.read_csv(tmp_path / "out/lungs.csv")) == 1


def test_a_bad_file_and_a_doubted_film_are_rows_without_a_mask(tmp_path: Path, network: Path) -> None:
    good, dark = _film(tmp_path / "good.png", 100), _film(tmp_path / "dark.png", 5)
    broken = tmp_path / "broken.png"
    broken.write_bytes(good.read_bytes()[:60])
    table = lungs.outline_lungs([good, dark, broken], tmp_path / "out", network=network)
    assert table["mask"].notna().tolist() == [True, False, False]
    assert table["doubt"][1] == "only one lung is seen"
    assert isinstance(table["error"][2], str)
    assert {path.name for path in (tmp_path / "out/masks").iterdir()} == {"good.png"}


def test_films_of_one_name_get_masks_of_two(tmp_path: Path, network: Path) -> None:
    _film(tmp_path / "films/a.png", 100)
    _film(tmp_path / "films/a.jpg", 100)
    table = lungs.outline_lungs([tmp_path / "films"], tmp_path / "out", network=network)
    assert table["mask"].nunique() == 2
    with pytest.raises(RequestError, match="same mask"):
        lungs.outline_lungs(
            [_film(tmp_path / f"{name}/x.png", 100) for name in "abc"], tmp_path / "other", network=network
        )


def test_bad_requests_are_refused_before_any_work(tmp_path: Path, network: Path) -> None:
    with pytest.raises(RequestError, match="no such file"):
        lungs.outline_lungs([tmp_path / "absent.png"], tmp_path / "out", network=network)
    (tmp_path / "empty").mkdir()
    with pytest.raises(RequestError, match="no film"):
        lungs.outline_lungs([tmp_path / "empty"], tmp_path / "out", network=network)
    with pytest.raises(WeightsError):
        lungs.outline_lungs([_film(tmp_path / "a.png", 100)], tmp_path / "out", network=tmp_path / "none.safetensors")
    assert not (tmp_path / "out").exists()


@pytest.mark.real
def test_dicom_that_says_it_is_no_chest_gets_no_mask(shared: Path, tmp_path: Path) -> None:
    table = lungs.outline_lungs([shared / "data/dicom"], tmp_path / "out").set_index("path")
    said = {Path(path).name: row for path, row in table.iterrows()}
    for name in ("cr-extremity-jpeg2000.dcm", "nih-tagged-ct.dcm", "nih-dx-tagged-ribcage.dcm", "nih-position-xx.dcm"):
        assert pd.isna(said[name]["mask"]), name
        assert isinstance(said[name]["doubt"], str) or isinstance(said[name]["error"], str), name
