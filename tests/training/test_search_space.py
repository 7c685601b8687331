"""Which keys and values may be searched, and in which order a grid tries them."""

from __future__ import annotations

import pytest

from hilum.errors import RequestError
from hilum.recipe.load import load_recipe
from hilum.recipe.schema import Recipe
from hilum.training.search_plan import Plan
from hilum.training.search_space import combination, every_value, grid_size, parameters, with_values


def asked(*settings: str) -> Recipe:
    return load_recipe(settings=settings)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["search.space.stage.learning_rat=[0.1]"], "Did you mean 'stage.learning_rate'?"),
        (["search.space.model.head.unit=[32]"], "Did you mean 'model.head.units'?"),
        (["search.space.learning_rate=[0.1]"], "stage.learning_rate"),
        (["search.space.stage.optimiser=['adam', 'adamm']"], 'search.space: stage.optimiser = "adamm"'),
        (["search.space.stage.learning_rate=[0.1, -1.0]"], "greater than 0"),
        (["search.space.stage.learning_rate=['fast']"], "valid number"),
        (["search.space.stage.epochs={ low = 0.5, high = 2.5 }"], "search.space: stage.epochs = 0.5"),
        (["search.space.stage.epochs={ low = 1, high = 3, step = 0.5 }"], "whole numbers"),
        (["search.space.model.head.activation={ low = 1, high = 3 }"], "model.head.activation"),
        (["search.space.stage.epochs=[1, 1]"], "listed twice"),
        (["search.space.split.seed=[0, 1]"], "cannot change [split]"),
        (["search.space.data.task=['covid-3']"], "cannot change [data]"),
        (["search.space.stage.3.epochs=[1, 2]"], "there is no stage 3"),
        ([], "nothing to try"),
    ],
)
def test_what_cannot_be_searched_is_refused_with_the_key_and_a_way_on(settings: list[str], said: str) -> None:
    with pytest.raises(RequestError) as caught:
        parameters(asked(*settings))
    assert said in str(caught.value)


def test_a_stage_that_the_search_does_not_train_has_no_values_to_try() -> None:
    two = load_recipe(base={"stage": [{"epochs": 1}, {"epochs": 2}]}, settings=["search.stages=1"])
    recipe = with_values(two, {"search.space.stage.2.epochs": [1, 2]})
    with pytest.raises(RequestError, match="stage 2 is not trained"):
        parameters(recipe)


def test_a_key_without_quotes_is_the_same_as_one_with_them(tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "bare.toml").write_text(
        "[search.space]\nstage.epochs = [1, 2]\nmodel.dropout = { low = 0, high = 0.5 }\n"
    )
    (tmp_path / "quoted.toml").write_text(
        '[search.space]\n"stage.epochs" = [1, 2]\n"model.dropout" = { low = 0, high = 0.5 }\n'
    )
    bare, quoted = (load_recipe([str(tmp_path / f"{name}.toml")]) for name in ("bare", "quoted"))
    assert bare == quoted
    assert list(bare.search.space) == ["stage.epochs", "model.dropout"]


def test_a_range_is_of_whole_numbers_where_the_key_takes_those() -> None:
    units, dropout = parameters(
        asked(
            "search.space.model.head.units={ low = 8, high = 64 }", "search.space.model.dropout={ low = 0, high = 0.5 }"
        )
    )
    assert units.whole and not dropout.whole


def test_a_grid_has_every_combination_once_and_no_order_of_the_keys() -> None:
    found = parameters(
        asked(
            "search.space.model.head.layers=[0, 1, 2]",
            "search.space.model.dropout={ low = 0.0, high = 0.5, step = 0.25 }",
        )
    )
    assert grid_size(found) == 9
    drawn = [tuple(combination(found, place, seed=4).values()) for place in range(9)]
    assert sorted(drawn) == [(a, b) for a in (0, 1, 2) for b in (0.0, 0.25, 0.5)]
    assert drawn != sorted(drawn)
    assert drawn == [tuple(combination(found, place, seed=4).values()) for place in range(9)]


@pytest.mark.parametrize("method", ["grid", "one_at_a_time"])
def test_a_range_without_end_is_refused_where_all_its_values_are_to_be_tried(method: str) -> None:
    recipe = asked(
        "search.space.stage.learning_rate={ low = 1e-4, high = 1e-1, log = true }", f"search.method={method}"
    )
    with pytest.raises(RequestError, match="can be counted"):
        every_value(parameters(recipe)[0])


def test_the_methods_have_as_many_trials_as_they_say() -> None:
    space = ["search.space.stage.epochs=[1, 2, 3]", "search.space.model.head.layers=[0, 1]"]

    def total(*more: str, trials: int | None = None) -> int:
        recipe = asked(*space, *more)
        return Plan(recipe.search, tuple(parameters(recipe)), trials).total

    assert total("search.method=grid") == 6
    assert total("search.method=one_at_a_time") == 5
    assert total("search.method=grid", trials=4) == 4
    assert total("search.method=grid", trials=40) == 6
    assert total("search.method=random", trials=7) == 7


def test_the_search_of_liverpool_has_the_24_values_of_its_text() -> None:
    recipe = load_recipe(["liverpool-2022", "liverpool-2022-search"])
    found = parameters(recipe)
    assert [(parameter.key, len(parameter.values)) for parameter in found] == [
        ("model.head.activation", 5),
        ("model.head.layers", 5),
        ("model.head.units", 4),
        ("stage.optimiser", 6),
        ("stage.learning_rate", 4),
    ]
    assert Plan(recipe.search, tuple(found), None).total == 24
    assert recipe.search.stages == 1 and recipe.stage[0].unfreeze == "none" and recipe.stage[0].epochs == 5


def test_the_search_of_covientist_is_over_more_than_100_architectures_and_its_rates() -> None:
    recipe = load_recipe(["covientist-2021", "covientist-2021-search"])
    found = {parameter.key: parameter for parameter in parameters(recipe)}
    assert grid_size([parameter for key, parameter in found.items() if key.startswith("model.cnn.")]) > 100
    rate = found["stage.learning_rate"].range
    assert rate is not None and (rate.low, rate.high, rate.log) == (1e-5, 1e-2, True)
    assert (recipe.search.trials or 0) > 100
