"""What a run knows of how good the model is, and whether that can be believed, in sentences.

Each function gives none where the run does not know: nothing is said that its files do not tell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from hilum.data.words import count_of
from hilum.report.audit import in_short
from hilum.report.facts import Facts
from hilum.report.films import misclassified
from hilum.report.mistakes import error_rates
from hilum.report.tables import KEY_FIGURES, MEANINGS, shown, words_of

Lines = Sequence[str]
_OF_A_CLASS = ("recall", "specificity", "ppv", "npv", "auroc")
_GROUPS = ("view", "sex", "age")


def _measures(facts: Facts) -> Lines:
    names = [name for name in facts.metrics[facts.judged] if "/" not in name]
    return [f"{words_of(name)}: {MEANINGS[name]}." for name in names if name in KEY_FIGURES] + [
        f"Also reported: {', '.join(words_of(name) for name in names if name not in KEY_FIGURES)}; and of each class "
        "sensitivity, specificity, PPV, NPV, F1, AUROC and average precision. docs/figures.md defines all."
    ]


def _intervals(facts: Facts) -> Lines:
    about = facts.metrics["_about"]
    by = (about.get("resampled_by") or {}).get(facts.judged, "film")
    narrow = "" if by == "patient" else " Patients are unknown, so the intervals may be too narrow."
    return [
        f"{100 * about['interval']:g} % intervals from {about['bootstrap']} resamples of the {by}s, as Wilson's "
        f"interval of so many {by}s as the figure is worth.{narrow}"
    ]


def _thresholds(facts: Facts) -> Lines:
    points = facts.metrics.get("_operating_points") or {}
    return [
        f"Operating point of {name}: a probability of {point['threshold']:.4g}, chosen on the validation part for a "
        f"sensitivity of {point['wished_sensitivity']:g}."
        for name, point in points.items()
        if point.get("threshold") is not None
    ]


def _calibration_method(facts: Facts) -> Lines:
    temperature = (facts.metrics.get("_about") or {}).get("temperature")
    if temperature is None:
        return ["Probabilities were not calibrated."] if not facts.recipe.evaluate.calibrate else []
    return [f"Probabilities were calibrated with one temperature, {temperature:.2f}, fitted on the validation part."]


def _calibration(facts: Facts) -> Lines:
    figures = facts.metrics[facts.judged]
    lines = [
        f"{words_of(name)}: {shown(figures[name]).line}."
        for name in ("calibration_error", "brier", "log_loss")
        if name in figures
    ]
    return [*_calibration_method(facts), *lines]


def _performance(facts: Facts) -> Lines:
    return _figures_of(facts, facts.judged)


def _validation(facts: Facts) -> Lines:
    return _figures_of(facts, "validation") if "validation" in facts.metrics and facts.judged != "validation" else []


def _figures_of(facts: Facts, part: str) -> Lines:
    figures = facts.metrics[part]
    return [
        f"{part.capitalize()} part, {words_of(name)}: {shown(figures[name]).line}."
        for name in KEY_FIGURES
        if name in figures
    ]


def _performance_by_class(facts: Facts) -> Lines:
    figures = facts.metrics[facts.judged]
    return [
        f"{name}, {words_of(each)}: {shown(figures[f'{each}/{name}']).line}."
        for name in facts.classes
        for each in _OF_A_CLASS
        if f"{each}/{name}" in figures
    ]


def _groups(facts: Facts) -> Lines:
    return _rates(facts, _GROUPS)


def _groups_by_source(facts: Facts) -> Lines:
    return _rates(facts, ["source"])


def _rates(facts: Facts, wanted: Sequence[str]) -> Lines:
    rows = facts.films[(facts.films["part"] == facts.judged) & facts.films["label"].notna()]
    if rows.empty:
        return []
    return [
        f"Misclassified by {grouping.what}: "
        + "; ".join(f"{each.name} {each.wrong} of {each.rate.n}, {each.rate.text}" for each in grouping.groups)
        + "."
        for grouping in error_rates(rows).groupings
        if grouping.what in wanted
    ]


def _mistakes(facts: Facts) -> Lines:
    rows = facts.films[(facts.films["part"] == facts.judged) & facts.films["label"].notna()]
    wrong = misclassified(rows)
    if rows.empty:
        return []
    pairs = wrong.groupby(["label", "predicted"], observed=True).size().sort_values(ascending=False).head(6)
    each = "; ".join(
        f"{row.label} called {row.predicted} ({row.n})" for row in pairs.reset_index(name="n").itertuples()
    )
    counted = f"{len(wrong)} of {count_of(len(rows), 'film')} of the {facts.judged} part are misclassified"
    return [f"{counted}: {each}." if len(wrong) else f"{counted}."]


def _audit(facts: Facts) -> Lines:
    checks = facts.run.audit()
    return [f"Of {count_of(len(checks), 'check')}: {in_short(checks)}."] if checks else []


def _audit_failed(facts: Facts) -> Lines:
    return [
        f"{str(check['verdict']).capitalize()}: {check.get('title') or check['check']}. {check.get('meaning') or ''}"
        for check in facts.run.audit() or []
        if check.get("verdict") in ("fail", "warn")
    ]


def _audit_groups(facts: Facts) -> Lines:
    return _checks(facts, ("by-",))


def _audit_robust(facts: Facts) -> Lines:
    return _checks(facts, ("steady-", "blanked-"))


def _checks(facts: Facts, beginnings: tuple[str, ...]) -> Lines:
    return [
        f"{check.get('title') or check['check']}: {check.get('verdict')}. {check.get('meaning') or ''}"
        for check in facts.run.audit() or []
        if str(check.get("check")).startswith(beginnings) and check.get("verdict") != "not done"
    ]


def _explained(facts: Facts) -> Lines:
    there = {
        "explanations/maps.html": "maps of films, and how far they are to be believed",
        "concepts.html": "which patches speak for a class",
        "mistakes.html": "the misclassified films with maps and the training films nearest to them",
    }
    return [f"{name} shows {what}." for name, what in there.items() if (facts.run.path / name).is_file()]


KNOWN: Mapping[str, Callable[[Facts], Lines]] = {
    "measures": _measures,
    "intervals": _intervals,
    "thresholds": _thresholds,
    "calibration_method": _calibration_method,
    "calibration": _calibration,
    "performance": _performance,
    "validation": _validation,
    "performance_by_class": _performance_by_class,
    "groups": _groups,
    "groups_by_source": _groups_by_source,
    "mistakes": _mistakes,
    "audit": _audit,
    "audit_failed": _audit_failed,
    "audit_groups": _audit_groups,
    "audit_robust": _audit_robust,
    "explained": _explained,
}
