"""The sections on how good the model is: figures, confusion matrices, curves, operating points, and the audit.

A section that has nothing to show raises HilumError with the reason, and the page shows that reason in its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hilum.errors import DataError
from hilum.evaluation.metrics import confusion
from hilum.report import audit as audit_page
from hilum.report import figures
from hilum.report.facts import Context, Draw, Facts
from hilum.report.tables import KEY_FIGURES, MEANINGS, count_of, figure_groups, parts_of, shown, words_of

MOST_CALIBRATION_CURVES = 8


def headline(facts: Facts, draw: Draw) -> Context:
    """The figures that a reader wants first, and one sentence about them."""
    part = facts.judged
    if not part:
        raise DataError("metrics.json has no part", where=str(facts.run.path))
    figures_of_part = facts.metrics[part]
    published = facts.recipe.about.published
    keys = [
        (words_of(name), MEANINGS[name], shown(figures_of_part[name]), published.get(name))
        for name in KEY_FIGURES
        if name in figures_of_part
    ]
    return {
        "part": part,
        "keys": keys,
        "weakest": _weakest(figures_of_part, facts.classes),
        "guesses": _guesses(figures_of_part, facts.classes),
        "classes": facts.classes,
        "folds": len(facts.folds),
    }


def audit(facts: Facts, draw: Draw) -> Context:
    """The audit's checks, the worst first."""
    return audit_page.context(facts.run.audit() or [])


def all_figures(facts: Facts, draw: Draw) -> Context:
    """Every figure of metrics.json."""
    parts = parts_of(facts.metrics)
    if not parts:
        raise DataError("metrics.json has no part", where=str(facts.run.path))
    return {
        "parts": parts,
        "judged": facts.judged,
        "groups": figure_groups(facts.metrics, facts.classes),
        "how": _how_made(facts.metrics["_about"], facts.judged),
    }


def confusions(facts: Facts, draw: Draw) -> Context:
    """Which class is taken for which."""
    pictures = []
    for part in ("validation", "test"):
        y, predicted, _ = facts.scored(part)
        if not len(y):
            continue
        matrix = confusion(y, predicted, len(facts.classes)).astype(int)
        rows = [
            f"of {matrix[row].sum()} {name}: "
            + ", ".join(f"{matrix[row, column]} as {other}" for column, other in enumerate(facts.classes))
            for row, name in enumerate(facts.classes)
        ]
        pictures.append(
            draw(
                figures.confusion_matrix(matrix, facts.classes),
                f"confusion-{part}",
                f"Confusion matrix of the {part} part; {'; '.join(rows)}",
                f"{part.capitalize()} part, n = {count_of(len(y), 'film')}. Share of the row below each count.",
            )
        )
    if not pictures:
        raise DataError("no film of the validation or test part has a known class")
    return {"pictures": pictures}


def curves(facts: Facts, draw: Draw) -> Context:
    """How the probabilities separate the classes, and whether they mean what they say."""
    part, classes = facts.judged, facts.classes
    y, _, p = facts.scored(part)
    if not len(y):
        raise DataError(f"no film of the {part} part has a known class")
    of_part = facts.metrics[part]
    n = f"{part.capitalize()} part, n = {count_of(len(y), 'film')}"
    areas, averages = _words(of_part, "auroc", classes), _words(of_part, "average_precision", classes)
    beside = f"[{100 * facts.recipe.evaluate.interval:g} %], n = {count_of(len(y), 'film')}"
    rings = _points(of_part, classes)
    pictures = [
        draw(
            figures.roc_curves(y, p, classes, words=areas, title=f"AUROC {beside}", points=rings),
            "roc",
            f"ROC curves by class, {part} part. AUROC: {_spoken(of_part, 'auroc', classes)}",
            f"ROC curves, each class against the rest, with AUROC and interval. {n}."
            + (" Rings: the operating points." if rings else ""),
        ),
        draw(
            figures.precision_recall_curves(y, p, classes, words=averages, title=f"average precision {beside}"),
            "precision-recall",
            f"Precision-recall curves by class, {part} part. Average precision: "
            f"{_spoken(of_part, 'average_precision', classes)}",
            f"Precision and recall, with average precision and interval. {n}. Short lines at the left: guessing.",
        ),
    ]
    shown_classes = classes[:MOST_CALIBRATION_CURVES]
    calibration = [
        draw(
            figures.calibration_curve(y == place, p[:, place], name, facts.colours[name]),
            f"calibration-{place + 1}",
            f"Calibration of the probability of {name}, {part} part, "
            f"{int((y == place).sum())} films with it and {int((y != place).sum())} without",
            f"{name}: {int((y == place).sum())} films with it, {int((y != place).sum())} without.",
        )
        for place, name in enumerate(shown_classes)
    ]
    about = facts.metrics.get("_about") or {}
    return {
        "pictures": pictures,
        "calibration": calibration,
        "without_curve": classes[MOST_CALIBRATION_CURVES:],
        "temperature": about.get("temperature"),
        "part": part,
    }


