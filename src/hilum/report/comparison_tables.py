"""A comparison as tables: for the page, for comparison.csv and comparison.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from hilum.errors import HilumError
from hilum.evaluation.comparison import Comparison
from hilum.evaluation.contenders import Contender
from hilum.evaluation.costs import Costs, costs_of
from hilum.recipe.schema import Recipe


@dataclass(frozen=True)
class Published:
    """Figures that the authors of a recipe report, of films of their own: without interval, and no run of ours."""

    name: str
    source: str
    figures: dict[str, float]


def recipe_of(contender: Contender) -> Recipe | None:
    """The recipe of a run; None where it is no run of ours, or cannot be read."""
    try:
        return contender.run.recipe() if contender.run else None
    except HilumError:
        return None


def costs_by_run(found: Comparison) -> dict[str, Costs]:
    """Size and seconds of every run; all missing for what is no run of ours."""
    return {each.name: costs_of(each.run) if each.run else Costs() for each in found.contenders}


def published(found: Comparison) -> list[Published]:
    """What the recipes of the runs say was published, each row once."""
    rows: list[Published] = []
    for contender in found.contenders:
        recipe = recipe_of(contender)
        if recipe is None:
            continue
        about = recipe.about
        title = about.title or contender.name
        each = [Published(title, about.citation, about.published)]
        each += [
            Published(f"{title}: {backbone}", about.citation, figures) for backbone, figures in about.others.items()
        ]
        rows += [row for row in each if row.figures and row not in rows]
    return rows


def table(found: Comparison) -> pd.DataFrame:
    """A row per run and figure, published ones after the measured: what comparison.csv holds.

    Columns kind (measured, published), run, figure, class, value, low, high, n, patients, difference, difference_low,
    difference_high; the differences are from the first run, in its own rows they are missing.
    """
    rows: list[dict[str, Any]] = []
    for run, figures in found.figures.items():
        for name, figure in figures.items():
            difference = found.differences.get(run, {}).get(name, {})
            rows.append(
                {"kind": "measured", "run": run, **_named(name)}
                | {key: figure[key] for key in ("value", "low", "high", "n", "patients")}
                | {"difference": difference.get("value")}
                | {f"difference_{key}": difference.get(key) for key in ("low", "high")}
            )
    for row in published(found):
        rows += [{"kind": "published", "run": row.name, **_named(name), "value": x} for name, x in row.figures.items()]
    return pd.DataFrame(rows).astype({"n": "Int64", "patients": "Int64"})


def document(found: Comparison) -> dict[str, Any]:
    """What comparison.json holds, and what the command answers with --json."""
    costs = costs_by_run(found)
    films = found.films
    return {
        "_about": {
            "part": found.part,
            "classes": found.classes,
            "reference": found.reference,
            "films": len(films),
            "patients": int(films["patient_id"].nunique()) if films["patient_id"].notna().any() else None,
            "interval": found.how.interval,
            "bootstrap": found.how.bootstrap,
            "seed": found.seed,
            "notes": found.notes,
        },
        "runs": {
            each.name: {
                "path": str(each.path),
                "figures": found.figures[each.name],
                "differences": found.differences.get(each.name),
                "mcnemar": found.tests.get(each.name),
                "costs": asdict(costs[each.name]),
            }
            for each in found.contenders
        },
        "published": [asdict(row) for row in published(found)],
    }


def settings_that_differ(found: Comparison) -> list[tuple[str, list[str]]]:
    """The keys of the recipes that are not the same in all runs, each with its value in every run, "" where unknown."""
    recipes = [recipe_of(each) for each in found.contenders]
    flat = [_flat(recipe.model_dump(mode="json", exclude={"about"})) if recipe else {} for recipe in recipes]
    known = [each for each in flat if each]
    keys = dict.fromkeys(key for each in known for key in each)
    return [
        (key, [each.get(key, "") for each in flat]) for key in keys if len({each.get(key, "") for each in known}) > 1
    ]


def is_better(name: str, difference: Mapping[str, Any]) -> str:
    """What an interval that leaves out 0 says of a run: better or worse than the reference, else "".

    >>> is_better("brier", {"low": -0.2, "high": -0.02}), is_better("accuracy", {"low": -0.1, "high": 0.2})
    ('better', '')
    """
    low, high = difference["low"], difference["high"]
    if low is None or high is None or low <= 0 <= high:
        return ""
    return "better" if (low > 0) != (name in ("brier", "calibration_error")) else "worse"


def signed(difference: Mapping[str, Any]) -> tuple[str, str]:
    """A difference and its interval as text, with their signs; a fourth decimal where the interval is so narrow.

    >>> signed({"value": 0.0123, "low": -0.01, "high": 0.03})
    ('+0.012', '[−0.010, +0.030]')
    """
    if difference["value"] is None:
        return "–", ""
    low, high = difference["low"], difference["high"]
    if low is None:
        return _signed(difference["value"], 3), "no interval"
    digits = 4 if high - low < 0.01 else 3
    return _signed(difference["value"], digits), f"[{_signed(low, digits)}, {_signed(high, digits)}]"


def p_value(p: float) -> str:
    """
    >>> p_value(0.0301), p_value(0.00002)
    ('0.030', '< 0.001')
    """
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _signed(number: float, digits: int) -> str:
    text = f"{number:+.{digits}f}"
    return text.replace("-", "−") if float(text) else text[1:]


def _named(name: str) -> dict[str, str]:
    bare, _, of_class = name.partition("/")
    return {"figure": bare, "class": of_class}


def _flat(value: Any, prefix: str = "") -> dict[str, str]:
    """section.key -> value as text; stages and their like are numbered from 1."""
    if isinstance(value, Mapping):
        items = [(str(key), inner) for key, inner in value.items()]
    elif isinstance(value, list) and any(isinstance(inner, Mapping) for inner in value):
        items = [(str(number), inner) for number, inner in enumerate(value, 1)]
    else:
        return {prefix: "–" if value is None else str(value)}
    return {
        key: text for name, inner in items for key, text in _flat(inner, f"{prefix}.{name}" if prefix else name).items()
    }
