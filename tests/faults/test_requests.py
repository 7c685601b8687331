"""What users get wrong, and what machines do to them: one clear error each, and nothing is lost."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

import commands
import hilum
from hilum.errors import DataError, HilumError, RequestError, WeightsError
from hilum.evaluation.run_folder import RunFolder


def film(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 8), dtype=np.uint8)
    cv2.imwrite(str(path), cv2.resize(pixels, (64, 64), interpolation=cv2.INTER_CUBIC))
    return path


def folder(root: Path, **films_by_class: int) -> Path:
    seed = 0
    for name, count in films_by_class.items():
        for number in range(count):
            film(root / name / f"p{number}.png", seed := seed + 1)
    return root


def refused(data: Path | str, out: Path, *settings: str) -> HilumError:
    with pytest.raises(HilumError) as caught:
        hilum.train(data=str(data), settings=settings, out=out)
    assert not (out / "weights.safetensors").exists()
    return caught.value


def test_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    error = refused(tmp_path / "films", tmp_path / "run")
    assert isinstance(error, RequestError | DataError)
    assert str(tmp_path / "films") in str(error)


def test_a_class_of_one_film(tmp_path: Path) -> None:
    error = refused(f"folder:{folder(tmp_path / 'films', ill=1, well=30)}", tmp_path / "run")
    assert "'ill'" in str(error) and "one film" in str(error)


def test_one_class_only(tmp_path: Path) -> None:
    error = refused(f"folder:{folder(tmp_path / 'films', ill=30)}", tmp_path / "run")
    assert "class" in str(error) and "ill" in str(error)


def test_a_missing_column(tmp_path: Path) -> None:
    film(tmp_path / "a.png", 1)
    (tmp_path / "films.csv").write_text("file,diagnosis\na.png,normal\n")
    error = refused(f"csv:{tmp_path / 'films.csv'}?path=file&label=diagnose", tmp_path / "run")
    assert "'diagnose'" in str(error) and "diagnosis" in str(error) and "films.csv" in str(error)


def test_an_unknown_label(tmp_path: Path) -> None:
    own = ("data.task=own", 'task.labels={ ill = "pneumonia", healthy = "normal" }')
    error = refused(f"folder:{folder(tmp_path / 'films', ill=9, well=9)}", tmp_path / "run", *own)
    assert "'healthy'" in str(error) and "well" in str(error)


def test_an_unknown_recipe_key(tmp_path: Path) -> None:
    error = refused("nowhere", tmp_path / "run", "prepare.size=64")
    assert "'prepare.size'" in str(error) and "prepare.side_px" in str(error)


def test_unreadable_and_other_files_among_good_ones(tmp_path: Path, small: tuple[str, ...]) -> None:
    root = folder(tmp_path / "films", ill=24, well=24)
    (root / "ill" / "cut.png").write_bytes((root / "ill" / "p0.png").read_bytes()[:300])
    (root / "well" / "page.jpeg").write_text("<html>not found</html>")
    (root / "well" / "notes.txt").write_text("seen by Dr. X")
    (root / "well" / ".DS_Store").write_bytes(b"\0\1")
    settings = [*small, "data.task=labels", "stage.epochs=1"]
    run = RunFolder(hilum.train(data=f"folder:{root}", settings=settings, out=tmp_path / "run").path)
    assert len(run.manifest()) == 48
    about = run.environment()
    assert about["left_out"]["cannot be read"] == 2
    assert any("notes.txt" in what or "no film" in what for what in about["left_out"])
    note = next(note for note in about["notes"] if "could not be read" in note)
    assert "cut.png" in note and "page.jpeg" in note
    assert "cut.png" in run.report_path.read_text()


def test_duplicate_rows(tmp_path: Path) -> None:
    films = folder(tmp_path / "films", ill=3, well=3)
    rows = [f"{path.relative_to(tmp_path)},{path.parent.name}" for path in sorted(films.rglob("*.png"))]
    table = tmp_path / "films.csv"
    table.write_text("\n".join(["path,label", *rows, rows[0]]))
    manifest = hilum.read(f"csv:{table}?path=path&label=label")
    assert len(manifest) == 6
    assert sum(count for _, count in manifest.attrs["left_out"]) == 1
    table.write_text("\n".join(["path,label", *rows, rows[0].replace(",ill", ",well")]))
    with pytest.raises(DataError) as caught:
        hilum.read(f"csv:{table}?path=path&label=label")
    assert "'ill'" in str(caught.value) and "'well'" in str(caught.value) and "line 2" in str(caught.value)
    assert "line 8" in str(caught.value)


@pytest.mark.real
def test_weights_of_another_backbone(shared: Path, phantoms: Path, tmp_path: Path, small: tuple[str, ...]) -> None:
    wrong = f"model.weights={shared / 'weights' / 'mobilenetv1_100.safetensors'}"
    with pytest.raises(WeightsError) as caught:
        hilum.train(
            data=str(phantoms), settings=[*small, "model.backbone=mobilenetv2_100", wrong], out=tmp_path / "run"
        )
    assert "mobilenetv1_100" in str(caught.value) and "mobilenetv2_100" in str(caught.value)


def test_weights_that_cannot_be_fetched_say_what_to_do(
    phantoms: Path, tmp_path: Path, small: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(WeightsError) as caught:
        hilum.train(data=str(phantoms), settings=[*small, "model.weights=pretrained"], out=tmp_path / "run")
    assert "hilum weights import" in str(caught.value)
    assert "model.weights=none" in str(caught.value)


def command(phantoms: Path, small: tuple[str, ...], out: Path, *more: str) -> list[str]:
    settings = [word for setting in (*small, *more) for word in ("--set", setting)]
    return ["train", "--data", str(phantoms), *settings, "-o", str(out)]


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Path:
    """A real disk of 2 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("no right to mount a small disk here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_disk_that_is_full_while_the_cache_is_built(
    tiny_disk: Path, phantoms: Path, small: tuple[str, ...], tmp_path: Path
) -> None:
    words = command(phantoms, small, tmp_path / "run", "prepare.side_px=256", "stage.epochs=1")
    full = commands.hilum(*words, env={"HILUM_CACHE": str(tiny_disk)})
    assert full.returncode == 1
    assert "Traceback" not in full.stderr
    assert "error:" in full.stderr and str(tiny_disk) in full.stderr and "MiB" in full.stderr
    again = commands.hilum("train", "--resume", "-o", str(tmp_path / "run"), code=commands.WITHOUT_PAGES)
    assert again.returncode == 0, again.stderr


