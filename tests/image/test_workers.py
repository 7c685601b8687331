"""Many films at once: every one is answered for, whatever becomes of the processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from hilum.errors import FilmError
from hilum.image import workers as workers_module
from hilum.image.workers import alone, map_films
from image.made_files import square


@pytest.fixture(autouse=True)
def never_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers_module, "FEW", 0)


TESTS = str(Path(__file__).resolve().parents[1])


@pytest.mark.parametrize("workers", [1, 2])
def test_every_item_is_answered_once_and_a_refused_one_by_its_error(workers: int) -> None:
    answers = dict(map_films(square, list(range(100)), workers=workers))
    assert isinstance(answers.pop(13), FilmError)
    assert answers == {item: item * item for item in range(100) if item != 13}


def test_a_film_that_kills_its_worker_is_named_and_the_others_are_not_lost() -> None:
    answers = dict(map_films(square, [2, 3, -1, 4, 5] * 2 + [6] * 10, workers=2))
    crashed = [at for at, answer in answers.items() if isinstance(answer, FilmError)]
    assert sorted(crashed) == [2, 7]
    assert "crashed" in str(answers[2])
    assert [answers[at] for at in (5, 6, 8, 9, 19)] == [4, 9, 16, 25, 36]


def test_a_film_that_never_ends_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers_module, "_CHUNK", 1)
    answers = dict(map_films(square, [2, -2, 3, 4], workers=2, seconds_per_film=3.0))
    assert "took too long" in str(answers.pop(1))
    assert answers == {0: 4, 2: 9, 3: 16}


def test_alone_survives_what_aborts_the_process() -> None:
    assert alone(square, 5) == 25
    with pytest.raises(FilmError, match="crashed"):
        alone(square, -1)
    with pytest.raises(FilmError, match="unlucky"):
        alone(square, 13)
    with pytest.raises(FilmError, match="took too long"):
        alone(square, -2, seconds=0.2)
    assert alone(square, 6) == 36


def test_leaving_early_ends_the_workers() -> None:
    before = set(psutil.Process().children())
    for _ in map_films(square, list(range(500)), workers=2):
        break
    assert not [child for child in psutil.Process().children() if child not in before]


SCRIPT = f"""
import sys
sys.path.insert(0, {TESTS!r})
from image.made_files import square
from hilum.image.workers import map_films
print(sum(answer for _, answer in map_films(square, [1] * 40 + {{extra}}, workers=2)), flush=True)
"""


def test_a_script_without_a_main_guard_works(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(extra="[]"))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("40\n", "")


@pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
@pytest.mark.parametrize(("how", "item"), [(signal.SIGINT, -2), (signal.SIGKILL, -3)])
def test_no_worker_outlives_its_parent_and_none_prints(how: signal.Signals, item: int, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(extra=f"[{item}] * 400"))
    parent = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    children: list[psutil.Process] = []
    for _ in range(300):
        children = psutil.Process(parent.pid).children()
        if len(children) == 2:
            break
        time.sleep(0.05)
    assert len(children) == 2
    time.sleep(1.0)  # they are at work
    if how == signal.SIGINT:
        os.killpg(parent.pid, how)  # as Ctrl-C does: the whole group
    else:
        parent.kill()  # the parent can end nothing; a worker ends when it comes back to its closed pipe
    _, printed = parent.communicate(timeout=20)
    _, alive = psutil.wait_procs(children, timeout=15)
    assert not alive
    assert printed.count("Traceback") == (1 if how == signal.SIGINT else 0)  # the parent's own KeyboardInterrupt
