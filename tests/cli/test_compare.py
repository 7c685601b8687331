"""`hilum compare` as a stranger meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from cli.test_app import hilum
from hilum.cli.app import app
from hilum.errors import RequestError
from hilum.evaluation.run_folder import RunFolder


@pytest.fixture(scope="module")
def theirs(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Somebody else's predictions of the run's test films, without parts: each film's probabilities turned around."""
    table = RunFolder(small_run).predictions().query("part == 'test'")
    columns = [name for name in table.columns if name.startswith("p_")]
    turned = table[["image_id", "label"]].copy()
    turned[columns] = table[columns[::-1]].to_numpy()
    path = tmp_path_factory.mktemp("theirs") / "theirs.csv"
    turned.to_csv(path, index=False)
    return path


def test_a_run_and_somebody_elses_table_are_compared(small_run: Path, theirs: Path, tmp_path: Path) -> None:
    done = hilum("compare", str(small_run), str(theirs), "-o", str(tmp_path / "out"), "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert list(answer["runs"]) == ["small", "theirs"]
    assert answer["runs"]["theirs"]["differences"]["accuracy"]["low"] is not None
    assert answer["runs"]["small"]["costs"]["parameters"] > 100_000
    assert Path(answer["page"]).is_file()
    assert "theirs does not tell which films it learned from" in done.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "needs two runs"),
        (("RUN",), "needs two runs"),
        (("RUN", "RUN"), "twice"),
        (("RUN", "nowhere"), "nowhere: there is no run here"),
        (("RUN", "THEIRS", "--part", "validation"), "no film in the part 'validation'"),
        (("RUN", "THEIRS", "--data", "films"), "--recipes"),
        (("RUN", "THEIRS", "-o", "RUN"), "the folder of a run"),
        (("--recipes", "demo", "fine-tun", "--data", "films"), "Did you mean 'fine-tune'?"),
        (("--recipes", "demo", "--data", "films"), "needs two runs"),
        (("--recipes", "demo", "demo", "--data", "films"), "one folder"),
    ],
)
def test_a_wrong_request_is_refused_and_trains_nothing(
    words: tuple[str, ...],
    told: str,
    small_run: Path,
    theirs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    named = {"RUN": str(small_run), "THEIRS": str(theirs)}
    error = CliRunner().invoke(app, ["compare", *(named.get(word, word) for word in words)]).exception
    assert isinstance(error, RequestError)
    assert told in str(error)
    assert not list(tmp_path.iterdir())


def test_recipes_are_trained_where_they_are_missing(
    small: tuple[str, ...], phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second command trains neither of them again, and goes on with the one that was stopped."""
    monkeypatch.chdir(tmp_path)
    for name, rate in (("slow", 1e-4), ("fast", 3e-3)):
        (tmp_path / f"{name}.toml").write_text(f"[[stage]]\nepochs = 1\nlearning_rate = {rate}\n")
    settings = [word for setting in small for word in ("--set", setting)]
    words = ["compare", "--recipes", "slow.toml", "fast.toml", "--data", str(phantoms), *settings, "-o", "out"]
    done = CliRunner().invoke(app, words)
    assert done.exception is None
    assert "training out/slow" in done.stdout
    out = tmp_path / "out"
    assert "stage.1.learning_rate" in (out / "comparison.html").read_text(encoding="utf-8")
    made = [(out / name / "weights.safetensors").stat().st_mtime_ns for name in ("slow", "fast")]
    for name in ("predictions.csv", "metrics.json", "report.html"):
        (out / "fast" / name).unlink()
    again = CliRunner().invoke(app, words)
    assert again.exception is None
    assert "out/slow is trained already" in again.stdout
    assert "going on with out/fast" in again.stdout
    assert [(out / name / "weights.safetensors").stat().st_mtime_ns for name in ("slow", "fast")] == made
    assert pd.read_csv(out / "comparison.csv")["run"].unique().tolist() == ["slow", "fast"]
    other = CliRunner().invoke(app, [*words, "--set", "stage.epochs=2"])
    assert "another [stage]" in str(other.exception)
