"""A run judged on films of elsewhere: where it is written, and what may not be asked."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import hilum
from hilum.errors import RequestError
from predict.other_films import write_films


@pytest.fixture(scope="module")
def run(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, because its evaluations are written into it."""
    return Path(shutil.copytree(small_run, tmp_path_factory.mktemp("run") / "run"))


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_films(tmp_path_factory.mktemp("elsewhere") / "films", covid_19=3, normal=4, pneumonia=4)


TORCH = "predict.engine=torch"


def test_the_same_films_asked_for_differently_are_written_beside_each_other(run: Path, elsewhere: str) -> None:
    first = hilum.evaluate(run, [elsewhere], [TORCH])
    fewer = hilum.evaluate(run, [elsewhere], [TORCH, 'data.drop=["covid-19"]'])
    again = hilum.evaluate(run, [elsewhere], [TORCH])
    assert again.path == first.path
    assert fewer.path == first.path.with_name(first.path.name + "-2")
    assert (len(first.predictions), len(fewer.predictions), len(again.predictions)) == (11, 8, 11)


@pytest.mark.parametrize("setting", ["prepare.side_px=32", "predict.flip=true", "model.dropout=0.5", "stage.epochs=9"])
def test_what_belongs_to_the_trained_run_cannot_be_set(run: Path, elsewhere: str, setting: str) -> None:
    with pytest.raises(RequestError, match=rf"\[{setting.split('.')[0]}\] belongs to the trained run"):
        hilum.evaluate(run, [elsewhere], [setting])


def test_the_engine_can_be_chosen(run: Path, elsewhere: str, tmp_path: Path) -> None:
    slow = hilum.evaluate(run, [elsewhere], ["predict.engine=torch"], out=tmp_path / "torch")
    fast = hilum.evaluate(run, [elsewhere], out=tmp_path / "auto")
    difference = slow.predictions.filter(like="p_") - fast.predictions.filter(like="p_")
    assert difference.abs().to_numpy().max() <= 1e-4


def test_the_drop_stands_beside_the_runs_own_figures(run: Path, elsewhere: str) -> None:
    found = hilum.evaluate(run, [elsewhere], [TORCH])
    drop = found.metrics["_drop"]["accuracy"]
    assert drop["here"] == found.metrics["test"]["accuracy"]["value"]
    assert drop["value"] == pytest.approx(drop["own"] - drop["here"])
    assert sum(found.metrics["_called"]["normal"].values()) == 4
