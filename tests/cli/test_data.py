"""`hilum data inspect` and `hilum data build`."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from data.film_files import film, films, table
from hilum.cli.console import terminal
from hilum.cli.data import app
from hilum.data.manifest import read_manifest
from hilum.errors import DataError, RequestError


@pytest.fixture(autouse=True)
def spoken(monkeypatch):
    """Each test begins with a terminal that is neither quiet nor answering in JSON."""
    monkeypatch.setattr(terminal, "json", False)
    monkeypatch.setattr(terminal, "quiet", False)


def run(*arguments: object) -> str:
    """Standard output of a command; its error is raised."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def ward(tmp_path):
    root = films(
        tmp_path / "ward", "train/ill/p1_a.png", "train/ill/p2_a.png", "train/well/p3_a.png", "test/well/p4.png"
    )
    film(root / "test" / "ill" / "p1_b.png", seed=77)
    table(root / "train" / "ill" / "note.txt", "x")
    return f"folder:{root}?patient=(?P<patient>p\\d)"


def test_inspect_tells_what_there_is_as_json(tmp_path):
    (tmp_path / "ward").mkdir()
    answer = json.loads(run("inspect", ward(tmp_path), "--no-files", "--json"))
    assert (answer["films"], answer["patients"]) == (5, 4)
    assert {record["label"]: record["films"] for record in answer["labels"]} == {"ill": 3, "well": 2}
    assert answer["by_label"]["split"] == {"ill": {"train": 2, "test": 1}, "well": {"train": 1, "test": 1}}
    assert {one["column"]: one["missing"] for one in answer["missing"]}["age_years"] == 5
    assert answer["left_out"] == [{"what": "files that are no film", "count": 1}]


def test_inspect_looks_into_the_files_for_duplicates_and_leaks(tmp_path):
    source = ward(tmp_path)
    film(tmp_path / "ward" / "test" / "well" / "copy.png", seed=0)  # the bytes of train/ill/p1_a.png
    (tmp_path / "ward" / "train" / "well" / "broken.png").write_bytes(b"not a picture")
    answer = json.loads(run("inspect", source, "--json"))
    assert answer["films"] == 6
    assert {"what": "cannot be read", "count": 1} in answer["left_out"]
    assert answer["duplicates"]["exact_pairs"] == 1
    assert answer["duplicates"]["pairs_of_two_labels"] == 1
    assert answer["split_leaks"]["patient"] == 1  # p1
    assert answer["split_leaks"]["exact duplicate"] == 1
    assert answer["sizes_px"]["width"]["max"] == 32


def test_inspect_names_the_files_that_cannot_be_read(tmp_path):
    source = ward(tmp_path)
    (tmp_path / "ward" / "train" / "well" / "broken.png").touch()
    assert f"cannot be read: {tmp_path / 'ward' / 'train' / 'well' / 'broken.png'}: the file is empty" in run(
        "inspect", source
    )


def test_inspect_shows_tables_to_people(tmp_path):
    shown = run("inspect", ward(tmp_path), "--no-files")
    assert "5 films, 4 patients" in shown
    assert "label by split" in shown
    assert "left out: files that are no film: 1" in shown


def test_build_writes_a_manifest_with_the_files_facts_and_its_classes(tmp_path):
    source = films(tmp_path / "x", "COVID19/a.png", "NORMAL/b.png", "todo/c.png")
    out = tmp_path / "m.parquet"
    answer = json.loads(run("build", source, "-o", out, "--task", "covid-vs-normal", "--json"))
    manifest = read_manifest(out)
    assert manifest["class"].tolist() == ["covid-19", "normal"]
    assert manifest["sha256"].notna().all()
    assert manifest["width"].tolist() == [32, 32]
    assert answer["class"] == {"covid-19": 1, "normal": 1}
    assert answer["left_out"] == [{"what": "label todo: not in task 'covid-vs-normal'", "count": 1}]


