"""The model card and the checklists: every item answered or open, and nothing claimed that the run does not know."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from hilum.data.manifest import read_manifest, write_manifest
from hilum.errors import DataError, RequestError
from hilum.evaluation.run_folder import RunFolder
from hilum.report.facts import Facts
from hilum.report.paperwork import FORMS, KNOWN, Paper, fill, read_form, write_paperwork
from report.made_run import made_films, made_run

# The numbers of the papers: TRIPOD+AI has 27 items with these sub-items, CLAIM 2024 has 44 and none.
TRIPOD_PARTS = {
    3: "abc",
    5: "ab",
    6: "abc",
    8: "abc",
    9: "abc",
    12: "abcdefg",
    18: "abcdef",
    20: "abc",
    23: "ab",
    27: "abc",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("paperwork")
    return made_run(folder / "made", made_films(folder / "films"))


def filled(run: Path) -> dict[str, Paper]:
    return {name: fill(read_form(name), Facts(RunFolder(run))) for name in FORMS}


def answer(paper: Paper, number: str) -> str:
    return " ".join(next(each for each in paper.answers if each.item.number == number).known)


def test_the_checklists_have_the_items_of_the_papers_and_each_once() -> None:
    tripod = [f"{item}{part}" for item in range(1, 28) for part in TRIPOD_PARTS.get(item, [""])]
    assert [item.number for item in read_form("tripod-ai").item] == tripod
    assert [item.number for item in read_form("claim-2024").item] == [str(item) for item in range(1, 45)]


def test_every_fact_that_a_form_asks_for_is_one_and_every_fact_is_asked_for() -> None:
    asked = {name for form in FORMS for item in read_form(form).item for name in item.facts}
    assert asked == set(KNOWN)


def test_every_item_says_something_or_is_open(run: Path) -> None:
    for paper in filled(run).values():
        for each in paper.answers:
            assert each.known or each.open, each.item.number
        assert sum(paper.counted.values()) == len(paper.answers)


def test_what_only_people_know_is_open_for_any_run(run: Path) -> None:
    papers = filled(run)
    state = {(name, each.item.number): each.state for name, paper in papers.items() for each in paper.answers}
    # Ethics, funding, interests, registration, patients' part; de-identification, readers, funding.
    for number in ("17", "18a", "18b", "18d", "19"):
        assert state["tripod-ai", number] == "open"
    for number in ("11", "16", "18", "34", "44"):
        assert state["claim-2024", number] == "open"


def test_figures_stand_with_interval_and_n_as_in_metrics_json(run: Path) -> None:
    figure = json.loads((run / "metrics.json").read_text())["test"]["accuracy"]
    expected = f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}], n = {figure['n']} films"
    papers = filled(run)
    assert expected in answer(papers["tripod-ai"], "23a")
    assert expected in answer(papers["claim-2024"], "37")
    assert expected in answer(papers["model-card"], "14")


def test_counts_are_those_of_the_manifest(run: Path) -> None:
    test = read_manifest(run / "manifest.parquet").query("part == 'test'")
    told = answer(filled(run)["claim-2024"], "21")
    assert f"Test: {len(test)} films of {test['patient_id'].nunique()} known patients" in told


def test_a_run_without_an_audit_claims_no_verdict(run: Path) -> None:
    paper = filled(run)["model-card"]
    believed = next(each for each in paper.answers if each.item.number == "16")
    assert believed.state == "open"
    assert "hilum audit" in believed.open


def test_failed_checks_of_the_audit_stand_in_the_limits(run: Path, tmp_path: Path) -> None:
    copy = _copied(run, tmp_path)
    checks = [
        {"check": "label-and-source", "title": "Label and source", "verdict": "fail", "meaning": "All come from A."},
        {"check": "by-sex", "title": "By sex", "verdict": "pass", "meaning": "Men and women are alike."},
    ]
    (copy / "audit.json").write_text(json.dumps(checks), encoding="utf-8")
    papers = filled(copy)
    assert "Fail: Label and source. All come from A." in answer(papers["tripod-ai"], "26")
    assert "1 fail, 1 pass" in answer(papers["model-card"], "16")
    assert "Men and women are alike." in answer(papers["tripod-ai"], "14")


def test_nothing_is_said_of_ages_and_sexes_that_no_film_tells(run: Path, tmp_path: Path) -> None:
    copy = _copied(run, tmp_path)
    films = read_manifest(copy / "manifest.parquet")
    films[["age_years", "sex", "view"]] = pd.NA
    write_manifest(films, copy / "manifest.parquet")
    papers = filled(copy)
    assert answer(papers["claim-2024"], "36") == ""
    assert answer(papers["claim-2024"], "13").startswith("Files:") or answer(papers["claim-2024"], "13") == ""
    twenty_three = next(each for each in papers["tripod-ai"].answers if each.item.number == "23a")
    assert twenty_three.state == "partly"


def test_a_missing_file_leaves_its_items_open_and_the_others_answered(run: Path, tmp_path: Path) -> None:
    copy = _copied(run, tmp_path)
    (copy / "environment.json").unlink()
    paper = filled(copy)["claim-2024"]
    assert next(each for each in paper.answers if each.item.number == "23").state == "open"  # software
    assert answer(paper, "37")


def test_forms_are_written_as_markdown_and_html_with_every_number(run: Path, tmp_path: Path) -> None:
    write_paperwork(run, tmp_path)
    for name in FORMS:
        text = (tmp_path / f"{name}.md").read_text(encoding="utf-8")
        page = (tmp_path / f"{name}.html").read_text(encoding="utf-8")
        numbers = re.findall(r"^### (\w+)\. ", text, re.MULTILINE)
        assert numbers == [item.number for item in read_form(name).item]
        assert re.findall(r'<span class="number">(\w+)</span>', page) == numbers
        assert "Not a medical device" in text
        assert "Not a medical device" in page


def test_strangers_words_stay_words_in_both_formats(tmp_path: Path) -> None:
    films = made_films(tmp_path / "films", ("<script>ill</script>", "well_*"))
    folder = made_run(tmp_path / "made", films, ("<script>ill</script>", "well_*"))
    write_paperwork(folder)
    assert "<script>ill" not in (folder / "paperwork" / "model-card.html").read_text(encoding="utf-8")
    markdown = (folder / "paperwork" / "model-card.md").read_text(encoding="utf-8")
    assert "<script>" not in markdown
    assert r"well\_\*" in markdown


def test_no_path_of_this_machine_is_told(run: Path, tmp_path: Path) -> None:
    write_paperwork(run, tmp_path / "out")
    for file in (tmp_path / "out").iterdir():
        assert str(run.parent) not in file.read_text(encoding="utf-8")


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no run folder"):
        write_paperwork(tmp_path)


def test_a_run_that_was_not_judged_is_refused_with_how_to_go_on(run: Path, tmp_path: Path) -> None:
    copy = _copied(run, tmp_path)
    (copy / "metrics.json").unlink()
    with pytest.raises(DataError, match=r"no metrics.json.*--resume"):
        write_paperwork(copy)
    assert not (copy / "paperwork").exists()


def test_a_trained_run_answers_what_it_was_made_of(small_run: Path, tmp_path: Path) -> None:
    papers = write_paperwork(small_run, tmp_path)
    sha = RunFolder(small_run).environment()["weights_sha256"]
    assert sha in answer(papers["tripod-ai"], "22")
    assert "64 x 64 pixels" in answer(papers["claim-2024"], "9")
    assert "rotation deg 5" in answer(papers["claim-2024"], "25")
    assert "random weights" in answer(papers["claim-2024"], "24")


def _copied(run: Path, folder: Path) -> Path:
    copy = folder / "copy"
    copy.mkdir()
    for name in (
        "recipe.toml",
        "environment.json",
        "manifest.parquet",
        "history.csv",
        "predictions.csv",
        "metrics.json",
    ):
        (copy / name).write_bytes((run / name).read_bytes())
    return copy
