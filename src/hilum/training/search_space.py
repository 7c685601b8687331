"""What a search may change: keys of a recipe with their values, checked before anything is trained."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial

from hilum.errors import RequestError
from hilum.recipe.load import load_recipe
from hilum.recipe.schema import Range, Recipe

# Sections that say how films are learned. The others say which films those are, or how they are judged: trials that
# differ there cannot be compared.
SEARCHED = ("prepare", "augment", "model", "balance", "stage")


@dataclass(frozen=True)
class Parameter:
    """A key of the recipe and what it may become: listed values, or a range with its kind of number."""

    key: str
    values: tuple[Any, ...] = ()
    range: Range | None = None
    whole: bool = False

    def stored(self, value: Any) -> Any:
        """A value as Optuna stores it: listed ones as JSON text, which takes lists too (model.cnn.channels)."""
        return json.dumps(value) if self.range is None else value

    def value_of(self, stored: Any) -> Any:
        """The recipe's value of what Optuna stored."""
        return json.loads(stored) if self.range is None else stored

    @property
    def distribution(self) -> BaseDistribution:
        """What the study says of the key."""
        how = self.range
        if how is None:
            return CategoricalDistribution([json.dumps(value) for value in self.values])
        if self.whole:
            return IntDistribution(int(how.low), int(how.high), log=how.log, step=int(how.step or 1))
        return FloatDistribution(float(how.low), float(how.high), log=how.log, step=how.step)

    def suggested(self, trial: Trial) -> Any:
        """The value that a trial takes, which Optuna's study then keeps."""
        how = self.range
        if how is None:
            return self.value_of(trial.suggest_categorical(self.key, [json.dumps(value) for value in self.values]))
        if self.whole:
            return trial.suggest_int(self.key, int(how.low), int(how.high), log=how.log, step=int(how.step or 1))
        return trial.suggest_float(self.key, float(how.low), float(how.high), log=how.log, step=how.step)


def parameters(recipe: Recipe) -> list[Parameter]:
    """What the recipe's [search] tries, each value tried on the recipe itself.

    Refused with RequestError: no key at all, a key that is not the recipe's (the nearest is named) or that would change
    the films, a value of the wrong kind, a value that is listed twice, a range without a step where all values are
    tried, a stage that the search does not train.

    >>> recipe = load_recipe(settings=["search.space.stage.learning_rate=[0.1, 0.01]"])
    >>> parameters(recipe)
    [Parameter(key='stage.learning_rate', values=(0.1, 0.01), range=None, whole=False)]
    """
    if not recipe.search.space:
        raise RequestError(
            "there is nothing to try",
            where="search.space",
            next_step="Name keys and their values, as: --set 'search.space.stage.learning_rate=[1e-2, 1e-3]'",
        )
    found = []
    for key, values in recipe.search.space.items():
        _refuse_unsearched(key, recipe)
        if isinstance(values, Range):
            found.append(_of_range(key, values, recipe))
        else:
            _check_listed(key, values, recipe)
            found.append(Parameter(key, tuple(values)))
    return found


def with_values(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """The recipe with other values of some keys, as `--set KEY=VALUE` sets them.

    >>> with_values(Recipe(), {"stage.epochs": 2, "model.head.units": 64}).model.head.units
    64
    """
    base = recipe.model_dump(mode="json", exclude_none=True)
    return load_recipe(settings=[f"{key}={_toml(value)}" for key, value in values.items()], base=base)


def every_value(parameter: Parameter) -> tuple[Any, ...]:
    """All values of a parameter, in order; a range needs a step for that, or whole numbers.

    >>> every_value(Parameter("model.dropout", range=Range(low=0.0, high=0.5, step=0.25)))
    (0.0, 0.25, 0.5)
    """
    how = parameter.range
    if how is None:
        return parameter.values
    if how.log or (how.step is None and not parameter.whole):
        raise RequestError(
            "a grid, and one parameter at a time, need values that can be counted",
            where=f"search.space: {parameter.key}",
            next_step="List them, give the range a step, or use search.method = 'random' or 'tpe'.",
        )
    step = how.step or 1
    count = math.floor((how.high - how.low) / step + 1e-9) + 1
    numbers = [how.low + place * step for place in range(count)]
    return tuple(int(n) if parameter.whole else round(float(n), 12) for n in numbers)


def combination(found: list[Parameter], place: int, seed: int) -> dict[str, Any]:
    """The combination of all values that stands at a place, from 0, of a grid in the order drawn by `seed`.

    >>> two = [Parameter("a", (1, 2)), Parameter("b", ("x", "y"))]
    >>> sorted(tuple(combination(two, place, seed=0).values()) for place in range(4))
    [(1, 'x'), (1, 'y'), (2, 'x'), (2, 'y')]
    """
    number = int(np.random.default_rng(seed).permutation(grid_size(found))[place])
    values = {}
    for parameter in reversed(found):
        number, at = divmod(number, len(every_value(parameter)))
        values[parameter.key] = every_value(parameter)[at]
    return {parameter.key: values[parameter.key] for parameter in found}


def grid_size(found: list[Parameter]) -> int:
    """How many combinations there are."""
    return math.prod(len(every_value(parameter)) for parameter in found)


def _refuse_unsearched(key: str, recipe: Recipe) -> None:
    where = f"search.space: {key}"
    section, _, rest = key.partition(".")
    if section in Recipe.model_fields and section not in SEARCHED:
        raise RequestError(
            f"a search cannot change [{section}]: its trials are judged on the same films in the same way",
            where=where,
            next_step=f"Keys of these sections can be searched: {', '.join(SEARCHED)}.",
        )
    number, trained = rest.partition(".")[0], recipe.search.stages
    if section == "stage" and number.isdigit() and trained is not None and int(number) > trained:
        raise RequestError(
            f"stage {number} is not trained in the search, which has search.stages = {trained}", where=where
        )


def _check_listed(key: str, values: list[Any], recipe: Recipe) -> None:
    for value in values:
        _try(key, value, recipe)
    texts = [json.dumps(value) for value in values]
    twice = next((text for text in texts if texts.count(text) > 1), None)
    if twice is not None:
        raise RequestError(f"the value {twice} is listed twice", where=f"search.space: {key}")


def _of_range(key: str, how: Range, recipe: Recipe) -> Parameter:
    ends = [_try(key, end, recipe) for end in (how.low, how.high)]
    if any(isinstance(end, bool) or not isinstance(end, int | float) for end in ends):
        raise RequestError(
            "this key takes no number, so it has no range", where=f"search.space: {key}", next_step="List its values."
        )
    whole = all(isinstance(end, int) for end in ends)
    if whole and how.step is not None and how.step != int(how.step):
        raise RequestError(f"this key takes whole numbers, not steps of {how.step}", where=f"search.space: {key}")
    return Parameter(key, range=how, whole=whole)


def _try(key: str, value: Any, recipe: Recipe) -> Any:
    """What the recipe makes of a value."""
    try:
        tree: Any = with_values(recipe, {key: value}).model_dump(mode="json")
    except RequestError as error:
        where = f"search.space: {key} = {_toml(value)}"
        raise RequestError(error.what, where=where, next_step=error.next_step) from None
    section, *rest = key.split(".")
    part = tree[section]
    if section == "stage":
        part = part[int(rest.pop(0)) - 1 if rest[0].isdigit() else 0]
    for name in rest:
        part = part[name]
    return part


def _toml(value: Any) -> str:
    """JSON is TOML, but for tables."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(inner)}" for key, inner in value.items()) + "}"
    return json.dumps(value)
