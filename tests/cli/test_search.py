"""`hilum search` as people give it: its answer, Ctrl-C, and requests that cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from commands import hilum

# Of films, so that the trials train one after the other: heads alone would train together.
SPACE = "search.space.prepare.equalise=['none', 'histogram', 'clahe']"
FROZEN = ("model.backbone=resnet10t", "stage.unfreeze=none", "stage.epochs=1", "split.validation=0.2")


def words(phantoms: Path, small: tuple[str, ...], out: Path, *settings: str) -> list[str]:
    given = [word for setting in (*small, *FROZEN, "model.head.layers=1", *settings) for word in ("--set", setting)]
    return ["search", "--data", str(phantoms), *given, "-o", str(out)]


def test_ctrl_c_says_how_to_go_on_and_going_on_answers_in_json(
    phantoms: Path, small: tuple[str, ...], tmp_path: Path
) -> None:
    out = tmp_path / "s"
    hook = (
        "import os, signal, hilum.cli.console as c\n"
        "begin = c.LineProgress.task\n"
        "def task(self, what, total):\n"
        "    if what.startswith('trial 2 of 3'):\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "    return begin(self, what, total)\n"
        "c.LineProgress.task = task\n"
        "from hilum.cli.app import main; main()\n"
    )
    asked = words(phantoms, small, out, SPACE, "search.method=grid", "search.monitor=accuracy")
    done = hilum(*asked, code=hook)
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    assert f"hilum search --resume -o {out}" in done.stderr
    assert pd.read_csv(out / "trials.csv")["state"].tolist() == ["finished", "waiting"]
    again = hilum("search", "--resume", "-o", str(out), "--json")
    assert again.returncode == 0, again.stderr
    answer = json.loads(again.stdout)
    assert answer["trials"]["finished"] == answer["trials"]["planned"] == 3
    assert answer["best"]["values"]["prepare.equalise"] in ("none", "histogram", "clahe")
    assert pd.read_csv(out / "trials.csv")["trial"].tolist() == [1, 2, 3]


def test_a_misspelt_key_and_an_empty_search_are_refused_before_any_film_is_read(tmp_path: Path) -> None:
    for settings, said in (
        (["search.space.model.head.unit=[4]"], "model.head.units"),
        (["search.space.stage.learning_rate=[-1.0]"], "stage.learning_rate"),
        ([], "search.space"),
    ):
        out = tmp_path / "s"
        done = hilum(*words(Path("/nowhere"), (), out, *settings))
        assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr
        assert not out.exists()
