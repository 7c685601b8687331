"""The report as a file: what it holds, and that it stands whatever the run lacks."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from hilum.errors import RequestError
from hilum.report.page import SECTIONS, write_report
from report.made_run import CLASSES, made_films, made_run

EVIL = '<script>alert("x")</script>'


class Tags(HTMLParser):
    """Every start tag with its attributes, the text outside of them, and the tags still open at the end."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text, self.open = "", [""]
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data

    def named(self, *names: str) -> Iterator[dict[str, str]]:
        return (attributes for tag, attributes in self.tags if tag in names)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    notes = ["This split leaks: the patient ann is in train and test."]
    made = made_run(folder / "made", made_films(folder / "films"), notes=notes)
    write_report(made)
    return made


@pytest.fixture
def copy(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run again, to be broken; its figures are made but not written, which takes most of the time."""
    monkeypatch.setattr("hilum.report.page.save", lambda figure, folder, name: '<svg viewBox="0 0 9 9"></svg>')
    return Path(shutil.copytree(run, tmp_path / "made"))


def page(run: Path) -> str:
    return write_report(run).read_text(encoding="utf-8")


# Made only where there is an audit, folds, members or maps.
NOT_IN_EVERY_RUN = ("audit", "folds", "members", "maps")


def section(html: str, name: str) -> str:
    found = re.search(rf'<section id="{name}".*?</section>', html, flags=re.DOTALL)
    assert found, f"no section {name}"
    return found.group()


def test_no_section_failed_and_all_are_in_the_contents(run: Path) -> None:
    html = (run / "report.html").read_text(encoding="utf-8")
    assert "could not be made" not in html
    for each in SECTIONS:
        if each.name not in NOT_IN_EVERY_RUN:
            assert f'<a href="#{each.name}">{each.heading}</a>' in html
            section(html, each.name)


def test_nothing_in_the_page_points_outside_of_it(run: Path) -> None:
    html = (run / "report.html").read_text(encoding="utf-8")
    assert "http:" not in html
    assert "https:" not in html
    tags = Tags(html)
    assert not list(tags.named("script", "link", "iframe", "object", "embed", "form", "base"))
    addresses = [
        value
        for _, attributes in tags.tags
        for name in ("src", "href", "xlink:href", "srcset", "action")
        if (value := attributes.get(name))
    ]
    assert len(addresses) > 50
    assert all(address.startswith(("data:image/", "#")) for address in addresses)
    assert "url(" not in re.sub(r"url\(#[\w-]+\)", "", html)
    assert not [name for _, attributes in tags.tags for name in attributes if name.startswith("on")]


def test_every_reference_and_anchor_has_its_one_id(run: Path) -> None:
    html = (run / "report.html").read_text(encoding="utf-8")
    ids = [attributes["id"] for _, attributes in Tags(html).tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    wanted = set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', html))
    assert {first or second for first, second in wanted} <= set(ids)


def test_every_picture_has_words(run: Path) -> None:
    tags = Tags((run / "report.html").read_text(encoding="utf-8"))
    pictures = list(tags.named("img"))
    assert len(pictures) > 20
    assert all(len(attributes["alt"]) > 10 for attributes in pictures)
    assert all(len(attributes["aria-label"]) > 10 for attributes in tags.named("svg"))


def test_research_use_and_notes_stand_before_any_figure(run: Path) -> None:
    html = (run / "report.html").read_text(encoding="utf-8")
    first = html.index('class="value"')
    assert (
        html.index("For research only. Not a medical device.") < html.index("This split leaks: the patient ann") < first
    )
    assert html.index("No audit was made") < first
    assert html.count("Not a medical device.") >= 3  # the top, the foot, and every printed page


def test_the_headline_is_the_test_parts_with_interval_films_and_patients(run: Path) -> None:
    figure = json.loads((run / "metrics.json").read_text())["test"]["macro_f1"]
    head = section((run / "report.html").read_text(encoding="utf-8"), "headline")
    assert f"{figure['value']:.3f}" in head
    assert f"[{figure['low']:.3f}, {figure['high']:.3f}]" in head
    assert f"n = {figure['n']} films of {figure['patients']} patients" in head


def test_every_defined_figure_has_its_interval_and_every_group_its_n(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    table = section((run / "report.html").read_text(encoding="utf-8"), "figures")
    cells = re.findall(r'<td(?: class="judged")?><b>(.*?)</b>(.*?)</td>', table)
    told = sum(not name.startswith("op_") for part in ("train", "validation", "test") for name in metrics[part])
    assert len(cells) == told
    for value, rest in cells:
        assert re.fullmatch(r"-?\d\.\d{3}|–", value)
        assert "[" in rest or "undefined" in rest or "no interval" in rest
    groups = re.findall(r'<tr class="group">(.*?)</tr>', table, flags=re.DOTALL)
    assert len(groups) == 1 + len(CLASSES)
    assert all(group.count("n = ") == 3 for group in groups)


def test_an_undefined_figure_is_a_dash_with_its_reason(copy: Path) -> None:
    metrics = json.loads((copy / "metrics.json").read_text())
    metrics["test"]["precision/normal"] |= {"value": None, "low": None, "high": None, "reason": "no film is called so"}
    (copy / "metrics.json").write_text(json.dumps(metrics))
    table = section(page(copy), "figures")
    assert "<b>–</b>" in table
    assert "undefined: no film is called so" in table


def test_the_confusion_matrix_counts_the_films_of_the_table(run: Path) -> None:
    predictions = pd.read_csv(run / "predictions.csv")
    test = predictions[predictions["part"] == "test"]
    normal = test[test["label"] == "normal"]
    svg = next(
        attributes["aria-label"]
        for attributes in Tags(section((run / "report.html").read_text(encoding="utf-8"), "confusion")).named("svg")
        if "test part" in attributes["aria-label"]
    )
    assert f"of {len(normal)} normal:" in svg
    assert f"{(normal['predicted'] == 'covid-19').sum()} as covid-19" in svg.split(f"of {len(normal)} normal:")[1]


def test_the_misclassified_are_all_there_the_surest_first(run: Path) -> None:
    predictions = pd.read_csv(run / "predictions.csv")
    test = predictions[(predictions["part"] == "test") & (predictions["label"] != predictions["predicted"])]
    surest = test.loc[test[[f"p_{name}" for name in CLASSES]].max(axis=1).idxmax()]
    cards = re.findall(
        r'class="id" title="(.*?)"', section((run / "report.html").read_text(encoding="utf-8"), "mistakes")
    )
    assert len(cards) == len(test) > 0
    assert cards[0] == surest["image_id"]


def test_a_model_without_a_mistake_is_said_to_have_none(copy: Path, tmp_path: Path) -> None:
    run = made_run(tmp_path / "perfect", made_films(tmp_path / "films", each=20), skill=60.0)
    html = page(run)
    assert "was misclassified" in section(html, "mistakes")
    assert "could not be made" not in html


def test_strangers_words_cannot_break_the_page(tmp_path: Path) -> None:
    classes = (EVIL, "a & b $x_1$ -->", "_\"quoted' <b>")
    films = made_films(tmp_path / "films", classes, each=20)
    films["source"] = f"hospital {EVIL}"
    films["patient_id"] = films["patient_id"] + EVIL
    films.loc[0, "path"] = str(tmp_path / f"{EVIL.replace('/', '')}.png")
    run = made_run(tmp_path / "made", films, classes, notes=[EVIL], title=EVIL)
    environment = json.loads((run / "environment.json").read_text())
    (run / "environment.json").write_text(json.dumps(environment | {"processor": EVIL, "left_out": {EVIL: 3}}))
    audit = [{"check": EVIL, "verdict": EVIL, "value": 0.5, "low": 0.4, "high": 0.6, "meaning": EVIL, "advice": EVIL}]
    (run / "audit.json").write_text(json.dumps(audit))
    html = page(run)
    assert "could not be made" not in html
    assert "<script" not in html
    assert not list(Tags(html).named("script"))
    assert not [name for _, attributes in Tags(html).tags for name in attributes if "quoted" in name]
    assert Tags(html).text.count(EVIL) > 10


def test_an_audit_heads_the_report_and_its_failures_head_the_audit(copy: Path) -> None:
    checks = [
        {
            "check": "duplicates",
            "verdict": "pass",
            "value": 0,
            "low": None,
            "high": None,
            "meaning": "None.",
            "advice": "",
        },
        {
            "check": "source",
            "verdict": "fail",
            "value": 0.94,
            "low": 0.9,
            "high": 0.97,
            "meaning": "m",
            "advice": "Mix.",
        },
    ]
    (copy / "audit.json").write_text(json.dumps(checks))
    html = page(copy)
    assert "No audit was made" not in html
    assert html.index('id="audit"') < html.index('id="headline"')
    assert html.index("<b>source</b>") < html.index("<b>duplicates</b>")
    assert "0.940 [0.900, 0.970]" in html


@pytest.mark.parametrize(
    "name", ["history.csv", "predictions.csv", "metrics.json", "manifest.parquet", "environment.json"]
)
def test_a_missing_file_costs_its_sections_and_says_so(copy: Path, name: str) -> None:
    (copy / name).unlink()
    html = page(copy)
    assert f"the run has no {name}" in Tags(html).text
    assert "For research only" in html
    there = [each.name for each in SECTIONS if each.name not in NOT_IN_EVERY_RUN]
    made = [each for each in there if "could not be made" not in section(html, each)]
    assert "files" in made


@pytest.mark.parametrize(
    "name", ["history.csv", "predictions.csv", "metrics.json", "manifest.parquet", "environment.json"]
)
def test_a_broken_file_costs_its_sections_and_says_so(copy: Path, name: str) -> None:
    (copy / name).write_bytes(b"\x00\xff not this")
    html = page(copy)
    assert "could not be made" in html or "cannot be read" in html
    assert "</html>" in html


def test_films_that_are_gone_leave_a_page_that_says_so(copy: Path, run: Path) -> None:
    manifest = pd.read_parquet(copy / "manifest.parquet")
    manifest["path"] = manifest["path"] + ".gone"
    manifest.to_parquet(copy / "manifest.parquet")
    html = page(copy)
    assert not list(Tags(html).named("img"))
    assert "No picture:" in html
    assert "there is no such file" in html
    assert "could not be made" not in html


def test_a_run_without_a_test_part_says_that_its_figures_flatter(copy: Path, tmp_path: Path) -> None:
    films = made_films(tmp_path / "films", each=20)
    films["part"] = films["part"].where(films["part"] != "test", "train")
    html = page(made_run(tmp_path / "untested", films))
    assert "There is no test part" in section(html, "headline")
    assert "could not be made" not in html


def test_a_model_that_may_be_guessing_is_said_to(copy: Path, run: Path, tmp_path: Path) -> None:
    blind = made_run(tmp_path / "blind", pd.read_parquet(run / "manifest.parquet"), skill=0.0)
    assert "Not shown to be better than guessing" in section(page(blind), "headline")
    assert "Not shown to be better than guessing" not in section(page(copy), "headline")


def test_a_split_that_leaks_is_called_so(copy: Path, run: Path) -> None:
    assert "No known patient is in two parts" not in section((run / "report.html").read_text(), "split")  # no hashes
    manifest = pd.read_parquet(copy / "manifest.parquet")
    manifest["sha256"] = [f"{number:064x}" for number in range(len(manifest))]
    manifest["phash"] = None
    manifest.to_parquet(copy / "manifest.parquet")
    assert "No known patient is in two parts" in section(page(copy), "split")
    one_of_each = [manifest.index[manifest["part"] == part][0] for part in ("train", "test")]
    manifest.loc[one_of_each, "patient_id"] = "made/ann"
    manifest.to_parquet(copy / "manifest.parquet")
    text = section(page(copy), "split")
    assert "This split leaks." in text
    assert "made/ann" in text


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no run folder"):
        write_report(tmp_path)


def test_the_same_run_gives_the_same_page(run: Path) -> None:
    before = (run / "report.html").read_bytes()
    size = re.compile(rb'<td class="size">.*?</td>')
    assert size.sub(b"", write_report(run).read_bytes()) == size.sub(b"", before)


def test_the_figures_are_written_as_svg_and_png(run: Path) -> None:
    names = {path.name for path in (run / "figures").iterdir()}
    for name in ("loss", "roc", "precision-recall", "confusion-validation", "confusion-test", "calibration-1", "age"):
        assert {f"{name}.svg", f"{name}.png"} <= names
    assert {Path(name).stem for name in names} >= {"misclassified", "learning-rate", "validation"}


@pytest.mark.real
@pytest.mark.slow
def test_a_run_of_six_thousand_real_films_stays_below_six_megabytes(shared: Path, tmp_path: Path) -> None:
    root = shared / "data" / "kaggle-covid19-pneumonia" / "Data"
    names = {"COVID19": "covid-19", "PNEUMONIA": "pneumonia", "NORMAL": "normal"}
    rows = [
        {
            "image_id": f"kaggle/{path.relative_to(root)}",
            "path": str(path),
            "label": name,
            "class": name,
            "source": "kaggle",
            "part": "test" if part == "test" else "validation" if number % 10 == 0 else "train",
        }
        for part in ("train", "test")
        for folder, name in names.items()
        for number, path in enumerate(sorted((root / part / folder).iterdir()))
    ]
    from hilum.data.manifest import conform

    report = write_report(made_run(tmp_path / "made", conform(pd.DataFrame(rows)), skill=2.0))
    assert len(rows) == 6292
    assert 200_000 < report.stat().st_size < 6_000_000
    assert len(list(Tags(report.read_text(encoding="utf-8")).named("img"))) > 80
