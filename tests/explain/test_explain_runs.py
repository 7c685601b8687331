"""`hilum concepts` and `hilum mistakes` on a trained run: their pages and tables, and what they refuse."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hilum.data.manifest import read_manifest
from hilum.errors import DataError, RequestError
from hilum.explain import features
from hilum.explain.concept_run import explain_concepts
from hilum.explain.mistake_run import explain_mistakes
from hilum.explain.part import films_of_part, trained

FEW = {"films": 24, "count": 6}


@pytest.fixture(scope="module")
def part(small_run: Path) -> str:
    """The part of the small run with the most films."""
    return "train"


def test_concepts_are_written_as_a_table_and_a_page_and_the_same_twice(
    small_run: Path, part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = explain_concepts(small_run, tmp_path / "first", part=part, **FEW)
    monkeypatch.setenv("HILUM_CACHE", str(tmp_path / "another-cache"))
    again = explain_concepts(small_run, tmp_path / "again", part=part, **FEW)
    assert first.csv.read_bytes() == again.csv.read_bytes()
    assert first.page.read_bytes() == again.page.read_bytes()
    assert sorted(first.table["class"].unique()) == ["covid-19", "normal", "pneumonia"]
    assert (first.table["low"] <= first.table["log_odds_lost_beyond_others"]).all()
    assert (first.table["patients"] >= 10).all()
    page = first.page.read_text(encoding="utf-8")
    assert "Not a medical device" in page
    assert "http" not in re.sub(r"http-equiv|www\.w3\.org", "", page)  # nothing is fetched


def test_a_second_look_takes_everything_from_the_cache(
    small_run: Path, part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = explain_concepts(small_run, tmp_path, part=part, **FEW)

    def refuse(*_: object) -> None:
        raise AssertionError("the network was asked again")

    monkeypatch.setattr(features.Engine, "__call__", refuse)
    second = explain_concepts(small_run, tmp_path, part=part, **FEW)
    assert second.table.equals(first.table)


def test_mistakes_are_those_of_the_predictions_with_neighbours_of_the_train_part(
    small_run: Path, tmp_path: Path
) -> None:
    found = explain_mistakes(small_run, tmp_path, part="validation")
    films = pd.read_csv(small_run / "predictions.csv").query("part == 'validation'")
    wrong = films[films["label"] != films["predicted"]]
    assert sorted(found.table["image_id"]) == sorted(wrong["image_id"])
    assert found.films == len(films)
    learned = set(read_manifest(small_run / "manifest.parquet").query("part == 'train'")["image_id"])
    assert set(found.table.filter(regex=r"^near_\d$").to_numpy().ravel()) <= learned
    distances = found.table.filter(regex="distance").to_numpy()
    assert (np.diff(distances, axis=1) >= 0).all()
    page = found.page.read_text(encoding="utf-8")
    assert page.count('<article class="mistake"') == len(wrong)
    assert page.count("which was called") == len(wrong)


def test_a_train_film_is_its_own_nearest_training_film(small_run: Path) -> None:
    from hilum.explain.features import features_of_films
    from hilum.explain.neighbours import nearest
    from hilum.progress import SILENT

    network = trained(small_run)
    films = network.run.manifest().query("part == 'train'")
    of_films = features_of_films(network, network.prepared(films, SILENT), films["sha256"].tolist(), "", SILENT)
    assert of_films.shape[0] == len(films)
    assert nearest(of_films, of_films, 1).distances.max() < 1e-6


def test_a_run_without_weights_is_refused_with_how_to_go_on(small_run: Path, tmp_path: Path) -> None:
    copy = _copied(small_run, tmp_path)
    (copy / "weights.safetensors").unlink()
    for explain in (explain_concepts, explain_mistakes):
        with pytest.raises(DataError, match=r"no weights.safetensors.*--resume"):
            explain(copy)
    assert not (copy / "concepts.csv").exists()


def test_a_part_without_films_is_refused_with_those_that_have_some(small_run: Path, tmp_path: Path) -> None:
    copy = _copied(small_run, tmp_path)
    predictions = pd.read_csv(copy / "predictions.csv")
    predictions[predictions["part"] == "train"].to_csv(copy / "predictions.csv", index=False)
    for explain in (explain_concepts, explain_mistakes):
        with pytest.raises(RequestError, match=r"no film in the part 'test'.*with films are: train"):
            explain(copy, part="test")
    with pytest.raises(RequestError, match="there is no part 'tset'"):
        films_of_part(trained(copy).run, "tset")


def test_a_run_whose_films_are_gone_is_refused_and_one_is_named(small_run: Path, tmp_path: Path) -> None:
    copy = _copied(small_run, tmp_path)
    films = pd.read_parquet(copy / "manifest.parquet")
    films["path"] = "/gone/" + films["image_id"].astype(str)
    films.to_parquet(copy / "manifest.parquet")
    for explain in (explain_concepts, explain_mistakes):
        with pytest.raises(DataError, match=r"/gone/.*cannot be read any more.*Bring them back"):
            explain(copy, part="train")
    assert not (copy / "mistakes.csv").exists()


def test_an_ensemble_is_refused_with_what_to_name(small_run: Path, tmp_path: Path) -> None:
    copy = _copied(small_run, tmp_path)
    (copy / "ensemble.json").write_text("{}", encoding="utf-8")
    with pytest.raises(RequestError, match="Name one of its members"):
        trained(copy)


def test_too_few_concepts_or_films_are_refused(small_run: Path) -> None:
    with pytest.raises(RequestError, match="--concepts"):
        explain_concepts(small_run, count=1)
    with pytest.raises(RequestError, match="--films"):
        explain_concepts(small_run, films=3)


def _copied(run: Path, folder: Path) -> Path:
    copy = folder / "copy"
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("figures", "report.html", "paperwork"))
    return copy


@pytest.mark.real
@pytest.mark.usefixtures("no_pages")
def test_on_real_films_some_concepts_lie_in_the_lungs_and_some_do_not(shared: Path, tmp_path: Path) -> None:
    import hilum

    settings = [
        "data.task=pneumonia-3",
        "data.per_class=24",
        "prepare.side_px=96",
        "model.backbone=mobilenetv3_small_050",
        "model.weights=none",
        "stage.epochs=1",
        "training.workers=1",
        "evaluate.bootstrap=100",
    ]
    run = hilum.train(data=f"kermany:{shared / 'data' / 'kermany-large'}", settings=settings, out=tmp_path / "run").path
    table = explain_concepts(run, part="train", films=24, count=8).table
    inside = table.groupby("concept")["inside_lungs"].first()
    assert inside.between(0, 1).all()
    assert inside.min() < 0.3 < inside.max()  # a film's corners, and its middle
    found = explain_mistakes(run, part="validation")
    assert found.page.read_text(encoding="utf-8").count("data:image/webp") >= 8 * min(1, len(found.table))
