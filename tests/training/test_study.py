"""Trials in a database: each place once, whatever dies, whoever shares it, and clear words where it cannot be used."""

from __future__ import annotations

import sqlite3
from importlib.util import find_spec
from pathlib import Path

import pytest
from optuna.trial import TrialState

from commands import hilum
from hilum.errors import DataError, HilumError, RequestError
from hilum.recipe.schema import Search
from hilum.training import study
from hilum.training.study import Store, fail, open_store, put_back, take

ABOUT = {"space": {"stage.epochs": [1, 2]}, "method": "grid"}


def opened(folder: Path, about: dict[str, object] | None = None) -> Store:
    return open_store(f"sqlite:///{folder / 'study.sqlite'}", "test", about or ABOUT, search=Search())


def test_every_place_is_taken_once_and_in_order(tmp_path: Path) -> None:
    store = opened(tmp_path)
    places = []
    while (taken := take(store, 3)) is not None:
        trial, place = taken
        places.append(place)
        store.study.tell(trial, 0.5)
    assert places == [0, 1, 2]
    assert take(store, 3) is None
    assert take(store, 4) is not None  # more trials may be asked for later


def test_a_trial_that_was_given_up_is_the_next_one_and_keeps_its_values(tmp_path: Path) -> None:
    store = opened(tmp_path)
    first = take(store, 3)
    assert first is not None
    first[0].suggest_categorical("x", ["a", "b"])
    value = first[0].params["x"]
    put_back(store, first[0])
    again = take(store, 3)
    assert again is not None and again[1] == 0
    assert again[0].suggest_categorical("x", ["a", "b"]) == value
    store.study.tell(again[0], 0.1)
    rest = [taken[1] for _ in range(3) if (taken := take(store, 3))]
    assert rest == [1, 2]


def test_what_is_written_in_one_commit_is_there_together_or_not_at_all(tmp_path: Path) -> None:
    store = opened(tmp_path)
    trials = [taken[0] for _ in range(3) if (taken := take(store, 3))]
    with pytest.raises(RuntimeError), store.one_commit():
        trials[0].set_user_attr("seconds", 1.0)
        store.study.tell(trials[0], 0.5)
        raise RuntimeError
    with store.one_commit():
        store.study.tell(trials[1], 0.25)
        store.study.tell(trials[2], 0.75)
    states = [trial.state for trial in opened(tmp_path).study.get_trials()]
    assert states == [TrialState.RUNNING, TrialState.COMPLETE, TrialState.COMPLETE]
    assert "seconds" not in opened(tmp_path).study.get_trials()[0].user_attrs
    store.study.tell(trials[0], 0.5)  # and each by itself again
    assert opened(tmp_path).study.get_trials()[0].value == 0.5


DIES = """
import os, sys
from hilum.recipe.schema import Search
from hilum.training.study import open_store, take
store = open_store(sys.argv[1], "test", {about}, search=Search())
print(take(store, 5)[1], flush=True)
if sys.argv[2] == "unnamed":
    import optuna
    store.study.ask()  # killed before it could say its name
os._exit(9)
"""


def run_and_die(folder: Path, how: str) -> None:
    url = f"sqlite:///{folder / 'study.sqlite'}"
    assert hilum(url, how, code=DIES.replace("{about}", repr(ABOUT))).returncode == 9


@pytest.mark.parametrize(("how", "lost"), [("named", [0]), ("unnamed", [0, 1])])
def test_what_a_dead_process_had_taken_is_run_again_before_all_else(tmp_path: Path, how: str, lost: list[int]) -> None:
    run_and_die(tmp_path, how)
    store = opened(tmp_path)
    places = []
    while (taken := take(store, 5)) is not None:
        places.append(taken[1])
        store.study.tell(taken[0], 0.5)
    assert places == [*lost, *(place for place in range(5) if place not in lost)]
    assert sorted(store.trials()) == [0, 1, 2, 3, 4]


def test_the_trial_of_a_living_process_is_left_to_it(tmp_path: Path) -> None:
    one, other = opened(tmp_path), opened(tmp_path)
    mine = take(one, 2)
    theirs = take(other, 2)
    assert mine is not None and theirs is not None
    assert [mine[1], theirs[1]] == [0, 1]
    assert take(other, 2) is None


def test_the_trial_of_another_machine_is_left_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(study.socket, "gethostname", lambda: "elsewhere")
        store = opened(tmp_path)
        assert take(store, 2) is not None
    rest = opened(tmp_path)
    assert [taken[1] for _ in range(2) if (taken := take(rest, 2))] == [1]


def test_a_trial_that_failed_for_a_reason_is_not_run_again(tmp_path: Path) -> None:
    store = opened(tmp_path)
    taken = take(store, 2)
    assert taken is not None
    fail(store, taken[0], HilumError("the training loss is no number any more"))
    again = take(store, 2)
    assert again is not None and again[1] == 1
    assert store.trials()[0].state == TrialState.FAIL
    assert "no number" in store.trials()[0].user_attrs["error"]


@pytest.mark.parametrize(
    ("about", "named"), [({**ABOUT, "space": {"stage.epochs": [1]}}, "space"), ({**ABOUT, "method": "tpe"}, "method")]
)
def test_a_study_of_something_else_is_refused(tmp_path: Path, about: dict[str, object], named: str) -> None:
    opened(tmp_path)
    with pytest.raises(RequestError, match=f"another {named} than is asked for now"):
        opened(tmp_path, about)


def test_a_broken_store_is_named(tmp_path: Path) -> None:
    (tmp_path / "study.sqlite").write_bytes(b"SQLite format 3\0" + b"\xff" * 4096)
    with pytest.raises(DataError) as caught:
        opened(tmp_path)
    assert "study.sqlite" in str(caught.value) and "broken" in str(caught.value)


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "study.sqlite").write_text("trial,value\n1,0.5\n" * 100)
    with pytest.raises(DataError, match="not a database"):
        opened(tmp_path)


def test_a_locked_store_is_named_and_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "_BUSY_SECONDS", 0.1)
    store = opened(tmp_path)
    holder = sqlite3.connect(tmp_path / "study.sqlite")
    holder.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(DataError) as caught:
            take(store, 2)
    finally:
        holder.rollback()
        holder.close()
    assert "locked" in str(caught.value) and "study.sqlite" in str(caught.value)
    assert take(store, 2) is not None


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("not a url", "sqlite:///FILE"),
        ("postgresql://someone:secret@127.0.0.1:9/studies", "refused" if find_spec("psycopg") else "driver"),
        ("mongodb://127.0.0.1/studies", "database"),
        ("sqlite:////proc/none/study.sqlite", "/proc/none"),
    ],
)
def test_a_database_that_cannot_be_had_is_said_without_its_password(url: str, said: str) -> None:
    with pytest.raises((HilumError, OSError)) as caught:
        open_store(url, "test", ABOUT, search=Search())
    assert said in str(caught.value) and "secret" not in str(caught.value)
