"""A search from films to its best recipe: what it chooses, what it never looks at, and what it survives."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import hilum
from commands import Started, started
from hilum.errors import DataError, HilumError, RequestError
from hilum.evaluation.run_folder import RunFolder
from hilum.recipe.load import load_recipe, read_recipe
from hilum.recipe.schema import Recipe, Search
from hilum.training import search as searching
from hilum.training.search import search

FROZEN = ("model.backbone=resnet10t", "stage.unfreeze=none", "stage.epochs=2", "split.validation=0.2")
SPACE = (
    "search.space.model.head.activation=['relu', 'tanh']",
    "search.space.model.head.layers=[0, 1, 2]",
    "search.space.stage.learning_rate=[0.1, 0.01]",
)


@pytest.fixture
def asked(phantoms: Path, small: tuple[str, ...]) -> Any:
    """Makes a recipe of a search over the phantoms."""

    def make(*settings: str, space: tuple[str, ...] = SPACE) -> Recipe:
        return load_recipe(settings=[*small, *FROZEN, *space, f'data.source=["{phantoms}"]', *settings])

    return make


@pytest.fixture
def figured(monkeypatch: pytest.MonkeyPatch) -> list[Recipe]:
    """In place of training, a figure that a hand can work out; the recipes that were tried, in order."""
    tried: list[Recipe] = []

    def figure(bench: Any, trial: Any, recipe: Recipe, name: str) -> dict[str, Any]:
        tried.append(recipe)
        head, stage = recipe.model.head, recipe.stage[0]
        value = 0.5 + 0.1 * (head.activation == "tanh") + 0.05 * (head.layers == 1) - 0.01 * head.layers
        value += 0.2 * (stage.learning_rate == 0.01 and head.layers == 1)
        row = {f"validation_{name}": value for name in ("accuracy", "balanced_accuracy", "macro_f1", "macro_auroc")}
        return {"row": {**row, "validation_loss": 1 - value, "stage": 1.0, "epoch": 1.0}, "epochs": 2}

    monkeypatch.setattr(searching, "_trained", figure)
    monkeypatch.setattr(searching._Bench, "heads", None)
    return tried


@pytest.fixture
def untrained(figured: list[Recipe], monkeypatch: pytest.MonkeyPatch) -> list[Recipe]:
    """And a page without its figures, which take longest."""
    monkeypatch.setattr("hilum.report.search.save", lambda figure, folder, name: '<svg viewBox="0 0 9 9"></svg>')
    return figured


def trials(out: Path) -> pd.DataFrame:
    return pd.read_csv(out / "trials.csv")


def found(out: Path) -> dict[str, Any]:
    return json.loads((out / "search.json").read_text())


def test_one_at_a_time_fixes_the_best_of_each_before_the_next(
    asked: Any, untrained: list[Recipe], tmp_path: Path
) -> None:
    out = search(asked("search.method=one_at_a_time", "search.monitor=accuracy"), tmp_path / "s")
    table = trials(out)
    # The recipe's own: relu, 0 layers, rate 1e-3. Activation 0.5, 0.6; with tanh: layers 0.6, 0.64, 0.58; with tanh and
    # 1 layer: rate 0.64, 0.84.
    assert table["validation_accuracy"].round(4).tolist() == [0.5, 0.6, 0.6, 0.64, 0.58, 0.64, 0.84]
    assert (
        table["tried"].tolist()
        == ["model.head.activation"] * 2 + ["model.head.layers"] * 3 + ["stage.learning_rate"] * 2
    )
    assert found(out)["best"]["values"] == {
        "model.head.activation": "tanh",
        "model.head.layers": 1,
        "stage.learning_rate": 0.01,
    }


def test_a_loss_is_searched_downwards(asked: Any, untrained: list[Recipe], tmp_path: Path) -> None:
    out = search(asked("search.method=grid", "search.monitor=loss"), tmp_path / "s")
    table = trials(out)
    assert len(table) == 12
    assert found(out)["best"]["value"] == table["validation_loss"].min() == pytest.approx(1 - 0.84)


def test_what_is_the_same_recipe_is_trained_once(asked: Any, untrained: list[Recipe], tmp_path: Path) -> None:
    out = search(asked("search.method=one_at_a_time"), tmp_path / "s")
    table = trials(out)
    # Trial 3 (tanh, 0 layers) is trial 2 again, since the recipe's own head has no layer.
    assert table["same_as"].dropna().to_dict() == {2: 2.0}
    assert len(untrained) == 6
    assert len({recipe.model_dump_json() for recipe in untrained}) == 6


@pytest.mark.parametrize("method", ["random", "tpe"])
def test_a_search_that_went_on_has_the_trials_of_one_that_was_never_stopped(
    method: str, asked: Any, untrained: list[Recipe], tmp_path: Path
) -> None:
    space = ("search.space.stage.learning_rate={ low = 1e-4, high = 1e-1, log = true }", SPACE[1])
    recipe = asked(f"search.method={method}", "search.trials=14", space=space)
    whole = search(recipe, tmp_path / "whole")
    search(recipe, tmp_path / "parts", trials=5)
    parts = search(Recipe(), tmp_path / "parts", resume=True, trials=14)
    columns = ["trial", "model.head.layers", "stage.learning_rate", "validation_accuracy"]
    pd.testing.assert_frame_equal(trials(whole)[columns], trials(parts)[columns])
    assert trials(whole)["stage.learning_rate"].between(1e-4, 1e-1).all()
    assert trials(whole)["stage.learning_rate"].nunique() == 14


def test_the_best_recipe_is_the_asked_one_with_the_best_values(
    asked: Any, untrained: list[Recipe], tmp_path: Path
) -> None:
    recipe = asked("search.method=grid")
    best = read_recipe(search(recipe, tmp_path / "s") / "best.toml")
    assert best.search == Search()
    head = recipe.model.head.model_copy(update={"activation": "tanh", "layers": 1})
    assert best.model == recipe.model.model_copy(update={"head": head})
    assert [stage.learning_rate for stage in best.stage] == [0.01]
    assert best.data == recipe.data and best.split == recipe.split
    assert "validation part" in best.about.summary


def test_only_the_first_stages_are_trained_where_the_search_asks_for_those(
    asked: Any, untrained: list[Recipe], tmp_path: Path
) -> None:
    recipe = asked("search.method=grid", "search.stages=1", space=SPACE[2:])
    recipe = recipe.model_copy(update={"stage": [recipe.stage[0], recipe.stage[0]]})
    out = search(recipe, tmp_path / "s")
    assert {len(tried.stage) for tried in untrained} == {1}
    assert len(read_recipe(out / "best.toml").stage) == 2


def test_a_value_that_cannot_be_trained_is_a_failed_trial_and_the_others_go_on(
    asked: Any, untrained: list[Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    works = searching._trained

    def diverges(bench: Any, trial: Any, recipe: Recipe, name: str) -> dict[str, Any]:
        if recipe.stage[0].learning_rate == 0.1:
            raise HilumError("the training loss is no number any more", where="stage 1, epoch 1")
        return works(bench, trial, recipe, name)

    monkeypatch.setattr(searching, "_trained", diverges)
    out = search(asked("search.method=grid"), tmp_path / "s")
    table = trials(out)
    failed = table[table["state"] == "failed"]
    assert len(failed) == 6 and (failed["stage.learning_rate"] == 0.1).all()
    assert failed["error"].str.contains("no number any more").all()
    assert failed["validation_accuracy"].isna().all()
    assert found(out)["best"]["values"]["stage.learning_rate"] == 0.01
    assert "no number any more" in (out / "search.html").read_text()


def test_a_search_trains_prunes_and_never_looks_at_the_test_part(
    asked: Any, tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    prepared = searching.prepare_films

    def watched(films: pd.DataFrame, *rest: Any, **named: Any) -> Any:
        read.extend(films["path"])
        return prepared(films, *rest, **named)

    monkeypatch.setattr(searching, "prepare_films", watched)
    out = search(asked("search.method=random", "search.trials=7", "search.prune=true"), tmp_path / "s")
    manifest = RunFolder(out).manifest().set_index("path")
    assert read and set(manifest.loc[read, "part"]) == {"train", "validation"}
    with closing(sqlite3.connect(next(own_cache.glob("prepared/*/index.sqlite")))) as index:
        (count,) = index.execute("SELECT COUNT(*) FROM films").fetchone()
    assert count == (manifest["part"] != "test").sum()
    assert not (out / "predictions.csv").exists()
    table = trials(out)
    assert len(table) == 7 and set(table["state"]) <= {"finished", "ended early"}
    finished = table[table["state"] == "finished"]
    validation = int((manifest["part"] == "validation").sum())
    hits = finished["validation_accuracy"] * validation
    assert (hits - hits.round()).abs().max() < 1e-9
    assert not (out / "trials").exists()


def test_a_trial_gives_the_figure_that_training_its_recipe_gives(asked: Any, tmp_path: Path) -> None:
    out = search(asked("search.method=grid", "search.monitor=macro_f1", "search.trials=2"), tmp_path / "s")
    run = hilum.train(str(out / "best.toml"), out=tmp_path / "run")
    history = run.history()
    best = history.loc[history["validation_loss"].idxmin()]
    assert best["validation_macro_f1"] == pytest.approx(found(out)["best"]["value"], abs=1e-6)


def test_the_page_stands_alone_and_says_what_chose(asked: Any, figured: list[Recipe], tmp_path: Path) -> None:
    page = (search(asked("search.method=grid"), tmp_path / "s") / "search.html").read_text()
    assert "<script" not in page and "http://" not in page and "https://" not in page
    assert "test part was not looked at" in page and "<svg" in page
    assert "best.toml" in page and "PED-ANOVA" in page


@pytest.mark.parametrize(
    ("again", "said"),
    [
        (("search.space.model.head.units=[8]",), r"another \[search\]"),
        (("model.dropout=0.3",), r"another \[model\]"),
    ],
)
def test_going_on_with_another_search_is_refused(
    again: tuple[str, ...], said: str, asked: Any, untrained: list[Recipe], tmp_path: Path
) -> None:
    out = search(asked("search.method=grid", "search.trials=1"), tmp_path / "s")
    with pytest.raises(RequestError, match=said):
        search(asked("search.method=grid", "search.trials=1", *again), out, resume=True)


def test_a_shared_study_of_other_films_or_another_space_is_refused(
    asked: Any, untrained: list[Recipe], tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'shared.sqlite'}"
    search(asked("search.method=grid"), tmp_path / "a" / "s", trials=1, storage=url)
    for named, setting in (
        ("set of films", "split.seed=1"),
        ("recipe", "model.dropout=0.3"),
        ("method", "search.method=tpe"),
    ):
        with pytest.raises(RequestError, match=f"another {named}"):
            search(asked("search.method=grid", setting), tmp_path / "b" / "s", storage=url)
    assert not (tmp_path / "b").exists()


def test_a_broken_store_ends_the_search_with_its_name(asked: Any, untrained: list[Recipe], tmp_path: Path) -> None:
    out = search(asked("search.method=grid"), tmp_path / "s", trials=2)
    (out / "study.sqlite").write_bytes(b"\0" * 5000)
    with pytest.raises(DataError, match=r"study\.sqlite"):
        search(Recipe(), out, resume=True)


def test_what_is_no_search_is_not_gone_on_with(small_run: Path) -> None:
    with pytest.raises(RequestError, match="not a search"):
        search(Recipe(), small_run, resume=True)


# A search in a process of its own, whose trials only say when they begin and end; those that are held wait for a file.
WORKER = """
import pathlib, sys, time
from hilum.report import search as page
from hilum.recipe.load import load_recipe
from hilum.training import search as searching
log, out, how, held, *settings = sys.argv[1:]

