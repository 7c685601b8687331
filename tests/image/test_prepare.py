"""Preparing a film: crop, resize, equalise, pad, in that order and always the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hilum.errors import FilmError
from hilum.image.prepare import prepare, prepare_file
from hilum.recipe.schema import Prepare
from image.made_files import saved


def test_shrinking_averages_every_pixel() -> None:
    checks = np.indices((64, 64)).sum(axis=0) % 2 * 200  # 0 and 200 in turn: an average of 100 everywhere
    assert np.unique(prepare(checks.astype(np.uint8), Prepare(side_px=16))).tolist() == [100]


def test_a_film_that_shrinks_one_way_and_grows_the_other_is_averaged_the_way_it_shrinks() -> None:
    stripes = np.tile(np.array([0, 200], np.uint8), (16, 64))  # 16 high, 128 wide
    assert np.unique(prepare(stripes, Prepare(side_px=32))).tolist() == [100]


@pytest.mark.parametrize(
    ("shape", "rows", "columns"), [((20, 40), slice(8, 24), slice(0, 32)), ((40, 20), slice(0, 32), slice(8, 24))]
)
def test_kept_aspect_is_centred_on_black(shape: tuple[int, int], rows: slice, columns: slice) -> None:
    square = prepare(np.full(shape, 90, np.uint8), Prepare(side_px=32, keep_aspect=True))
    expected = np.zeros((32, 32), np.uint8)
    expected[rows, columns] = 90
    np.testing.assert_array_equal(square, expected)


def test_aspect_not_kept_fills_the_square() -> None:
    assert (prepare(np.full((20, 40), 90, np.uint8), Prepare(side_px=32)) == 90).all()


def test_the_centre_is_cropped_before_resizing() -> None:
    film = np.zeros((80, 40), np.uint8)
    film[20:60, 10:30] = 255  # exactly the middle half of each side
    assert (prepare(film, Prepare(side_px=16, centre_crop=0.5)) == 255).all()
    assert prepare(film, Prepare(side_px=16, centre_crop=0.6)).min() < 255


def test_histogram_equalisation_follows_the_cumulative_share() -> None:
    # Four values of 64 pixels each: (cumulative - first) / (all - first) * 255 = 0, 85, 170, 255.
    film = np.repeat(np.array([10, 11, 12, 13], np.uint8), 64).reshape(16, 16)
    equalised = prepare(film, Prepare(side_px=16, equalise="histogram"))
    assert np.unique(equalised).tolist() == [0, 85, 170, 255]


def test_padding_does_not_take_part_in_equalisation() -> None:
    half = np.repeat(np.array([10, 11], np.uint8), 128).reshape(8, 32)
    square = prepare(half, Prepare(side_px=32, keep_aspect=True, equalise="histogram"))
    assert np.unique(square[12:20]).tolist() == [0, 255]
    assert square[:12].max() == square[20:].max() == 0


def test_clahe_raises_local_contrast_and_leaves_the_mean_about_where_it_was() -> None:
    rng = np.random.default_rng(0)
    dull = np.clip(rng.normal(120, 4, (64, 64)), 0, 255).astype(np.uint8)
    clear = prepare(dull, Prepare(side_px=64, equalise="clahe"))
    assert clear.std() > 1.5 * dull.std()
    assert abs(float(clear.mean()) - float(dull.mean())) < 20


def test_what_is_no_film_is_refused() -> None:
    with pytest.raises(ValueError, match="uint8"):
        prepare(np.zeros((20, 20)), Prepare())
    with pytest.raises(FilmError, match=r"a\.png"):
        prepare_file(b"", Prepare(), where="a.png")


@pytest.mark.parametrize("crop", [1.0, 0.5])
def test_a_film_decoded_smaller_is_prepared_almost_the_same(crop: float) -> None:
    y, x = np.mgrid[:1200, :1500] / 150.0
    smooth = (127 + 60 * np.sin(x) + 60 * np.cos(y)).astype(np.uint8)
    how = Prepare(side_px=128, centre_crop=crop)
    small = prepare_file(saved(Image.fromarray(smooth), "JPEG", quality=95), how)
    assert np.abs(small.astype(int) - prepare(smooth, how)).mean() < 1.0


@pytest.mark.real
def test_real_films_decoded_smaller_are_prepared_almost_the_same(shared: Path) -> None:
    how, differences = Prepare(side_px=64), []
    for file in sorted((shared / "data/cohen/images").glob("*.jp*g"))[::30]:
        with Image.open(file) as image:
            whole = prepare(np.asarray(image.convert("L")), how)
        differences.append(np.abs(prepare_file(file, how).astype(int) - whole).mean())
    assert np.mean(differences) < 1.0
    assert np.max(differences) < 2.0  # of 255 grey levels
