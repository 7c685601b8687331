"""The page of a comparison: runs beside each other in one HTML file that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment
from markupsafe import Markup
from matplotlib.figure import Figure

from hilum.data.manifest import read_manifest
from hilum.errors import HilumError, RequestError
from hilum.evaluation.comparison import OF_A_CLASS, OVERALL, Comparison, disagreements, names_of
from hilum.evaluation.contenders import Contender
from hilum.evaluation.curves import confusion_matrix
from hilum.files import whole_file, write_json, write_text
from hilum.report import comparison_tables as tables
from hilum.report.comparison_figures import calibration_of_runs, forest, roc_of_runs
from hilum.report.figures import confusion_matrix as confusion_figure
from hilum.report.films import Thumbnail, thumbnail
from hilum.report.html import Picture, templates
from hilum.report.palette import class_colours, inline_svg, save
from hilum.report.tables import MEANINGS, count_of, shown, words_of

# About 5 kB each.
MOST_FILMS = 48
MOST_CLASSES_WITH_CURVES = 8

Context = dict[str, Any]
Draw = Callable[[Figure, str, str, str], Picture]


@dataclass(frozen=True)
class Section:
    """A part of the page: its anchor and template, its heading, and what makes its context."""

    name: str
    heading: str
    make: Callable[[Comparison, Draw], Context]


def write_comparison(found: Comparison, out: Path) -> Path:
    """Write comparison.html, .json and .csv, disagreements.csv and figures/; the page's path is returned.

    Refused with RequestError: what `check_folder` refuses.
    """
    check_folder(out)
    for name, table in (("comparison.csv", tables.table(found)), ("disagreements.csv", disagreements(found))):
        with whole_file(out / name) as part:
            table.to_csv(part, index=False)
    write_json(out / "comparison.json", tables.document(found))
    write_text(out / "comparison.html", render(found, out))
    return out / "comparison.html"


def check_folder(out: Path) -> None:
    """Refuse, with RequestError, a file, and the folder of a run, whose figures would be mixed with these."""
    if (out / "recipe.toml").is_file() or (out.exists() and not out.is_dir()):
        what = "this is no folder" if not out.is_dir() else "this is the folder of a run"
        raise RequestError(what, where=str(out), next_step="Choose another folder with -o.")


def render(found: Comparison, out: Path) -> str:
    """The page's HTML. Figures are written into figures/ on the way."""
    jinja, colours = templates(), class_colours(list(found.figures))
    made = [(section, _html(jinja, section, found, out, colours)) for section in SECTIONS]
    notes = [*found.notes, *_notes_of_runs(found.contenders)]
    return jinja.get_template("comparison.html").render(
        made=made, notes=notes, colours=colours, names=list(found.figures), part=found.part, n=_n(found)
    )


def _html(jinja: Environment, section: Section, found: Comparison, out: Path, colours: Mapping[str, str]) -> Markup:
    def draw(figure: Figure, name: str, alt: str, caption: str) -> Picture:
        text = save(figure, out / "figures", name)
        return Picture(Markup(inline_svg(text, name=name, alt=alt)), caption, f"figures/{name}.svg")

    template = jinja.get_template(f"comparison/{section.name}.html")
    return Markup(
        template.render(colours=colours, reference=found.reference, part=found.part, **section.make(found, draw))
    )


# The sections --------------------------------------------------------------------------------------------------------


def _short(found: Comparison, draw: Draw) -> Context:
    """Of each run, whether it names other films rightly than the reference does."""
    lines = []
    for name, test in found.tests.items():
        balanced = found.differences[name]["balanced_accuracy"]
        lines.append(
            {
                "name": name,
                "test": test,
                "p": tables.p_value(test["p_holm"]),
                "shown": test["p_holm"] < 1 - found.how.interval,
                "difference": " ".join(tables.signed(balanced)),
            }
        )
    return {"lines": lines, "several": len(lines) > 1, "patients": _patients_known(found)}


