"""The section of an ensemble's report that shows its members beside it, on the same films."""

from __future__ import annotations

from hilum.errors import DataError
from hilum.report.facts import Context, Draw, Facts
from hilum.report.folds import figure_words
from hilum.report.tables import KEY_FIGURES, shown


def members(facts: Facts, draw: Draw) -> Context:
    """The figures of the ensemble and of each member; which runs they are."""
    found = facts.metrics.get("_members")
    if found is None:
        raise DataError("metrics.json has no _members", where=str(facts.run.path))
    names = [*KEY_FIGURES, *(f"recall/{name}" for name in facts.classes)]
    return {
        "members": found,
        "rows": [
            (
                figure_words(name),
                shown(facts.metrics["test"].get(name)),
                [shown(one["test"].get(name)) for one in found],
            )
            for name in names
        ],
    }