def said(word, name):
    with open(log, "a") as file:
        file.write(f"{word} {name}\\n")

def trained(bench, trial, recipe, name):
    said("began", name)
    while name.startswith(held) and not pathlib.Path(log + ".go").exists():
        time.sleep(0.01)
    said("ended", name)
    value = 0.5 + 0.1 * recipe.model.head.layers + 0.05 * (recipe.model.head.activation == "tanh")
    row = {f"validation_{name}": value for name in ("loss", "accuracy", "balanced_accuracy", "macro_f1", "macro_auroc")}
    return {"row": {**row, "stage": 1.0, "epoch": 1.0}, "epochs": 1}

searching._trained = trained
searching._Bench.heads = None
page.save = lambda figure, folder, name: '<svg viewBox="0 0 9 9"></svg>'
searching.search(load_recipe(settings=settings), out, resume=how == "resume")
"""


def working(
    log: Path, out: Path, recipe: tuple[str, ...], how: str, held: str = "none"
) -> AbstractContextManager[Started]:
    """held: how the names of the trials begin that wait for LOG.go."""
    return started([str(log), str(out), how, held, *recipe], code=WORKER)


def lines(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.is_file() else []


def until(condition: Any, process: Started) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.said()
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def worked(phantoms: Path, small: tuple[str, ...]) -> tuple[str, ...]:
    return (*small, *FROZEN, *SPACE, f'data.source=["{phantoms}"]', "search.method=grid")


def test_a_search_that_was_killed_runs_that_trial_again_and_loses_and_doubles_none(
    worked: tuple[str, ...], tmp_path: Path
) -> None:
    log, out = tmp_path / "log", tmp_path / "s"
    with working(log, out, worked, "start", held="trial 3 of 12") as process:
        until(lambda: "began trial 3 of 12" in lines(log), process)
        process.kill()
        process.wait()
    with working(log, out, (), "resume") as again:
        assert again.wait(120) == 0, again.said()
    said = lines(log)
    for number in range(1, 13):
        assert said.count(f"ended trial {number} of 12") == 1
        assert said.count(f"began trial {number} of 12") == (2 if number == 3 else 1)
    table = trials(out)
    assert table["trial"].tolist() == list(range(1, 13)) and set(table["state"]) == {"finished"}
    keys = ["model.head.activation", "model.head.layers", "stage.learning_rate"]
    assert not table.duplicated(keys).any()


def test_two_processes_share_a_study_and_run_each_trial_once(worked: tuple[str, ...], tmp_path: Path) -> None:
    log, out = tmp_path / "log", tmp_path / "s"
    with working(log, out, worked, "start", held="trial") as first:
        until(lambda: lines(log), first)
        with working(log, out, (), "resume", held="trial") as second:
            until(lambda: len(lines(log)) == 2, second)
            (tmp_path / "log.go").touch()
            assert (first.wait(120), second.wait(120)) == (0, 0), (first.said(), second.said())
    said = lines(log)
    assert all(
        said.count(f"{word} trial {number} of 12") == 1 for word in ("began", "ended") for number in range(1, 13)
    )
    with closing(sqlite3.connect(out / "study.sqlite")) as study:
        (workers,) = study.execute(
            "SELECT COUNT(DISTINCT value_json) FROM trial_user_attributes WHERE key='worker'"
        ).fetchone()
    assert workers == 2
    assert len(trials(out)) == 12 and set(trials(out)["state"]) == {"finished"}


def test_a_process_that_is_ahead_waits_for_what_it_builds_on(worked: tuple[str, ...], tmp_path: Path) -> None:
    log, out = tmp_path / "log", tmp_path / "s"
    with working(log, out, (*worked, "search.method=one_at_a_time"), "start", held="trial") as first:
        until(lambda: lines(log), first)
        with working(log, out, (), "resume") as second:
            # It has nothing to do but the last activation; killed in the first one, the other's trial falls to it.
            until(lambda: "ended trial 2 of 7" in lines(log), second)
            first.kill()
            first.wait()
            assert second.wait(120) == 0, second.said()
    assert lines(log).count("ended trial 1 of 7") == 1
    table = trials(out)
    assert table["state"].tolist() == ["finished"] * 7
    assert found(out)["best"]["values"]["model.head.activation"] == "tanh"
    assert (table.loc[2:, "model.head.activation"] == "tanh").all()
