"""What films of elsewhere cost a run: each figure beside that of its own test part, and what it takes the films for."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from hilum.evaluation.conformal import Conformal, judge
from hilum.evaluation.intervals import bootstrap_weights, bounded_interval, patient_numbers
from hilum.evaluation.metrics import auroc
from hilum.evaluation.paired import unpaired_interval
from hilum.evaluation.predictions import PREFIX, class_numbers, classes_of, probabilities_of

FEW = 10  # patients; of fewer there is no interval worth telling
_RESAMPLES = 500
_ALL_BUT = 1e-15  # a probability of 0 still has a logarithm
_COMPARED = ("accuracy", "balanced_accuracy", "macro_f1", "macro_auroc", "recall", "auroc")

Figure = dict[str, Any]


def drops(own: Mapping[str, Figure], here: Mapping[str, Figure]) -> dict[str, Figure]:
    """How much lower each figure is here than on the run's own test part: name -> value, low, high, own, here.

    own, here: figures of a test part, as metrics.json has them. The films are others, so the intervals are combined as
    of independent figures (`paired.unpaired_interval`). Figures that are undefined in either are left out.

    >>> own = {"accuracy": {"value": 0.95, "low": 0.92, "high": 0.97}}
    >>> drop = drops(own, {"accuracy": {"value": 0.60, "low": 0.56, "high": 0.64}})["accuracy"]
    >>> round(drop["value"], 2), round(drop["low"], 2), round(drop["high"], 2)     # sqrt(0.03^2 + 0.04^2) on each side
    (0.35, 0.3, 0.39)
    """
    found = {}
    for name in own:
        if name.partition("/")[0] not in _COMPARED or name not in here:
            continue
        before, after = own[name], here[name]
        if None in (before.get("value"), after.get("value")):
            continue
        low, high = unpaired_interval(after, before)
        found[name] = {
            "value": before["value"] - after["value"],
            "low": low if math.isfinite(low) else None,
            "high": high if math.isfinite(high) else None,
            "own": before["value"],
            "here": after["value"],
        }
    return found


def called(predictions: pd.DataFrame) -> dict[str, dict[str, int]]:
    """For each true class, how many of its films are called what; the commonest first.

    >>> films = pd.DataFrame({"label": ["ill", "ill", "well"], "predicted": ["well", "well", "well"]})
    >>> called(films)
    {'ill': {'well': 2}, 'well': {'well': 1}}
    """
    known = predictions[predictions["label"].notna()]
    return {
        str(label): {str(name): int(count) for name, count in films["predicted"].value_counts().items()}
        for label, films in known.groupby("label")
    }


def pairs(predictions: pd.DataFrame, *, seed: int = 0) -> dict[str, Figure]:
    """Of each two classes, how well the model tells their films apart: "a | b" -> AUROC with interval and n.

    Only films of the two count, and only their two probabilities: the score is log(p_a / p_b). So a third class that
    the model takes all films for does not hide what is left. Classes of fewer than `FEW` patients are left out.
    """
    classes = classes_of(predictions)
    labelled = predictions[predictions["label"].notna()]
    found = {}
    for first, second in itertools.combinations(classes, 2):
        films = labelled[labelled["label"].isin([first, second])]
        y = class_numbers(films["label"], [first, second])
        patients = patient_numbers(films["patient_id"], films["image_id"])
        fewer = min(len(np.unique(patients[y == side])) for side in (0, 1))
        if fewer < FEW:
            continue
        p = films[[PREFIX + first, PREFIX + second]].to_numpy(float)
        score = np.log(np.maximum(p[:, 0], _ALL_BUT)) - np.log(np.maximum(p[:, 1], _ALL_BUT))
        value = float(auroc(y == 0, score))
        replicates = np.concatenate(
            [auroc(y == 0, score, block) for block in bootstrap_weights(patients, y, _RESAMPLES, seed)]
        )
        low, high = bounded_interval(value, replicates, films=math.inf, patients=fewer)
        known = films["patient_id"].notna().any()
        found[f"{first} | {second}"] = {
            "value": value,
            "low": low,
            "high": high,
            "n": len(films),
            "patients": len(np.unique(patients)) if known else None,
        }
    return found


def sets_kept(sets: Conformal, predictions: pd.DataFrame, *, seed: int = 0) -> Figure:
    """How often the sets of the run hold the truth here: asked, and covered, single, right as value, low, high, n.

    single: films with one class only, which are answered; right: of those, the share that is right.
    """
    films = predictions[predictions["label"].notna()]
    y = class_numbers(films["label"], list(sets.classes))
    patients = patient_numbers(films["patient_id"], films["image_id"])
    kept = judge(sets.sets(probabilities_of(films)), y, sets.classes, patients, seed=seed)
    shares = {"covered": kept.covered, "single": kept.single, "right": kept.right}
    return {"asked": sets.coverage} | {
        name: {key: _number(getattr(share, key)) for key in ("value", "low", "high")} | {"n": share.n}
        for name, share in shares.items()
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def sentences(metrics: Mapping[str, Any]) -> list[str]:
    """What a reader of an evaluation elsewhere must know first, from its metrics.json.

    >>> told = sentences({"_called": {"normal": {"covid-19": 498, "normal": 2}}, "_pairs": {}, "_drop": {}})
    >>> told
    ['of 500 films of normal, 498 are called covid-19 and 2 normal']
    """
    lines = []
    for label, counts in metrics.get("_called", {}).items():
        total = sum(counts.values())
        named = [
            f"{count} {'are called ' if place == 0 else ''}{name}" for place, (name, count) in enumerate(counts.items())
        ]
        listed = ", ".join(named[:-1]) + (" and " if len(named) > 1 else "") + named[-1]
        lines.append(f"of {total} films of {label}, {listed}")
    for pair, figure in metrics.get("_pairs", {}).items():
        first, _, second = pair.partition(" | ")
        lines.append(
            f"{first} against {second} alone: AUROC {figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}], "
            f"n = {figure['n']} films"
        )
    if "_sets" in metrics:
        covered = metrics["_sets"]["covered"]
        lines.append(
            f"sets of classes made to hold the truth for {100 * metrics['_sets']['asked']:.0f} % hold it here for "
            f"{100 * covered['value']:.0f} % [{100 * covered['low']:.0f}, {100 * covered['high']:.0f}], "
            f"n = {covered['n']} films"
        )
    for name, drop in metrics.get("_drop", {}).items():
        if "/" in name:
            continue
        words = name.replace("_", " ").replace("auroc", "AUROC").replace("f1", "F1")
        interval = "" if drop["low"] is None else f" [{drop['low']:+.3f}, {drop['high']:+.3f}]"
        lines.append(
            f"{words}: {drop['own']:.3f} on the run's own test part, {drop['here']:.3f} here: "
            f"lower by {drop['value']:.3f}{interval}"
        )
    return lines