# What the terminal says when each phase has begun.
PHASES = (
    "reading films",
    "preparing films",
    "stage 1",
    "predicting all parts",
    "figures and their intervals",
    "report",
)


# Ctrl-C comes when the phase begins.
STOPPED = """
import os, signal
import hilum.cli.console as c
begin = c.LineProgress.task
def task(self, what, total):
    if what.startswith({phase!r}):
        os.kill(os.getpid(), signal.SIGINT)
    return begin(self, what, total)
c.LineProgress.task = task
from hilum.cli.app import main; main()
"""


def test_ctrl_c_in_each_phase_loses_nothing(phantoms: Path, small: tuple[str, ...], tmp_path: Path) -> None:
    """Each command goes on where the one before was stopped, and is stopped in the next phase."""
    out = tmp_path / "run"
    words = command(phantoms, small, out, "stage.epochs=1")
    for phase in PHASES:
        done = commands.hilum(*words, code=STOPPED.format(phase=phase))
        assert done.returncode == 130, (phase, done.stderr)
        assert "Traceback" not in done.stderr
        assert "stopped; what was finished is kept" in done.stderr
        assert not list(tmp_path.rglob(".*"))
        assert (out / "recipe.toml").is_file() == (phase != "reading films")
        if phase != "reading films":
            words = ["train", "--resume", "-o", str(out)]
    again = commands.hilum(*words)
    assert again.returncode == 0, again.stderr
    assert (out / "report.html").is_file()


def test_a_second_ctrl_c_leaves_no_worker_behind(phantoms: Path, small: tuple[str, ...], tmp_path: Path) -> None:
    import psutil

    words = command(phantoms, tuple(s for s in small if "workers" not in s), tmp_path / "run", "training.workers=2")
    with commands.started(words) as process:
        children: list[psutil.Process] = []
        deadline = time.monotonic() + 60
        while not children and process.poll() is None and time.monotonic() < deadline:
            children = psutil.Process(process.pid).children(recursive=True)
        assert children, "no worker was seen"
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(0.2)
        assert process.wait(30) != 0
    _gone, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
    shutil.rmtree(tmp_path / "run", ignore_errors=True)
