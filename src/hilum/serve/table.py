"""The list of films as a table for other programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from hilum.serve.models import Model


def as_csv(model: Model, films: Sequence[Mapping[str, Any]]) -> str:
    """A row per film of the store, with its `results` and `readings`: its facts, what the model says, each class's
    probability, and every reader's last finding."""
    readers = sorted({reading["reader"] for film in films for reading in film["readings"]})
    facts = ("film_id", "name", "sha256", "state", "error", "width", "height", "view", "patient_key", "accepted_at")
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([
        *facts, "doubts", "model", "predicted", "confidence", "prediction_set",
        *(f"p_{name}" for name in model.classes), *(f"finding_{name}" for name in readers), "comments",
    ])  # fmt: skip
    for film in films:
        result = next((row for row in film["results"] if row["model_id"] == model.model_id), None)
        last = {reading["reader"]: reading for reading in film["readings"]}
        told = [result["predicted"], result["confidence"], " | ".join(result["members"] or [])] if result else [""] * 3
        writer.writerow(map(_cell, [
            *(film[name] for name in facts),
            " | ".join(film["doubts"] or []), model.name, *told,
            *((result["p"].get(name) for name in model.classes) if result else [""] * len(model.classes)),
            *(last[name]["finding"] if name in last else "" for name in readers),
            " | ".join(f"{name}: {last[name]['comment']}" for name in last if last[name]["comment"]),
        ]))  # fmt: skip
    return out.getvalue()


def _cell(value: Any) -> Any:
    """A value for a table program, to which a text that begins with = would be a formula (OWASP, CSV injection)."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
