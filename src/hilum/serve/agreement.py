"""How far readers and models agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hilum.evaluation.metrics import kappa
from hilum.serve.models import Model
from hilum.serve.store import films as stored


def agreement(connection: Any, model: Model) -> list[dict[str, Any]]:
    """How far each reader agrees with the model, and with each other reader: Cohen's kappa over the model's classes.

    Films count where both have one of the model's classes; kappa is missing where it is undefined.
    """
    said: dict[str, dict[str, str]] = {f"model {model.name}": stored.predicted_by(connection, model.model_id)}
    for film_id, reader, finding in stored.last_readings(connection):
        said.setdefault(f"reader {reader}", {})[film_id] = finding
    names = list(said)
    rows = []
    for place, one in enumerate(names):
        for other in names[place + 1 :]:
            pairs = [
                (said[one][film_id], said[other][film_id])
                for film_id in said[one].keys() & said[other].keys()
                if said[one][film_id] in model.classes and said[other][film_id] in model.classes
            ]
            if pairs:
                rows.append({"one": one, "other": other, "n": len(pairs), **agreed(pairs, model.classes)})
    return rows


def agreed(pairs: Sequence[tuple[str, str]], classes: Sequence[str]) -> dict[str, float | None]:
    """The share of pairs that say the same, and Cohen's kappa, which is None where it is undefined.

    >>> agreed([("a", "a"), ("b", "b"), ("a", "b"), ("b", "a")], ("a", "b"))
    {'same': 0.5, 'kappa': 0.0}
    """
    counts = np.zeros((len(classes), len(classes)))
    for one, other in pairs:
        counts[classes.index(one), classes.index(other)] += 1
    value = float(kappa(counts))
    return {"same": float(np.trace(counts) / counts.sum()), "kappa": None if np.isnan(value) else value}
