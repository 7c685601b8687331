"""Starting from another run's weights without being judged on what they learned from."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

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


def test_weights_whose_run_is_not_beside_them_are_noted(small_run: Path, films: pd.DataFrame, tmp_path: Path) -> None:
    shutil.copy(small_run / "weights.safetensors", tmp_path)
    check_start(recipe(tmp_path), films)
    assert "not known which films" in start_note(recipe(tmp_path), films)


def test_weights_that_hilum_did_not_train_are_not_asked(small_run: Path, films: pd.DataFrame) -> None:
    for weights in ("pretrained", "none"):
        chosen = load_recipe(settings=[f"model.weights={weights}"])
        check_start(chosen, films)
        assert start_note(chosen, films) == ""
