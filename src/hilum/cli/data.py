"""`hilum data`: look at sources of films, and write a manifest of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hilum.cli.console import terminal
from hilum.cli.run import CLUSTER, on_cluster

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

    from hilum.data.inspection import Inspection
    from hilum.data.summary import OfLabel, Range

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
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Also write a page, .html: figures, tables, sample films.")
    ] = None,
    json: AsJson = False,
) -> None:
    """What is there, and what to beware of: labels, patients, sources, ages, missing values, duplicates, overlaps.

    For example: hilum data inspect kermany:chest_xray cohen:cohen -o inspect.html
    """
    from hilum.data.inspection import inspect as look
    from hilum.errors import RequestError
    from hilum.files import need_place

    terminal.json = terminal.json or json
    if output is not None and output.suffix.lower() not in (".html", ".htm"):
        raise RequestError("the page is one .html file", where=f"-o {output}", next_step="Write: -o inspect.html")
    if output is not None:
        need_place(output, "-o inspect.html")
    manifest, left_out, read_from = _films(source, where)
    if files:
        manifest, left_out = _with_facts(manifest, left_out)
    manifest.attrs["left_out"] = left_out
    found = look(manifest, read_from)
    _show(found)
    if output is not None:
        from hilum.report.inspection import write_inspection

        write_inspection(found, manifest, output, asked=source, where=where)
        terminal.say(f"page: {output}")
    terminal.answer(found.as_json())


@app.command()
def build(
    source: Sources,
    output: Annotated[Path, typer.Option("--output", "-o", help="The manifest to write, .parquet or .csv.")],
    task: Annotated[
        str, typer.Option("--task", help="Also give each film its class: covid-3, covid-4, covid-binary, ...")
    ] = "",
    where: Where = "",
    drop: Annotated[list[str] | None, typer.Option("--drop", help="With --task: a label to leave out.")] = None,
    cluster: CLUSTER = "",
    json: AsJson = False,
) -> None:
    """Write one manifest of the sources, with what each film's file is; say what was left out and why."""
    from hilum.data.manifest import write_manifest
    from hilum.errors import RequestError
    from hilum.files import need_place

    terminal.json = terminal.json or json
    if output.suffix.lower() not in (".parquet", ".csv"):
        raise RequestError(
            "a manifest is .parquet or .csv", where=f"-o {output}", next_step="Write: -o manifest.parquet"
        )
    if drop and not task:
        raise RequestError(
            "--drop leaves labels out of a task, and there is none",
            where="--drop",
            next_step="Name one with --task, as in: --task covid-3",
        )
    need_place(output, "-o manifest.parquet")
    manifest, left_out, _ = _films(source, where)
    if task:
        manifest, more = _with_classes(manifest, task, drop or [])
        left_out += more
    with on_cluster(cluster):
        if cluster:
            from hilum.scale.films import read_films

            read_films([Path(path) for path in manifest["path"]], progress=terminal.progress())
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


def _films(sources: list[str], where: str) -> tuple[pd.DataFrame, list[tuple[str, int]], dict[str, str]]:
    """The films that pass the filter; what was left out; and image_id -> the source as it was asked for."""
    from hilum.data.readers.common import left_out
    from hilum.data.sources import read
    from hilum.data.where import where as rows_where

    manifest = read(*sources)
    told = left_out(manifest)
    names = [name for name, rows in manifest.attrs["read_from"] for _ in range(rows)]
    read_from = dict(zip(manifest["image_id"], names, strict=True))
    kept = rows_where(manifest, where)
    if len(kept) < len(manifest):
        told.append((f"not where {where}", len(manifest) - len(kept)))
    return kept, told, read_from


def _with_classes(manifest: pd.DataFrame, task: str, drop: list[str]) -> tuple[pd.DataFrame, list[tuple[str, int]]]:
    from hilum.data.task import apply_task
    from hilum.errors import RequestError
    from hilum.recipe.schema import Data, Task

    if task == "own":
        raise RequestError(
            "an own task is written in a recipe, not here",
            where="--task own",
            next_step="Leave --task out; the recipe of the training maps the labels.",
        )
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
        terminal.say(f"cannot be read: {row.path}: {row.error}")
    return whole, [*left_out, ("cannot be read", len(unreadable))] if len(unreadable) else left_out