def test_build_keeps_the_films_of_the_filter_and_counts_the_others(tmp_path):
    source = films(tmp_path / "x", "ill/a.png", "well/b.png")
    out = tmp_path / "m.csv"
    answer = json.loads(run("build", source, "-o", out, "--where", 'label == "ill"', "--json"))
    assert read_manifest(out)["label"].tolist() == ["ill"]
    assert answer["left_out"] == [{"what": 'not where label == "ill"', "count": 1}]


@pytest.mark.parametrize(
    ("arguments", "error", "complaint"),
    [
        (["-o", "m.xlsx"], RequestError, "parquet or .csv"),
        (["-o", "m.csv", "--task", "covid3"], RequestError, "Did you mean 'covid-3'"),
        (["-o", "m.csv", "--task", "own"], RequestError, "written in a recipe"),
        (["-o", "m.csv", "--drop", "todo"], RequestError, "Name one with --task"),
        (["-o", "m.csv", "--where", 'view == "PA"'], DataError, "view is missing throughout"),
    ],
)
def test_build_refuses_and_writes_nothing(tmp_path, monkeypatch, arguments, error, complaint):
    monkeypatch.chdir(tmp_path)
    source = films(tmp_path / "x", "ill/a.png", "well/b.png")
    with pytest.raises(error, match=complaint):
        run("build", source, *arguments)
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]


def two_hospitals(tmp_path):
    """Six films of two hospitals; every ill one is from the north, and nothing else is."""
    north = films(tmp_path / "north", "ill/a.png", "ill/b.png", "ill/c.png")
    south = tmp_path / "south"
    for seed, name in enumerate(("well/d.png", "well/e.png", "well/f.png"), start=10):
        film(south / name, seed=seed)
    return f"folder:{north}", f"folder:{south}"


def test_inspect_says_first_which_label_is_one_source(tmp_path):
    shown = run("inspect", *two_hospitals(tmp_path), "--no-files")
    assert shown.splitlines()[0].startswith("! Every ill film comes from north, and nothing else does: 3 films")


def test_inspect_tells_what_two_collections_share(tmp_path):
    sources = two_hospitals(tmp_path)
    film(tmp_path / "south" / "well" / "g.png", seed=1)  # north's b.png
    answer = json.loads(run("inspect", *sources, "--json"))
    (shared,) = answer["overlaps"]
    assert (shared["a"], shared["b"], shared["films_a"], shared["exact_pairs"]) == ("north", "south", 1, 1)
    assert answer["duplicates"]["pairs_of_two_labels"] == 1
    assert answer["label_and_source"]["of_one_label"] == ["north", "south"]
    assert answer["label_and_source"]["cramers_v"] == 1.0


def test_inspect_writes_a_page_that_needs_nothing_else(tmp_path):
    page = tmp_path / "inspect.html"
    run("inspect", *two_hospitals(tmp_path), "-o", page)
    text = page.read_text()
    assert "Every ill film comes from north" in text
    assert text.count("data:image/webp") == 6
    assert "<script" not in text and "http" not in text.replace("http-equiv", "").replace("http://www.w3.org", "")


def test_inspect_refuses_a_page_that_is_no_html_before_it_reads(tmp_path):
    with pytest.raises(RequestError, match=r"one \.html file"):
        run("inspect", tmp_path / "absent", "-o", tmp_path / "inspect.pdf")


@pytest.mark.real
def test_inspect_finds_the_one_film_of_the_real_kaggle_collection_that_is_in_two_classes(shared):
    answer = json.loads(run("inspect", shared / "data" / "kaggle-covid19-pneumonia", "--json"))
    assert answer["films"] == 6292
    assert [[name.rsplit("/", 1)[-1] for name in pair] for pair in answer["duplicates"]["examples_of_two_labels"]] == [
        ["COVID19(277).jpg", "PNEUMONIA(7).jpg"]
    ]  # seen by eye: one child's film
