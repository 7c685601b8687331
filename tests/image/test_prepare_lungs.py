"""Films cut to their lungs: crop, mask, and the whole film where the lungs are doubted."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from hilum.errors import WeightsError
from hilum.image import lungs
from hilum.image import prepare as module
from hilum.image.cache import PreparedCache
from hilum.image.lungs import Lungs
from hilum.image.prepare import prepare, prepared, prepared_file, settled
from hilum.recipe.schema import Prepare
from image.lung_pictures import PAIR


@pytest.fixture
def film(monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """128 x 128: noise of 80 to 120 in the lungs, of 150 to 250 around; its lungs are found where they are."""
    monkeypatch.setattr(module, "lungs_of", lambda pixels: Lungs(PAIR, ""))
    inside = Lungs(PAIR, "").mask(128, 128)
    rng = np.random.default_rng(0)
    return np.where(inside, rng.integers(80, 121, (128, 128)), rng.integers(150, 251, (128, 128))).astype(np.uint8)


def test_a_crop_is_the_lungs_box_as_if_the_film_had_been_cut_by_hand(film: np.ndarray) -> None:
    rows, columns = Lungs(PAIR, "").box_with_margin(128, 128)
    by_hand = prepare(np.ascontiguousarray(film[rows, columns]), Prepare(side_px=48))
    np.testing.assert_array_equal(prepare(film, Prepare(side_px=48, lungs="crop")), by_hand)


def test_a_mask_blanks_what_is_outside_the_lungs_and_nothing_inside(film: np.ndarray) -> None:
    masked = prepare(film, Prepare(side_px=128, lungs="mask"))
    inside = Lungs(PAIR, "").mask_with_margin(128, 128)
    assert (masked[~inside] == 0).all()
    np.testing.assert_array_equal(masked[inside], film[inside])


@pytest.mark.parametrize("equalise", ["histogram", "clahe"])
def test_nothing_outside_the_lungs_changes_a_grey_value_inside(film: np.ndarray, equalise: str) -> None:
    how = Prepare(side_px=128, lungs="mask", equalise=equalise)
    outside = ~Lungs(PAIR, "").mask_with_margin(128, 128)
    marked = film.copy()
    marked[:10, :30] = 255  # a letter in the corner
    assert outside[:10, :30].all()
    np.testing.assert_array_equal(prepare(film, how), prepare(marked, how))
    assert (prepare(film, how)[outside] == 0).all()


@pytest.mark.parametrize("kind", ["crop", "mask"])
def test_a_film_whose_lungs_are_doubted_stays_whole_and_says_why(
    film: np.ndarray, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "lungs_of", lambda pixels: Lungs(PAIR, "only one lung is seen"))
    made = prepared(film, Prepare(side_px=48, lungs=kind))
    assert made.doubt == "only one lung is seen"
    np.testing.assert_array_equal(made.pixels, prepare(film, Prepare(side_px=48)))


def test_doubts_are_remembered_with_the_prepared_films(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    films = []
    for number, grey in enumerate((60, 200)):
        path = tmp_path / f"{number}.png"
        cv2.imwrite(str(path), np.full((128, 128), grey, np.uint8))
        films.append((path, hashlib.sha256(path.read_bytes()).hexdigest()))
    monkeypatch.setattr(module, "lungs_of", lambda pixels: Lungs(PAIR, "too bright" if pixels[0, 0] > 100 else ""))
    cache = PreparedCache(Prepare(side_px=32, lungs="crop"))
    assert cache.ensure(films).doubts == {1: "too bright"}
    monkeypatch.undo()
    assert PreparedCache(Prepare(side_px=32, lungs="crop"), cache.folder.parent.parent).ensure(films).doubts == {
        1: "too bright"
    }


def test_settings_that_ask_for_lungs_name_the_network_and_refuse_another(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settled(Prepare()) == Prepare()
    filled = settled(Prepare(lungs="crop"))
    assert filled.lungs_network == lungs.network_of().fingerprint
    assert settled(filled) == filled
    with pytest.raises(WeightsError, match="cut to their lungs by the lung network 0123"):
        settled(Prepare(lungs="crop", lungs_network="0123"))
    assert PreparedCache(Prepare(lungs="crop")).how == filled


@pytest.mark.real
def test_a_real_film_prepared_from_its_file_is_cut_to_its_lungs(shared: Path) -> None:
    path = next(iter(sorted((shared / "data/kermany-large/NORMAL").glob("*.jpeg"))))
    made = prepared_file(path, Prepare(side_px=96, lungs="mask"))
    assert made.doubt == ""
    assert 0.2 < (made.pixels > 0).mean() < 0.7