def _figures(found: Comparison, draw: Draw) -> Context:
    """Every figure of every run, and below them what was published."""
    groups = [("Of all classes", list(OVERALL))]
    groups += [
        (
            words_of(bare)[0].upper() + words_of(bare)[1:] + " of each class",
            [f"{bare}/{name}" for name in found.classes],
        )
        for bare in OF_A_CLASS
    ]
    rows = tables.published(found)
    shown_names = {name for _, names in groups for name in names}
    return {
        "groups": [
            (
                caption,
                [_head(found, name) for name in names],
                [(run, [shown(figures[name]) for name in names]) for run, figures in found.figures.items()],
                [
                    (row.name, [row.figures.get(name) for name in names])
                    for row in rows
                    if set(names) & set(row.figures)
                ],
            )
            for caption, names in groups
        ],
        "sources": [row for row in rows if row.source],
        "others": [
            (row.name, {name: value for name, value in row.figures.items() if name not in shown_names})
            for row in rows
            if set(row.figures) - shown_names
        ],
        "n": _n(found),
        "how": f"{100 * found.how.interval:g} % intervals from {found.how.bootstrap} resamples of the "
        + ("patients." if _patients_known(found) else "films; patients are unknown, so they may be too narrow."),
    }


def _differences(found: Comparison, draw: Draw) -> Context:
    """How far each run is from the reference, figure by figure, and McNemar's test."""
    names = names_of(found.classes)
    drawn = [name for name in names if not name.startswith("auroc/")]
    spoken = "; ".join(
        f"{run}: "
        + ", ".join(f"{words_of(name.split('/')[0])} {' '.join(tables.signed(of_run[name]))}" for name in OVERALL)
        for run, of_run in found.differences.items()
    )
    picture = draw(
        forest(found.differences, list(found.figures), drawn),
        "differences",
        f"Differences from {found.reference} with intervals. {spoken}",
        f"Differences from {found.reference} with {100 * found.how.interval:g} % intervals, the same patients drawn "
        "for both. Right of the line is better; of figures for which lower is better, the sign is turned here.",
    )
    cells = {
        run: [(*tables.signed(of_run[name]), tables.is_better(name, of_run[name])) for name in names]
        for run, of_run in found.differences.items()
    }
    tests = [
        (run, test, [tables.p_value(test[key]) for key in ("p_films", "p_patients", "p_holm")])
        for run, test in found.tests.items()
    ]
    heads = [words_of(bare) + (f" of {of_class}" if of_class else "") for bare, _, of_class in map(_parted, names)]
    return {"picture": picture, "heads": heads, "cells": cells, "tests": tests, "patients": _patients_known(found)}


def _curves(found: Comparison, draw: Draw) -> Context:
    """ROC and calibration curves, a panel for each class and a line for each run."""
    there = [name for name in found.classes if found.figures[found.reference][f"auroc/{name}"]["value"] is not None]
    rows = []
    for place, name in enumerate(there[:MOST_CLASSES_WITH_CURVES], 1):
        each = {run: shown(figures[f"auroc/{name}"]) for run, figures in found.figures.items()}
        spoken = "; ".join(f"{run} {figure.line}" for run, figure in each.items())
        words = {run: f"{figure.value} {figure.interval}" for run, figure in each.items()}
        rows.append(
            [
                draw(
                    roc_of_runs(found.predictions, name, words),
                    f"roc-{place}",
                    f"ROC curves of {name} against the rest. AUROC: {spoken}",
                    f"{name} against the rest, with AUROC and interval.",
                ),
                draw(
                    calibration_of_runs(found.predictions, name),
                    f"calibration-{place}",
                    f"Calibration of the probability of {name} by run",
                    f"{name}: on the line, the probability means what it says. Bins of equally many films.",
                ),
            ]
        )
    return {"pictures": [picture for row in rows for picture in row], "without": there[MOST_CLASSES_WITH_CURVES:]}


def _confusions(found: Comparison, draw: Draw) -> Context:
    """Which class is taken for which, by each run."""
    pictures = []
    for place, (name, table) in enumerate(found.predictions.items(), 1):
        counts = confusion_matrix(table)
        spoken = "; ".join(
            f"of {row.sum()} {label}: " + ", ".join(f"{n} as {other}" for other, n in row.items())
            for label, row in counts.iterrows()
        )
        figure = confusion_figure(counts.to_numpy(), found.classes)
        pictures.append((name, draw(figure, f"confusion-{place}", f"Confusion matrix of {name}; {spoken}", "")))
    return {"pictures": pictures, "n": _n(found), "small": len(found.classes) <= 4}


