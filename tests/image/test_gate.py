"""The input gate: what is no whole, upright frontal film of a chest is warned of, and good films are let through."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hilum.image.decode import decode
from hilum.image.dicom import DicomHeader
from hilum.image.gate import warnings_of
from hilum.image.prepare import lungs_of


def test_a_film_without_lungs_is_warned_of() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (200, 200), dtype=np.uint8)
    assert [each.kind for each in warnings_of(noise)] == ["no lungs"]


def test_a_view_that_is_not_frontal_is_named() -> None:
    warned = warnings_of(np.zeros((128, 128), np.uint8), DicomHeader(view="lateral"))
    assert [each.kind for each in warned] == ["not frontal", "no lungs"]
    assert str(warned[0]) == "not frontal: its view is lateral"


def frontal(shared: Path, count: int) -> list[np.ndarray]:
    """Frontal films of adults, whose lungs are believed."""
    films = sorted((shared / "data" / "darkcovidnet" / "No_findings").iterdir())[: 2 * count]
    pixels = [decode(film).pixels for film in films]
    return [each for each in pixels if not lungs_of(each).doubt][:count]


@pytest.mark.real
def test_inverted_and_cut_off_films_are_named_as_such(shared: Path) -> None:
    films = frontal(shared, 12)
    inverted = [[each.kind for each in warnings_of(255 - film)] for film in films]
    assert sum(kinds == ["inverted"] for kinds in inverted) >= 10
    cut = []
    for film in films:
        rows = np.flatnonzero(lungs_of(film).mask(*film.shape).any(axis=1))
        cut.append(bool(warnings_of(film[: int(rows[0] + 0.7 * (rows[-1] - rows[0]))])))
    assert sum(cut) >= 9


@pytest.mark.real
def test_lateral_films_are_warned_of_and_frontal_films_are_not(shared: Path) -> None:
    cohen = shared / "data" / "cohen"
    rows = pd.read_csv(cohen / "metadata.csv")
    lateral = [cohen / "images" / name for name in rows.loc[rows["view"] == "L", "filename"]]
    lateral = [path for path in lateral if path.is_file()][:15]
    assert all(warnings_of(decode(path).pixels) for path in lateral)
    assert sum(bool(warnings_of(film)) for film in frontal(shared, 12)) <= 2
