"""Recipes: layers, settings, and errors that name the nearest key."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from hilum.errors import RequestError
from hilum.recipe.load import load_recipe, read_recipe, shipped, to_toml
from hilum.recipe.schema import Data, Prepare, Recipe


def test_a_later_recipe_is_laid_over_an_earlier_one(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("[prepare]\nside_px = 96\nequalise = 'clahe'\n[[stage]]\nepochs = 1\n[[stage]]\n")
    (tmp_path / "b.toml").write_text("[prepare]\nside_px = 128\n")
    recipe = load_recipe([str(tmp_path / "a.toml"), str(tmp_path / "b.toml")])
    assert (recipe.prepare.side_px, recipe.prepare.equalise, len(recipe.stage)) == (128, "clahe", 2)


def test_what_is_written_is_read_back_the_same(tmp_path: Path) -> None:
    recipe = load_recipe(settings=["balance.how=share", "balance.share={ covid-19 = 0.3 }", "stage.patience=5"])
    (tmp_path / "recipe.toml").write_text(to_toml(recipe))
    assert read_recipe(tmp_path / "recipe.toml") == recipe


def test_every_default_is_written_out() -> None:
    written = tomllib.loads(to_toml(Recipe()))
    assert written["prepare"]["side_px"] == 224
    assert set(written["prepare"]) == set(Prepare.model_fields)
    assert set(written["data"]) == set(Data.model_fields) - {"per_class"}  # TOML has no null


def test_a_stage_setting_reaches_every_stage_or_the_one_named(tmp_path: Path) -> None:
    (tmp_path / "two.toml").write_text("[[stage]]\nepochs = 5\n[[stage]]\nepochs = 9\n")
    both = load_recipe([str(tmp_path / "two.toml")], ["stage.epochs=2"])
    second = load_recipe([str(tmp_path / "two.toml")], ["stage.2.epochs=2"])
    assert [stage.epochs for stage in both.stage] == [2, 2]
    assert [stage.epochs for stage in second.stage] == [5, 2]


def test_a_setting_replaces_a_table_of_values_and_reaches_into_one() -> None:
    given = ["balance.how=share", "balance.share={ covid-19 = 0.3, normal = 0.2 }"]
    assert load_recipe(settings=[*given, "balance.share={ normal = 0.5 }"]).balance.share == {"normal": 0.5}
    both = load_recipe(settings=[*given, "balance.share.normal=0.5"]).balance.share
    assert both == {"covid-19": 0.3, "normal": 0.5}


def test_a_setting_adds_to_a_section() -> None:
    recipe = load_recipe(settings=["prepare.equalise=clahe", "prepare={ side_px = 96 }"])
    assert (recipe.prepare.equalise, recipe.prepare.side_px) == ("clahe", 96)


def test_a_setting_without_a_value_takes_the_key_back_to_its_default(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(
        "[data]\nper_class = 9\nwhere = 'age_years > 5'\n[[stage]]\npatience = 3\n[[stage]]\npatience = 4\n"
    )
    recipe = load_recipe([str(tmp_path / "r.toml")], ["data.per_class=", "data.where=", "stage.2.patience="])
    assert (recipe.data.per_class, recipe.data.where) == (None, "")
    assert [stage.patience for stage in recipe.stage] == [3, None]


def test_a_recipe_given_as_base_is_not_changed_by_settings() -> None:
    base = {"data": {"draw": {"ill": 5}}, "stage": [{"epochs": 5}]}
    load_recipe(settings=["data.draw.ill=3", "stage.epochs=1"], base=base)
    assert base == {"data": {"draw": {"ill": 5}}, "stage": [{"epochs": 5}]}


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("prepare.side=96", "'prepare.side_px'"),
        ("stage.epoch=3", "'stage.epochs'"),
        ("augment.rotation=3", "'augment.rotation_deg'"),
        ("backbone=vgg16", "'model.backbone'"),
        ("model.head.layer=2", "'model.head.layers'"),
        ("epochs=3", "'stage.epochs'"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_name(setting: str, named: str) -> None:
    with pytest.raises(RequestError) as caught:
        load_recipe(settings=[setting])
    assert named in str(caught.value)
    assert setting in str(caught.value)


def test_an_unknown_key_of_a_file_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text("[[stage]]\noptimizer = 'adam'\n")
    with pytest.raises(
        RequestError, match=r"r\.toml: there is no key 'stage\.optimizer'\. Did you mean 'stage\.optimiser'"
    ):
        load_recipe([str(tmp_path / "r.toml")])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("prepare.side_px=big", "prepare.side_px"),
        ("prepare.side_px=1", "greater than or equal to 16"),
        ("stage.optimiser=lion", "'adamw'"),
        ("split.fold=1", "split.fold says which of split.folds is the test part"),
        ("prepare", "section.key=value"),
        ("stage.7.epochs=1", "there is no stage 7"),
        ("data.task=own", "needs [task.labels]"),
        ("balance.how=share", "[balance.share]"),
        ("data={ per_class = 9, draw = { ill = 5 } }", "data.per_class and data.draw"),
        ("split={ scheme = 'source', folds = 3 }", "each source is a fold"),
        ("split={ scheme = 'published', test_per_class = 3 }", "keeps one"),
        ("data.per_class.ill=3", "per_class"),
    ],
)
def test_a_wrong_value_is_refused_with_its_place(setting: str, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        load_recipe(settings=[setting])
    assert message in str(caught.value)


def test_a_wrong_value_is_laid_to_the_setting_that_gave_it_alone() -> None:
    with pytest.raises(RequestError) as caught:
        load_recipe(["demo"], ["prepare.lungs=crop", "stage.1.epochs=x", 'data.source=["films"]'])
    assert str(caught.value).startswith("--set stage.1.epochs=x: stage.1.epochs: ")


def test_a_missing_recipe_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(RequestError, match="no recipe file and no shipped recipe"):
        load_recipe(["liverpol"])


def test_broken_toml_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "broken.toml").write_text("[prepare\n")
    with pytest.raises(RequestError, match="line 1"):
        load_recipe([str(tmp_path / "broken.toml")])


@pytest.mark.parametrize("name", sorted(shipped()))
def test_every_shipped_recipe_is_valid(name: str) -> None:
    assert load_recipe([name]).about.title
