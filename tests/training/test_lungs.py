"""A run on films that are cut to their lungs: what is stored with it, and how the films that stay whole are counted."""

from __future__ import annotations

from pathlib import Path

import pytest

import hilum
from hilum.errors import WeightsError
from hilum.evaluation.run_folder import RunFolder
from hilum.image import lungs
from hilum.model import classifier as classifiers


@pytest.fixture(scope="module")
def run(phantoms: Path, small: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HILUM_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr("hilum.training.train.write_report", lambda run: None)
        settings = [*small, "stage.epochs=1", "prepare.lungs=mask"]
        return hilum.train(data=str(phantoms), settings=settings, out=tmp_path_factory.mktemp("runs") / "masked")


def test_the_lung_network_is_stored_with_the_recipe_and_with_the_weights(run: RunFolder) -> None:
    fingerprint = lungs.network_of().fingerprint
    assert run.recipe().prepare.lungs_network == fingerprint
    about = classifiers.read_metadata(run.weights_path)
    assert (about["preparation"]["lungs"], about["preparation"]["lungs_network"]) == ("mask", fingerprint)


def test_films_that_stay_whole_are_counted_by_class_in_a_note_and_named_in_the_manifest(run: RunFolder) -> None:
    manifest, notes = run.manifest(), run.environment()["notes"]
    doubted = manifest[manifest["lungs_doubt"].notna()]
    told = [note for note in notes if "stand whole" in note]
    assert len(told) == (1 if len(doubted) else 0)
    for name, films in doubted.groupby("class"):
        assert f"{name} {len(films)} of {(manifest['class'] == name).sum()}" in told[0]


def test_a_run_cut_by_another_lung_network_is_not_used_with_this_one(
    run: RunFolder, phantoms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lungs.network_of(), "fingerprint", "0123456789ab")
    film = next(iter(sorted(phantoms.parent.glob("films/*/*"))))
    with pytest.raises(WeightsError, match="cut to their lungs by the lung network"):
        hilum.load(run.path).predict([film])


@pytest.mark.usefixtures("no_pages")
def test_a_run_is_gone_on_with_by_the_words_it_was_started_with(
    run: RunFolder, phantoms: Path, small: tuple[str, ...]
) -> None:
    settings = [*small, "stage.epochs=1", "prepare.lungs=mask"]
    again = hilum.train(data=str(phantoms), settings=settings, out=run.path, resume=True)
    assert again.metrics() == run.metrics()
