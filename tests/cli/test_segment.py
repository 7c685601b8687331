"""`hilum segment` as a stranger meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from image.lung_pictures import untrained


def hilum(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hilum.cli.app", *words], capture_output=True, text=True, timeout=120, check=False
    )


def test_films_may_be_left_out_and_what_shows_no_lungs_is_said(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(tmp_path / "tiny.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    network = untrained(tmp_path / "lungs.safetensors")
    paths = [str(tmp_path / "tiny.png"), str(tmp_path / "broken.png"), "-o", str(tmp_path / "out")]
    for words in (["segment", *paths], ["segment", "films", *paths]):
        done = hilum(*words, "--network", str(network), "--json")
        assert done.returncode == 1  # no film has lungs
        answer = json.loads(done.stdout)
        assert (answer["films"], answer["doubted"], answer["failed"]) == (2, 1, 1)
        assert "40 x 40 pixels" in done.stderr
        assert "Traceback" not in done.stderr


def test_training_without_data_and_going_on_with_nothing_are_refused_in_a_line(tmp_path: Path) -> None:
    for words, said in (
        (["segment", "train", "-o", str(tmp_path / "run")], "pairs.csv"),
        (["segment", "train", str(tmp_path), "-o", str(tmp_path / "run")], "pairs.csv"),
        (["segment", "train", "--resume", "-o", str(tmp_path / "run")], "recipe.toml"),
    ):
        done = hilum(*words)
        assert done.returncode == 2
        assert said in done.stderr and len(done.stderr.strip().splitlines()) == 1
