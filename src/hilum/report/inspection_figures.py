"""Figures of a collection that no run stands behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from hilum.report.figures import SIZE
from hilum.report.palette import INK, STYLE, class_colours

_MOST_FILMS = 10


def films_per_patient(patients: Mapping[int, int]) -> Figure:
    """Patients by their number of films, 10 and more together; the count above each bar.

    patients: number of films -> patients.
    """
    rows = np.zeros(_MOST_FILMS, int)
    for films, count in patients.items():
        rows[min(films, _MOST_FILMS) - 1] += count
    last = max(int(np.flatnonzero(rows)[-1]) + 1, 3)
    with rc_context(STYLE):
        figure = Figure(figsize=SIZE, layout="constrained")
        axes = figure.subplots()
        places = np.arange(1, last + 1)
        bars = axes.bar(places, rows[:last], color=class_colours(["patients"])["patients"], width=0.8)
        axes.bar_label(bars, [str(count) if count else "" for count in rows[:last]], fontsize=9, color=INK)
        axes.set_xticks(places, [f"{n}" if n < _MOST_FILMS else f"{n} +" for n in places])
        axes.set_xlabel("films of one patient")
        axes.set_ylabel("patients")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(visible=False, axis="x")
    return figure


def size_scatter(width: pd.Series, height: pd.Series, labels: pd.Series, names: Sequence[str]) -> Figure:
    """A dot for each size and label, its area by the number of films; the rarer label lies on top."""
    sizes = pd.DataFrame({"width": width, "height": height, "label": labels}).dropna()
    dots = sizes.groupby(["width", "height", "label"]).size().reset_index(name="films")
    with rc_context(STYLE):
        figure = Figure(figsize=SIZE, layout="constrained")
        axes = figure.subplots()
        for name in names:
            of_label = dots[dots["label"] == name]
            if len(of_label):
                area = 8 + 60 * np.sqrt(of_label["films"].to_numpy(float) / dots["films"].max())
                x, y = of_label["width"].to_numpy(float), of_label["height"].to_numpy(float)
                colour = class_colours(names)[name]
                axes.scatter(x, y, area, color=colour, alpha=0.55, linewidths=0, label=name)
        axes.set_xlabel("width, pixels")
        axes.set_ylabel("height, pixels")
        if len(dots) and max(dots["width"].max(), dots["height"].max()) > 4 * min(
            dots["width"].min(), dots["height"].min()
        ):
            axes.set_xscale("log")
            axes.set_yscale("log")
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                axis.set_major_formatter("{x:g}")
                axis.set_minor_formatter(NullFormatter())
        axes.legend()
    return figure
