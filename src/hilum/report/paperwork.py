"""A model card and reporting checklists, filled in as far as the run knows, the rest marked open.

The items stand in checklists/NAME.toml with their official numbers: what each asks, which facts of the run answer it,
and what people have to write there. An item is answered by facts alone, partly answered where people have to add
something, and open where the run knows nothing of it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import pydantic
from markupsafe import Markup

from hilum.data.words import count_of
from hilum.errors import HilumError
from hilum.evaluation.run_folder import RunFolder
from hilum.files import write_text
from hilum.report import paperwork_films, paperwork_making, paperwork_results
from hilum.report.facts import Facts
from hilum.report.html import templates

FORMS = ("model-card", "tripod-ai", "claim-2024")
KNOWN: Mapping[str, Callable[[Facts], Sequence[str]]] = {
    **paperwork_films.KNOWN,
    **paperwork_making.KNOWN,
    **paperwork_results.KNOWN,
}
_UNKNOWN = "The run does not tell this. Write it."
_IN_PART = "The run tells this only in part. Complete it."


class Item(pydantic.BaseModel):
    """One item of a form. facts: names in `KNOWN`; open: what people add in any case.

    unknown: what they add where a fact is unknown, in place of a general sentence.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    number: str
    section: str
    asks: str
    facts: tuple[str, ...]
    open: str
    unknown: str = ""


class Form(pydantic.BaseModel):
    """A model card or a checklist. source: the paper that its items come from."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    name: str
    about: str
    source: str
    item: tuple[Item, ...]


@dataclass(frozen=True)
class Answer:
    """What stands at an item: sentences that the run knows, and what is open, "" where nothing is."""

    item: Item
    known: list[str]
    open: str

    @property
    def state(self) -> Literal["answered", "partly", "open"]:
        return "open" if not self.known else "partly" if self.open else "answered"


@dataclass(frozen=True)
class Paper:
    """A form filled in for a run."""

    form: Form
    answers: list[Answer]

    @property
    def counted(self) -> dict[str, int]:
        """Items of each state."""
        return {
            state: sum(answer.state == state for answer in self.answers) for state in ("answered", "partly", "open")
        }

    @property
    def in_short(self) -> str:
        """How far it is filled in, in words."""
        n = self.counted
        return (
            f"{count_of(len(self.answers), 'item')}: {n['answered']} answered by the run, {n['partly']} in part, "
            f"{n['open']} open"
        )

    @property
    def sections(self) -> list[tuple[str, list[Answer]]]:
        """The answers by section, in order."""
        return [(name, list(rows)) for name, rows in groupby(self.answers, key=lambda answer: answer.item.section)]


def read_form(name: str) -> Form:
    """A form that ships; its name is one of `FORMS`."""
    text = resources.files("hilum.report").joinpath(f"checklists/{name}.toml").read_text(encoding="utf-8")
    return Form.model_validate(tomllib.loads(text))


def fill(form: Form, facts: Facts) -> Paper:
    """The form with what the run knows. A fact whose file is missing or broken is unknown, and its item open."""
    told: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for item in form.item for name in item.facts):
        try:
            told[name] = [line for line in KNOWN[name](facts) if line]
        except (HilumError, KeyError):  # a file that is not there, or one of an older hilum that lacks a key
            told[name] = []
    answers = []
    for item in form.item:
        known = list(dict.fromkeys(line for name in item.facts for line in told[name]))
        lacking = not item.facts or not all(told[name] for name in item.facts)
        rest = item.open or (item.unknown or (_IN_PART if known else _UNKNOWN) if lacking else "")
        answers.append(Answer(item, known, rest))
    return Paper(form, answers)


def write_paperwork(run: Path | str, out: Path | str | None = None) -> dict[str, Paper]:
    """Write each form as NAME.md and NAME.html into `out`, by default RUN/paperwork; the filled forms by name.

    Refused with RequestError: a folder that is no run; with DataError: a run that was not judged yet, of which there is
    nothing to say.
    """
    folder = RunFolder(Path(run))
    facts = Facts(folder)
    _ = facts.manifest, facts.predictions, facts.metrics  # a run without them is refused with what to do
    place = Path(out) if out is not None else folder.path / "paperwork"
    papers = {name: fill(read_form(name), facts) for name in FORMS}
    about = {"run": folder.path.resolve().name, "classes": facts.classes, "backbone": facts.backbone}
    jinja = templates()
    for name, paper in papers.items():
        items = jinja.get_template("paperwork_items.html")
        made = [
            ({"name": f"section-{number}", "heading": heading}, Markup(items.render(rows=rows)))
            for number, (heading, rows) in enumerate(paper.sections, 1)
        ]
        page = jinja.get_template("paperwork.html").render(made=made, paper=paper, **about)
        write_text(place / f"{name}.html", page)
        write_text(place / f"{name}.md", markdown(paper, about))
    return papers


def markdown(paper: Paper, about: Mapping[str, Any]) -> str:
    """The form as Markdown, to be gone on with by hand; what is open is in bold."""
    lines = [
        f"# {paper.form.name} of the run {_plain(about['run'])}",
        "",
        "**For research only. Not a medical device.**",
        "",
        f"{paper.form.about} {paper.in_short}.",
        "",
        f"Source: {paper.form.source}",
    ]
    for heading, answers in paper.sections:
        lines += ["", f"## {heading}"]
        for answer in answers:
            lines += ["", f"### {answer.item.number}. {answer.item.asks}", ""]
            lines += [f"- {_plain(line)}" for line in answer.known]
            lines += [f"- **Open:** {answer.open}"] if answer.open else []
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    r"""Words of strangers, such as class names, without what Markdown or HTML would read into them.

    >>> print(_plain("a_b <i> *c*"))
    a\_b &lt;i> \*c\*
    """
    for sign in "\\`*_[]#|":
        text = text.replace(sign, f"\\{sign}")
    return text.replace("<", "&lt;")
