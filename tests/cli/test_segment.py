"""`hilum segment` as a stranger meets it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from commands import hilum
from hilum.cli.segment import train
from hilum.errors import RequestError
from image.lung_pictures import untrained


def test_films_may_be_left_out_and_what_shows_no_lungs_is_said(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(tmp_path / "tiny.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    network = untrained(tmp_path / "lungs.safetensors")
    paths = [str(tmp_path / "tiny.png"), str(tmp_path / "broken.png"), "-o", str(tmp_path / "out")]
    done = hilum("segment", *paths, "--network", str(network), "--json")
    assert done.returncode == 1  # no film has lungs
    answer = json.loads(done.stdout)
    assert (answer["films"], answer["doubted"], answer["failed"]) == (2, 1, 1)
    assert "40 x 40 pixels" in done.stderr
    assert "Traceback" not in done.stderr


def test_training_without_data_and_going_on_with_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"pairs\.csv is needed"):
        train(out=tmp_path / "run")
    with pytest.raises(RequestError, match=r"pairs\.csv: there is no such file"):
        train(tmp_path, out=tmp_path / "run")
    with pytest.raises(RequestError, match=r"no recipe\.toml"):
        train(out=tmp_path / "run", resume=True)
    assert not (tmp_path / "run").exists()
