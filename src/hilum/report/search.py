"""The page of a search: what was chosen, what each parameter does, and every trial, in one HTML file."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from hilum.files import write_text
from hilum.report import search_figures as figures
from hilum.report.html import Picture, templates
from hilum.report.palette import inline_svg, save
from hilum.report.tables import count_of, words_of

# The page shows so many trials, the best first; trials.csv has all.
MOST_TRIALS = 200
METHODS = {
    "one_at_a_time": "One parameter after the other, each fixed at its best value before the next was tried",
    "grid": "Every combination of the values, in an order drawn by the seed",
    "random": "Values drawn at random",
    "tpe": "Values drawn where earlier trials did well (TPE, Bergstra et al. 2011)",
}

Context = dict[str, Any]
Draw = Callable[[Figure, str, str, str], Picture]


@dataclass(frozen=True)
class Found:
    """The files of a search, read. trials: as trials.csv has them."""

    folder: Path
    document: dict[str, Any]
    trials: pd.DataFrame

    @property
    def monitor(self) -> str:
        """The figure that chose, in words."""
        return words_of(self.document["monitor"])


@dataclass(frozen=True)
class Section:
    """A part of the page: its anchor and template, its heading, and what makes its context."""

    name: str
    heading: str
    make: Callable[[Found, Draw], Context]


def write_search_page(folder: Path) -> Path:
    """Write search.html and figures/ from a search's search.json and trials.csv, and return the page's path."""
    document = json.loads((folder / "search.json").read_text(encoding="utf-8"))
    found = Found(folder, document, _read(folder / "trials.csv"))

    def draw(figure: Figure, name: str, alt: str, caption: str) -> Picture:
        text = save(figure, folder / "figures", name)
        return Picture(Markup(inline_svg(text, name=name, alt=alt)), caption, f"figures/{name}.svg")

    jinja = templates()
    made = [
        (section, Markup(jinja.get_template(f"search/{section.name}.html").render(**section.make(found, draw))))
        for section in SECTIONS
    ]
    page = jinja.get_template("search.html").render(
        made=made,
        name=folder.absolute().name,
        found=document,
        monitor=found.monitor,
        method=METHODS[document["method"]],
        films=count_of(document["n"], "film"),
    )
    write_text(folder / "search.html", page)
    return folder / "search.html"


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except pd.errors.EmptyDataError:  # no trial was begun
        return pd.DataFrame({"trial": [], "state": []})


# The sections --------------------------------------------------------------------------------------------------------


def _chosen(found: Found, draw: Draw) -> Context:
    """The values that the search chooses, and what to do with them."""
    document = found.document
    return {
        "best": document["best"],
        "monitor": found.monitor,
        "n": document["n"],
        "patients": document["patients"],
        "trials": document["trials"],
        "train": f"hilum train --recipe {shlex.quote(str(found.folder / 'best.toml'))} -o runs/NAME",
        "resume": f"hilum search --resume -o {shlex.quote(str(found.folder))}",
    }


def _effects(found: Found, draw: Draw) -> Context:
    """A figure of each parameter: its values against what they reached."""
    document = found.document
    best = document["best"]
    pictures, without = [], []
    for place, effect in enumerate(document["effects"]):
        key, points = effect["key"], effect["points"]
        if not points:
            without.append(key)
            continue
        chosen = best["values"].get(key) if best else None
        trials = count_of(len(points), "trial")
        pictures.append(
            draw(
                figures.effect(effect, chosen, found.monitor),
                f"effect-{place + 1}",
                f"Validation {found.monitor} by {key} over {trials}",
                f"{key}: {trials}. Diamonds have the chosen value"
                + (f", {figures.short(chosen)}" if chosen is not None else "")
                + ("; bars are medians." if effect["values"] and len(points) > len(effect["values"]) else "."),
            )
        )
    course = [None if pd.isna(value) else float(value) for value in _figures(found)]
    if course:
        pictures.append(
            draw(
                figures.course(course, document["higher_is_better"], found.monitor),
                "course",
                f"Validation {found.monitor} of each trial in turn",
                "All trials in turn, and the best so far.",
            )
        )
    shares = document["importances"]
    importances = None
    if shares:
        importances = draw(
            figures.importances(shares),
            "importances",
            "Importance of each parameter",
            "How much of the difference between good and other trials each parameter explains (PED-ANOVA, Watanabe et "
            "al. 2023; shares of 1).",
        )
    return {
        "pictures": pictures,
        "without": without,
        "importances": importances,
        "no_importances": document["no_importances"],
        "method": document["method"],
    }


def _trials(found: Found, draw: Draw) -> Context:
    """Every trial, the best first."""
    document, table = found.document, found.trials
    keys = [effect["key"] for effect in document["effects"]]
    ordered = table.assign(figure=_figures(found)).sort_values(
        "figure", ascending=not document["higher_is_better"], na_position="last", kind="stable"
    )
    rows = [
        {
            "trial": int(row["trial"]),
            "values": [_cell(row.get(key)) for key in keys],
            "figure": _cell(row["figure"], ".4f"),
            "epochs": _cell(row.get("epochs"), ".0f"),
            "seconds": _cell(row.get("seconds"), ".1f"),
            "said": _said(row),
        }
        for row in ordered.head(MOST_TRIALS).to_dict("records")
    ]
    best = document["best"]
    return {
        "keys": keys,
        "rows": rows,
        "more": len(table) - len(rows),
        "monitor": found.monitor,
        "best": best["trial"] if best else None,
        "tried": document["method"] == "one_at_a_time",
    }


def _how(found: Found, draw: Draw) -> Context:
    """Of which films and trials all this speaks."""
    document = found.document
    return {
        "found": document,
        "method": METHODS[document["method"]],
        "monitor": found.monitor,
        "films": count_of(document["n"], "film"),
    }


def _figures(found: Found) -> pd.Series:
    """The figure of each trial, missing where it has none."""
    name = f"validation_{found.document['monitor']}"
    if name not in found.trials:
        return pd.Series(float("nan"), index=found.trials.index)
    return found.trials[name].where(found.trials["state"] == "finished")


def _said(row: dict[Any, Any]) -> str:
    """What is to be said of a trial besides its figures."""
    if row["state"] == "failed":
        return f"failed: {row['error']}"
    if row["state"] == "finished":
        same = row.get("same_as")
        return f"the very recipe of trial {int(same)}" if pd.notna(same) else ""
    return str(row["state"])


def _cell(value: Any, form: str = "") -> str:
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return "–"
    if form:
        return format(float(value), form)
    return f"{value:g}" if isinstance(value, float) else str(value)


# In the order of the page. The template of each is templates/search/NAME.html.
SECTIONS = (
    Section("chosen", "What it chooses", _chosen),
    Section("effects", "What each parameter does", _effects),
    Section("trials", "The trials", _trials),
    Section("how", "How it was searched", _how),
)
