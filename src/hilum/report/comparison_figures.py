"""Runs beside each other, as matplotlib figures: one colour per run, values in, a figure out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from hilum.evaluation.curves import calibration_points, curve_points
from hilum.report.palette import INK, LINE, STYLE, class_colours, class_dashes
from hilum.report.tables import words_of

PANEL = (4.2, 3.9)
MOST_WITH_BARS = 3  # intervals of more runs than these would lie on each other


def forest(
    differences: Mapping[str, Mapping[str, Mapping[str, Any]]], names: Sequence[str], figures: Sequence[str]
) -> Figure:
    """Each run's differences from the reference with their intervals; to the right of the line is better.

    differences: run -> figure -> {value, low, high}; `names` all runs, the reference first, which fixes the colours.
    A figure for which lower is better has its sign turned, and says so. What is missing has no mark.
    """
    colours, others = class_colours(names), list(names[1:])
    with rc_context(STYLE):
        height = len(figures) * (0.26 + 0.17 * len(others)) + 0.9
        figure = Figure(figsize=(5.8, max(2.6, height)), layout="constrained")
        axes = figure.subplots()
        axes.axvline(0, color=INK, linewidth=1)
        step = 0.7 / max(1, len(others))
        for row, name in enumerate(figures):
            turned = -1 if "lower" in words_of(name.split("/")[0]) else 1
            for place, run in enumerate(others):
                found = differences[run][name]
                if found["value"] is None:
                    continue
                y = row + step * (place - (len(others) - 1) / 2)
                if found["low"] is not None:
                    ends = sorted((turned * found["low"], turned * found["high"]))
                    axes.plot(ends, [y, y], color=colours[run], linewidth=2, solid_capstyle="round")
                axes.plot(turned * found["value"], y, "o", color=colours[run], markersize=5.5)
        axes.set_yticks(range(len(figures)), [label_of(name) for name in figures])
        axes.set_ylim(len(figures) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:+.3g}".replace("-", "−") if x else "0")
        axes.set_xlabel(f"← worse \u2003 than {_short(names[0])} \u2003 better →")
        for run in others:
            axes.plot([], [], "o-", color=colours[run], label=_short(run))
        figure.legend(loc="outside upper left", ncols=2)
    return figure


def roc_of_runs(tables: Mapping[str, pd.DataFrame], of_class: str, words: Mapping[str, str]) -> Figure:
    """One class against the rest: a ROC curve for each run. words: run -> what stands behind its name."""
    figure, axes = _square("1 − specificity", "sensitivity")
    with rc_context(STYLE):
        axes.plot([0, 1], [0, 1], color=LINE, linewidth=1)
        curves = {name: _points(curve_points(table), of_class) for name, table in tables.items()}
        panels = [axes]
        if all(_area(curve) > 0.95 for curve in curves.values()) and len(tables) <= 5:
            panels.append(axes.inset_axes((0.36, 0.4, 0.58, 0.46), xlim=(-0.004, 0.2), ylim=(0.8, 1.004)))
        for name, curve in curves.items():
            line = _line(name, list(tables), words.get(name, ""))
            for panel in panels:
                panel.plot(1 - curve["specificity"], curve["sensitivity"], drawstyle="steps-post", **line)
        axes.set_title(of_class)
        axes.legend(loc="lower right")
    return figure


def calibration_of_runs(tables: Mapping[str, pd.DataFrame], of_class: str) -> Figure:
    """How often the probability of a class came true: a line for each run, in bins of equally many films."""
    figure, axes = _square("probability said", "share that has it")
    with rc_context(STYLE):
        axes.plot([0, 1], [0, 1], color=LINE, linewidth=1)
        for name, table in tables.items():
            bins = _points(calibration_points(table), of_class)
            line = _line(name, list(tables), "")
            axes.plot(bins["probability"], bins["share"], marker="o", markersize=4, **line)
            if len(tables) <= MOST_WITH_BARS:
                axes.vlines(
                    bins["probability"],
                    bins["share_low"],
                    bins["share_high"],
                    color=line["color"],
                    linewidth=1,
                    alpha=0.6,
                )
        axes.set_title(of_class)
        axes.legend(loc="upper left")
    return figure


def label_of(name: str) -> str:
    """A figure's name on an axis.

    >>> label_of("brier"), label_of("recall/covid-19")
    ('Brier score (turned)', 'sensitivity, covid-19')
    """
    bare, _, of_class = name.partition("/")
    words = words_of(bare).replace(", lower is better", " (turned)")
    return f"{words}, {_short(of_class)}" if of_class else words


def _square(x: str, y: str) -> tuple[Figure, Any]:
    with rc_context(STYLE):
        figure = Figure(figsize=PANEL, layout="constrained")
        axes = figure.subplots()
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.set_xlim(-0.015, 1.015)
        axes.set_ylim(-0.015, 1.015)
    return figure, axes


def _points(table: pd.DataFrame, of_class: str) -> pd.DataFrame:
    return table[table["class"] == of_class]


def _area(curve: pd.DataFrame) -> float:
    return float(np.trapezoid(curve["sensitivity"], 1 - curve["specificity"])) if len(curve) else 0.0


def _line(name: str, names: Sequence[str], words: str) -> dict[str, Any]:
    return {
        "color": class_colours(names)[name],
        "linestyle": class_dashes(names)[name],
        "label": f"{_short(name)}  {words}".rstrip(),
    }


def _short(name: str, most: int = 24) -> str:
    """A name that fits; the end of a path tells more than its beginning. A legend leaves out what begins with _."""
    name = name if len(name) <= most else "…" + name[1 - most :]
    return "\u200b" + name if name.startswith("_") else name
