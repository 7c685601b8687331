"""Crops of films: found whatever was cut off at each edge, and phantoms of other patients are none."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from hilum.data import crops
from hilum.data.crops import crops_among, fitted
from hilum.data.duplicates import find, links
from hilum.data.phantom import collection
from hilum.image.fingerprint import Fingerprint, fingerprint, frequencies


@pytest.fixture(scope="module")
def phantoms() -> list[np.ndarray]:
    return [film.pixels for film in collection(16, seed=3, side_px=192, films_per_patient=(1, 1))]


def cut(film: np.ndarray, top: float, bottom: float, left: float, right: float) -> np.ndarray:
    height, width = film.shape
    return film[
        round(top * height) : height - round(bottom * height), round(left * width) : width - round(right * width)
    ]


def among(prints: list[Fingerprint]) -> set[tuple[int, int]]:
    hashes, sizes = np.array([(one.phash, one.sizes) for one in prints], dtype=object).T
    pairs, _ = crops_among(lambda rows: frequencies(hashes[rows].tolist(), sizes[rows].tolist()), len(prints))
    return {tuple(sorted(map(int, pair))) for pair in pairs}


def test_crops_of_up_to_5_percent_at_each_edge_are_found_and_no_other_film_is_called_one(
    phantoms: list[np.ndarray],
) -> None:
    rng = np.random.default_rng(0)
    crops = [cut(film, *rng.uniform(0.02, 0.05, 4)) for film in phantoms]
    count = len(phantoms)
    found = among([fingerprint(film) for film in [*phantoms, *crops]])
    assert found <= {(number, number + count) for number in range(count)}
    assert len(found) >= 0.85 * count  # phantoms have less in them than films: benchmarks/duplicates.py counts on those


def test_the_same_crops_are_found_however_few_films_are_held_at_a_time(
    phantoms: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    cuts = [cut(film, 0.03, 0.04, 0.02, 0.03) for film in phantoms[:5]]
    prints = [fingerprint(film) for film in [*phantoms, *cuts]]
    found = among(prints)
    assert len(found) >= 4
    for name, count in (("_CHUNK", 8), ("_BLOCK", 16), ("_PORTION", 3)):
        monkeypatch.setattr(crops, name, count)
    assert among(prints) == found


def test_the_best_crop_of_a_film_is_itself_where_nothing_was_cut(phantoms: list[np.ndarray]) -> None:
    one = fingerprint(phantoms[0])
    whole = frequencies([one.phash], [one.sizes])
    assert fitted(whole, whole > 1.0, np.array([[5, 5, 5, 5]])) < 0.05


def test_pairs_that_are_crops_are_named_so_and_chained() -> None:
    film = next(iter(collection(1, seed=3, side_px=192, films_per_patient=(1, 1)))).pixels
    prints = [fingerprint(one) for one in (film, cut(film, 0.04, 0.04, 0.03, 0.02), film[:, ::-1])]
    rows = pd.DataFrame(
        {
            "image_id": ["whole", "cut", "turned"],
            "sha256": ["1", "2", "3"],
            "phash": [one.phash for one in prints],
            "phash_sizes": [one.sizes for one in prints],
        }
    ).astype("string")
    kinds = {(row.image_id_a, row.image_id_b): row.kind for row in find(rows).itertuples()}
    assert kinds[("cut", "whole")] == "cropped"
    assert kinds[("turned", "whole")] == "mirrored"
    assert {0, 1, 2} == set(links(rows).ravel().tolist())
    assert ("cut", "whole") not in {
        (r.image_id_a, r.image_id_b) for r in find(rows.drop(columns="phash_sizes")).itertuples()
    }
