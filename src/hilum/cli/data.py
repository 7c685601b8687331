"""`hilum data`: look at sources of films, and write a manifest of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hilum.cli.console import terminal

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

_MANY_LABELS = 8  # with more, the tables of people tell main labels only; JSON tells all

app = typer.Typer(help="What films there are: inspect sources, build a manifest.", no_args_is_help=True)

Sources = Annotated[
    list[str], typer.Argument(metavar="SOURCE...", help="READER:PATH, as kermany:PATH or folder:PATH, or a bare path.")
]
Where = Annotated[str, typer.Option("--where", help='Keep the films for which this holds, as: view == "PA".')]
AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON on standard output.")]


@app.command()
def inspect(
    source: Sources,
    where: Where = "",
    files: Annotated[
        bool, typer.Option("--files/--no-files", help="Look into the files too: size, format, duplicates, leaks.")
    ] = True,
    json: AsJson = False,
) -> None:
    """What is there: labels, patients, sources, views, sexes, ages, missing fields, files, duplicates, leaks."""
    from hilum.data.summary import summarise

    terminal.json = terminal.json or json
    manifest, left_out = _films(source, where)
    if files:
        manifest, left_out = _with_facts(manifest, left_out)
    manifest.attrs["left_out"] = left_out
    summary = summarise(manifest)
    _show(summary)
    terminal.answer(summary)


@app.command()
def build(
    source: Sources,
    output: Annotated[Path, typer.Option("--output", "-o", help="The manifest to write, .parquet or .csv.")],
    task: Annotated[
        str, typer.Option("--task", help="Also give each film its class: covid-3, covid-4, covid-binary, ...")
    ] = "",
    where: Where = "",
    drop: Annotated[list[str] | None, typer.Option("--drop", help="With --task: a label to leave out.")] = None,
    json: AsJson = False,
) -> None:
    """Write one manifest of the sources, with what each film's file is; say what was left out and why."""
    from hilum.data.manifest import write_manifest
    from hilum.errors import RequestError

    terminal.json = terminal.json or json
    if output.suffix.lower() not in (".parquet", ".csv"):
        raise RequestError("a manifest is .parquet or .csv", where=f"-o {output}")
    if drop and not task:
        raise RequestError("--drop leaves labels out of a task; name one with --task", where="--drop")
    manifest, left_out = _films(source, where)
    if task:
        manifest, more = _with_classes(manifest, task, drop or [])
        left_out += more
    manifest, left_out = _with_facts(manifest, left_out)
    write_manifest(manifest, output)
    for what, count in left_out:
        terminal.say(f"left out: {what}: {count}")
    counts = manifest["class" if task else "label"].value_counts(dropna=False)
    terminal.say(
        f"{len(manifest)} films in {output}: " + ", ".join(f"{_name(name)} {count}" for name, count in counts.items())
    )
    terminal.answer(
        {
            "manifest": str(output),
            "films": len(manifest),
            "class" if task else "label": {_name(name): int(count) for name, count in counts.items()},
            "left_out": [{"what": what, "count": count} for what, count in left_out],
        }
    )


def _films(sources: list[str], where: str) -> tuple[pd.DataFrame, list[tuple[str, int]]]:
    from hilum.data.readers.common import left_out
    from hilum.data.sources import read
    from hilum.data.where import where as rows_where

    manifest = read(*sources)
    told = left_out(manifest)
    kept = rows_where(manifest, where)
    if len(kept) < len(manifest):
        told.append((f"not where {where}", len(manifest) - len(kept)))
    return kept, told


def _with_classes(manifest: pd.DataFrame, task: str, drop: list[str]) -> tuple[pd.DataFrame, list[tuple[str, int]]]:
    from hilum.data.task import apply_task
    from hilum.errors import RequestError
    from hilum.recipe.schema import Data, Task

    if task == "own":
        raise RequestError("an own task is written in a recipe, not here", where="--task own")
    # A manifest may serve to judge a model on, so a class may be absent.
    mapped = apply_task(manifest, Data(task=task, drop=drop), Task(), every_class=False)
    return mapped.manifest, [
        (f"label {_name(label)}: {reason}", int(count))
        for label, count, reason in mapped.left_out.itertuples(index=False)
    ]


