"""The report of a cross-validation: its folds, what leaks between them, and its limits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from hilum.evaluation.folds import spread
from hilum.report.limits import limits
from hilum.report.page import write_report
from report.made_run import CLASSES, made_films, made_run


def made_crossval(folder: Path, films: pd.DataFrame, fold: pd.Series) -> Path:
    """A folder as `hilum crossval` leaves it, of films whose fold is given; nothing was trained."""
    films = films.assign(fold=fold.astype("Int64"))
    whole = made_run(folder, films.assign(part="test"))
    (whole / "history.csv").unlink()
    metrics = []
    for number in sorted(films["fold"].unique()):
        parts = (films["fold"] == number).map({True: "test", False: "train"})
        run = made_run(folder / f"fold-{number}", films.assign(part=parts.astype("string")))
        metrics.append(json.loads((run / "metrics.json").read_text()))
    found = json.loads((whole / "metrics.json").read_text())
    of_folds = [{"films": 60, "sources": ["hospital-a"], "temperature": 1.5} for _ in metrics]
    found["_folds"] = {"folds": of_folds, "figures": spread(metrics)}
    (whole / "metrics.json").write_text(json.dumps(found))
    return whole


@pytest.fixture
def films(tmp_path: Path) -> pd.DataFrame:
    return made_films(tmp_path / "films")


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are made but not written, which takes most of the time."""
    monkeypatch.setattr("hilum.report.page.save", lambda figure, folder, name: '<svg viewBox="0 0 9 9"></svg>')


def _by_patient(films: pd.DataFrame) -> pd.Series:
    return pd.Series([number // 2 % 2 for number in range(len(films))])  # two films of each patient follow each other


def _by_film(films: pd.DataFrame) -> pd.Series:
    return pd.Series([number % 2 for number in range(len(films))])


def test_a_patient_in_two_folds_is_said_and_none_is_said_too(films: pd.DataFrame, tmp_path: Path) -> None:
    films["sha256"] = films["image_id"]
    fair = write_report(made_crossval(tmp_path / "fair", films, _by_patient(films))).read_text()
    assert "No known patient is in two folds" in fair
    leaky = write_report(made_crossval(tmp_path / "leaky", films, _by_film(films))).read_text()
    assert "This split leaks." in leaky
    assert f"{films['patient_id'].nunique()} patients" in leaky


def test_the_figures_of_each_fold_are_shown_with_mean_and_sd(films: pd.DataFrame, tmp_path: Path) -> None:
    whole = made_crossval(tmp_path / "cv", films, _by_patient(films))
    accuracy = json.loads((whole / "metrics.json").read_text())["_folds"]["figures"]["accuracy"]
    html = write_report(whole).read_text()
    assert "could not be made" not in html
    for number in (accuracy["mean"], accuracy["sd"], *accuracy["values"]):
        assert f"<td>{number:.3f}</td>" in html
    assert "Loss by epoch" not in html


def test_a_fold_that_lost_its_history_is_told_and_the_rest_is_shown(films: pd.DataFrame, tmp_path: Path) -> None:
    whole = made_crossval(tmp_path / "cv", films, _by_patient(films))
    (whole / "fold-1" / "history.csv").unlink()
    html = write_report(whole).read_text()
    assert "the run has no history.csv" in html
    assert "fold-0/report.html" in html


def test_figures_without_their_spread_leave_that_section_out_with_its_reason(
    films: pd.DataFrame, tmp_path: Path
) -> None:
    whole = made_crossval(tmp_path / "cv", films, _by_patient(films))
    shutil.copy(whole / "fold-0" / "metrics.json", whole / "metrics.json")
    html = write_report(whole).read_text()
    assert "metrics.json has no _folds" in html


def test_only_leaving_sources_out_shows_how_a_model_does_elsewhere(films: pd.DataFrame) -> None:
    tested = films.assign(part="test")
    mixed = limits(tested.assign(fold=[number // 4 % 2 for number in range(len(films))]), CLASSES)
    by_source = limits(tested.assign(fold=(films["source"] == "hospital-b").astype(int)), CLASSES)
    assert "Not shown to work anywhere else" in [limit.short for limit in mixed]
    assert "Not shown to work anywhere else" not in [limit.short for limit in by_source]
