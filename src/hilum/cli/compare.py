"""`hilum compare`: runs beside each other on the same films."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hilum.cli.console import terminal
from hilum.cli.run import CLUSTER, DATA, SET, WHERE, need_torch, on_cluster, stoppable, toml

if TYPE_CHECKING:
    from rich.table import Table

    from hilum.evaluation.comparison import Comparison
    from hilum.recipe.schema import Recipe

_SHOWN = ("accuracy", "balanced_accuracy", "macro_f1", "macro_auroc")


def compare(
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="RUN...", help="Run folders, or tables of predictions; the first is the reference."),
    ] = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the page and its tables.")] = Path("comparison"),
    part: Annotated[str, typer.Option("--part", help="train, validation or test.")] = "test",
    common: Annotated[
        bool, typer.Option("--common", help="Where the runs' films differ, compare them on those that all have.")
    ] = False,
    recipes: Annotated[
        list[str], typer.Option("--recipes", help="Recipes to train into OUT/NAME where that is not done yet.")
    ] = [],  # noqa: B006 - typer reads the default, nobody changes it
    data: DATA = [],  # noqa: B006
    setting: SET = [],  # noqa: B006
    where: WHERE = "",
    cluster: CLUSTER = "",
) -> None:
    """Show runs beside each other: figures with intervals, and whether they differ by more than chance.

    For example: hilum compare runs/first runs/second -o comparison

    With --recipes, what is missing is trained first: hilum compare --recipes demo fine-tune --data films -o comparison
    """
    from hilum.errors import RequestError

    given, names = runs or [], recipes
    if recipes:  # --recipes A B C: a shell hands B and C over as if they were runs
        names = [*recipes, *(word for word in given if not _is_run(word))]
        given = [word for word in given if _is_run(word)]
    elif data or setting or where or cluster:
        raise RequestError(
            "--data, --set, --where and --cluster are for the recipes of --recipes", next_step="Leave them out."
        )
    if len(given) + len(names) < 2:
        raise RequestError("a comparison needs two runs", next_step="Name two run folders, or two recipes.")
    from hilum.evaluation.comparison import compare as compare_runs
    from hilum.evaluation.contenders import read_contenders
    from hilum.report.comparison import check_folder, write_comparison
    from hilum.report.comparison_tables import document

    check_folder(out)
    contenders = read_contenders(given)
    if recipes:
        asked = _recipes(names, data, setting, where)
        need_torch()
        with stoppable(None, ""), on_cluster(cluster):
            if cluster:
                _train_there({out / name: recipe for name, recipe in asked.items()})
            trained = [_trained(recipe, out / name) for name, recipe in asked.items()]
        contenders = read_contenders([*given, *trained])
    found = compare_runs(contenders, part=part, common=common, progress=terminal.progress())
    page = write_comparison(found, out)
    for note in found.notes:
        terminal.say(f"note: {note}")
    _show(found)
    terminal.say(f"comparison: {page}")
    terminal.say("Research use only: this is not a medical device.")
    terminal.answer({**document(found), "page": str(page)})


def _is_run(word: str) -> bool:
    """Whether a word after --recipes is a run or table that is there, or looks like one, and no recipe."""
    path = Path(word)
    return path.suffix != ".toml" and (path.exists() or len(path.parts) > 1)


def _recipes(names: Sequence[str], data: list[str], setting: list[str], where: str) -> dict[str, Recipe]:
    """The recipes by the name of their run; all are read before any is trained."""
    from hilum.errors import RequestError
    from hilum.recipe.load import load_recipe

    settings = [
        *setting,
        *(f"{key}={toml(value)}" for key, value in (("data.source", data), ("data.where", where)) if value),
    ]
    asked: dict[str, Recipe] = {}
    for name in names:
        recipe = load_recipe([name], settings)
        if Path(name).stem in asked:
            raise RequestError("two recipes would be trained into one folder", where=name, next_step="Rename one.")
        asked[Path(name).stem] = recipe
    return asked


def _trained(recipe: Recipe, folder: Path) -> Path:
    """The run of a recipe: as it lies there, or gone on with, or begun."""
    from hilum.evaluation.run_folder import RunFolder
    from hilum.training.checks import check_same
    from hilum.training.train import train

    begun = (folder / "recipe.toml").is_file()
    if begun and RunFolder(folder).finished:
        check_same(recipe, RunFolder(folder))
        terminal.say(f"{folder} is trained already")
        return folder
    terminal.say(f"{'going on with' if begun else 'training'} {folder}")
    return train(recipe, folder, resume=begun, progress=terminal.progress()).path


def _train_there(asked: Mapping[Path, Recipe]) -> None:
    """Train on the cluster what is not trained yet; all are begun, and refused what must be, before any is trained."""
    from hilum.evaluation.run_folder import RunFolder
    from hilum.scale.runs import train_runs
    from hilum.training.checks import check_same
    from hilum.training.train import start

    runs = []
    for folder, recipe in asked.items():
        if (folder / "recipe.toml").is_file():
            check_same(recipe, run := RunFolder(folder))
        else:
            run = start(recipe, folder, progress=terminal.progress())
        if not run.finished:
            runs.append(run)
    if runs:
        train_runs(runs, terminal.progress())


def _show(found: Comparison) -> None:
    """The figures, and below them the differences from the first run."""
    from hilum.report.comparison_tables import p_value, published, signed
    from hilum.report.tables import count_of, shown

    films = found.films
    patients = f" of {count_of(films['patient_id'].nunique(), 'patient')}" if films["patient_id"].notna().any() else ""
    terminal.say(f"{found.part} part, {count_of(len(films), 'film')}{patients}")
    rows = {name: [_lines(shown(figures[figure])) for figure in _SHOWN] for name, figures in found.figures.items()}
    rows |= {
        f"published: {row.name}": [f"{row.figures[figure]:.4g}" if figure in row.figures else "" for figure in _SHOWN]
        for row in published(found)
    }
    terminal.show(_table("run", _heads(), rows))
    rows = {name: ["\n".join(signed(of_run[each])) for each in _SHOWN] for name, of_run in found.differences.items()}
    terminal.show(_table(f"less {found.reference}", _heads(), rows))
    unit = "patient" if patients else "film"
    for name, test in found.tests.items():
        terminal.say(
            f"{name} alone names {test['only_run']} films rightly, {found.reference} alone {test['only_reference']}: "
            f"McNemar's exact test by {unit}, p {p_value(test['p_patients'])}"
            + (f", after Holm {p_value(test['p_holm'])}" if len(found.tests) > 1 else "")
        )


def _heads() -> list[str]:
    from hilum.report.tables import words_of

    return [words_of(name) for name in _SHOWN]


def _lines(figure: Any) -> str:
    return f"{figure.value}\n{figure.interval}".strip()


def _table(corner: str, heads: Sequence[str], rows: Mapping[str, Sequence[str]]) -> Table:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE, leading=1, padding=(0, 1, 0, 0))
    table.add_column(escape(corner), overflow="fold")
    for head in heads:
        table.add_column(head, justify="right", min_width=16)
    for name, cells in rows.items():
        table.add_row(escape(name), *map(escape, cells))
    return table
