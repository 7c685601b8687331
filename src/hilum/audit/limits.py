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
_NO_LUNG_BUT_TONE = (
    "nothing of a lung is in it; a whole film is darker or brighter for its lungs, though, and on made-up films "
    "without a shortcut it stays below the first limit (benchmarks/audit_power.py)"
)
_MAY_BE_DISEASE = (
    "disease shows in it too, so it may tell something; on made-up films without a shortcut it stays below the first "
    "limit (benchmarks/audit_power.py), and what it tells beyond the second needs no lung to be read"
)

_NO_DIAGNOSIS = "arms, belly, tubes and lying differ a little with disease; a diagnosis does not stand in them"
_STOOD_ELSEWHERE = "the disease is in the lungs: what is lost with all else stood elsewhere"

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
        "share of a class's films",
        0.1,
        0.5,
        "of such a film the look of its source says the class, and nothing in the data can tell the two apart; of a "
        "class most of whose films are so, nothing can be learned for sure",
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
    "label-from-border": Limit("Label from the border", "AUROC", 0.7, 0.8, _NO_LUNG_BUT_TONE),
    "label-from-text": Limit("Label from text and markers", "AUROC", 0.65, 0.75, _NO_LUNG_BUT_TONE),
    "label-from-sharpness": Limit("Label from sharpness", "AUROC", 0.7, 0.8, _MAY_BE_DISEASE),
    "label-from-histogram": Limit("Label from the grey levels", "AUROC", 0.87, 0.9, _MAY_BE_DISEASE),
    "label-from-thumbnail": Limit("Label from a thumbnail", "AUROC", 0.9, 0.93, _MAY_BE_DISEASE),
    # Of predictions.
    "predictions-and-films": Limit(
        "Predictions and films",
        "share of predictions and test films that have no partner",
        0.0001,
        0.05,
        "figures of the films that somebody kept are figures of another test",
    ),
    "classes-within-a-source": Limit(
        "Classes within a source",
        "classes that no source has beside another",
        1,
        1,
        "that a model can tell such a class from others in one hospital was never tested",
    ),
    "source-baseline": Limit(
        "Agreement with the source",
        "Cohen's kappa",
        0.6,
        0.8,
        "substantial, almost perfect in Landis & Koch 1977; who looks at no film should not say what the model says",
    ),
    "within-source": Limit(
        "Within a source",
        "AUROC lost within a source",
        0.05,
        0.15,
        "what is lost told hospitals apart, not patients; Zech et al. 2018 lost 0.116",
    ),
    **{
        f"by-{name}": Limit(
            f"Figures by {what}",
            "accuracy below that of the others",
            0.05,
            0.15,
            "one film in twenty is noticed in a clinic, one in seven is another test",
        )
        for name, what in (
            ("source", "source"),
            ("vendor", "vendor"),
            ("view", "view"),
            ("sex", "sex"),
            ("age", "age"),
        )
    },
    "calibration-by-source": Limit(
        "Calibration by source",
        "mean probability of the class named, beyond how often it is right",
        0.05,
        0.15,
        "a 95 % that is right in 80 % misleads whoever reads it",
    ),
    "confident-mistakes": Limit(
        "Confident mistakes",
        "share wrong of the films named with 90 % or more",
        0.05,
        0.1,
        "by its own word at most one in ten would be wrong",
    ),
    "prediction-sets": Limit(
        "Prediction sets",
        "coverage short of 90 %",
        0.02,
        0.05,
        "chance alone costs less; what is missing are films unlike those of validation",
    ),
    "train-here-test-there": Limit(
        "Train here, test there",
        "AUROC lost from the own source to another",
        0.05,
        0.1,
        "of 86 networks half lost 0.05 elsewhere, a quarter 0.1 (Yu et al. 2022, Radiol. Artif. Intell. 4:e210064)",
    ),
    # Of a network, on the films it was made from: learned on frozen features, or by training it anew.
    "learned-border": Limit("Learned from the border", "AUROC", 0.6, 0.75, _OUTSIDE_THE_LUNG),
    "retrained-border": Limit("Trained on the border", "AUROC", 0.6, 0.75, _OUTSIDE_THE_LUNG),
    "learned-without-lungs": Limit("Learned without the lungs", "AUROC", 0.65, 0.8, _NO_DIAGNOSIS),
    "retrained-without-lungs": Limit("Trained without the lungs", "AUROC", 0.65, 0.8, _NO_DIAGNOSIS),
    "retrained-from-lungs": Limit("Trained on the lungs alone", "AUROC lost", 0.05, 0.1, _STOOD_ELSEWHERE),
    "learned-from-patches": Limit(
        "Learned from shuffled patches",
        "AUROC",
        0.8,
        0.9,
        "an opacity is texture too and survives, but no anatomy is left (Ong Ly et al. 2024, npj Digit. Med. 7:124)",
    ),
    "learned-from-lungs": Limit(
        "Learned from the lungs alone",
        "AUROC lost",
        0.05,
        0.1,
        _STOOD_ELSEWHERE,
    ),
    "source-from-film": Limit(
        "Source from the film",
        "AUROC",
        0.75,
        None,
        "hospitals can nearly always be told apart (Zech et al. 2018); it does harm where label and source go together",
    ),
    "source-within-class": Limit(
        "Source within a class",
        "AUROC",
        0.75,
        None,
        "a negative control: among films of one class nothing of the disease is left that could tell",
    ),
    "random-labels": Limit(
        "Random labels", "AUROC", 0.6, 0.6, "a negative control: labels dealt to patients by dice cannot be in a film"
    ),
    "blanked-lungs": Limit(
        "The model without lungs",
        "AUROC",
        0.65,
        0.8,
        "a model that still tells the classes with both lungs covered does not need them",
    ),
    "blanked-outside": Limit(
        "The model with lungs only",
        "share of films that change class",
        0.15,
        0.4,
        "the disease is in the lungs; the outline of what is covered is new to the model, so a few may change",
    ),
    "blanked-border": Limit(
        "The model without borders", "share of films that change class", 0.05, 0.15, "no lung is covered"
    ),
    "blanked-corners": Limit(
        "The model without corners", "share of films that change class", 0.05, 0.15, "no lung is covered"
    ),
    "blanked-text": Limit(
        "The model without letters", "share of films that change class", 0.05, 0.15, "no lung is covered"
    ),
    "map-in-lungs": Limit(
        "Where the map lies",
        "share of the map in the lungs, beyond that of an even map",
        0.0,
        None,
        "a map that marks the lungs no more than a blind one points elsewhere; a map proves nothing, so it never fails",
        worse="low",
    ),
    **{
        f"steady-{name}": Limit(
            f"Steady under {what}",
            "share of films that change class",
            0.03,
            0.1,
            "the next technician does as much; no radiologist would change a diagnosis",
        )
        for name, what in (
            ("rotation", "small rotations"),
            ("shift", "small shifts"),
            ("contrast", "contrast"),
            ("noise", "noise"),
            ("jpeg", "JPEG"),
        )
    },
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
