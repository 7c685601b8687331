"""The page and the section of maps say first what matters, from files alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hilum.errors import DataError
from hilum.files import write_json, write_text
from hilum.report.maps import read, verdict, write_page
from hilum.report.overlay import colour_scale, overlay, webp


def figure(value: float) -> dict[str, Any]:
    return {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 40, "patients": 30}


def method(inside: float | None, *, spearman: float = 0.1, ssim: float = 0.2) -> dict[str, Any]:
    figures = {} if inside is None else {"inside_lungs": figure(inside), "lungs_area": figure(0.35)}
    survives = max(spearman, ssim) >= 0.5
    check = {"spearman": spearman, "ssim": ssim, "n": 48, "draws": 2, "most": 0.5, "survives": survives}
    about = {"title": "Grad-CAM", "unit": "logits", "meaning": "what it is", "source": "a paper", "top": 8.0}
    return {**about, "check": check, "figures": {"all films": figures}}


def made(folder: Path, of_method: dict[str, Any], label: str = "ill") -> str:
    """maps.html of one film."""
    write_json(
        folder / "explanations.json",
        {
            "run": "first", "classes": ["ill", "well"], "part": "test", "films_of_part": 50, "class": None, "films": 1,
            "failed": 0, "doubted": 0, "interval": 0.95, "bootstrap": 1000, "methods": {"grad-cam": of_method},
        },
    )  # fmt: skip
    write_text(
        folder / "explanations.csv",
        "image_id,path,patient_id,source,label,class,method,verdict,inside_lungs,lungs_area,pointing,inside_finding,"
        "peak,logit,doubt,error,picture,overlay,p_ill,p_well\n"
        f"a/1,1.png,,a,{label},ill,grad-cam,outside,0.2,0.3,,,4.0,3.0,,,pictures/1.webp,pictures/1-grad-cam.webp,0.9,0.1\n",
    )
    (folder / "pictures").mkdir(exist_ok=True)
    (folder / "pictures" / "1-grad-cam.webp").write_bytes(webp(np.zeros((9, 9, 3), np.uint8)))
    write_page(folder)
    return (folder / "maps.html").read_text(encoding="utf-8")


def test_over_half_outside_the_lungs_is_said_first_with_n_and_interval(tmp_path: Path) -> None:
    page = made(tmp_path, method(0.3))
    assert "Over half of what speaks for the classes lies outside the lungs." in page
    assert "0.300 [0.200, 0.400], n = 40 films of 30 patients" in page
    assert "The lungs are 0.350 of the pictures" in page
    assert verdict(method(0.5))["line"].endswith("inside the lungs.")
    assert not verdict(method(0.6))["warn"]


@pytest.mark.parametrize("alike", [{"spearman": 0.5}, {"ssim": 0.9}])
def test_a_method_that_survives_random_weights_is_refused_and_shows_no_map(
    alike: dict[str, float], tmp_path: Path
) -> None:
    page = made(tmp_path, method(0.9, **alike))
    assert "Grad-CAM is refused for this network" in page
    assert "<article" not in page
    assert "Colour scale" not in page


def test_lungs_of_no_film_are_unknown_not_0(tmp_path: Path) -> None:
    page = made(tmp_path, method(None))
    assert "unknown: no film has believable lungs" in page


def test_the_words_of_strangers_stay_words(tmp_path: Path) -> None:
    page = made(tmp_path, method(0.3), label="<script>alert(1)</script>")
    assert "<script" not in page
    assert "&lt;script" in page


def test_a_picture_that_is_gone_is_said_and_files_that_are_broken_are_refused(tmp_path: Path) -> None:
    assert "No picture" in made(tmp_path, method(0.3))
    (tmp_path / "explanations.json").write_text("{")
    with pytest.raises(DataError, match="explanations cannot be read"):
        read(tmp_path)


def test_a_weak_map_looks_weak_and_what_speaks_against_the_class_is_not_drawn() -> None:
    film = np.full((40, 40), 100, np.uint8)
    against, weak, strong = (
        overlay(film, np.full((40, 40), value), 10.0).astype(int) - 100 for value in (-5.0, 0.5, 10.0)
    )
    assert not against.any()
    assert np.abs(weak).max() < 10 < 100 < np.abs(strong).max()


def test_the_scale_gets_brighter_all_the_way() -> None:
    scale = colour_scale().astype(float)[0]
    assert (np.diff(scale @ [0.299, 0.587, 0.114]) > -1.5).all()
    assert scale[-1].sum() > 2 * scale[0].sum()
