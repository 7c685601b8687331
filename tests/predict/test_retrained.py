"""Training anew on what is left of a film: the same films in the same parts, and a verdict on what comes of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from hilum.data.manifest import read_manifest
from hilum.evaluation.metrics import auroc
from hilum.evaluation.run_folder import RunFolder
from hilum.predict import retrained
from hilum.predict.altered import left_over
from hilum.progress import SILENT, Progress
from hilum.recipe.schema import Prepare, Recipe

ASKED: list[Recipe] = []


@pytest.fixture
def run(small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A copy of the small run, whose recipe trained anew names every film rightly, at once."""
    folder = RunFolder(Path(shutil.copytree(small_run, tmp_path / "run")))
    ASKED.clear()

    def trained(recipe: Recipe, out: Path, *, resume: bool, progress: Progress) -> None:
        ASKED.append(recipe)
        films = read_manifest(Path(recipe.data.source[0]))
        square = cv2.imread(films["path"].iloc[0], cv2.IMREAD_GRAYSCALE)
        # Nothing of a lung is left: the middle is one grey.
        assert len(np.unique(square[10:-10, 10:-10])) == 1
        table = folder.predictions()
        for name in [column for column in table if column.startswith("p_")]:
            table[name] = (table["label"] == name.removeprefix("p_")).astype(float)
        out.mkdir()
        table.to_csv(out / "predictions.csv", index=False)
        shutil.copy(folder.path / "recipe.toml", out)
        (out / "report.html").touch()

    monkeypatch.setattr(retrained, "train", trained)
    # As of films on which no lungs are believed.
    monkeypatch.setattr(retrained, "left_over", lambda path, how: {"border-only": left_over(path, how)["border-only"]})
    # The small run has too few patients for an interval that leaves out chance.
    monkeypatch.setattr(
        retrained, "auroc_by_patient", lambda *given: (found := float(auroc(*given[:2])), found - 0.1, 1.0)
    )
    return folder


def test_a_class_that_borders_tell_fails_and_films_without_lungs_are_said_to_be_missing(run: RunFolder) -> None:
    checks = {check.name: check for check in retrained.audit_retrained(run, workers=1)}
    assert set(checks) == {"retrained-border", "retrained-without-lungs", "retrained-from-lungs"}
    border = checks["retrained-border"]
    assert (border.verdict, border.value) == ("fail", 1.0)
    assert "needs no lung" in border.meaning and "prepare.lungs=crop" in border.advice
    assert checks["retrained-from-lungs"].verdict == "not done"
    assert "cannot be made" in checks["retrained-from-lungs"].meaning


def test_it_trains_with_the_runs_recipe_on_the_runs_films_in_the_runs_parts(run: RunFolder) -> None:
    retrained.audit_retrained(run, workers=1)
    (asked,), own = ASKED, run.recipe()
    assert (asked.stage, asked.model, asked.augment) == (own.stage, own.model, own.augment)
    assert asked.prepare == Prepare(side_px=own.prepare.side_px)
    films = read_manifest(Path(asked.data.source[0])).set_index("image_id")
    before = run.manifest().set_index("image_id")
    assert films["part"].to_dict() == before["part"].to_dict()


def test_a_training_that_is_done_is_not_done_again_and_its_films_are_gone(run: RunFolder) -> None:
    first = retrained.audit_retrained(run, workers=1, progress=SILENT)
    again = retrained.audit_retrained(run, workers=1, progress=SILENT)
    assert len(ASKED) == 1
    assert [check.as_json() for check in again] == [check.as_json() for check in first]
    assert not (run.path / "retrained" / "border-only" / "films").exists()
