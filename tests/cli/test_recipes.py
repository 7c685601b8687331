"""`hilum recipes`, and what `hilum train` says of a recipe whose films are not named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from hilum.cli.console import terminal
from hilum.cli.recipes import app
from hilum.data.collect import collect
from hilum.errors import RequestError
from hilum.recipe.load import load_recipe, shipped


@pytest.fixture(autouse=True)
def flags(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("COLUMNS", "200")
    yield
    terminal.json = terminal.quiet = False


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def collections(tmp_path: Path) -> Path:
    """A folder with a copy of Kermany's layout, a part of it beside, and Cohen's table; the films are empty files."""
    for folder in ("kermany", "a-part-of-kermany"):
        for part in ("train", "test"):
            for name, film in (("NORMAL", "IM-0115-0001.jpeg"), ("PNEUMONIA", "person1_bacteria_2.jpeg")):
                path = tmp_path / folder / "chest_xray" / part / name / film
                path.parent.mkdir(parents=True)
                path.touch()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "metadata.csv").write_text("patientid,finding,view,modality,filename\n")
    return tmp_path


def test_the_list_names_every_recipe_with_its_films_and_figures() -> None:
    said = run().stdout
    for name in shipped():
        assert name in said
    row = next(line for line in said.splitlines() if line.startswith("kth-snn-2020-original"))
    assert "15,161" in row and "VGG16" in row and "accuracy 0.91" in row


def test_the_list_can_be_read_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    said = run().stdout
    assert max(map(len, said.splitlines())) <= 80
    assert "…" not in said and "0.91" in said


def test_the_list_is_json_when_asked_for() -> None:
    terminal.json = True
    rows = {row["name"]: row for row in json.loads(run().stdout)}
    assert set(rows) == set(shipped())
    four = rows["fabiani-2020-four-class"]
    assert four["classes"] == ["covid-19", "bacterial", "viral", "normal"]
    assert four["others"]["Xception"]["accuracy"] == 0.86
    assert rows["gradientcrescent-2020-three"]["classes"] == ["covid-19", "bacterial", "normal"]


def test_a_recipe_is_shown_with_its_comments_and_what_to_download() -> None:
    said = run("show", "liverpool-2022").stdout
    assert shipped()["liverpool-2022"].read_text(encoding="utf-8").strip() in said
    assert "kaggle.com/datasets/prashant268" in said
    assert "put it at data/kaggle-covid19-pneumonia" in said


def test_collections_that_are_there_are_found_and_the_command_names_them(collections: Path) -> None:
    said = run("show", "fabiani-2020-binary", "--data", collections).stdout
    assert f"found at {collections / 'kermany'}" in said
    assert f"--data cohen:{collections / 'mine'} --data kermany:{collections / 'kermany'} -o" in said


def test_a_collection_is_found_by_its_source_too_and_one_that_is_not_there_is_told(collections: Path) -> None:
    terminal.json = True
    answer = json.loads(run("show", "fabiani-2020-binary", "--data", f"kermany:{collections / 'kermany'}").stdout)
    assert {row["reader"]: row["found"] for row in answer["needs"]} == {
        "cohen": None,
        "kermany": str(collections / "kermany"),
    }
    assert answer["toml"] == shipped()["fabiani-2020-binary"].read_text(encoding="utf-8")
    assert answer["recipe"]["stage"][0]["optimiser"] == "amsgrad"


def test_a_recipe_of_folds_is_run_by_crossval() -> None:
    assert "run it: hilum crossval --recipe darkcovidnet-2020" in run("show", "darkcovidnet-2020").stdout


def test_an_unknown_recipe_is_refused_with_the_nearest() -> None:
    result = run("show", "liverpol")
    assert isinstance(result.exception, RequestError)
    assert "Did you mean 'liverpool-2022'?" in str(result.exception)


def test_a_study_without_films_says_which_it_needs_and_how_to_give_them() -> None:
    with pytest.raises(RequestError) as error:
        collect(load_recipe(["kth-snn-2020-original"]))
    said = str(error.value)
    assert "needs those of cohen, figure1 and rsna" in said
    assert "--data cohen:FOLDER --data figure1:FOLDER --data rsna:FOLDER" in said
    assert "kaggle.com/c/rsna-pneumonia-detection-challenge" in said
