"""Recipes from TOML files and flags, laid over each other; unknown keys are refused with the nearest name."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

import tomli_w
from pydantic import BaseModel, ValidationError

from hilum.errors import RequestError
from hilum.recipe.schema import Recipe

Tree = dict[str, Any]


def shipped() -> dict[str, Path]:
    """The recipes that come with hilum, by name."""
    folder = Path(str(files("hilum.recipe") / "shipped"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def load_recipe(
    names: Sequence[str] = (), settings: Sequence[str] = (), base: Mapping[str, Any] | None = None
) -> Recipe:
    """One recipe from files or shipped names, each laid over those before it, then `section.key=value` settings.

    A setting's value is TOML where it parses, else a string; nothing after the sign takes the key back to its default.
    `stage.key` sets every stage, `stage.2.key` the second.
    Refused with RequestError: a file that is not there or is no TOML, an unknown key, a value of the wrong kind.

    >>> load_recipe(settings=["prepare.side_px=96", "stage.epochs=2"]).stage[0].epochs
    2
    >>> load_recipe(settings=["prepare.side=96"])
    Traceback (most recent call last):
    ...
    hilum.errors.RequestError: --set prepare.side=96: there is no key 'prepare.side'. Did you mean 'prepare.side_px'?
    >>> load_recipe(["liverpool-2022"], ["data.per_class="]).data.per_class is None
    True
    """
    tree: Tree = {}
    origin = []
    if base:
        tree = _overlay(tree, dict(base))
    for name in names:
        path = find_recipe(name)
        layer = _read_toml(path)
        _refuse_unknown(layer, Recipe, "", str(path))
        tree = _overlay(tree, layer)
        origin.append(str(path))
    for setting in settings:
        _apply(tree, setting)
    return _validate(tree, origin, settings)


def read_recipe(path: Path | str) -> Recipe:
    """The recipe of one TOML file."""
    return load_recipe([str(path)])


def to_toml(recipe: Recipe) -> str:
    """The recipe with its defaults written out; a key without a value (none) is left out, as TOML has no null.

    >>> "side_px = 224" in to_toml(Recipe())
    True
    """
    return tomli_w.dumps(_without_none(recipe.model_dump(mode="json")))


def nearest(name: str, names: Iterable[str]) -> str:
    """A sentence with the nearest of the names, or with all of them when none is near.

    >>> nearest("epoch", ["epochs", "optimiser"])
    "Did you mean 'epochs'?"
    """
    names = list(names)
    close = (
        difflib.get_close_matches(name, names, n=1, cutoff=0.6)
        or [other for other in names if other.split(".")[-1].startswith(name.split(".")[-1])][:1]
    )
    return f"Did you mean {close[0]!r}?" if close else f"There are: {', '.join(names)}"


def find_recipe(name: str) -> Path:
    """The file of a recipe, by its path or its shipped name. Refused with RequestError: neither is there."""
    path = Path(name)
    if path.is_file():
        return path
    recipes = shipped()
    if name in recipes:
        return recipes[name]
    raise RequestError(
        "there is no recipe file and no shipped recipe of this name", where=name, next_step=nearest(name, recipes)
    )


def _read_toml(path: Path) -> Tree:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RequestError(
            f"this is no TOML: {error}",
            where=str(path),
            next_step="Mend that line; text stands in quotes, as in: task = 'covid-3'",
        ) from None


def _overlay(below: Tree, above: Tree) -> Tree:
    """`above` laid over `below`: tables merge, everything else (lists of stages too) is replaced."""
    merged = dict(below)
    for key, value in above.items():
        merged[key] = (
            _overlay(merged[key], value) if isinstance(value, dict) and isinstance(merged.get(key), dict) else value
        )
    return merged


def _apply(tree: Tree, setting: str) -> None:
    where = f"--set {setting}"
    key, equals, text = setting.partition("=")
    if not equals:
        raise RequestError(
            "a setting is written section.key=value", where=where, next_step="As in: --set stage.epochs=3"
        )
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    section, *rest = names = key.strip().split(".")
    if section == "stage" and rest:
        _apply_to_stages(tree, rest, value, where, unset=not text)
        return
    layer: Any = value
    for name in reversed(names):
        layer = {name: layer}
    _refuse_unknown(layer, Recipe, "", where)
    inner = tree
    for name in names[:-1]:
        below = inner.get(name, {})
        if not isinstance(below, dict):
            raise RequestError(
                f"{name} is a value and has no keys", where=where, next_step=f"Write: --set {name}=VALUE"
            )
        inner[name] = inner = dict(below)
    last = names[-1]
    if not text:
        inner.pop(last, None)
    elif isinstance(value, dict) and _is_section(names):
        inner[last] = _overlay(inner.get(last, {}), value)
    else:
        inner[last] = value


def _is_section(names: Sequence[str]) -> bool:
    """Whether the names lead to a section, which a setting adds to, and not to a value, which it replaces."""
    section: type[BaseModel] | None = Recipe
    for name in names:
        section = (
            _section_of(section.model_fields[name].annotation) if section and name in section.model_fields else None
        )
    return section is not None


def _apply_to_stages(tree: Tree, rest: list[str], value: Any, where: str, *, unset: bool) -> None:
    stages = tree.get("stage", [{}])
    if not isinstance(stages, list) or not all(isinstance(stage, dict) for stage in stages):
        raise RequestError("stages are written [[stage]], with two brackets", where="stage")
    stages = tree["stage"] = [dict(stage) for stage in stages]
    chosen = stages
    if rest[0].isdigit():
        number = int(rest.pop(0))
        if not 1 <= number <= len(stages):
            raise RequestError(
                f"there is no stage {number}; the recipe has {len(stages)}",
                where=where,
                next_step="Stages count from 1; more of them are written in a recipe file, a [[stage]] each.",
            )
        chosen = [stages[number - 1]]
    key = ".".join(rest)
    _refuse_unknown({"stage": [{key: value}]}, Recipe, "", where)
    for stage in chosen:
        if unset:
            stage.pop(key, None)
        else:
            stage[key] = value


def _refuse_unknown(layer: Mapping[str, Any], model: type[BaseModel], prefix: str, where: str) -> None:
    for key, value in layer.items():
        if key not in model.model_fields:
            names = [prefix + name for name in model.model_fields]
            if not prefix:  # a key without its section, or in the wrong one
                names += [f"{section}.{name}" for section in model.model_fields for name in _keys_of(section)]
            raise RequestError(f"there is no key {prefix + key!r}", where=where, next_step=nearest(prefix + key, names))
        inner = _section_of(model.model_fields[key].annotation)
        for part in value if isinstance(value, list) else [value]:
            if inner is not None and isinstance(part, dict):
                _refuse_unknown(part, inner, f"{prefix}{key}.", where)


def _keys_of(section: str) -> list[str]:
    inner = _section_of(Recipe.model_fields[section].annotation)
    return list(inner.model_fields) if inner else []


def _section_of(annotation: Any) -> type[BaseModel] | None:
    """The section behind a field's type: Head, list[Stage], Head | None; None for a plain value."""
    if get_origin(annotation) in (list, Union, UnionType):
        found = [_section_of(inner) for inner in get_args(annotation)]
        return next((inner for inner in found if inner), None)
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _validate(tree: Tree, origin: Sequence[str], settings: Sequence[str]) -> Recipe:
    try:
        return Recipe.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        names = [part for part in first["loc"] if isinstance(part, str)]
        blamed = [setting for setting in settings if names and _sets(setting, names)]
        where = " + ".join([*([] if blamed else origin), *(f"--set {setting}" for setting in blamed or settings)])
        key = ".".join(str(part + 1 if isinstance(part, int) else part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        found = f", not {first['input']!r}" if key else ""
        raise RequestError(f"{key}: {message}{found}" if key else message, where=where or "recipe") from None


def _sets(setting: str, names: Sequence[str]) -> bool:
    """Whether a setting is of the key with these names, of its section, or of a key below it."""
    own = [name for name in setting.partition("=")[0].strip().split(".") if not name.isdigit()]
    return all(one == other for one, other in zip(own, names, strict=False))


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(inner) for key, inner in value.items() if inner is not None}
    return [_without_none(inner) for inner in value] if isinstance(value, list) else value