def operating_points(facts: Facts, draw: Draw) -> Context:
    """Thresholds chosen on validation, and what they give there and where the model is judged."""
    chosen = facts.metrics.get("_operating_points") or {}
    if not chosen:
        raise DataError("metrics.json holds no operating point", where=str(facts.run.path))
    parts = [part for part in dict.fromkeys(("validation", facts.judged)) if part in facts.metrics]
    names = ("op_sensitivity", "op_specificity", "op_ppv", "op_npv")
    rows = [
        (
            name,
            chosen[name],
            [(part, [shown(facts.metrics[part].get(f"{figure}/{name}")) for figure in names]) for part in parts],
        )
        for name in facts.classes
        if name in chosen
    ]
    return {"rows": rows, "heads": [words_of(name).removesuffix(" at the operating point") for name in names]}


def _guesses(of_part: Mapping[str, Any], classes: list[str]) -> str:
    """The figure by which the model may be guessing, in words; "" where it is shown to be better than that."""
    for name, chance in (("balanced_accuracy", 1 / len(classes)), ("macro_auroc", 0.5)):
        low = (of_part.get(name) or {}).get("low")
        if low is not None and low <= chance:
            return f"{words_of(name)} {shown(of_part[name]).line}, where guessing gives {chance:.3f}"
    return ""


def _weakest(of_part: Mapping[str, Any], classes: list[str]) -> tuple[str, Any] | None:
    """The class with the lowest sensitivity, and it."""
    known = {name: of_part.get(f"recall/{name}") for name in classes}
    values = {name: figure["value"] for name, figure in known.items() if figure and figure.get("value") is not None}
    if len(values) < 2:
        return None
    name = min(values, key=lambda each: values[each])
    return name, shown(known[name])


def _how_made(about: Mapping[str, Any], part: str) -> list[str]:
    """How the intervals came about, at which prevalence PPV and NPV stand, and what was left out."""
    by = (about.get("resampled_by") or {}).get(part, "film")
    lines = [
        f"{100 * about['interval']:g} % intervals from {about['bootstrap']} resamples of the {by}s"
        + ("." if by == "patient" else "; patients are unknown, so the intervals may be too narrow.")
    ]
    prevalence = (about.get("prevalence") or {}).get(part) or {}
    if prevalence:
        stated = "as stated in the recipe" if about.get("prevalence_stated") else f"the {part} part's own"
        each = ", ".join(f"{name} {share:.3f}" for name, share in prevalence.items())
        lines.append(f"PPV and NPV of the {part} part hold at this prevalence, {stated}: {each}.")
    unlabelled = {name: n for name, n in (about.get("unlabelled") or {}).items() if n}
    if unlabelled:
        each = ", ".join(f"{name} {n}" for name, n in unlabelled.items())
        lines.append(f"Films of unknown class, left out of every figure: {each}.")
    return lines


def _points(of_part: Mapping[str, Any], classes: list[str]) -> dict[str, tuple[float, float]]:
    """class -> (specificity, sensitivity) at its operating point, where both are defined."""
    found = {}
    for name in classes:
        specificity, sensitivity = (
            (of_part.get(f"op_{key}/{name}") or {}).get("value") for key in ("specificity", "sensitivity")
        )
        if specificity is not None and sensitivity is not None:
            found[name] = (specificity, sensitivity)
    return found


def _words(of_part: Mapping[str, Any], name: str, classes: list[str]) -> dict[str, str]:
    """class -> value and interval, for a legend."""
    each = {class_: shown(of_part.get(f"{name}/{class_}")) for class_ in classes}
    return {class_: f"{figure.value} {figure.interval}".strip() for class_, figure in each.items()}


def _spoken(of_part: Mapping[str, Any], name: str, classes: list[str]) -> str:
    return "; ".join(f"{class_} {shown(of_part.get(f'{name}/{class_}')).line}" for class_ in classes)
