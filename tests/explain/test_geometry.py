"""A map laid on the film lies where the network saw what it is of."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from hilum.data import phantom
from hilum.explain.geometry import place_of
from hilum.image.prepare import prepare
from hilum.recipe.schema import Prepare

HOWS = {
    "stretched": Prepare(side_px=64),
    "padded": Prepare(side_px=64, keep_aspect=True),
    "centre": Prepare(side_px=64, centre_crop=0.7),
    "centre, padded": Prepare(side_px=64, centre_crop=0.6, keep_aspect=True),
}


@pytest.mark.parametrize("name", HOWS)
@pytest.mark.parametrize("shape", [(200, 120), (90, 260), (40, 50)])
def test_a_spot_comes_back_to_where_it_was(name: str, shape: tuple[int, int]) -> None:
    # What `prepare` shows the network, taken as a map and laid back, is the film again wherever it was shown.
    film = np.zeros(shape, np.uint8)
    height, width = shape
    row, column = round(0.6 * height), round(0.4 * width)
    film[row - height // 12 : row + height // 12, column - width // 12 : column + width // 12] = 255
    back = place_of(film, HOWS[name]).on_film(prepare(film, HOWS[name]).astype(np.float32))
    assert back.shape == shape
    rows, columns = np.indices(shape)
    assert abs(float((rows * back).sum() / back.sum()) - (row - 0.5)) < 0.02 * height + 0.5
    assert abs(float((columns * back).sum() / back.sum()) - (column - 0.5)) < 0.02 * width + 0.5


@pytest.mark.parametrize("name", HOWS)
@pytest.mark.parametrize("shape", [(200, 120), (90, 260)])
def test_a_mask_lies_on_the_square_where_prepare_shows_what_it_is_of(name: str, shape: tuple[int, int]) -> None:
    film = np.zeros(shape, np.uint8)
    cv2.ellipse(film, (shape[1] // 2, shape[0] // 2), (shape[1] // 5, shape[0] // 4), 0, 0, 360, 255, cv2.FILLED)
    shown = prepare(film, HOWS[name]) >= 128
    found = place_of(film, HOWS[name]).on_square(film > 0)
    assert (shown != found).sum() < 0.05 * shown.sum()


def test_a_film_cut_to_its_lungs_comes_back_to_their_box() -> None:
    film = phantom.film(7, side_px=256).pixels
    how = Prepare(side_px=128, lungs="crop")
    place = place_of(film, how)
    back = place.on_film(prepare(film, how).astype(np.float32))
    assert film[place.film].size < 0.9 * film.size
    assert np.abs(back[place.film] - film[place.film].astype(float)).mean() < 6
    outside = np.ones(film.shape, bool)
    outside[place.film] = False
    assert not back[outside].any()


def test_a_map_of_another_side_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(64, 64\), not \(32, 32\)"):
        place_of(np.zeros((90, 90), np.uint8), HOWS["padded"]).on_film(np.zeros((32, 32), np.float32))
