"""The reference pages of docs/, made from the code: `python -m hilum.cli.reference docs`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

_MADE = "<!-- made by `python -m hilum.cli.reference docs`; a test holds it to the code -->\n"


def commands() -> str:
    """Every command with its arguments and options, as Markdown."""
    import typer

    from hilum.cli.app import app

    root: Any = typer.main.get_command(app)
    lines = ["# Commands", "", _MADE, root.help or "", ""]
    lines += _options(root)
    for name, command in sorted(_walk(root, "hilum")):
        lines += [f"## {name}", "", (command.help or "").replace("\b", "").strip(), ""]
        usage = " ".join(
            [name, *(_metavar(option) for option in command.params if option.param_type_name == "argument")]
        )
        lines += [f"    {usage} [OPTIONS]", ""]
        lines += _options(command)
    lines += [
        "## Exit status",
        "",
        "0 done, 1 the work failed, 2 the request was wrong, 130 stopped with Ctrl-C.",
        "`--quiet` and `--json` may stand anywhere on the line.",
        "",
    ]
    return "\n".join(lines)


def recipe_keys() -> str:
    """Every key of a recipe with its kind, default and meaning, as Markdown."""
    from hilum.recipe.schema import Recipe

    lines = ["# Recipe", "", _MADE, "A recipe is TOML; each key may also be set by `--set section.key=value`.", ""]
    for section, field in Recipe.model_fields.items():
        model: Any = field.annotation if section != "stage" else Recipe.model_fields["stage"].annotation.__args__[0]  # type: ignore[union-attr]
        lines += [f"## {'[[stage]]' if section == 'stage' else f'[{section}]'}", "", model.__doc__.split("\n")[0], ""]
        lines += ["| key | kind | default | meaning |", "| --- | --- | --- | --- |"]
        for key, inner in model.model_fields.items():
            kind = _kind(inner.annotation)
            default = inner.get_default(call_default_factory=True)
            shown = "[model.head]" if key == "head" else f"`{default!r}`"
            lines.append(f"| `{key}` | {kind} | {shown} | {inner.description or ''} |")
        lines.append("")
        if section == "model":
            lines += _head_keys()
    return "\n".join(lines)


def manifest_columns() -> str:
    """The manifest's columns, as Markdown."""
    from hilum.data.manifest import COLUMNS

    lines = ["# Manifest", "", _MADE, "A row per image, Parquet or CSV. Unknown is missing, never a made-up value.", ""]
    lines += ["| column | type | meaning |", "| --- | --- | --- |"]
    lines += [f"| `{name}` | {kind} | {meaning} |" for name, (kind, meaning) in COLUMNS.items()]
    return "\n".join([*lines, "", "Columns that a source has more stand after these.", ""])


PAGES = {"commands.md": commands, "recipe.md": recipe_keys, "manifest.md": manifest_columns}


def _kind(annotation: Any) -> str:
    """A type in words: number, text, one of ..., or none."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(inner[0])
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in inner)
    if origin is list:
        return f"list of {_kind(inner[0])}"
    if origin is dict:
        return f"{_kind(inner[0])} -> {_kind(inner[1])}"
    if origin in (Union, UnionType):
        return " or ".join(_kind(part) for part in inner)
    names = {str: "text", int: "whole number", float: "number", bool: "true or false", type(None): "none", Any: "value"}
    return names.get(annotation, "section")


def _head_keys() -> list[str]:
    from hilum.recipe.schema import Head

    lines = ["## [model.head]", "", str(Head.__doc__), "", "| key | default |", "| --- | --- |"]
    return [*lines, *(f"| `{key}` | `{field.default!r}` |" for key, field in Head.model_fields.items()), ""]


def _walk(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    for word, inner in getattr(command, "commands", {}).items():
        if getattr(inner, "commands", None):
            yield from _walk(inner, f"{name} {word}")
        else:
            yield f"{name} {word}", inner


def _metavar(argument: Any) -> str:
    return (argument.metavar or argument.name.upper()) + (
        "..." if argument.nargs == -1 and not argument.metavar else ""
    )


def _options(command: Any) -> list[str]:
    rows = []
    for option in command.params:
        if option.param_type_name == "option":
            names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
            rows.append(f"| {names} | {option.help or ''} |")
        elif option.help:
            rows.append(f"| `{_metavar(option)}` | {option.help} |")
    return ["| option | meaning |", "| --- | --- |", *rows, ""] if rows else []


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for page, make in PAGES.items():
        (folder / page).write_text(make(), encoding="utf-8")
