"""Numbers as a reader sees them: a value never without its interval and its n, counts never without their total."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from hilum.data.manifest import PARTS
from hilum.data.words import count_of
from hilum.evaluation.evaluate import OF_A_CLASS, OVERALL

UNKNOWN = "unknown"

# What a figure is, in a few words; its name and which way is better come from `hilum.evaluation.evaluate`.
MEANINGS: Mapping[str, str] = {
    "accuracy": "share of films named rightly; a common class dominates it",
    "balanced_accuracy": "mean of the classes' sensitivities; guessing gives 1 / classes",
    "macro_precision": "mean of the classes' precisions",
    "macro_recall": "mean of the classes' sensitivities",
    "macro_specificity": "mean of the classes' specificities",
    "macro_f1": "mean of the classes' F1",
    "macro_f2": "mean of the classes' F2",
    "macro_auroc": "mean of the classes' AUROCs; guessing gives 0.5",
    "macro_average_precision": "mean of the classes' average precisions",
    "kappa": "agreement beyond chance, which is 0",
    "brier": "squared error of the probabilities, 0 to 2",
    "log_loss": "in nats; surely wrong films weigh most",
    "calibration_error": "mean gap between probability and truth",
    "recall": "of the films with the class, the share found",
    "specificity": "of the films without it, the share not called it",
    "precision": "of the films called it, the share that is, in this part",
    "ppv": "of the films called it, the share that is, at the prevalence above",
    "npv": "of the films not called it, the share that is not, at the prevalence above",
    "f1": "balance of precision and sensitivity",
    "f2": "the same, sensitivity weighing more",
    "auroc": "chance that a film with it scores above one without; guessing gives 0.5",
    "average_precision": "area under the precision-recall curve; guessing gives its share of the films",
}

# The figures that open the report, where the run has them.
KEY_FIGURES = ("accuracy", "balanced_accuracy", "macro_f1", "macro_auroc")


@dataclass(frozen=True)
class Shown:
    """One figure as text. `why` says what is missing where something is."""

    value: str
    interval: str = ""
    n: str = ""
    why: str = ""

    @property
    def line(self) -> str:
        """In one line, as `0.900 [0.600, 0.980], n = 10 films of 10 patients`."""
        return ", ".join(text for text in (f"{self.value} {self.interval}".strip(), self.n, self.why) if text)


def shown(figure: Mapping[str, Any] | None) -> Shown:
    """A figure of metrics.json as text; an undefined one is a dash with its reason, never 0.

    >>> shown({"value": 0.9, "low": 0.6, "high": 0.98, "n": 10, "patients": 9}).line
    '0.900 [0.600, 0.980], n = 10 films of 9 patients'
    >>> shown({"value": None, "low": None, "high": None, "n": 0, "patients": None, "reason": "no film is normal"}).line
    '–, n = 0 films, undefined: no film is normal'
    """
    if figure is None:
        return Shown("–", why="not computed")
    n = f"n = {count_of(figure['n'], 'film')}"
    if figure.get("patients"):
        n += f" of {count_of(figure['patients'], 'patient')}"
    if figure["value"] is None:
        reason = str(figure.get("reason") or "nothing to compute it from")
        return Shown("–", n=n, why=reason if reason.startswith("undefined") else f"undefined: {reason}")
    if figure["low"] is None:
        return Shown(f"{figure['value']:.3f}", n=n, why="no interval: too little to resample")
    return Shown(f"{figure['value']:.3f}", f"[{figure['low']:.3f}, {figure['high']:.3f}]", n)


def words_of(name: str) -> str:
    """What a figure is called, and which way is better where that is not upwards.

    >>> words_of("recall"), words_of("brier")
    ('sensitivity', 'Brier score, lower is better')
    """
    words, better = {**OVERALL, **OF_A_CLASS}.get(name, (name.replace("_", " "), ""))
    return f"{words}, lower is better" if better == "lower" else words


@dataclass(frozen=True)
class FigureGroup:
    """Rows of the table of figures: the whole part, or one class."""

    name: str
    rows: list[tuple[str, str, list[Shown]]]  # words, meaning, a figure per part

    @property
    def n(self) -> list[str]:
        """The commonest n of each part, said once at the head of the group."""
        columns = zip(*(cells for _, _, cells in self.rows), strict=True)
        return [Counter(cell.n for cell in column).most_common(1)[0][0] for column in columns]


def parts_of(metrics: Mapping[str, Any]) -> list[str]:
    """The parts that have figures, train to test first.

    >>> parts_of({"_about": {}, "test": {}, "train": {}})
    ['train', 'test']
    """
    there = [name for name, value in metrics.items() if not name.startswith("_") and isinstance(value, Mapping)]
    return [part for part in PARTS if part in there] + [part for part in there if part not in PARTS]


def figure_groups(metrics: Mapping[str, Any], classes: Sequence[str]) -> list[FigureGroup]:
    """All figures of metrics.json: first those of the whole part, then each class's, in the classes' order.

    The figures at the operating points (op_...) are left to their own section.
    """
    parts = parts_of(metrics)
    names: dict[str, list[str]] = {"": []}
    for part in parts:
        for full in metrics[part]:
            name, _, of_class = full.partition("/")
            rows = names.setdefault(of_class, [])
            if name not in rows and not name.startswith("op_"):
                rows.append(name)
    order = ["", *[name for name in classes if name in names], *[n for n in names if n and n not in classes]]
    return [
        FigureGroup(
            of_class or "All classes",
            [
                (
                    words_of(name),
                    MEANINGS.get(name, ""),
                    [shown(metrics[part].get(f"{name}/{of_class}" if of_class else name)) for part in parts],
                )
                for name in names[of_class]
            ],
        )
        for of_class in order
        if names[of_class]
    ]


@dataclass(frozen=True)
class Counts:
    """A table of counts with its totals."""

    corner: str
    columns: list[str]
    rows: list[tuple[str, list[int], int]]
    totals: list[int]
    total: int
    left_out: int = 0  # rows beyond those shown, counted in the totals


def counts(
    rows: pd.Series,
    columns: pd.Series,
    *,
    corner: str,
    row_order: Iterable[str] = (),
    column_order: Iterable[str] = (),
    most_rows: int = 20,
) -> Counts:
    """Films by two properties; missing values are counted as unknown. Rows of no given order: the commonest first.

    >>> table = counts(pd.Series(["a", "a", None]), pd.Series(["PA", "AP", "PA"]), corner="source")
    >>> table.columns, table.rows, table.total
    (['AP', 'PA'], [('a', [1, 1], 2), ('unknown', [0, 1], 1)], 3)
    """
    table = pd.crosstab(_named(rows), _named(columns))
    order = _ordered(column_order, table.columns)
    sums = table.sum(axis=1).sort_values(ascending=False, kind="stable")
    table = table.loc[_ordered(row_order, sums.index), order]
    return Counts(
        corner,
        [str(name) for name in order],
        [(str(name), [int(n) for n in table.loc[name]], int(sums[name])) for name in table.index[:most_rows]],
        [int(n) for n in table.sum()],
        int(table.to_numpy().sum()),
        max(0, len(table) - most_rows),
    )


def _ordered(first: Iterable[str], names: Iterable[str]) -> list[str]:
    """The names, those of `first` before the others, what is unknown last."""
    names = list(names)
    order = [name for name in first if name in names]
    order += [name for name in names if name not in order and name != UNKNOWN]
    return order + [UNKNOWN] * (UNKNOWN in names and UNKNOWN not in order)


def known_fields(manifest: pd.DataFrame, fields: Sequence[str]) -> list[tuple[str, int, int]]:
    """(field, films for which it is known, all films)."""
    return [(field, int(manifest[field].notna().sum()), len(manifest)) for field in fields if field in manifest]


def _named(values: pd.Series) -> pd.Series:
    return values.astype("object").where(values.notna(), UNKNOWN).astype(str)