def _name(value: object) -> str:
    from hilum.data.summary import UNKNOWN

    return value if isinstance(value, str) else UNKNOWN


# What people see -----------------------------------------------------------------------------------------------------


def _show(found: Inspection) -> None:
    for caution in found.cautions:
        terminal.say(f"! {caution.line}")
    terminal.say("")
    patients = f"{found.patients} patients" if found.patients else "patients unknown"
    without = found.films_without_patient
    known = f" ({without} films without one)" if without and found.patients else ""
    terminal.say(f"{found.films} films, {patients}{known}")
    terminal.show(_labels(found.labels))
    for column, counts in found.by_label.items():
        values = {value for row in counts.values() for value in row}
        if len(values) == 1:
            terminal.say(f"{column}: {values.pop()}, all films")
        elif column != "sex":  # which the table of labels has
            terminal.show(_crossed(column, counts))
    for line in (*_sources(found), *_patients(found), *_files(found)):
        terminal.say(line)
    missing = [f"{one.column} {one.missing} ({one.missing / one.of:.0%})" for one in found.missing if one.missing]
    if missing:
        terminal.say(f"missing: {', '.join(missing)}")
    for what, count in found.left_out:
        terminal.say(f"left out: {what}: {count}")


def _labels(labels: list[OfLabel]) -> Table:
    from rich.table import Table

    table = Table()
    table.add_column("label", overflow="fold")
    for name in ("films", "patients", "F", "M", "age: median (range), n"):
        table.add_column(name, justify="right", min_width=16 if name.startswith("age") else None)
    for one in labels:
        numbers = (one.patients, one.F, one.M)
        table.add_row(one.label, str(one.films), *(str(n or "") for n in numbers), _age(one.age_years))
    return table


def _age(ages: Range | None) -> str:
    return f"{ages.median:.0f} ({ages.min:.0f}-{ages.max:.0f}), {ages.n}" if ages else "unknown"


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


def _sources(found: Inspection) -> list[str]:
    one = found.label_and_source
    if one.cramers_v is None:
        return []
    single = len(one.of_one_label)
    lines = [
        f"sources with one label only: {single} of {one.sources}; Cramer's V of label and source {one.cramers_v:.2f} "
        f"(0 no relation, 1 the source says the label), n = {one.n} films"
    ]
    for both in found.overlaps:
        shared = f"{both.films_a} and {both.films_b} films, {both.patients_a} and {both.patients_b} known patients"
        lines.append(f"in {both.a} and in {both.b}: {shared}, {both.same_names} file names")
    return lines


def _patients(found: Inspection) -> list[str]:
    one = found.films_per_patient
    if one is None:
        return []
    told = ", ".join(f"{films}: {patients}" for films, patients in list(one.patients.items())[:5])
    more = sum(list(one.patients.values())[5:])
    rest = f", more: {more}" if more else ""
    return [f"patients by number of films: {told}{rest}; at most {one.most} ({one.patient_with_most})"]


def _files(found: Inspection) -> list[str]:
    lines = []
    if found.sizes_px:
        sides = [f"{name} {size.min:.0f} to {size.max:.0f} px" for name, size in found.sizes_px.items()]
        lines.append(f"sizes: {', '.join(sides)}")
    if (repeats := found.duplicates) is not None:
        lines.append(
            f"duplicates: {repeats.exact_pairs} pairs of one content, {repeats.near_pairs} of one picture; "
            f"{repeats.pictures} different pictures"
        )
    if found.split_leaks is not None:
        told = ", ".join(f"{kind} {count}" for kind, count in found.split_leaks.items()) or "none"
        lines.append(f"leaks between the published parts: {told}")
    return lines
