"""The figures of one part, each with its interval. docs/figures.md defines every one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hilum.evaluation import intervals, metrics
from hilum.evaluation.calibration import apply_temperature
from hilum.evaluation.intervals import Interval
from hilum.evaluation.metrics import Bools, Floats, Ints
from hilum.evaluation.operating_points import at_thresholds
from hilum.recipe.schema import Evaluate

Figure = dict[str, Any]

# name: (words, which way is better). The order is that of metrics.json and of tables.
OVERALL: Mapping[str, tuple[str, str]] = {
    "accuracy": ("accuracy", "higher"),
    "balanced_accuracy": ("balanced accuracy", "higher"),
    "macro_precision": ("macro precision", "higher"),
    "macro_recall": ("macro sensitivity", "higher"),
    "macro_specificity": ("macro specificity", "higher"),
    "macro_f1": ("macro F1", "higher"),
    "macro_f2": ("macro F2", "higher"),
    "macro_auroc": ("macro AUROC", "higher"),
    "macro_average_precision": ("macro average precision", "higher"),
    "kappa": ("Cohen's kappa", "higher"),
    "brier": ("Brier score", "lower"),
    "log_loss": ("log loss", "lower"),
    "calibration_error": ("calibration error", "lower"),
    "calibration_error_uncalibrated": ("calibration error before the temperature", "lower"),
}
OF_A_CLASS: Mapping[str, tuple[str, str]] = {
    "recall": ("sensitivity", "higher"),
    "specificity": ("specificity", "higher"),
    "precision": ("precision", "higher"),
    "f1": ("F1", "higher"),
    "f2": ("F2", "higher"),
    "ppv": ("PPV", "higher"),
    "npv": ("NPV", "higher"),
    "auroc": ("AUROC", "higher"),
    "average_precision": ("average precision", "higher"),
    "op_sensitivity": ("sensitivity at the operating point", "higher"),
    "op_specificity": ("specificity at the operating point", "higher"),
    "op_ppv": ("PPV at the operating point", "higher"),
    "op_npv": ("NPV at the operating point", "higher"),
}
_MACRO = {"balanced_accuracy": "recall"} | {
    f"macro_{name}": name for name in ("precision", "recall", "specificity", "f1", "f2", "auroc", "average_precision")
}

# The films that a class's figure rests on, of those that are it and are called it: one mask, or two groups compared.
_Masks = tuple[Bools, ...]
_RESTS_ON: Mapping[str, Callable[[Bools, Bools], _Masks]] = {
    "recall": lambda true, called: (true,),
    "specificity": lambda true, called: (~true,),
    "precision": lambda true, called: (called,),
    "f1": lambda true, called: (true | called,),
    "f2": lambda true, called: (true | called,),
    "auroc": lambda true, called: (true, ~true),
    "average_precision": lambda true, called: (true, ~true),
    "op_sensitivity": lambda true, called: (true,),
    "op_specificity": lambda true, called: (~true,),
}
# Plain shares of films, whose variance follows from value and n.
_SHARES = ("recall", "specificity", "precision", "op_sensitivity", "op_specificity")


@dataclass(frozen=True)
class Part:
    """The labelled films of one part, and what their figures need to know.

    `y`, `predicted`, `patients` (N,) numbers, `p` (N, K); `thresholds` (K,) or (N, K), NaN where there is none;
    `temperature` the one that p carries, or None; `prevalence` (K,).
    """

    classes: list[str]
    y: Ints
    predicted: Ints
    p: Floats
    patients: Ints
    patients_known: bool
    thresholds: Floats
    temperature: float | None
    prevalence: Floats
    how: Evaluate


def _values(part: Part, weights: Floats | None = None) -> dict[str, Floats]:
    """All figures that are computed from films, (...) or (..., K), at once for each row of weights."""
    counts = metrics.confusion(part.y, part.predicted, len(part.classes), weights)
    sensitivity, specificity = at_thresholds(part.y, part.p, part.thresholds, weights)
    values = {
        "accuracy": metrics.accuracy(counts),
        "kappa": metrics.kappa(counts),
        "brier": metrics.brier(part.y, part.p, weights),
        "log_loss": metrics.log_loss(part.y, part.p, weights),
        "calibration_error": metrics.calibration_gaps(part.y, part.p, weights),
        "recall": metrics.recall(counts),
        "specificity": metrics.specificity(counts),
        "precision": metrics.precision(counts),
        "f1": metrics.f_beta(counts, 1.0),
        "f2": metrics.f_beta(counts, 2.0),
        "auroc": metrics.by_class(metrics.auroc, part.y, part.p, weights),
        "average_precision": metrics.by_class(metrics.average_precision, part.y, part.p, weights),
        "op_sensitivity": sensitivity,
        "op_specificity": specificity,
    }
    if part.temperature is not None:
        before = apply_temperature(part.p, 1.0 / part.temperature)
        values["calibration_error_uncalibrated"] = metrics.calibration_gaps(part.y, before, weights)
    return values


def figures_of(part: Part, points: Mapping[str, Mapping[str, Any]], seed: int) -> dict[str, Figure]:
    """{name: {value, low, high, n, patients}} in the order of OVERALL and OF_A_CLASS; `points` tell why one is not."""
    values = _values(part)
    resamples = [
        _values(part, weights)
        for weights in intervals.bootstrap_weights(part.patients, part.y, part.how.bootstrap, seed)
    ]
    replicates = {name: np.concatenate([each[name] for each in resamples]) for name in values}
    found = _overall(part, values, replicates)
    for number, name in enumerate(part.classes):
        found |= _of_a_class(part, number, name, values, replicates, points)
    for macro, of_class in _MACRO.items():
        found[macro] = _macro(part, [found[f"{of_class}/{name}"] for name in part.classes], replicates[of_class])
    order = [name for name in OVERALL if name in found]
    order += [f"{name}/{of_class}" for of_class in part.classes for name in OF_A_CLASS]
    return {name: found[name] for name in order}


def _overall(part: Part, values: dict[str, Floats], replicates: dict[str, Floats]) -> dict[str, Figure]:
    confidence, everyone = part.how.interval, np.ones(len(part.y), bool)
    films, patients = _size(part, everyone)
    rest: dict[str, Any] = {"patients": patients, "confidence": confidence}

    def bounded(name: str, films: float, bounds: tuple[float, float]) -> Interval:
        return intervals.bounded_interval(float(values[name]), replicates[name], films=films, bounds=bounds, **rest)

    limits = {
        "accuracy": bounded("accuracy", films, (0.0, 1.0)),
        "kappa": bounded("kappa", math.inf, (-1.0, 1.0)),
        "brier": bounded("brier", math.inf, (0.0, 2.0)),
        "log_loss": intervals.log_loss_interval(float(values["log_loss"]), replicates["log_loss"], **rest),
    }
    reasons = {"kappa": "all films are of one class and are called so"}
    found = {name: _figure(part, float(values[name]), limits[name], everyone, reasons.get(name, "")) for name in limits}
    for name in ("calibration_error", "calibration_error_uncalibrated"):
        if name in values:
            interval = intervals.gap_interval(values[name], replicates[name], **rest)
            found[name] = _figure(part, float(np.abs(values[name]).sum()), interval, everyone)
    return found


def _of_a_class(
    part: Part,
    number: int,
    name: str,
    values: dict[str, Floats],
    replicates: dict[str, Floats],
    points: Mapping[str, Mapping[str, Any]],
) -> dict[str, Figure]:
    true, called = part.y == number, part.predicted == number
    found: dict[str, Figure] = {}
    for figure, rests_on in _RESTS_ON.items():
        masks = rests_on(true, called)
        films, patients = min((_size(part, mask) for mask in masks), key=lambda size: size[1])
        interval = intervals.bounded_interval(
            float(values[figure][number]),
            replicates[figure][:, number],
            films=films if figure in _SHARES else math.inf,
            patients=patients,
            confidence=part.how.interval,
        )
        reason = _why_undefined(figure, name, true, called, points)
        found[f"{figure}/{name}"] = _figure(
            part, float(values[figure][number]), interval, np.logical_or.reduce(masks), reason
        )
    for prefix, sensitivity in (("", "recall"), ("op_", "op_sensitivity")):
        pair = found[f"{sensitivity}/{name}"], found[f"{prefix}specificity/{name}"]
        found |= _predictive_values(part, prefix, name, *pair, float(part.prevalence[number]))
    return found


def _why_undefined(figure: str, name: str, true: Bools, called: Bools, points: Mapping[str, Mapping[str, Any]]) -> str:
    point = points.get(name, {})
    if figure.startswith("op_") and point.get("threshold") is None:
        return str(point.get("reason") or f"no operating point is known for {name}")
    if figure == "precision":
        return f"no film is called {name}"
    if figure in ("specificity", "op_specificity") or true.all():
        return f"every film is {name}"
    return f"no film is {name}" + (" or is called so" if figure in ("f1", "f2") else "")


def _predictive_values(
    part: Part, prefix: str, name: str, sensitivity: Figure, specificity: Figure, prevalence: float
) -> dict[str, Figure]:
    """PPV and NPV of a class at its prevalence, from its sensitivity and specificity."""
    everyone = np.ones(len(part.y), bool)
    first, second = _triple(sensitivity), _triple(specificity)
    pair = metrics.predictive_values(first[0], second[0], prevalence)
    limits = intervals.predictive_value_intervals(first, second, prevalence)
    missing = sensitivity.get("reason") or specificity.get("reason")
    found = {}
    for key, value, interval in zip(("ppv", "npv"), pair, limits, strict=True):
        called = "called" if key == "ppv" else "called otherwise than"
        reason = missing or f"no film is {called} {name}"
        found[f"{prefix}{key}/{name}"] = _figure(part, float(value), interval, everyone, reason)
        found[f"{prefix}{key}/{name}"]["prevalence"] = prevalence
    return found


def _macro(part: Part, of_classes: list[Figure], replicates: Floats) -> Figure:
    """The mean of the classes' figures; missing, with the reason, where one of them is."""
    everyone = np.ones(len(part.y), bool)
    missing = [
        f"{name}: {figure['reason']}"
        for name, figure in zip(part.classes, of_classes, strict=True)
        if figure["value"] is None
    ]
    if missing:
        return _figure(part, math.nan, intervals.MISSING, everyone, f"undefined for {'; '.join(missing)}")
    value, low, high = np.array([_triple(figure) for figure in of_classes]).T
    interval = intervals.mean_interval(value, low, high, replicates)
    return _figure(part, float(metrics.macro(value)), interval, everyone)


def _figure(part: Part, value: float, interval: Interval, mask: Bools, reason: str = "") -> Figure:
    films, patients = _size(part, mask)
    found: Figure = {
        "value": _json(value),
        "low": _json(interval[0]),
        "high": _json(interval[1]),
        "n": films,
        "patients": patients if part.patients_known else None,
    }
    if found["value"] is None:
        found |= {"low": None, "high": None, "reason": reason}
    return found


def _size(part: Part, mask: Bools) -> tuple[int, int]:
    """Films and patients of a mask."""
    return int(mask.sum()), len(np.unique(part.patients[mask]))


def _json(number: float) -> float | None:
    return float(number) if math.isfinite(number) else None


def _triple(figure: Figure) -> tuple[float, float, float]:
    """Value, low and high as numbers, NaN where missing."""
    value, low, high = (math.nan if figure[key] is None else figure[key] for key in ("value", "low", "high"))
    return value, low, high
