"""Runs beside each other on the same films: figures, paired differences, and whether they are more than chance.

Every resample draws the same patients for all runs; docs/compare.md says how the intervals are made.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from hilum.data.manifest import PARTS
from hilum.errors import RequestError
from hilum.evaluation import metrics
from hilum.evaluation.contenders import Contender, same_films
from hilum.evaluation.evaluate import evaluate
from hilum.evaluation.intervals import Interval, bootstrap_weights, patient_numbers
from hilum.evaluation.metrics import Bools, Floats, Ints
from hilum.evaluation.paired import difference_interval, holm, mcnemar, patient_sign_test, unpaired_interval
from hilum.evaluation.part import Figure
from hilum.evaluation.predictions import class_numbers, classes_of, probabilities_of
from hilum.progress import SILENT, Progress
from hilum.recipe.schema import Evaluate

# What runs are compared by.
OVERALL = ("accuracy", "balanced_accuracy", "macro_f1", "macro_auroc", "brier", "calibration_error")
OF_A_CLASS = ("recall", "auroc")
# Those that count films named rightly.
_COUNTED = ("accuracy", "balanced_accuracy", "macro_f1", "recall")


@dataclass(frozen=True)
class Comparison:
    """What came of it. The rows of every table of `predictions` are the same films of one part, in one order.

    `figures` and `differences`: run -> figure -> {value, low, high, n, patients}. `differences` and `tests` have the
    runs besides the reference; a test is {both_right, only_reference, only_run, both_wrong, p_films, p_patients,
    p_holm}, counts of films and p-values.
    """

    part: str
    classes: list[str]
    contenders: list[Contender]
    predictions: dict[str, pd.DataFrame]
    figures: dict[str, dict[str, Figure]]
    differences: dict[str, dict[str, Figure]]
    tests: dict[str, dict[str, float]]
    notes: list[str]
    how: Evaluate
    seed: int

    @property
    def reference(self) -> str:
        """The run that the others are compared with: the first."""
        return self.contenders[0].name

    @property
    def films(self) -> pd.DataFrame:
        """image_id, patient_id, source and label of the films compared."""
        return self.predictions[self.reference][["image_id", "patient_id", "source", "label"]]


def compare(
    contenders: Sequence[Contender],
    *,
    part: str = "test",
    common: bool = False,
    how: Evaluate | None = None,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Comparison:
    """Figures of each run on the same films, and the differences of each from the first.

    With `common`, films that not all runs can be judged on fairly are left out, and without are refused: see
    `contenders.same_films`. Refused with RequestError besides: one run only, an unknown part.

    >>> from pathlib import Path
    >>> from hilum.evaluation.predictions import check
    >>> films = pd.DataFrame({"image_id": list("abcd"), "label": ["ill", "ill", "well", "well"]})
    >>> one = check(films.assign(p_ill=[0.9, 0.4, 0.2, 0.1], p_well=[0.1, 0.6, 0.8, 0.9]))
    >>> other = check(films.assign(p_ill=[0.9, 0.8, 0.2, 0.1], p_well=[0.1, 0.2, 0.8, 0.9]))
    >>> found = compare([Contender("one", Path("a"), one), Contender("other", Path("b"), other)])
    >>> found.differences["other"]["recall/ill"]["value"], found.tests["other"]["only_run"]
    (0.5, 1)
    """
    if part not in PARTS:
        raise RequestError(f"there is no part {part!r}; the parts are {', '.join(PARTS)}", where="--part")
    if len(contenders) < 2:
        raise RequestError(
            f"a comparison needs two runs, and there is {len(contenders) or 'none'}", next_step="Name another run."
        )
    how = how or Evaluate()
    tables, notes = same_films(contenders, part, common=common)
    classes = classes_of(contenders[0].predictions)
    figures = {}
    with progress.task("figures and their intervals", len(tables)) as advance:
        for name, table in tables.items():
            found = evaluate(table, how, operating_points={}, seed=seed)[part]
            figures[name] = {figure: found[figure] for figure in names_of(classes)}
            advance(1)
    with progress.task("paired differences", 1) as advance:
        differences = _differences(tables, classes, figures, how, seed)
        advance(1)
    return Comparison(part, classes, list(contenders), tables, figures, differences, _tests(tables), notes, how, seed)


def names_of(classes: Sequence[str]) -> list[str]:
    """The figures that runs are compared by, as metrics.json calls them.

    >>> names_of(["ill", "well"])[-4:]
    ['recall/ill', 'recall/well', 'auroc/ill', 'auroc/well']
    """
    return [*OVERALL, *(f"{figure}/{name}" for figure in OF_A_CLASS for name in classes)]


def disagreements(comparison: Comparison) -> pd.DataFrame:
    """The films that some runs name rightly and others wrongly, those first where the runs are furthest apart.

    Columns image_id, patient_id, source, label, right (how many runs are), and for each run called/RUN (the class)
    and p/RUN (the probability of the true one).
    """
    classes, tables = comparison.classes, comparison.predictions
    y = class_numbers(comparison.films["label"], classes)
    p = np.column_stack([probabilities_of(table)[np.arange(len(y)), y] for table in tables.values()])
    right = np.column_stack([_right(table) for table in tables.values()])
    films = comparison.films.assign(right=right.sum(1))
    for place, (name, table) in enumerate(tables.items()):
        films[f"called/{name}"], films[f"p/{name}"] = table["predicted"], p[:, place]
    split = right.any(1) & ~right.all(1)
    apart = np.where(right, p, 0.0).max(1) - np.where(right, 1.0, p).min(1)
    order = np.flatnonzero(split)[np.argsort(-apart[split], kind="stable")]
    return films.iloc[order].reset_index(drop=True)


def _differences(
    tables: Mapping[str, pd.DataFrame],
    classes: list[str],
    figures: Mapping[str, Mapping[str, Figure]],
    how: Evaluate,
    seed: int,
) -> dict[str, dict[str, Figure]]:
    """Figure by figure, each run less the reference, with its paired interval."""
    reference, *others = tables
    films = tables[reference]
    y, patients = class_numbers(films["label"], classes), patient_numbers(films["patient_id"], films["image_id"])
    said = {
        name: (class_numbers(table["predicted"], classes), probabilities_of(table)) for name, table in tables.items()
    }
    blocks: dict[str, list[dict[str, Floats]]] = {name: [] for name in others}
    for weights in bootstrap_weights(patients, y, how.bootstrap, seed):
        base = terms(y, *said[reference], classes, weights)
        for name in others:
            drawn = terms(y, *said[name], classes, weights)
            blocks[name].append({figure: drawn[figure] - base[figure] for figure in base})
    behind = patients_behind(y, patients, classes)
    found: dict[str, dict[str, Figure]] = {name: {} for name in others}
    for name in others:
        for figure in names_of(classes):
            one, other = figures[reference][figure], figures[name][figure]
            value = math.nan if one["value"] is None or other["value"] is None else other["value"] - one["value"]
            if figure == "calibration_error":
                interval = unpaired_interval(one, other)
            else:
                interval = difference_interval(
                    value,
                    np.concatenate([block[figure] for block in blocks[name]]),
                    behind[figure],
                    counted=figure.split("/")[0] in _COUNTED,
                    confidence=how.interval,
                    bound=2.0 if figure == "brier" else 1.0,
                )
            found[name][figure] = _figure(value, interval, other)
    return found


def terms(
    y: Ints, predicted: Ints, p: Floats, classes: Sequence[str], weights: Floats | None = None
) -> dict[str, Floats]:
    """What each paired figure is the mean of: its value for each class, (..., K), or itself, (..., 1).

    `weights` (..., N) as in `metrics`. A calibration error is not among them: it is no mean, see `unpaired_interval`.
    """
    counts = metrics.confusion(y, predicted, len(classes), weights)
    recall, auroc = metrics.recall(counts), metrics.by_class(metrics.auroc, y, p, weights)
    found = {
        "accuracy": metrics.accuracy(counts)[..., None],
        "balanced_accuracy": recall,
        "macro_f1": metrics.f_beta(counts, 1.0),
        "macro_auroc": auroc,
        "brier": metrics.brier(y, p, weights)[..., None],
    }
    for k, name in enumerate(classes):
        found |= {f"recall/{name}": recall[..., k : k + 1], f"auroc/{name}": auroc[..., k : k + 1]}
    return found


def patients_behind(y: Ints, patients: Ints, classes: Sequence[str]) -> dict[str, Ints]:
    """How many patients each term of `terms` rests on; an AUROC on the smaller side of the two."""
    everyone = np.array([len(np.unique(patients))])
    of_class, others = (
        np.array([len(np.unique(patients[(y == k) == inside])) for k in range(len(classes))])
        for inside in (True, False)
    )
    smaller = np.minimum(of_class, others)
    found = {
        "accuracy": everyone,
        "balanced_accuracy": of_class,
        "macro_f1": of_class,
        "macro_auroc": smaller,
        "brier": everyone,
    }
    for k, name in enumerate(classes):
        found |= {f"recall/{name}": of_class[k : k + 1], f"auroc/{name}": smaller[k : k + 1]}
    return found


def _figure(value: float, interval: Interval, of_run: Figure) -> Figure:
    """A difference as a figure of metrics.json; it is undefined where the figure is, for all runs alike or for one."""
    numbers = {
        key: number if math.isfinite(number) else None
        for key, number in zip(("value", "low", "high"), (value, *interval), strict=True)
    }
    reason = {"reason": of_run.get("reason", "undefined for the reference")} if numbers["value"] is None else {}
    return {**numbers, "n": of_run["n"], "patients": of_run["patients"], **reason}


def _tests(tables: Mapping[str, pd.DataFrame]) -> dict[str, dict[str, float]]:
    """McNemar's exact test of each run against the first, by film and by patient; the latter corrected after Holm."""
    reference, *others = tables
    base = _right(tables[reference])
    patients = patient_numbers(tables[reference]["patient_id"], tables[reference]["image_id"])
    found: dict[str, dict[str, float]] = {}
    for name in others:
        right = _right(tables[name])
        only_reference, only_run = int((base & ~right).sum()), int((right & ~base).sum())
        found[name] = {
            "both_right": int((base & right).sum()),
            "only_reference": only_reference,
            "only_run": only_run,
            "both_wrong": int((~base & ~right).sum()),
            "p_films": mcnemar(only_reference, only_run),
            "p_patients": patient_sign_test(right.astype(np.int64) - base, patients),
        }
    for name, raised in zip(others, holm([found[name]["p_patients"] for name in others]), strict=True):
        found[name]["p_holm"] = raised
    return found


def _right(table: pd.DataFrame) -> Bools:
    return (table["predicted"] == table["label"]).to_numpy(bool)
