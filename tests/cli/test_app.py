"""The command line as a stranger meets it: help at once, answers, exit statuses, no tracebacks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from commands import hilum
from hilum.cli.reference import PAGES

ROOT = Path(__file__).resolve().parents[2]


def test_help_and_import_load_nothing_heavy() -> None:
    code = (
        "import sys; import hilum; import hilum.cli.app; print(sorted({'torch', 'pandas', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("words", [("--help",), ("train", "--help")])
def test_help_answers(words: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "hilum.cli.app", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "Usage" in done.stdout


@pytest.mark.parametrize("page", PAGES)
def test_the_reference_pages_are_those_of_the_code(page: str) -> None:
    assert (ROOT / "docs" / page).read_text(encoding="utf-8") == PAGES[page](), (
        "make them again with: python -m hilum.cli.reference docs"
    )


def test_every_page_that_the_readme_names_is_there() -> None:
    import re

    for link in re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text()):
        assert (ROOT / link).exists(), link


def test_every_figure_of_the_readme_stands_in_the_results_that_it_names() -> None:
    import re

    rows = [row for row in (ROOT / "README.md").read_text().splitlines() if "](benchmarks/results/" in row]
    assert rows
    for row in rows:
        results = (ROOT / re.findall(r"\]\(([^)]+)\)", row)[0]).read_text()
        for figure in re.findall(r"\d\.\d{3} \[.*?\]", row):
            assert figure in results, figure


def test_every_command_that_the_readme_and_first_run_name_is_there() -> None:
    import re

    known = PAGES["commands.md"]()
    for page in (ROOT / "README.md", ROOT / "docs" / "first-run.md"):
        for command in re.findall(r"^\s+hilum ((?:data |weights )?[a-z]+)", page.read_text(), flags=re.MULTILINE):
            assert f"## hilum {command}" in known, f"{page.name}: hilum {command}"


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (("train", "--data", "nowhere"), 2, "nowhere"),
        (("train",), 2, "--data"),
        (("train", "--resume"), 2, "-o"),
        (("train", "--set", "stage.epoch=1"), 2, "stage.epochs"),
        (("train", "--recipe", "liverpol"), 2, "no recipe file and no shipped recipe"),
        (("predict", "nowhere", "film.png"), 2, "no such run"),
        (("evaluate", "nowhere", "--data", "x"), 2, "no run folder"),
        (("train", "--nope"), 2, "--nope"),
        (("nope",), 2, "nope"),
    ],
)
def test_a_wrong_request_is_one_error_with_status_2(
    words: tuple[str, ...], status: int, told: str, tmp_path: Path
) -> None:
    done = hilum(*words, cwd=tmp_path)
    assert done.returncode == status, done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_predict_writes_a_row_per_file_and_goes_on_after_bad_ones(
    small_run: Path, phantoms: Path, tmp_path: Path
) -> None:
    film = next(path for path in phantoms.parent.rglob("films/*/*") if path.is_file())
    good = tmp_path / f"good{film.suffix}"
    good.write_bytes(film.read_bytes())
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    (tmp_path / "page.jpeg").write_text("<html><body>404</body></html>")
    (tmp_path / "empty.dcm").touch()
    done = hilum("predict", str(small_run), str(tmp_path), "-o", str(tmp_path / "out.csv"), "--json")
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "out.csv").set_index(pd.Series(["broken", "empty", "good", "page"]))
    assert table["error"].notna().tolist() == [True, True, False, True]
    assert table.filter(like="p_").loc["good"].sum() == pytest.approx(1)
    assert table.filter(like="p_").drop("good").isna().all().all()
    assert "HTML" in table["error"]["page"]
    answer = json.loads(done.stdout)
    assert (answer["films"], answer["failed"]) == (4, 3)


def test_predict_fails_when_no_film_can_be_read(small_run: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    done = hilum("predict", str(small_run), str(tmp_path / "a.png"))
    assert done.returncode == 1
    assert "0 of 1 films predicted" in done.stdout


@pytest.mark.parametrize("place", [".", "no/such/disk.csv/out.csv"])
def test_predict_refuses_a_place_that_cannot_be_written_before_the_work(
    place: str, small_run: Path, tmp_path: Path
) -> None:
    (tmp_path / "no").mkdir()
    (tmp_path / "no" / "such").touch()
    done = hilum("predict", str(small_run), str(tmp_path), "-o", str(tmp_path / place))
    assert done.returncode == 2
    assert "cannot be written here" in done.stderr


def test_evaluate_does_not_write_over_a_run(small_run: Path, phantoms: Path) -> None:
    before = (small_run / "metrics.json").read_bytes()
    done = hilum("evaluate", str(small_run), "--data", str(phantoms), "-o", str(small_run))
    assert done.returncode == 2
    assert "would be overwritten" in done.stderr
    assert (small_run / "metrics.json").read_bytes() == before


def test_quiet_says_nothing_but_errors(small_run: Path, phantoms: Path, tmp_path: Path) -> None:
    films = str(next(phantoms.parent.glob("films/*")))
    done = hilum("predict", str(small_run), films, "-o", str(tmp_path / "out.csv"), "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_evaluate_leaves_out_what_the_run_learned_from(small_run: Path, phantoms: Path, tmp_path: Path) -> None:
    from hilum.evaluation.run_folder import RunFolder

    done = hilum("evaluate", str(small_run), "--data", str(phantoms), "-o", str(tmp_path / "other"), "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    run = RunFolder(small_run)
    in_test = int((run.manifest()["part"] == "test").sum())
    assert any("left out because the run learned from them" in note for note in answer["notes"])
    assert answer["metrics"]["accuracy"]["n"] == in_test
    assert answer["metrics"]["accuracy"]["value"] == pytest.approx(run.metrics()["test"]["accuracy"]["value"])


def test_evaluate_refuses_a_class_that_the_run_does_not_know(small_run: Path, tmp_path: Path) -> None:
    import cv2
    import numpy as np

    for name in ("tuberculosis", "normal"):
        (tmp_path / "films" / name).mkdir(parents=True)
        for number in range(2):
            pixels = np.random.default_rng([len(name), number]).integers(0, 255, (64, 64), dtype=np.uint8)
            cv2.imwrite(str(tmp_path / "films" / name / f"{number}.png"), pixels)
    done = hilum("evaluate", str(small_run), "--data", str(tmp_path / "films"), "--set", "data.task=labels")
    assert done.returncode == 1
    assert "does not know the class 'tuberculosis'" in done.stderr


def test_every_key_of_a_recipe_and_every_column_of_a_manifest_has_a_meaning() -> None:
    from hilum.cli import reference

    for page in (reference.recipe_keys(), reference.manifest_columns()):
        assert not [line for line in page.splitlines() if line.startswith("|") and line.endswith("|  |")]
