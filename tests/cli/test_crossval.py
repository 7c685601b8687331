"""`hilum crossval` as a stranger meets it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def hilum(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hilum.cli.app", "crossval", *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--resume",), "-o"),
        (("--data", "nowhere"), "nowhere"),
        (("--resume", "-o", "nowhere"), "no run folder"),
    ],
)
def test_a_wrong_request_is_one_error_with_status_2(words: tuple[str, ...], told: str, tmp_path: Path) -> None:
    done = hilum(*words, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_help_answers(tmp_path: Path) -> None:
    done = hilum("--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "--folds" in done.stdout
