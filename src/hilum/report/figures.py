"""What a run shows, as matplotlib figures: values in, a figure out, nothing kept between calls.

Every figure is one panel, so small that two or three stand side by side on a screen and one fits a phone.
`y` is (N,) class numbers, `p` (N, K) probabilities, classes in the order of p's columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter
from scipy.stats import binomtest
from sklearn.metrics import precision_recall_curve, roc_auc_score, roc_curve

from hilum.report.palette import INK, LINE, MUTED, STYLE, class_colours, class_dashes

SIZE = (4.6, 3.9)
SMALL = (3.4, 3.0)  # three side by side
MOST_CLASSES_WITH_NUMBERS = 12
_SHARES = LinearSegmentedColormap.from_list("shares", ["#f4f7fa", "#9cc3dd", "#1f77ae", "#0b3a5e"])
_BINS = np.linspace(0.0, 1.0, 11)


def loss_curves(history: pd.DataFrame, kept: Sequence[int] = ()) -> Figure:
    """Loss of the train and validation parts by epoch, stages told apart; columns as `RunFolder.history` has them.

    kept: rows of the epochs whose weights were kept, each an upright line; a dot is the lowest loss of validation.
    """
    lines = {"train_loss": ("train", MUTED, (0, (4, 2))), "validation_loss": ("validation", INK, "solid")}
    figure, axes = _panel("epoch", "loss", SMALL)
    with rc_context(STYLE):
        _draw_history(axes, history, lines, kept)
        best = history["validation_loss"].to_numpy(float)
        if np.isfinite(best).any():
            epoch = int(np.nanargmin(best))
            axes.plot(epoch + 1, best[epoch], "o", color=INK, markersize=5)
        axes.set_ylim(bottom=0)
    return figure


def validation_curves(history: pd.DataFrame, kept: Sequence[int] = ()) -> Figure:
    """Accuracy, balanced accuracy, macro F1 and macro AUROC of the validation part by epoch; kept as above."""
    lines = {
        "validation_accuracy": ("accuracy", INK, "solid"),
        "validation_balanced_accuracy": ("balanced accuracy", INK, (0, (4, 1.5))),
        "validation_macro_f1": ("macro F1", MUTED, "solid"),
        "validation_macro_auroc": ("macro AUROC", MUTED, (0, (1.2, 1.2))),
    }
    figure, axes = _panel("epoch", "validation part", SMALL)
    with rc_context(STYLE):
        _draw_history(axes, history, lines, kept)
        axes.set_ylim(top=1.005)
    return figure


def learning_rate_curve(history: pd.DataFrame) -> Figure:
    """Learning rate by epoch, on a logarithmic axis."""
    figure, axes = _panel("epoch", "learning rate", SMALL)
    with rc_context(STYLE):
        _draw_history(axes, history, {"learning_rate": ("", INK, "solid")})
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    return figure


def roc_curves(
    y: np.ndarray,
    p: np.ndarray,
    classes: Sequence[str],
    *,
    words: Mapping[str, str] | None = None,
    title: str = "",
    points: Mapping[str, tuple[float, float]] | None = None,
) -> Figure:
    """Each class against the rest. A class that all or none of the films have has no curve, and the legend says so.

    words: class -> what stands behind its name in the legend, as its AUROC and interval; title: what the words are.
    points: class -> (specificity, sensitivity) of its operating point, drawn as a ring.
    """
    figure, axes = _panel("1 − specificity", "sensitivity")
    ring: dict[str, Any] = {"marker": "o", "markersize": 8, "markerfacecolor": "none", "markeredgewidth": 1.6}
    with rc_context(STYLE):
        axes.plot([0, 1], [0, 1], color=LINE, linewidth=1)
        panels = [axes]
        if _crowded(y, p, classes):
            panels.append(axes.inset_axes((0.44, 0.36, 0.5, 0.42), xlim=(-0.004, 0.2), ylim=(0.8, 1.004)))
        for place, (name, here) in enumerate(_by_class(y, classes)):
            line = _line(name, classes, (words or {}).get(name, ""))
            if here.all() or not here.any():
                axes.plot([], [], **(line | {"label": f"{_shown(name, 18)}  undefined"}))
                continue
            wrong, right, _ = roc_curve(here, p[:, place])
            for panel in panels:
                panel.plot(wrong, right, drawstyle="steps-post", **line)
                if points and name in points:
                    specificity, sensitivity = points[name]
                    panel.plot(1 - specificity, sensitivity, color=line["color"], clip_on=panel is not axes, **ring)
        _unit_square(axes)
        axes.legend(loc="lower right", title=title or None, title_fontsize=9)
    return figure


def precision_recall_curves(
    y: np.ndarray, p: np.ndarray, classes: Sequence[str], *, words: Mapping[str, str] | None = None, title: str = ""
) -> Figure:
    """Each class against the rest; the short thin line at the left edge is the class's share, what guessing gives."""
    figure, axes = _panel("recall (sensitivity)", "precision (PPV)")
    with rc_context(STYLE):
        panels = [axes]
        if _crowded(y, p, classes):
            panels.append(axes.inset_axes((0.2, 0.36, 0.5, 0.42), xlim=(0.8, 1.004), ylim=(0.8, 1.004)))
        for place, (name, here) in enumerate(_by_class(y, classes)):
            line = _line(name, classes, (words or {}).get(name, ""))
            if here.all() or not here.any():
                axes.plot([], [], **(line | {"label": f"{_shown(name, 18)}  undefined"}))
                continue
            precision, recall, _ = precision_recall_curve(here, p[:, place], drop_intermediate=True)
            for panel in panels:
                panel.plot(recall, precision, drawstyle="steps-post", **line)
            axes.plot([0, 0.06], [here.mean()] * 2, color=line["color"], linewidth=1.2)
        _unit_square(axes)
        axes.legend(loc="lower left", bbox_to_anchor=(0.07, 0.0), title=title or None, title_fontsize=9)
    return figure


