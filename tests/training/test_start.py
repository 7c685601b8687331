"""Starting from another run's weights without being judged on what they learned from."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

import hilum
from hilum.errors import DataError
from hilum.evaluation.run_folder import RunFolder
from hilum.recipe.load import load_recipe
from hilum.training.start import check_start, start_note


@pytest.fixture
def films(small_run: Path) -> pd.DataFrame:
    return RunFolder(small_run).manifest()


def recipe(small_run: Path, *settings: str):  # type: ignore[no-untyped-def]
    return load_recipe(settings=[f"model.weights={small_run / 'weights.safetensors'}", *settings])


def test_the_parts_of_the_first_run_may_be_kept(small_run: Path, films: pd.DataFrame) -> None:
    test_only = films[films["part"] != "validation"]
    check_start(recipe(small_run), test_only)
    assert start_note(recipe(small_run), test_only) == ""


@pytest.mark.parametrize("part", ["validation", "test"])
def test_a_patient_that_the_weights_learned_from_is_not_judged(part: str, small_run: Path, films: pd.DataFrame) -> None:
    train, test = films[films["part"] == "train"], films[films["part"] == "test"]
    patient = train["patient_id"].iloc[0]
    now = pd.concat([test, train[train["patient_id"] == patient].assign(part=part)])
    with pytest.raises(DataError, match=f"learned from.*patient {patient}"):
        check_start(recipe(small_run), now)
    allowed = recipe(small_run, "split.leaks=allow")
    check_start(allowed, now)
    assert "too good" in start_note(allowed, now)


@pytest.mark.usefixtures("no_pages")
def test_a_run_on_other_parts_is_refused_or_says_that_its_figures_are_too_good(
    small_run: Path, phantoms: Path, small: tuple[str, ...], tmp_path: Path
) -> None:
    keys = [f"model.weights={small_run / 'weights.safetensors'}", "stage.epochs=0"]
    with pytest.raises(DataError, match="learned from what this run is judged on"):
        hilum.train(data=str(phantoms), settings=[*small, *keys, "split.seed=1"], out=tmp_path / "other")
    assert not (tmp_path / "other").exists()
    keys.append("split.leaks=allow")
    run = hilum.train(data=str(phantoms), settings=[*small, *keys, "split.seed=1"], out=tmp_path / "run")
    old, new = (load_file(folder / "weights.safetensors") for folder in (small_run, run.path))
    assert all(torch.equal(old[name], new[name]) for name in old if name.startswith("backbone."))
    assert not torch.equal(old["head.1.weight"], new["head.1.weight"])
    assert any("too good" in note for note in run.environment()["notes"])


def test_weights_whose_run_is_not_beside_them_are_noted(small_run: Path, films: pd.DataFrame, tmp_path: Path) -> None:
    shutil.copy(small_run / "weights.safetensors", tmp_path)
    check_start(recipe(tmp_path), films)
    assert "not known which films" in start_note(recipe(tmp_path), films)


def test_weights_that_hilum_did_not_train_are_not_asked(small_run: Path, films: pd.DataFrame) -> None:
    for weights in ("pretrained", "none"):
        chosen = load_recipe(settings=[f"model.weights={weights}"])
        check_start(chosen, films)
        assert start_note(chosen, films) == ""
