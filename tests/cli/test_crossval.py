"""`hilum crossval` as a stranger meets it."""

from __future__ import annotations

from pathlib import Path

import pytest

from commands import hilum


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--resume",), "-o"),
        (("--data", "nowhere"), "nowhere"),
        (("--resume", "-o", "nowhere"), "no run folder"),
    ],
)
def test_a_wrong_request_is_one_error_with_status_2(words: tuple[str, ...], told: str, tmp_path: Path) -> None:
    done = hilum("crossval", *words, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())