def confusion_matrix(counts: np.ndarray, classes: Sequence[str]) -> Figure:
    """Films by true class (rows) and predicted class (columns): the count, and its share of the row.

    counts: (K, K) whole numbers. The colour is the share of the row; an empty row stays blank. Above 12 classes
    the numbers are left out, because nobody could read them.
    """
    size = len(classes)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    with rc_context(STYLE):
        figure = Figure(figsize=(max(4.6, 0.75 * size + 1.6), max(3.9, 0.62 * size + 1.4)), layout="constrained")
        axes = figure.subplots()
        axes.imshow(shares, cmap=_SHARES, vmin=0, vmax=1, aspect="auto")
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        names = [_shown(name, 14) for name in classes]
        axes.set_xticks(range(size), names, rotation=0 if size <= 4 else 45, ha="center" if size <= 4 else "right")
        axes.set_yticks(range(size), names)
        axes.tick_params(length=0, labelcolor=INK)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        if size <= MOST_CLASSES_WITH_NUMBERS:
            for row, column in np.ndindex(counts.shape):
                colour = "#fdfdfd" if shares[row, column] > 0.5 else "#15191d"  # the cell's own, in any theme
                share = f"{100 * shares[row, column]:.1f} %" if totals[row, 0] else "–"
                cell: dict[str, Any] = {"ha": "center", "color": colour}
                axes.text(column, row, f"{counts[row, column]}", va="bottom", fontsize=12, fontweight="bold", **cell)
                axes.text(column, row, share, va="top", fontsize=9, **cell)
    return figure


