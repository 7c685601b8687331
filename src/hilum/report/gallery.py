"""The sections of a report that show films."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from hilum.errors import DataError
from hilum.report.facts import Context, Draw, Facts
from hilum.report.films import Thumbnail, along_the_ranks, samples, thumbnail

# About 5 kB each: what keeps a report of any run far below 6 MB.
MOST_SAMPLES = 60
MOST_JUDGED = 40
_MOST_BARS = 5


@dataclass(frozen=True)
class Bar:
    """One class's probability on a film's card."""

    name: str
    p: float
    colour: str
    true: bool


@dataclass(frozen=True)
class Card:
    """A film, what is known of it, and what the model said."""

    picture: Thumbnail
    image_id: str
    file: str
    true: str
    predicted: str
    bars: list[Bar]
    known: list[tuple[str, str]]

    @property
    def alt(self) -> str:
        said = f", predicted {self.predicted}" if self.predicted else ""
        return f"Film {self.image_id}, true class {self.true}{said}"


def sample_films(facts: Facts) -> Context:
    """Some films of each class, as the files have them."""
    films = facts.manifest[facts.manifest["class"].notna()]
    return {"samples": sample_cards(films, facts.classes, with_source=facts.many_sources)}


def sample_cards(
    films: pd.DataFrame, classes: Sequence[str], *, with_source: bool
) -> list[tuple[str, int, list[Card]]]:
    """Class, number of its films, and cards of some of them; nobody chose which. films: a manifest with `class`."""
    drawn = samples(films, _each(6, MOST_SAMPLES, classes))
    counts = films["class"].value_counts()
    return [
        (name, int(counts[name]), [film_card(row, with_source=with_source) for row in rows_of(drawn[name])])
        for name in classes
        if name in drawn
    ]


def film_card(row: Mapping[str, Any], *, with_source: bool) -> Card:
    """The card of a film of a manifest with `class`, which no model has judged."""
    return judged_card(row, {}, (), with_source)


def judged_films(facts: Facts, draw: Draw) -> Context:
    """Films of each class with their probabilities, from the surest hit to the worst miss."""
    part = facts.judged
    rows = facts.films[facts.films["part"] == part]
    each = _each(4, MOST_JUDGED, facts.classes)
    groups = []
    for name in facts.classes:
        of_class = rows[rows["label"] == name]
        if len(of_class):
            chosen = rows_of(along_the_ranks(of_class, f"p_{name}", each))
            groups.append(
                (
                    name,
                    len(of_class),
                    [judged_card(row, facts.colours, facts.classes, facts.many_sources) for row in chosen],
                )
            )
    if not groups:
        raise DataError(f"no film of the {part} part has a known class")
    return {"part": part, "groups": groups}


def judged_card(row: Mapping[str, Any], colours: Mapping[str, str], classes: Sequence[str], with_source: bool) -> Card:
    """The card of a film of the predictions, with what the manifest knows of it; without classes, of no prediction."""
    true = _text(row.get("label" if classes else "class")) or "unknown"
    p = {name: float(row[f"p_{name}"]) for name in classes}
    first = sorted(classes, key=lambda name: -p[name])[:_MOST_BARS]
    if len(classes) <= _MOST_BARS:
        first = list(classes)  # in the order of all other pictures
    elif true in p and true not in first:
        first = [*first[:-1], true]
    age = row.get("age_years")
    known = {
        "patient": _bare(row.get("patient_id"), row.get("source")),
        "source": _text(row.get("source")) if with_source else "",
        "view": _text(row.get("view")),
        "sex": _text(row.get("sex")),
        "age": "" if age is None or pd.isna(age) else f"{age:.0f} years",
    }
    path = _text(row.get("path"))
    return Card(
        thumbnail(path) if path else Thumbnail("", 256, 256, "the manifest does not know this film's file"),
        str(row["image_id"]),
        _bare(row["image_id"], row.get("source")),
        true,
        _text(row.get("predicted")) if classes else "",
        [Bar(name, p[name], colours[name], name == true) for name in first],
        [(key, value) for key, value in known.items() if value],
    )


def rows_of(films: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as records."""
    return [{str(name): value for name, value in row.items()} for row in films.to_dict("records")]


def _each(wished: int, most: int, classes: Sequence[str]) -> int:
    return max(1, min(wished, most // max(1, len(classes))))


def _bare(name: Any, source: Any) -> str:
    """
    >>> _bare("cohen/images/a.png", "cohen")
    'images/a.png'
    """
    return _text(name).removeprefix(f"{_text(source)}/")


def _text(value: Any) -> str:
    return "" if value is None or pd.isna(value) else str(value)
