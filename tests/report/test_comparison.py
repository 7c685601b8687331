"""The page and the tables of a comparison: what they hold, and that they stand whatever the runs lack."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest
import safetensors.numpy
from numpy import ones, zeros

from hilum.errors import RequestError
from hilum.evaluation.comparison import Comparison, compare, names_of
from hilum.evaluation.contenders import read_contenders
from hilum.evaluation.costs import costs_of, parameters_of
from hilum.evaluation.run_folder import RunFolder
from hilum.recipe.schema import Evaluate
from hilum.report.comparison import SECTIONS, write_comparison
from hilum.report.comparison_tables import published, settings_that_differ, signed
from report.made_run import CLASSES, made_films, made_predictions, made_run
from report.test_page import EVIL, Tags, section

HOW = Evaluate(bootstrap=100)


def made(folder: Path, classes: tuple[str, ...] = CLASSES, title: str = "Made") -> Comparison:
    """Two runs on the same films, and a table of somebody else's."""
    films = made_films(folder / "films", classes, each=30)
    for name, skill in (("weak", 1.5), ("strong", 3.5)):
        made_run(folder / name, films, classes, skill=skill, title=title)
    theirs = made_predictions(films, classes, skill=2.5, seed=1)
    theirs[theirs["part"] == "test"].drop(columns=["part", "patient_id", "source"]).to_csv(
        folder / "theirs.csv", index=False
    )
    return compare(read_contenders([folder / "weak", folder / "strong", folder / "theirs.csv"]), how=HOW)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    return made(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def page(found: Comparison, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_comparison(found, tmp_path_factory.mktemp("out") / "comparison")


def test_every_section_is_there_and_nothing_points_outside(page: Path) -> None:
    html = page.read_text(encoding="utf-8")
    for each in SECTIONS:
        assert f'<a href="#{each.name}">{each.heading}</a>' in html
        section(html, each.name)
    assert not re.search(r"https?:", html)
    tags = Tags(html)
    assert not list(tags.named("script", "link", "iframe"))
    addresses = [found for _, each in tags.tags for name in ("src", "href") if (found := each.get(name))]
    assert all(address.startswith(("data:image/", "#")) for address in addresses)
    ids = [each["id"] for _, each in tags.tags if "id" in each]
    assert len(ids) == len(set(ids))
    assert all(len(each["aria-label"]) > 10 for each in tags.named("svg"))


def test_every_run_has_one_colour_everywhere(page: Path) -> None:
    html = page.read_text(encoding="utf-8")
    for name, colour in (("weak", "#0072b2"), ("strong", "#d55e00"), ("theirs", "#009e73")):
        assert set(re.findall(rf'<i style="background:(#\w+)"></i>{name}</span>', html)) == {colour}


def test_a_figure_stands_with_its_interval_and_n(found: Comparison, page: Path) -> None:
    figure = found.figures["strong"]["balanced_accuracy"]
    table = section(page.read_text(encoding="utf-8"), "figures")
    assert f"<b>{figure['value']:.3f}</b>" in table
    assert f"[{figure['low']:.3f}, {figure['high']:.3f}]" in table
    assert f"{figure['n']} films of {figure['patients']} patients" in table


def test_published_figures_are_marked_as_such_and_have_no_interval(found: Comparison, page: Path) -> None:
    assert [(row.name, row.figures) for row in published(found)] == [("Made", {"accuracy": 0.967})]
    table = section(page.read_text(encoding="utf-8"), "figures")
    row = re.search(r"Published .*?</tbody>", table, flags=re.DOTALL)
    assert row
    assert "<i>0.967</i>" in row.group()
    assert "[" not in row.group()
    frame = pd.read_csv(page.parent / "comparison.csv")
    rows = frame[frame["kind"] == "published"]
    assert rows[["figure", "value"]].to_numpy().tolist() == [["accuracy", 0.967]]
    assert rows[["low", "high", "n", "difference"]].isna().all(axis=None)


def test_the_tables_hold_every_figure_and_difference(found: Comparison, page: Path) -> None:
    frame = pd.read_csv(page.parent / "comparison.csv")
    assert len(frame) == 3 * len(names_of(CLASSES)) + 1
    row = frame[(frame["run"] == "strong") & (frame["figure"] == "recall") & (frame["class"] == "normal")].iloc[0]
    difference = found.differences["strong"]["recall/normal"]
    assert row["difference"] == pytest.approx(difference["value"])
    assert row["difference_low"] == pytest.approx(difference["low"])
    document = json.loads((page.parent / "comparison.json").read_text())
    assert document["_about"]["films"] == len(found.films)
    assert document["runs"]["weak"]["differences"] is None
    assert document["runs"]["strong"]["mcnemar"] == found.tests["strong"]
    films = pd.read_csv(page.parent / "disagreements.csv")
    right = [table["predicted"] == table["label"] for table in found.predictions.values()]
    split = sum(map(int, right[0] | right[1] | right[2])) - sum(map(int, right[0] & right[1] & right[2]))
    assert len(films) == split > 0


def test_the_films_on_which_runs_disagree_are_shown_with_what_each_called_them(found: Comparison, page: Path) -> None:
    films = pd.read_csv(page.parent / "disagreements.csv")
    cards = section(page.read_text(encoding="utf-8"), "films")
    assert cards.count("data:image/webp") == min(48, len(films))
    first = films.iloc[0]
    assert cards.index(first["image_id"]) < cards.index(films.iloc[1]["image_id"])
    assert f"<b>{len(films)}</b>" in cards


def test_what_recipes_ask_for_differently_is_listed(tmp_path: Path) -> None:
    found = made(tmp_path)
    assert settings_that_differ(found) == []
    recipe = tmp_path / "strong" / "recipe.toml"
    recipe.write_text(recipe.read_text().replace('backbone = "mobilenetv2_100"', 'backbone = "resnet18"'))
    assert settings_that_differ(found) == [("model.backbone", ["mobilenetv2_100", "resnet18", ""])]


def test_size_and_seconds_come_from_the_runs_files(found: Comparison, tmp_path: Path) -> None:
    run = found.contenders[0].run
    assert run is not None
    costs = costs_of(run)
    films = run.manifest()["part"].isin(["train", "validation"]).sum()
    seconds = 21.0 + 20.4 + 61.2 + 60.9 + 60.0 + 61.0 + 60.5 + 60.2
    assert costs.seconds == pytest.approx(seconds)
    assert costs.films_per_second == pytest.approx(8 * films / seconds)
    assert (costs.parameters, costs.megabytes, costs.machine) == (None, None, "a made processor")
    tensors = {
        "conv.weight": ones((4, 3)),
        "bn.running_mean": zeros(4),
        "normalise.mean": zeros(1),
        "bn.bias": zeros(4),
    }
    safetensors.numpy.save_file(tensors, tmp_path / "weights.safetensors")
    assert parameters_of(tmp_path / "weights.safetensors") == 4 * 3 + 4


def test_a_run_that_lost_its_files_is_compared_all_the_same(tmp_path: Path) -> None:
    found = made(tmp_path)
    for name in ("environment.json", "history.csv", "manifest.parquet"):
        (tmp_path / "weak" / name).unlink()
    (tmp_path / "strong" / "environment.json").write_text("{")
    html = write_comparison(found, tmp_path / "out").read_text(encoding="utf-8")
    assert "weak: its notes cannot be read" in html
    assert costs_of(RunFolder(tmp_path / "weak")).seconds is None


def test_strangers_words_cannot_break_the_page(tmp_path: Path) -> None:
    html = write_comparison(made(tmp_path, (EVIL, "a & b", "_c <b>"), EVIL), tmp_path / "out").read_text(
        encoding="utf-8"
    )
    assert not list(Tags(html).named("script"))
    assert Tags(html).text.count(EVIL) > 5


def test_the_folder_of_a_run_is_not_written_into(found: Comparison) -> None:
    with pytest.raises(RequestError, match="the folder of a run"):
        write_comparison(found, found.contenders[0].path)


def test_a_difference_of_nothing_has_no_sign() -> None:
    assert signed({"value": -0.00001, "low": -0.002, "high": 0.002}) == ("0.0000", "[−0.0020, +0.0020]")
    assert signed({"value": None, "low": None, "high": None}) == ("–", "")
    assert signed({"value": 0.1, "low": None, "high": None}) == ("+0.100", "no interval")


def test_films_predicted_a_second_are_those_that_the_run_noted(found: Comparison) -> None:
    run = found.contenders[0].run
    assert run is not None
    assert costs_of(run).predicted_per_second is None
    about = run.path / "environment.json"
    about.write_text(about.read_text().replace("{", '{"predicted_per_second": 123.4,', 1))
    assert costs_of(run).predicted_per_second == 123.4
