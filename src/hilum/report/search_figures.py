"""What a search has found, as matplotlib figures: values in, a figure out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hilum.report.palette import CLASS_COLOURS, INK, LINE, MUTED, STYLE

SIZE = (4.6, 3.4)
CHOSEN, TRIAL = CLASS_COLOURS[1], CLASS_COLOURS[0]
_MOST_LETTERS = 14


def effect(found: Mapping[str, Any], chosen: Any, figure_name: str) -> Figure:
    """The figure of each trial by the value of one parameter, the chosen value in another colour and shape.

    found: one of search.json's effects. Listed values stand side by side in their order with a bar at their median, a
    range along its axis. figure_name: of the monitor, in words.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=SIZE, layout="constrained")
        axes = figure.subplots()
        points, listed = found["points"], list(found["values"])
        at = [listed.index(point["value"]) if listed else point["value"] for point in points]
        figures = np.array([point["figure"] for point in points], dtype=float)
        is_chosen = np.array([point["value"] == chosen for point in points], dtype=bool)
        for mine, colour, shape in ((~is_chosen, TRIAL, "o"), (is_chosen, CHOSEN, "D")):
            axes.plot(np.array(at)[mine], figures[mine], shape, color=colour, markersize=5.5, alpha=0.85)
        if listed:
            _medians(axes, found["medians"])
            axes.set_xticks(range(len(listed)), [short(value) for value in listed])
            axes.set_xlim(-0.6, len(listed) - 0.4)
            if len(listed) > 5 or max(len(short(value)) for value in listed) > 9:
                axes.tick_params(axis="x", rotation=35)
        elif found["log"]:
            axes.set_xscale("log")
        axes.set_xlabel(found["key"])
        axes.set_ylabel(f"validation {figure_name}")
    return figure


def course(figures: Sequence[float | None], higher: bool, figure_name: str) -> Figure:
    """The figure of each trial in order, and the best so far; a trial without a figure leaves a gap."""
    values = np.array([np.nan if value is None else value for value in figures], dtype=float)
    best = (np.fmax if higher else np.fmin).accumulate(values)
    with rc_context(STYLE):
        figure = Figure(figsize=SIZE, layout="constrained")
        axes = figure.subplots()
        numbers = np.arange(1, len(values) + 1)
        axes.plot(numbers, best, drawstyle="steps-post", color=CHOSEN, label="best so far")
        axes.plot(numbers, values, "o", color=TRIAL, markersize=4.5, alpha=0.85, label="trial")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("trial")
        axes.set_ylabel(f"validation {figure_name}")
        axes.legend(loc="lower right" if higher else "upper right")
    return figure


def importances(shares: Mapping[str, float]) -> Figure:
    """Each parameter's share of the importance, the largest on top."""
    ordered = sorted(shares.items(), key=lambda pair: pair[1])
    with rc_context(STYLE):
        figure = Figure(figsize=(SIZE[0], max(1.8, 0.42 * len(ordered) + 0.9)), layout="constrained")
        axes = figure.subplots()
        axes.barh(range(len(ordered)), [share for _, share in ordered], color=TRIAL, height=0.6)
        axes.set_yticks(range(len(ordered)), [key for key, _ in ordered])
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        for row, (_, share) in enumerate(ordered):
            axes.annotate(f"{share:.2f}", (share, row), (4, 0), textcoords="offset points", va="center", color=MUTED)
        axes.set_xlim(0, 1.1)
        axes.grid(visible=False, axis="y")
        axes.axvline(0, color=LINE, linewidth=1)
        axes.set_xlabel("importance (shares of 1)")
    return figure


def short(value: Any) -> str:
    """A value as a label.

    >>> short(1e-05), short("relu"), short([64, 128, 256, 512])
    ('1e-05', 'relu', '[64, 128, 256…')
    """
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= _MOST_LETTERS else text[: _MOST_LETTERS - 1] + "…"


def _medians(axes: Axes, medians: Sequence[float | None]) -> None:
    for place, median in enumerate(medians):
        if median is not None:
            axes.plot([place - 0.22, place + 0.22], [median, median], color=INK, linewidth=1.6)
