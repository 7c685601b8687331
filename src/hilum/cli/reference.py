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
        stages = section == "stage"
        model: Any = field.annotation.__args__[0] if stages else field.annotation  # type: ignore[union-attr]
        lines += _section("[[stage]]" if stages else f"[{section}]", model)
    return "\n".join(lines)


def _section(heading: str, model: Any) -> list[str]:
    """A section's keys, and then the sections inside it."""
    lines = [f"## {heading}", "", model.__doc__.split("\n")[0], ""]
    lines += ["| key | kind | default | meaning |", "| --- | --- | --- | --- |"]
    inside: list[str] = []
    for key, field in model.model_fields.items():
        inner = f"[{heading.strip('[]')}.{key}]"
        if hasattr(field.annotation, "model_fields"):
            shown = inner
            inside += _section(inner, field.annotation)
        else:
            shown = f"`{field.get_default(call_default_factory=True)!r}`"
        lines.append(f"| `{key}` | {_kind(field.annotation)} | {shown} | {field.description or ''} |")
    return [*lines, "", *inside]


def manifest_columns() -> str:
    """The manifest's columns, as Markdown."""
    from hilum.data.manifest import COLUMNS

    lines = ["# Manifest", "", _MADE, "A row per image, Parquet or CSV. Unknown is missing, never a made-up value.", ""]
    lines += ["| column | type | meaning |", "| --- | --- | --- |"]
    lines += [f"| `{name}` | {kind} | {meaning} |" for name, (kind, meaning) in COLUMNS.items()]
    return "\n".join([*lines, "", "Columns that a source has more stand after these.", ""])


def conformance() -> str:
    """The DICOM conformance statement, as Markdown."""
    from hilum.serve.dicom.conformance import statement

    return "\n".join(["# DICOM conformance statement", "", _MADE, statement()])


PAGES = {
    "commands.md": commands,
    "recipe.md": recipe_keys,
    "manifest.md": manifest_columns,
    "dicom-conformance.md": conformance,
}


def _kind(annotation: Any) -> str:
    """A type in words: number, text, one of ..., or none."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(inner[0])
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in inner)
    if origin in (list, tuple):
        return f"list of {_kind(inner[0])}"
    if origin is dict:
        return f"{_kind(inner[0])} -> {_kind(inner[1])}"
    if origin in (Union, UnionType):
        return " or ".join(_kind(part) for part in inner)
    names = {str: "text", int: "whole number", float: "number", bool: "true or false", type(None): "none", Any: "value"}
    return names.get(annotation, "section")


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