def _with_facts(manifest: pd.DataFrame, left_out: list[tuple[str, int]]) -> tuple[pd.DataFrame, list[tuple[str, int]]]:
    from hilum.data.collect import with_facts

    whole, unreadable = with_facts(manifest, progress=terminal.progress())
    for row in unreadable.itertuples():
        terminal.say(f"cannot be read: {row.error}")
    return whole, [*left_out, ("cannot be read", len(unreadable))] if len(unreadable) else left_out


def _name(value: object) -> str:
    from hilum.data.summary import UNKNOWN

    return value if isinstance(value, str) else UNKNOWN


# What people see -----------------------------------------------------------------------------------------------------


def _show(summary: dict[str, Any]) -> None:
    films = summary["films"]
    without = summary["missing"]["patient_id"]
    patients = f"{summary['patients']} patients" if summary["patients"] else "patients unknown"
    known = f" ({without} films without one)" if without and summary["patients"] else ""
    terminal.say(f"{films} films, {patients}{known}")
    terminal.show(_labels(summary["labels"]))
    for column, counts in summary["by_label"].items():
        values = {value for row in counts.values() for value in row}
        if len(values) == 1:
            terminal.say(f"{column}: {values.pop()}, all films")
        else:
            terminal.show(_crossed(column, counts))
    missing = [f"{name} {count} ({count / films:.0%})" for name, count in summary["missing"].items() if count]
    if missing:
        terminal.say(f"missing: {', '.join(missing)}")
    for line in _files(summary):
        terminal.say(line)
    for row in summary["left_out"]:
        terminal.say(f"left out: {row['what']}: {row['count']}")


def _labels(records: list[dict[str, Any]]) -> Table:
    from rich.table import Table

    table = Table()
    table.add_column("label", overflow="fold")
    for name in ("films", "patients", "F", "M", "age: median (range), n"):
        table.add_column(name, justify="right", min_width=16 if name.startswith("age") else None)
    for record in sorted(records, key=lambda record: -record["films"]):
        ages = record["age_years"]
        age = f"{ages['median']:.0f} ({ages['min']:.0f}-{ages['max']:.0f}), {ages['n']}" if ages else "unknown"
        numbers = [
            str(record[name]) if name == "films" else str(record[name] or "")
            for name in ("films", "patients", "F", "M")
        ]
        table.add_row(record["label"], *numbers, age)
    return table


def _crossed(column: str, counts: dict[str, dict[str, int]]) -> Table:
    """Label by the values of a column: rows are whichever there are more of, so that it fits the screen."""
    from rich.table import Table

    counts = _without_subtypes(counts) if len(counts) > _MANY_LABELS else counts
    totals: dict[str, int] = {}
    for row in counts.values():
        for value, count in row.items():
            totals[value] = totals.get(value, 0) + count
    values = sorted(totals, key=lambda value: -totals[value])
    labels = sorted(counts, key=lambda label: -sum(counts[label].values()))
    upright = len(values) <= len(labels)
    rows, columns = (labels, values) if upright else (values, labels)
    table = Table()
    table.add_column(f"label by {column}" if upright else f"{column} by label", overflow="fold")
    for name in columns:
        table.add_column(name, justify="right", overflow="fold")
    for row_name in rows:
        cells = [counts[row_name].get(name, 0) if upright else counts[name].get(row_name, 0) for name in columns]
        table.add_row(row_name, *(str(cell) if cell else "" for cell in cells))
    return table


def _without_subtypes(counts: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    """The same counts with pneumonia/viral/sars counted as pneumonia."""
    merged: dict[str, dict[str, int]] = {}
    for label, row in counts.items():
        into = merged.setdefault(label.split("/")[0], {})
        for value, count in row.items():
            into[value] = into.get(value, 0) + count
    return merged


def _files(summary: dict[str, Any]) -> list[str]:
    lines = []
    if sizes := summary["sizes_px"]:
        sides = [f"{name} {sizes[name]['min']:.0f} to {sizes[name]['max']:.0f} px" for name in ("width", "height")]
        lines.append(f"sizes: {', '.join(sides)}")
    if (found := summary["duplicates"]) is not None:
        lines.append(f"duplicates: {found['exact_pairs']} pairs of one content, {found['near_pairs']} of one picture")
        if found["pairs_of_two_labels"]:
            example = " and ".join(found["examples_of_two_labels"][0])
            lines.append(f"labels contradict: {found['pairs_of_two_labels']} of these pairs, as {example}")
    if (leaks := summary["split_leaks"]) is not None:
        told = ", ".join(f"{kind} {count}" for kind, count in leaks.items()) or "none"
        lines.append(f"leaks between the published parts: {told}")
    return lines
