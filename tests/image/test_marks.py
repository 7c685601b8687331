"""Letters and corners: found where they are, blanked where asked, and nothing else touched."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from hilum.image.cache import key_of
from hilum.image.marks import marks_on, without_corners, without_marks
from hilum.image.prepare import prepare
from hilum.recipe.schema import Prepare


def chest(side: int = 400) -> np.ndarray:
    """A bright heart on a grey ground; no letter."""
    film = np.full((side, side), 90, np.uint8)
    cv2.circle(film, (side // 2, side // 2), side // 4, 240, -1)
    return film


def lettered(side: int = 400) -> np.ndarray:
    film = chest(side)
    cv2.putText(film, "R", (side // 20, side // 6), cv2.FONT_HERSHEY_SIMPLEX, side / 300, 255, side // 150)
    return film


def test_a_letter_is_painted_over_and_the_chest_is_not_touched() -> None:
    film, clean = lettered(), chest()
    assert (film != clean).any()
    blank = without_marks(film)
    assert np.abs(blank.astype(int) - clean.astype(int)).max() <= 3
    np.testing.assert_array_equal(without_marks(clean), clean)


@pytest.mark.parametrize("side", [400, 1400])
def test_the_letters_of_a_small_and_of_a_large_film_are_found(side: int) -> None:
    blank = without_marks(lettered(side))
    assert blank[: side // 4, : side // 4].max() < 120


def test_corners_are_black_on_every_film_alike() -> None:
    blank = without_corners(np.full((100, 200), 90, np.uint8))
    corner = np.zeros((15, 30), np.uint8)
    for rows in (slice(0, 15), slice(85, 100)):
        for columns in (slice(0, 30), slice(170, 200)):
            np.testing.assert_array_equal(blank[rows, columns], corner)
    assert (blank > 0).sum() == 100 * 200 - 4 * 15 * 30


def test_the_network_sees_what_was_asked_for_and_the_cache_keeps_it_apart() -> None:
    plain, text, corners = (Prepare(side_px=64, blank=blank) for blank in ([], ["text"], ["corners"]))
    film = lettered()
    assert (prepare(film, plain) != prepare(film, text)).any()
    assert prepare(film, corners)[:9, :9].max() == 0
    np.testing.assert_array_equal(prepare(film, plain), prepare(film, Prepare(side_px=64)))
    assert len({key_of(how) for how in (plain, text, corners)}) == 3


def test_a_ruler_of_ribs_in_the_middle_is_no_mark() -> None:
    film = np.full((300, 300), 90, np.uint8)
    film[140:150, 120:180] = 255
    assert len(marks_on(film).box) == 0
