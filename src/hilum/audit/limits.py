"""The one table of limits: what each check measures, where it warns and fails, and why there.

A recipe changes them in [audit.limits], as in: thumbnail = { warn = 0.9, fail = 0.95 }; every output then says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from hilum.errors import RequestError
from hilum.recipe.load import nearest
from hilum.recipe.schema import Audit


@dataclass(frozen=True)
class Limit:
    """Of one check: its title, what its value is, from where on it warns and fails, and why from there.

    warn, fail: missing where the check never does. worse: which direction is.
    """

    title: str
    measure: str
    warn: float | None
    fail: float | None
    why: str
    worse: Literal["high", "low"] = "high"
    changed: bool = False


_OUTSIDE_THE_LUNG = (
    "nothing of a lung is in it, so all that it tells is a shortcut; 0.5 is chance, and a trait that three films of "
    "four of a class carry, and one of four others, gives 0.75"
)
_MAY_BE_DISEASE = (
    "disease shows in it too, so it may tell something; on made-up films without a shortcut it stays below the first "
    "limit (benchmarks/audit_power.py), and what it tells beyond the second needs no lung to be read"
)

# check -> its limit. Checks of the data first, then those of predictions and of models.
LIMITS: Mapping[str, Limit] = {
    "patients-in-two-parts": Limit(
        "Patients in two parts", "patients", 1, 1, "one is enough: its film was learned by heart and is asked for again"
    ),
    "films-in-two-parts": Limit(
        "Films in two parts", "films", 1, 1, "one is enough: the test asks for what was learned by heart"
    ),
    "films-in-two-sources": Limit(
        "Films in two sources",
        "share of the smaller source's films",
        0.0001,
        0.05,
        "each makes the sources less independent; from one film in twenty on, neither tests the other",
    ),
    "films-of-two-labels": Limit(
        "One film, two labels",
        "share of the pictures that stand there twice",
        0.0001,
        0.05,
        "one of the two labels is wrong; from one in twenty on, the labels themselves are in doubt",
    ),
    "label-and-source": Limit(
        "Label and source",
        "Cramer's V",
        0.3,
        0.5,
        "0 is no relation and 1 the same thing; 0.3 and 0.5 are medium and large in Cohen 1988 for two classes",
    ),
    "sources-of-one-class": Limit(
        "Sources of one class",
        "share of films from sources of one class",
        0.05,
        0.25,
        "of such a film the look of its source says the class, and nothing in the data can tell the two apart",
    ),
    "age-and-label": Limit(
        "Age and label", "AUROC", 0.65, 0.8, "ages differ with disease, but not so far that age alone makes a diagnosis"
    ),
    "children-and-label": Limit(
        "Children and label",
        "difference of the share of children between classes",
        0.1,
        0.5,
        "a child's chest looks another way (Roberts et al. 2021); half of a class is more than any clinic's mix",
    ),
    "sex-and-label": Limit(
        "Sex and label", "AUROC", 0.6, 0.7, "sexes differ little in pneumonia; a model sees the sex in the film"
    ),
    "view-and-label": Limit(
        "View and label",
        "AUROC",
        0.6,
        0.75,
        "the sick are filmed lying, AP; a model that reads the view reads that, and fails where all are",
    ),
    "missing-and-label": Limit(
        "Missing entries and label", "AUROC", 0.6, 0.75, "what is not noted is a source's habit"
    ),
    "label-from-file": Limit("Label from the file", "AUROC", 0.6, 0.75, _OUTSIDE_THE_LUNG),
    "label-from-border": Limit("Label from the border", "AUROC", 0.6, 0.75, _OUTSIDE_THE_LUNG),
    "label-from-text": Limit("Label from text and markers", "AUROC", 0.6, 0.75, _OUTSIDE_THE_LUNG),
    "label-from-sharpness": Limit("Label from sharpness", "AUROC", 0.7, 0.8, _MAY_BE_DISEASE),
    "label-from-histogram": Limit("Label from the grey levels", "AUROC", 0.7, 0.8, _MAY_BE_DISEASE),
    "label-from-thumbnail": Limit("Label from a thumbnail", "AUROC", 0.85, 0.92, _MAY_BE_DISEASE),
}


def limits_of(audit: Audit) -> dict[str, Limit]:
    """The table with a recipe's changes. Refused with RequestError: a check that is not there, limits out of order.

    >>> from hilum.recipe.schema import Bounds
    >>> limits_of(Audit(limits={"sex-and-label": Bounds(fail=0.9)}))["sex-and-label"].fail
    0.9
    """
    table = dict(LIMITS)
    for name, asked in audit.limits.items():
        where = f"audit.limits.{name}"
        if name not in table:
            raise RequestError("there is no such check", where=where, next_step=nearest(name, table))
        limit = table[name]
        warn = limit.warn if asked.warn is None else asked.warn
        fail = limit.fail if asked.fail is None else asked.fail
        if warn is not None and fail is not None and (warn > fail if limit.worse == "high" else warn < fail):
            raise RequestError(
                f"it would fail at {fail:g} before it warns at {warn:g}",
                where=where,
                next_step="Give both: warn and fail.",
            )
        table[name] = replace(limit, warn=warn, fail=fail, changed=(warn, fail) != (limit.warn, limit.fail))
    return table
