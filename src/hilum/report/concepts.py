"""The page of `hilum concepts`: each concept as a row of patches, where they lie, and what they do to each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from hilum.files import write_text
from hilum.report.films import Thumbnail
from hilum.report.html import templates
from hilum.report.palette import class_colours

# Shown of each concept: about 2 kB for a patch, 5 kB for a film.
PATCHES, FILMS = 12, 3


@dataclass(frozen=True)
class Patch:
    """A patch, or the film that it lies on. box: left, top, width, height of the patch on the film, in percent."""

    picture: Thumbnail
    image_id: str
    label: str
    box: tuple[float, float, float, float] | None = None

    @property
    def alt(self) -> str:
        return f"{'Film' if self.box else 'Patch of film'} {self.image_id}, {self.label}"


@dataclass(frozen=True)
class Said:
    """What a concept does to one class. speaks: for, against or ""; factor: of the odds, with its interval."""

    name: str
    speaks: str
    factor: str
    p: str


@dataclass(frozen=True)
class Shown:
    """One concept. seen: (class, films of it with the concept, films of it looked at). inside: in words, or ""."""

    number: int
    films: int
    patients: int
    patches: int
    sizes: str
    inside: str
    seen: list[tuple[str, int, int]]
    said: list[Said]
    where: Thumbnail
    examples: list[Patch]
    on_films: list[Patch]

    @property
    def title(self) -> str:
        """
        >>> said = [Said("ill", "for", "", ""), Said("well", "against", "", "")]
        >>> Shown(1, 0, 0, 0, "", "", [], said, Thumbnail("", 1, 1), [], []).title
        'Speaks for ill, against well'
        """
        words = [
            f"{word} {' and '.join(names)}"
            for word in ("for", "against")
            if (names := [each.name for each in self.said if each.speaks == word])
        ]
        return f"Speaks {', '.join(words)}" if words else "Speaks for no class more than other places do"


def write_page(shown: Sequence[Shown], path: Path, *, classes: Sequence[str], about: Mapping[str, Any]) -> None:
    """Write the page, whole or not at all. about: what the templates tell of how it was made."""
    jinja, colours = templates(), class_colours(classes)
    speaking = [each for each in shown if any(said.speaks for said in each.said)]
    silent = [each for each in shown if each not in speaking]
    body = jinja.get_template("concepts_list.html")
    sections = [("speaking", "Concepts that speak for or against a class", speaking)]
    sections += [("silent", "Concepts that speak for no class", silent)] if silent else []
    made = [
        ({"name": name, "heading": heading}, Markup(body.render(concepts=concepts, colours=colours, **about)))
        for name, heading, concepts in sections
    ]
    how = Markup(jinja.get_template("concepts_how.html").render(about))
    made.append(({"name": "how", "heading": "How this was made"}, how))
    page = jinja.get_template("concepts.html")
    write_text(path, page.render(made=made, speaking=len(speaking), concepts=len(shown), **about))