def calibration_curve(here: np.ndarray, p: np.ndarray, name: str, colour: str) -> Figure:
    """One class's calibration (above) and the probabilities it was given (below), in ten equal bins.

    here: (N,) True where the film has the class; p: (N,) its probability. Bars are Wilson intervals (95 %) of the
    observed share; the lower panel counts the films with the class (filled) and without it (outlined).

    Wilson 1927, J. Am. Stat. Assoc. 22:209.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(SMALL[0], 4.1), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1.4))
        above.plot([0, 1], [0, 1], color=LINE, linewidth=1)
        above.set_ylabel("share that has it")
        above.set_ylim(-0.03, 1.03)
        bins = np.clip(np.digitize(p, _BINS) - 1, 0, 9)
        for number in np.unique(bins):
            films = bins == number
            share = binomtest(int(here[films].sum()), int(films.sum()))
            low, high = share.proportion_ci(method="wilson")
            mean = float(p[films].mean())
            above.plot([mean, mean], [low, high], color=colour, linewidth=1.3)
            above.plot(mean, share.statistic, "o", color=colour, markersize=5)
        with_it, _ = np.histogram(p[here], _BINS)
        without, _ = np.histogram(p[~here], _BINS)
        below.bar(_BINS[:-1], with_it, 0.1, align="edge", color=colour, alpha=0.75, label="with it")
        below.stairs(without, _BINS, color=INK, linewidth=1.2, label="without it")
        below.set_yscale("symlog", linthresh=1)
        below.set_yticks([1, 10, 100, 1000], ["1", "10", "100", "1000"])
        below.set_ylim(0, max(10, 3 * max(with_it.max(), without.max())))
        below.minorticks_off()
        below.set_ylabel("films")
        below.set_xlabel(f"probability of {_shown(name, 30)}")
        below.set_xlim(0, 1)
        below.legend(loc="upper center", ncols=2, handlelength=1.2, columnspacing=1.0)
    return figure


def age_histogram(age_years: pd.Series, labels: pd.Series, classes: Sequence[str]) -> Figure:
    """Films by age and class, films of unknown age left out; bins of five years, or of one where all are under 20."""
    known = age_years.notna() & labels.notna()
    ages = age_years[known].to_numpy(float)
    step = 1 if ages.size and ages.max() < 20 else 5
    edges = np.arange(0, (ages.max() if ages.size else 0) + 2 * step, step)
    figure, axes = _panel("age, years", "films")
    with rc_context(STYLE):
        for name in classes:
            counts, _ = np.histogram(ages[(labels[known] == name).to_numpy()], edges)
            if counts.any():
                line = _line(name, classes, f"{counts.sum()} films")
                axes.stairs(counts, edges, **line)
                axes.stairs(counts, edges, fill=True, alpha=0.15, color=line["color"])
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylim(bottom=0)
        axes.set_xlim(edges[0], edges[-1])
        if ages.size:
            axes.legend()
    return figure


def film_sheet(films: Sequence[tuple[np.ndarray, str]], *, columns: int = 4) -> Figure:
    """Grey films with a caption each, aspect kept. Each film is uint8 (H, W)."""
    rows = max(1, -(-len(films) // columns))
    with rc_context(STYLE):
        figure = Figure(figsize=(2.4 * columns, 3.0 * rows), layout="constrained")
        cells = figure.subplots(rows, columns, squeeze=False).ravel()
        for cell in cells:
            cell.axis("off")
        for cell, (pixels, caption) in zip(cells, films, strict=False):
            cell.imshow(pixels, cmap="gray", vmin=0, vmax=255)
            cell.set_title(caption, fontsize=8, fontweight="normal", loc="center")
    return figure


def _panel(x: str, y: str, size: tuple[float, float] = SIZE) -> tuple[Figure, Axes]:
    with rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        axes.set_xlabel(x)
        axes.set_ylabel(y)
    return figure, axes


def _unit_square(axes: Axes) -> None:
    axes.set_xlim(-0.015, 1.015)
    axes.set_ylim(-0.015, 1.015)


def _draw_history(
    axes: Axes, history: pd.DataFrame, lines: Mapping[str, tuple[str, str, object]], kept: Sequence[int] = ()
) -> None:
    """Lines over the epochs of all stages in a row, with a border before each later stage and a line at those kept."""
    for row in kept:
        axes.axvline(row + 1, color=INK, linewidth=1)
    epochs = np.arange(1, len(history) + 1)
    marker = "o" if len(history) < 3 else None  # a line of one point would not be seen
    for column, (label, colour, dashes) in lines.items():
        if column in history and history[column].notna().any():
            values = history[column].to_numpy(float)
            axes.plot(epochs, values, color=colour, linestyle=dashes, label=label, marker=marker, markersize=4)
    stages = history["stage"].to_numpy()
    for border in np.flatnonzero(stages[1:] != stages[:-1]) + 1:
        axes.axvline(border + 0.5, color=MUTED, linewidth=1, linestyle=(0, (2, 2)))
        place = axes.get_xaxis_transform()
        axes.text(border + 0.6, 0.99, f"stage {stages[border]}", transform=place, va="top", color=MUTED, fontsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(history) == 1:  # the locator would divide it
        axes.set_xticks([1])
    if len(lines) > 1:
        axes.legend()


def _crowded(y: np.ndarray, p: np.ndarray, classes: Sequence[str]) -> bool:
    """Whether all curves hug a corner, so that it is worth a magnifier; a long legend would lie over that."""
    areas = [
        roc_auc_score(here, p[:, place]) for place, (_, here) in enumerate(_by_class(y, classes)) if 0 < here.mean() < 1
    ]
    return len(classes) <= 4 and bool(areas) and min(areas) > 0.95


def _by_class(y: np.ndarray, classes: Sequence[str]) -> list[tuple[str, np.ndarray]]:
    return [(name, y == place) for place, name in enumerate(classes)]


def _line(name: str, classes: Sequence[str], words: str) -> dict[str, Any]:
    return {
        "color": class_colours(classes)[name],
        "linestyle": class_dashes(classes)[name],
        "label": f"{_shown(name, 18)}  {words}".rstrip(),
    }


def _shown(name: str, most: int) -> str:
    """A class name that fits; one that begins with _ would be left out of a legend without the mark before it."""
    name = name if len(name) <= most else name[: most - 1] + "…"
    return "\u200b" + name if name.startswith("_") else name
