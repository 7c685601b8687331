"""`hilum explain` on a run of seconds: its files, its figures, and what it does with files that are no film."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from hilum.data import phantom
from hilum.data.manifest import read_manifest, write_manifest
from hilum.data.readers import cohen
from hilum.errors import FilmError, RequestError
from hilum.explain.explainer import Explainer, FilmMap
from hilum.explain.run import COLUMNS, Explained, explain_films, explain_part


@pytest.fixture(scope="module")
def found(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Explained:
    return explain_part(
        small_run, methods=["grad-cam", "eigen-cam"], films=6, out=tmp_path_factory.mktemp("out"), workers=1
    )


def film_file(path: Path, seed: int = 1) -> Path:
    Image.fromarray(phantom.film(seed, side_px=160).pixels).save(path)
    return path


def hand() -> np.ndarray:
    """A palm and five fingers, bright on black."""
    picture = np.zeros((300, 260), np.uint8)
    cv2.ellipse(picture, (130, 210), (60, 70), 0, 0, 360, 170, cv2.FILLED)
    for x, y, lean in ((40, 150, -50), (80, 60, -15), (120, 40, 0), (160, 50, 10), (200, 80, 25)):
        cv2.ellipse(picture, (x, y), (13, 75), lean, 0, 360, 150, cv2.FILLED)
    return picture


def test_every_film_has_a_row_for_each_method_and_every_class_its_films(found: Explained) -> None:
    table = pd.read_csv(found.path / "explanations.csv")
    assert list(table.columns) == [*COLUMNS, "p_covid-19", "p_pneumonia", "p_normal"]
    assert table.groupby("image_id")["method"].apply(list).map(tuple).unique().tolist() == [("grad-cam", "eigen-cam")]
    assert table["label"].value_counts().nunique() == 1  # as many of each class
    assert set(table["verdict"]) <= {"inside", "outside", "lungs unknown", "flat", "refused"}


def test_probabilities_are_those_of_the_run(found: Explained, small_run: Path) -> None:
    predictions = pd.read_csv(small_run / "predictions.csv").set_index("image_id")
    for row in found.table.to_dict("records"):
        assert row["p_normal"] == pytest.approx(predictions.loc[row["image_id"], "p_normal"], abs=1e-4)
        assert row["class"] == predictions.loc[row["image_id"], "predicted"]


def test_means_by_class_are_the_means_of_the_rows_with_their_n(found: Explained) -> None:
    summary = json.loads((found.path / "explanations.json").read_text())
    table = found.table[found.table["method"] == "grad-cam"]
    for name in ("normal", "covid-19"):
        rows = table.loc[table["label"] == name, "insertion"]
        figure = summary["methods"]["grad-cam"]["figures"][name]["insertion"]
        assert figure["n"] == len(rows)
        assert figure["value"] == pytest.approx(rows.mean())
        assert figure["low"] <= figure["value"] <= figure["high"]


def test_lungs_that_are_not_believed_are_unknown_and_counted(found: Explained) -> None:
    doubted = found.table["doubt"].notna()
    assert found.table.loc[doubted, ["inside_lungs", "lungs_area"]].isna().all().all()
    assert found.summary["doubted"] == found.table.loc[doubted, "image_id"].nunique()


def test_the_page_needs_nothing_but_itself(found: Explained) -> None:
    page = (found.path / "maps.html").read_text()
    assert "Over half of what speaks for the classes lies" in page or "no film has believable lungs" in page
    assert "Not a medical device" in page
    assert page.count("data:image/webp") >= 12
    assert "http://" not in page


def test_a_class_may_be_asked_for_and_an_unknown_one_is_refused(small_run: Path, tmp_path: Path) -> None:
    asked = explain_part(small_run, class_="normal", films=3, out=tmp_path / "out", workers=1)
    assert set(asked.table["class"]) == {"normal"}
    with pytest.raises(RequestError, match="no class 'flu'"):
        explain_part(small_run, class_="flu", out=tmp_path / "flu")
    with pytest.raises(RequestError, match="no method 'jet'"):
        explain_part(small_run, methods=["jet"], out=tmp_path / "jet")
    with pytest.raises(RequestError, match="no part 'exam'"):
        explain_part(small_run, part="exam", out=tmp_path / "exam")
    assert not (tmp_path / "flu").exists()


def test_a_map_on_the_film_has_the_film_s_own_pixels(small_run: Path, tmp_path: Path) -> None:
    path = film_file(tmp_path / "film.png")
    out = explain_films(small_run, [path], out=tmp_path / "out", workers=1)
    (drawn,) = (tmp_path / "out" / "overlays").iterdir()
    assert Image.open(drawn).size == Image.open(path).size
    assert out.table["label"].isna().all()
    ((_, made),) = Explainer(small_run).maps([path])
    assert isinstance(made, FilmMap)
    assert made.on_film().shape == Image.open(path).size[::-1]
    assert made.heat.dtype == np.float32


def test_what_is_no_film_of_a_chest_is_flagged_and_the_others_go_on(small_run: Path, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((300, 300), np.uint8)).save(tmp_path / "blank.png")
    Image.fromarray(hand()).save(tmp_path / "hand.png")
    Image.fromarray(phantom.film(1, side_px=64).pixels[:40, :40]).save(tmp_path / "tiny.png")
    (tmp_path / "broken.png").write_bytes(film_file(tmp_path / "good.png").read_bytes()[:200])
    paths = [tmp_path / f"{name}.png" for name in ("blank", "hand", "tiny", "broken", "good")]
    out = explain_films(small_run, paths, out=tmp_path / "out", workers=1)
    rows = out.table.set_index("image_id")
    for path in paths[:3]:
        assert rows.loc[str(path), "verdict"] not in ("inside", "outside")
        assert isinstance(rows.loc[str(path), "doubt"], str)
        assert pd.isna(rows.loc[str(path), "inside_lungs"])
    assert rows.loc[str(paths[3]), "verdict"] == "not explained"
    assert isinstance(rows.loc[str(paths[3]), "error"], str)
    assert pd.isna(rows.loc[str(paths[4]), "error"])
    page = (tmp_path / "out" / "maps.html").read_text()
    assert "40 x 40 pixels" in page
    assert "1 of 5 films could not be explained" in page


def test_films_of_which_none_can_be_read_leave_a_table_of_errors(small_run: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    out = explain_films(small_run, [tmp_path / "broken.png"], out=tmp_path / "out", workers=1)
    assert out.summary["failed"] == out.summary["films"] == 1
    assert (tmp_path / "out" / "maps.html").is_file()


def test_a_finding_s_mask_of_another_size_is_refused(small_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(small_run, tmp_path / "run"))
    mask = tmp_path / "mask.png"
    Image.fromarray(np.full((20, 30), 255, np.uint8)).save(mask)
    write_manifest(read_manifest(run / "manifest.parquet").assign(finding_mask=str(mask)), run / "manifest.parquet")
    with pytest.raises(RequestError, match="finding's mask has 30 x 20 pixels"):
        explain_part(run, films=3, workers=1)


def test_a_run_without_a_network_of_its_own_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no run folder"):
        Explainer(tmp_path)


@pytest.mark.real
def test_laterals_ct_slices_and_hands_are_flagged(shared: Path, small_run: Path) -> None:
    films = cohen.read(shared / "data" / "cohen")
    lateral = films[(films["view"] == "lateral") & (films["modality"] == "X-ray")]["path"].head(8)
    slices = films[(films["view"] == "axial") & (films["modality"] != "X-ray")]["path"].head(8)
    dicom = [shared / "data" / "dicom" / f"{name}.dcm" for name in ("cr-extremity-jpeg2000", "nih-tagged-ct")]
    explainer = Explainer(small_run)
    # By their pixels alone, as files without a word of their view are; with their view, all of them.
    for paths, view, least in ((lateral, "", 5), (lateral, "lateral", 8), (slices, "", 6), (dicom, "", 2)):
        made = [film for _, film in explainer.look([Path(path) for path in paths], [view] * len(paths))]
        flagged = [isinstance(film, FilmError) or film.doubt != "" for film in made]
        assert sum(flagged) >= least, flagged
