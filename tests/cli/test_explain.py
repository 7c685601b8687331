"""`hilum explain` as a stranger meets it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from commands import hilum
from hilum.cli.explain import explain
from hilum.data import phantom
from hilum.errors import RequestError


def test_a_part_is_explained_into_the_run_and_its_report(small_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(small_run, tmp_path / "run"))
    done = hilum("explain", str(run), "--part", "validation", "--films", "3", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["part"], answer["films"], answer["failed"]) == ("validation", 3, 0)
    assert (run / "explanations" / "explanations.csv").is_file()
    report = (run / "report.html").read_text(encoding="utf-8")
    assert "Where the model looks" in report
    assert "could not be made" not in report
    assert "Not a medical device".lower() in done.stderr.lower()


def test_a_file_that_cannot_be_read_is_told_without_a_traceback(small_run: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    done = hilum("explain", str(small_run), str(tmp_path / "broken.png"), "-o", str(tmp_path / "out"))
    assert done.returncode == 1
    assert "1 of 1 films could not be explained" in done.stdout
    assert "Traceback" not in done.stderr


def test_requests_that_contradict_themselves_are_refused(small_run: Path, tmp_path: Path) -> None:
    film = tmp_path / "film.png"
    Image.fromarray(phantom.film(1, side_px=96).pixels).save(film)
    with pytest.raises(RequestError, match="films were named"):
        explain(small_run, [film], part="test", most=None, out=None)
    with pytest.raises(RequestError, match="this is a run"):
        explain(small_run, [film], part="", most=None, out=small_run)
    with pytest.raises(RequestError, match="no such file"):
        explain(small_run, [tmp_path / "absent.png"], part="", most=None, out=tmp_path / "out")