def _films(found: Comparison, draw: Draw) -> Context:
    """The films that some runs name rightly and others wrongly."""
    split, colours = disagreements(found), class_colours(list(found.figures))
    right = pd.DataFrame({name: table["predicted"] == table["label"] for name, table in found.predictions.items()})
    paths = _paths(found.contenders)
    cards = []
    for row in split.head(MOST_FILMS).to_dict("records"):
        path = paths.get(row["image_id"], "")
        cards.append(
            {
                "picture": thumbnail(path) if path else Thumbnail("", 256, 256, "no run tells where this film lies"),
                "image_id": row["image_id"],
                "true": row["label"],
                "said": [
                    (
                        name,
                        row[f"called/{name}"],
                        row[f"p/{name}"],
                        row[f"called/{name}"] == row["label"],
                        colours[name],
                    )
                    for name in found.figures
                ],
            }
        )
    return {
        "cards": cards,
        "split": len(split),
        "all_right": int(right.all(axis=1).sum()),
        "all_wrong": int((~right.any(axis=1)).sum()),
        "films": len(found.films),
    }


def _costs(found: Comparison, draw: Draw) -> Context:
    """What each run costs."""
    rows = []
    for name, costs in tables.costs_by_run(found).items():
        numbers = (
            "–" if costs.parameters is None else f"{costs.parameters / 1e6:.2f} million",
            "–" if costs.megabytes is None else f"{costs.megabytes:.1f} MB",
            "–" if costs.seconds is None else f"{costs.seconds:,.0f} s",
            "–" if costs.films_per_second is None else f"{costs.films_per_second:.0f}",
            "–" if costs.predicted_per_second is None else f"{costs.predicted_per_second:.0f}",
        )
        rows.append((name, costs.backbone or "–", numbers, costs.machine or "–"))
    return {"rows": rows}


def _runs(found: Comparison, draw: Draw) -> Context:
    """Where the runs lie, and what they were asked for differently."""
    runs = []
    for each in found.contenders:
        recipe = tables.recipe_of(each)
        about = recipe.about if recipe else None
        runs.append((each.name, str(each.path), about.title if about else "", about.summary if about else ""))
    return {"runs": runs, "settings": tables.settings_that_differ(found), "names": list(found.figures)}


# In the order of the page. The template of each is templates/comparison/NAME.html.
SECTIONS = (
    Section("short", "In short", _short),
    Section("figures", "Figures", _figures),
    Section("differences", "Differences", _differences),
    Section("curves", "Curves", _curves),
    Section("confusion", "Which class is taken for which", _confusions),
    Section("films", "Where the runs disagree", _films),
    Section("costs", "Size and time", _costs),
    Section("runs", "The runs, and how they differ", _runs),
)


# What they share -----------------------------------------------------------------------------------------------------


def _head(found: Comparison, name: str) -> tuple[str, str]:
    """Words and meaning of a column; of a class, its name and the films and patients behind it."""
    bare, _, of_class = _parted(name)
    if not of_class:
        return words_of(bare), MEANINGS[bare]
    return of_class, shown(found.figures[found.reference][name]).n


def _parted(name: str) -> tuple[str, str, str]:
    return name.partition("/")


def _patients_known(found: Comparison) -> bool:
    return bool(found.films["patient_id"].notna().any())


def _n(found: Comparison) -> str:
    films = count_of(len(found.films), "film")
    return f"{films} of {count_of(found.films['patient_id'].nunique(), 'patient')}" if _patients_known(found) else films


def _notes_of_runs(contenders: Sequence[Contender]) -> list[str]:
    """What the runs warn of, each warning once with the runs that have it."""
    told: dict[str, list[str]] = {}
    for each in contenders:
        try:
            own = each.run.environment().get("notes") or [] if each.run else []
        except HilumError as error:
            own = [f"its notes cannot be read, so what it warned of is unknown: {error}"]
        for note in own:
            told.setdefault(str(note), []).append(each.name)
    return [
        f"{'every run' if len(names) == len(contenders) else ', '.join(names)}: {note}" for note, names in told.items()
    ]


def _paths(contenders: Sequence[Contender]) -> dict[str, str]:
    """image_id -> the film's file, from the manifest of whichever run has one."""
    paths: dict[str, str] = {}
    for each in contenders:
        file = each.path / "manifest.parquet"
        try:
            manifest = read_manifest(file) if file.is_file() else None
        except HilumError:
            manifest = None  # the cards then say that no run tells
        if manifest is not None:
            paths = dict(zip(manifest["image_id"], manifest["path"], strict=True)) | paths
    return paths
