"""How figures vary from fold to fold, and what must be said of all folds: arithmetic of a cross-validation."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any


def spread(metrics: Sequence[Mapping[str, Any]], part: str = "test") -> dict[str, dict[str, Any]]:
    """Each figure over the folds: {name: {mean, sd, values}}; `values` has one per fold, None where it is undefined.

    metrics: the metrics.json of each fold. `sd` is that of a sample (divided by the folds less one), None of fewer than
    two values. It tells how much a model depends on its films; it is no standard error, because any two folds share
    most of their train films (Bengio & Grandvalet 2004, JMLR 5:1089). The interval is that of the pooled figure.

    >>> folds = [{"test": {"accuracy": {"value": value}}} for value in (0.7, 0.8, 0.9)]
    >>> found = spread(folds)["accuracy"]
    >>> round(found["mean"], 3), round(found["sd"], 3), found["values"]
    (0.8, 0.1, [0.7, 0.8, 0.9])
    """
    names = dict.fromkeys(name for of_fold in metrics for name in of_fold[part])
    found = {}
    for name in names:
        values = [of_fold[part].get(name, {}).get("value") for of_fold in metrics]
        known = [value for value in values if value is not None]
        found[name] = {
            "mean": statistics.fmean(known) if known else None,
            "sd": statistics.stdev(known) if len(known) > 1 else None,
            "values": values,
        }
    return found


def shared_notes(notes: Sequence[Sequence[str]]) -> list[str]:
    """The notes of all folds without repeating: what all say is said once, the rest with its fold.

    Notes that begin alike up to the first colon, in every fold, are told by that of fold 0.

    >>> shared_notes([["UNTRAINED", "leaks: 3 patients"], ["UNTRAINED", "leaks: 4 patients", "not calibrated"]])
    ['UNTRAINED', 'fold 0: leaks: 3 patients (and alike in each fold)', 'fold 1: not calibrated']
    """
    out: list[str] = []
    for fold, of_fold in enumerate(notes):
        for note in of_fold:
            alike = [_first_alike(note, other) for other in notes]
            if all(note in other for other in notes):
                told = note
            elif all(alike):
                told = f"fold 0: {alike[0]} (and alike in each fold)"
            else:
                told = f"fold {fold}: {note}"
            if told not in out:
                out.append(told)
    return out


def _first_alike(note: str, notes: Sequence[str]) -> str | None:
    stem = note.split(":")[0]
    return next((other for other in notes if other.split(":")[0] == stem), None)
