"""Films are decoded in a process of their own, which may die; and the input gate says what it doubts."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from hilum.errors import FilmError
from hilum.recipe.schema import Prepare
from hilum.serve.decoding import Decoder, examined
from serve.serving import png


def test_a_decoder_that_is_stopped_fails_its_film_alone() -> None:
    decoder = Decoder([Prepare(side_px=32)], lungs=False, seconds=0.0)
    decoder.start()
    large = np.random.default_rng(0).integers(0, 255, (3000, 3000), np.uint8)  # not done before it is looked for
    with pytest.raises(FilmError, match="was stopped"):
        decoder(cv2.imencode(".png", large)[1].tobytes())
    decoder._seconds = 60.0
    assert decoder(png(1)).squares[0].shape == (32, 32)
    with pytest.raises(FilmError):
        decoder(b"no film")
    decoder.close()


def test_a_film_is_prepared_as_hilum_predict_does(tmp_path: Path) -> None:
    from hilum.image.prepare import prepare_file

    film = np.random.default_rng(0).integers(0, 255, (900, 700), np.uint8)
    data = cv2.imencode(".jpg", cv2.GaussianBlur(film, (0, 0), 5))[1].tobytes()
    hows = (Prepare(side_px=64), Prepare(side_px=200, keep_aspect=True))
    found = examined(data, hows, lungs=False)
    assert (found.width, found.height, found.kind) == (700, 900, "jpeg")
    for how, square in zip(hows, found.squares, strict=True):
        assert np.array_equal(square, prepare_file(data, how))


def doubts_of(pixels: np.ndarray) -> tuple[str, ...]:
    return examined(cv2.imencode(".bmp", pixels)[1].tobytes(), [Prepare(side_px=32)], lungs=True).doubts


@pytest.mark.real
def test_the_gate_knows_whole_films_cut_ones_and_negatives(shared: Path) -> None:
    paths = sorted((shared / "data/kermany-large/NORMAL").glob("*"))[:6]
    films = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in paths]
    assert sum(not doubts_of(film) for film in films) >= 5
    assert sum("inverted" in " ".join(doubts_of(255 - film)) for film in films) >= 4
    assert all(doubts_of(film[:, : film.shape[1] // 2]) for film in films)
