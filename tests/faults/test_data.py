"""`hilum data` when it is stopped, and when the disk will not take what it writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from commands import hilum
from data.film_files import films

# Ctrl-C comes when the phase begins.
STOPPED = (
    "import os, signal, sys\n"
    "import hilum.cli.console as c\n"
    "def task(self, what, total):\n"
    "    os.kill(os.getpid(), signal.SIGINT)\n"
    "    raise AssertionError('not stopped')\n"
    "c.LineProgress.task = task\n"
    "from hilum.cli.app import main; main()\n"
)


@pytest.mark.parametrize("words", [["inspect", "-o", "page.html"], ["build", "-o", "films.parquet"]])
def test_ctrl_c_is_said_and_leaves_no_file(tmp_path: Path, words: list[str]) -> None:
    films(tmp_path / "films", "ill/a.png", "well/b.png")
    done = hilum("data", words[0], "folder:films", *words[1:], code=STOPPED, cwd=tmp_path)
    assert done.returncode == 130
    assert done.stderr == "error: stopped; what was finished is kept. Give the same command again.\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["films"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize(("command", "name"), [("inspect", "page.html"), ("build", "films.csv")])
def test_a_full_disk_is_named_and_leaves_what_was_there(tmp_path: Path, command: str, name: str) -> None:
    films(tmp_path / "films", "ill/a.png", "well/b.png")
    (tmp_path / name).write_text("of before")
    # Every file that is written whole is written to /dev/full.
    full = (
        "import pathlib, hilum.files as f\n"
        "from contextlib import contextmanager\n"
        "make = f.tempfile.mkstemp\n"
        "def mkstemp(**how):\n"
        "    handle, name = make(**how)\n"
        "    pathlib.Path(name).unlink(); pathlib.Path(name).symlink_to('/dev/full')\n"
        "    return handle, name\n"
        "f.tempfile.mkstemp = mkstemp\n"
        "from hilum.cli.app import main; main()\n"
    )
    done = hilum("data", command, "folder:films", "-o", name, code=full, cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "No space left on device" in done.stderr
    assert (tmp_path / name).read_text() == "of before"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted(["films", name])


@pytest.mark.parametrize(("command", "name"), [("inspect", "page.html"), ("build", "films.csv")])
def test_an_output_below_a_file_is_refused_before_a_film_is_read(tmp_path: Path, command: str, name: str) -> None:
    (tmp_path / "note").touch()
    done = hilum("data", command, "absent", "-o", f"note/{name}", cwd=tmp_path)
    assert done.returncode == 2
    assert "cannot be written here" in done.stderr
