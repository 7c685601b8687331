"""`hilum recipes`: the recipes that ship, what they ask for, and what must be downloaded for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hilum.cli.console import terminal

if TYPE_CHECKING:
    from hilum.recipe.schema import Recipe

app = typer.Typer(help="The recipes that ship: list them, show one, see what it needs.", invoke_without_command=True)

_SHOWN = ("accuracy", "macro_f1", "validation accuracy")  # of the published figures, in the list
_WIDE = 120  # columns of a terminal beside whose other words the titles can be read


@app.callback()
def list_(context: typer.Context) -> None:
    """The recipes by name, with the films and the figures of the study that each one repeats.

    For example: hilum recipes, then: hilum recipes show liverpool-2022
    """
    if context.invoked_subcommand is not None:
        return
    from rich.table import Table

    from hilum.recipe.load import read_recipe, shipped

    recipes = {name: read_recipe(path) for name, path in shipped().items()}
    table = Table(box=None, pad_edge=False)
    titles = terminal.out.width >= _WIDE
    for heading in ("name", "classes", "films", "backbone", "published", *["title"] * titles):
        right = heading in ("classes", "films")
        table.add_column(heading, justify="right" if right else "left", no_wrap=heading in ("name", "backbone"))
    for name, recipe in recipes.items():
        classes = _classes(recipe)
        films = recipe.about.films
        table.add_row(
            name,
            str(len(classes)) if classes else "",
            f"{films:,}" if films else "",
            recipe.model.backbone,
            _headline(recipe),
            *[recipe.about.title] * titles,
        )
    terminal.show(table)
    terminal.say("One of them, with its comments and what it needs: hilum recipes show NAME")
    terminal.answer([_summary(name, recipe) for name, recipe in recipes.items()])


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A recipe's name or file.")],
    data: Annotated[
        list[str], typer.Option("--data", help="Where collections lie: READER:PATH, or a folder that holds them.")
    ] = [],  # noqa: B006 - typer reads the default, nobody changes it
) -> None:
    """The recipe as it is written, with its comments; which collections it needs, and whether they are there.

    For example: hilum recipes show fabiani-2020-four-class --data data
    """
    from hilum.data.needs import as_flags, found
    from hilum.recipe.load import find_recipe, read_recipe

    path = find_recipe(name)
    recipe = read_recipe(path)
    text = path.read_text(encoding="utf-8")
    needs = recipe.about.needs
    places = found(needs, data)
    terminal.say(text)
    for reader, origin in needs.items():
        there = places[reader]
        lies = f"found at {there}" if there else f"put it at data/{reader}, or anywhere else"
        terminal.say(f"needs {reader}: {origin}\n  {lies}")
    whole = {reader: places[reader] or f"data/{reader}" for reader in needs}
    if needs:
        verb = "crossval" if recipe.split.folds and recipe.split.fold is None else "train"
        terminal.say(f"run it: hilum {verb} --recipe {name} {as_flags(whole)} -o runs/{path.stem}")
    terminal.answer(
        {
            **_summary(path.stem, recipe),
            "toml": text,
            "needs": [{"reader": reader, "from": needs[reader], "found": places[reader]} for reader in needs],
            "recipe": recipe.model_dump(mode="json"),
        }
    )


def _classes(recipe: Recipe) -> list[str]:
    """The recipe's classes, or none where the films decide."""
    from hilum.data.task import TASKS

    if recipe.data.task == "own":
        return recipe.task.classes or list(dict.fromkeys(name for name in recipe.task.labels.values() if name))
    return list(dict.fromkeys(TASKS.get(recipe.data.task, {}).values()))


def _headline(recipe: Recipe) -> str:
    published = recipe.about.published
    return next((f"{name} {published[name]:.2f}" for name in _SHOWN if name in published), "")


def _summary(name: str, recipe: Recipe) -> dict[str, Any]:
    return {
        "name": name,
        "title": recipe.about.title,
        "summary": recipe.about.summary,
        "citation": recipe.about.citation,
        "classes": _classes(recipe),
        "films": recipe.about.films,
        "backbone": recipe.model.backbone,
        "published": recipe.about.published,
        "others": recipe.about.others,
        "needs": list(recipe.about.needs),
    }
