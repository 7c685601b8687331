"""benchmarks/studies.py: its plan can be asked for, and its page shows what is finished and says what is not."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

import hilum
from hilum.evaluation.run_folder import RunFolder
from hilum.recipe.load import load_recipe

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def studies(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import studies

    return studies


def cells(page: str, start: str) -> list[str]:
    """The cells of the one line of a table that begins so."""
    (line,) = [line for line in page.splitlines() if line.startswith(start)]
    return [cell.strip() for cell in line.split("|")[1:-1]]


def test_every_run_of_the_plan_can_be_asked_for(studies: ModuleType) -> None:
    for run in studies.ALL_RUNS.values():
        for whole in (True, False):
            for hub in (True, False):
                load_recipe(run.recipes, studies.settings_of(run, "../shared", whole=whole, hub=hub))


def test_every_row_names_runs_and_figures_that_are_there(studies: ModuleType) -> None:
    used = {name for row in studies.ROWS for name in row.runs.values()}
    used |= {member for name in used for member in studies.ALL_RUNS[name].members}
    assert used == set(studies.ALL_RUNS) - {name for name, _ in studies.PUZZLE.values()} - {
        name for name, _ in studies.RESOLUTION.values()
    }
    for row in studies.ROWS:
        about = load_recipe([row.recipe]).about
        assert about.others[row.other] if row.other else about.published


def test_the_plan_has_every_model_of_the_studies(studies: ModuleType) -> None:
    models = {row.study: [other.model for other in studies.ROWS if other.study == row.study] for row in studies.ROWS}
    # Table 1 and the final model; table 2; five reports of four classes and two of two; three experiments; three cases.
    wanted = {"liverpool-2022": 3, "covientist-2021": 9, "fabiani-2020": 7, "kth-snn-2020": 3}
    assert {study: len(models[study]) for study in wanted} == wanted
    assert len(models["gradientcrescent-2020"]) == 3


def test_what_is_not_run_has_no_figure_and_what_is_published_has_it(studies: ModuleType, tmp_path: Path) -> None:
    page = studies.page(tmp_path)
    assert cells(page, "| InceptionV3, 3 x 32 SELU |")[2:6] == ["0.927", "0.908", "0.915", "0.912"]
    ours = [line for line in page.splitlines() if line.startswith("| | ours, ")]
    assert len(ours) == len({name for row in studies.ROWS for name in row.runs.values()})
    for line in ours:
        assert [cell.strip() for cell in line.split("|")[3:-1]] == ["not run", *[""] * 8]


def test_three_networks_that_differ_in_the_seed_are_averaged(studies: ModuleType) -> None:
    averaged = studies.ALL_RUNS["liverpool-better-three"]
    alone, one, two = (studies.ALL_RUNS[name] for name in averaged.members)
    assert [alone.settings, alone.recipes, alone.sources] == [one.settings[:-1], one.recipes, two.sources]
    assert (one.settings[-1], two.settings[-1]) == ("training.seed=1", "training.seed=2")
    assert studies.words(averaged, "shared", "RUNS") == ["hilum", "ensemble", *(f"RUNS/{n}" for n in averaged.members)]


def test_a_finished_run_is_shown_with_n_interval_seconds_machine_and_what_it_changed(
    studies: ModuleType, small_run: Path, tmp_path: Path
) -> None:
    shutil.copytree(small_run, tmp_path / "liverpool")
    (tmp_path / "liverpool-better").mkdir()
    page = studies.page(tmp_path)
    run = RunFolder(small_run)
    accuracy = run.metrics()["test"]["accuracy"]
    shown = cells(page, "| | ours, as published: liverpool |")
    assert shown[2] == f"{accuracy['value']:.3f} [{accuracy['low']:.3f}, {accuracy['high']:.3f}]"
    assert shown[7] == f"{accuracy['n']} films of {accuracy['patients']} patients"
    assert shown[8] == f"{run.environment()['training_seconds']:.0f}"
    assert shown[9] == "1"
    assert "model.backbone mobilenetv3_small_050, not InceptionV3" in shown[10]
    assert "stage.1.epochs 3, not 5" in shown[10]
    assert f"1. {run.environment()['processor']}" in page
    assert cells(page, "| | ours, improved: liverpool-better |")[2] == "not finished"


def test_resolutions_are_compared_by_patient(studies: ModuleType, small_run: Path, tmp_path: Path) -> None:
    for side in (224, 320):
        shutil.copytree(small_run, tmp_path / f"resolution-{side}")
    page = studies.page(tmp_path)
    assert cells(page, "| 320 |")[3].startswith("+0.000 [")
    assert cells(page, "| 448 |")[1] == "not run"


def test_unprepared_films_are_asked_about_without_what_the_network_learned_with(
    studies: ModuleType, small_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (network,) = hilum.load(small_run).networks
    other = network.preparation.model_copy(update={"equalise": "histogram"})
    equalised = SimpleNamespace(networks=(dataclasses.replace(network, preparation=other),))
    monkeypatch.setattr("hilum.predict.predictor.load", lambda _: equalised)
    run = RunFolder(small_run)
    found = studies.unprepared(SimpleNamespace(folds=[run], recipe=run.recipe))
    assert found["accuracy"] == run.metrics()["test"]["accuracy"]  # which learned from films as they are


def test_one_run_is_made_by_name_and_not_twice(
    studies: ModuleType, phantoms: Path, small: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = studies.Run(("fine-tune",), (str(phantoms),), (*small, "stage.unfreeze=all"), short=("stage.epochs=1",))
    monkeypatch.setattr(studies, "ALL_RUNS", {**studies.ALL_RUNS, "tiny": tiny})
    words = ["studies.py", "--shared", ".", "--runs", str(tmp_path), "--only", "tiny", "--out", str(tmp_path / "s.md")]
    monkeypatch.setattr(sys, "argv", words)
    made = []
    for _ in range(2):
        with pytest.raises(SystemExit) as ended:
            studies.main()
        assert ended.value.code == 0
        made.append((tmp_path / "tiny" / "metrics.json").stat().st_mtime_ns)
    assert made[0] == made[1]
    assert RunFolder(tmp_path / "tiny").recipe().stage[0].epochs == 1
    assert "--set stage.epochs=1" in (tmp_path / "s.md").read_text()


def test_a_run_that_fails_is_named_and_the_page_is_made_all_the_same(
    studies: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["studies.py", "--shared", str(tmp_path / "nowhere"), "--runs", str(tmp_path / "runs")]
    monkeypatch.setattr(sys, "argv", [*words, "--only", "liverpool", "--out", str(tmp_path / "s.md")])
    with pytest.raises(SystemExit) as ended:
        studies.main()
    assert ended.value.code == 1
    assert "failed: liverpool" in capsys.readouterr().out
    assert "not run" in (tmp_path / "s.md").read_text()
