"""The misclassified films: how often by group, and each with what the model said, looked at and had learned."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from hilum.audit.subgroups import bands
from hilum.errors import HilumError
from hilum.evaluation.intervals import patient_numbers
from hilum.evaluation.shares import Share, share_of
from hilum.files import write_text
from hilum.report import figures
from hilum.report.facts import Context, Draw, Facts
from hilum.report.films import Thumbnail, misclassified, small
from hilum.report.gallery import Card, judged_card, rows_of
from hilum.report.html import templates
from hilum.report.palette import class_colours

# In the report about 5 kB each; on the page of `hilum mistakes` 35 kB, with maps and neighbours.
MOST_IN_REPORT, MOST_ON_PAGE = 60, 200
# column -> what a group is called
GROUPINGS: Mapping[str, str] = {
    "label": "true class",
    "source": "source",
    "view": "view",
    "sex": "sex",
    "age_years": "age",
}


@dataclass(frozen=True)
class Group:
    """Films of one kind, and the share of them that was misclassified."""

    name: str
    wrong: int
    rate: Share


@dataclass(frozen=True)
class Grouping:
    """The groups of one property, the largest error rate first. unknown: films that do not tell it."""

    what: str
    groups: list[Group]
    unknown: int

    def stands_out(self, group: Group, overall: float) -> bool:
        """Whether chance alone would seldom bring the group so far from all films: its interval leaves them out."""
        return not group.rate.low <= overall <= group.rate.high


@dataclass(frozen=True)
class ErrorRates:
    """How often films are misclassified. untold: properties that no film tells, or that are the same for all."""

    overall: Share
    wrong: int
    groupings: list[Grouping]
    untold: list[str]

    @property
    def top(self) -> float:
        """Where a scale of these rates ends: the highest limit, in whole percent."""
        highest = max((group.rate.high for each in self.groupings for group in each.groups), default=self.overall.high)
        return math.ceil(100 * highest) / 100 or 1.0


def error_rates(films: pd.DataFrame) -> ErrorRates:
    """Error rates of films of known class, over all and by true class, source, view, sex and age.

    films: columns image_id, patient_id, label, predicted, and those of `GROUPINGS`. Intervals are resampled by patient.
    Groups differ in their mix of classes too; `hilum audit` compares them at the same mix.

    >>> films = pd.DataFrame({"image_id": list("abcd"), "patient_id": list("pqrs"), "label": ["ill"] * 4,
    ...     "predicted": ["ill", "well", "ill", "well"], "source": "a", "view": ["PA", "AP", "PA", "AP"],
    ...     "sex": pd.NA, "age_years": [3.0, 40.0, 41.0, None]})
    >>> found = error_rates(films)
    >>> [(each.what, [(group.name, group.wrong, group.rate.n) for group in each.groups]) for each in found.groupings]
    [('view', [('AP', 2, 2), ('PA', 0, 2)]), ('age', [('40 to 64 years', 1, 2), ('0 to 17 years', 0, 1)])]
    >>> found.untold
    ['true class', 'source', 'sex']
    """
    wrong = (films["label"] != films["predicted"]).to_numpy(bool)
    patients = patient_numbers(films["patient_id"], films["image_id"])
    groupings, untold = [], []
    for column, what in GROUPINGS.items():
        names = bands(films[column]) if column == "age_years" else films[column].astype("string")
        groups = []
        for name in sorted(names.dropna().unique()):
            inside = (names == name).fillna(False).to_numpy(bool)
            groups.append(Group(str(name), int(wrong[inside].sum()), share_of(wrong[inside], patients[inside])))
        if len(groups) > 1:
            groups.sort(key=lambda group: -group.rate.value)
            groupings.append(Grouping(what, groups, int(names.isna().sum())))
        else:
            untold.append(what)
    return ErrorRates(share_of(wrong, patients), int(wrong.sum()), groupings, untold)


def section(facts: Facts, draw: Draw) -> Context:
    """The section of a run's report: error rates by group, and the most confident mistakes."""
    part = facts.judged
    rows = facts.films[(facts.films["part"] == part) & facts.films["label"].notna()]
    wrong = misclassified(rows)
    chosen = rows_of(wrong.head(MOST_IN_REPORT))
    sheet = _sheet(chosen[:24])
    if sheet:
        draw(figures.film_sheet(sheet), "misclassified", "The misclassified films", "")
    return {
        **in_short(rows, wrong, part),
        "cards": [judged_card(row, facts.colours, facts.classes, facts.many_sources) for row in chosen],
        "more": f"hilum mistakes {shlex.quote(str(facts.run.path))} --part {part}",
    }


def in_short(films: pd.DataFrame, wrong: pd.DataFrame, part: str) -> Context:
    """Counts, the commonest confusions, and the error rates; what mistakes_groups.html is given."""
    pairs = wrong.groupby(["label", "predicted"], observed=True).size().sort_values(ascending=False).head(8)
    return {
        "part": part,
        "films": len(films),
        "wrong": len(wrong),
        "pairs": [(row["label"], row["predicted"], row["n"]) for row in rows_of(pairs.reset_index(name="n"))],
        "rates": error_rates(films) if len(films) else None,
    }


@dataclass(frozen=True)
class Looked:
    """A map on a misclassified film: of which class, and the film with it."""

    class_: str
    role: str
    picture: Thumbnail


@dataclass(frozen=True)
class Neighbour:
    """A training film near a misclassified one, at a distance in the network's own features."""

    card: Card
    distance: float


@dataclass(frozen=True)
class Mistake:
    """A misclassified film with all that is known of it.

    farther: share of the part's films that lie nearer to what was learned than this one.
    """

    card: Card
    maps: list[Looked]
    neighbours: list[Neighbour]
    farther: float

    @property
    def among(self) -> str:
        """Which classes the neighbours have, the commonest first.

        >>> film = lambda name: Neighbour(Card(Thumbnail("", 1, 1), "", "", name, "", [], []), 0.1)
        >>> Mistake(None, [], [film("normal"), film("pneumonia"), film("normal")], 0.5).among
        '2 normal, 1 pneumonia'
        """
        counts = pd.Series([each.card.true for each in self.neighbours]).value_counts(sort=True)
        return ", ".join(f"{n} {name}" for name, n in counts.items())


def write_page(
    mistakes: Sequence[Mistake],
    films: pd.DataFrame,
    path: Path,
    *,
    classes: Sequence[str],
    about: Mapping[str, Any],
) -> None:
    """Write the page of `hilum mistakes`, whole or not at all.

    films: the part's films of known class, as `error_rates` takes them. about: run, part, sided (`sides_with`), scale,
    method.
    """
    jinja, colours = templates(), class_colours(classes)
    context = {**in_short(films, misclassified(films), str(about["part"])), **about, "colours": colours}
    made = [
        ({"name": "groups", "heading": "Where it goes wrong more often"}, "mistakes_groups.html"),
        ({"name": "films", "heading": "Each misclassified film"}, "mistakes_films.html"),
    ]
    bodies = [(head, Markup(jinja.get_template(name).render(mistakes=mistakes, **context))) for head, name in made]
    write_text(path, jinja.get_template("mistakes_page.html").render(made=bodies, **context))


def _sheet(rows: Sequence[Mapping[str, Any]]) -> list[tuple[np.ndarray, str]]:
    films = []
    for row in rows:
        caption = f"{row['label']}, called\n{row['predicted']} ({row['confidence']:.2f})"
        try:
            films.append((small(str(row.get("path"))), caption))
        except HilumError:
            continue  # the card in the page says why
    return films
