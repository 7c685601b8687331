"""The report: one HTML file that shows everything about a run and needs nothing but itself, no network, no script."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup
from matplotlib.figure import Figure

from hilum.errors import HilumError
from hilum.evaluation.run_folder import RunFolder
from hilum.files import write_text
from hilum.report import audit, folds, gallery, judging, making, maps, members, mistakes
from hilum.report.facts import Facts
from hilum.report.html import Picture, templates
from hilum.report.palette import inline_svg, save


@dataclass(frozen=True)
class Section:
    """A part of the page: its anchor and template, its heading, and what makes its context."""

    name: str
    heading: str
    make: Callable[[Facts, Callable[..., Picture]], dict[str, Any]]


# In the order of the page. The template of each is templates/NAME.html.
SECTIONS = (
    Section("audit", "Audit", judging.audit),
    Section("headline", "In short", judging.headline),
    Section("folds", "Fold by fold", folds.folds),
    Section("members", "The ensemble and its members", members.members),
    Section("limits", "What this model may not be used for", making.cautions),
    Section("data", "The films", making.data),
    Section("split", "How they were split", making.split),
    Section("training", "Training", making.training),
    Section("figures", "All figures", judging.all_figures),
    Section("confusion", "Which class is taken for which", judging.confusions),
    Section("curves", "Curves", judging.curves),
    Section("points", "Operating points", judging.operating_points),
    Section("judged", "Films and their probabilities", gallery.judged_films),
    Section("maps", "Where the model looks", maps.section),
    Section("mistakes", "The misclassified films", mistakes.section),
    Section("again", "How to run it again", making.again),
    Section("files", "Files of this run", making.files),
)


def write_report(run: Path) -> Path:
    """Write report.html and figures/ of a run folder from its files alone, and return the report's path.

    A section whose files are missing or broken says so in its place; the rest is made all the same. Films are shown
    where their files are still there. Refused with RequestError: a folder that is no run.
    """
    folder = RunFolder(Path(run))
    write_text(folder.report_path, render(Facts(folder)))
    return folder.report_path


def render(facts: Facts) -> str:
    """The page's HTML. Figures are written into the run's figures/ on the way."""
    jinja = templates()
    audited = (facts.run.path / "audit.json").is_file()  # without one, the notes say so and there is no section
    # A cross-validation and an ensemble were not trained themselves: the runs that they are made of were.
    absent = {
        "audit": not audited,
        "folds": not facts.folds,
        "members": not facts.is_ensemble,
        "maps": not (facts.run.path / maps.FOLDER / "explanations.json").is_file(),
        "training": bool(facts.folds) or facts.is_ensemble,
    }
    made = [(section, _html(jinja, section, facts)) for section in SECTIONS if not absent.get(section.name)]
    notes, about = _notes(facts), _about(facts)
    return jinja.get_template("report.html").render(
        made=made,
        notes=notes,
        audited=audited,
        banner=_banner(facts),
        elsewhere=f"hilum evaluate {shlex.quote(str(facts.run.path))} --data SOURCE",
        run=facts.run.path.resolve().name,
        colours=_colours(facts),
        **about,
    )


def _html(jinja: Environment, section: Section, facts: Facts) -> Markup:
    """One section's body, or the reason why there is none."""

    def draw(figure: Figure, name: str, alt: str, caption: str) -> Picture:
        text = save(figure, facts.run.path / "figures", name)
        return Picture(Markup(inline_svg(text, name=name, alt=alt)), caption, f"figures/{name}.svg")

    try:
        context = section.make(facts, draw)
        return Markup(jinja.get_template(f"{section.name}.html").render(colours=_colours(facts), **context))
    except HilumError as error:
        reason = str(error)
    except Exception as error:  # a run of hours must not lose its report for one section; the reason is on the page
        reason = f"{type(error).__name__}: {error}"
    return Markup(jinja.get_template("failed.html").render(reason=reason))


def _colours(facts: Facts) -> dict[str, str]:
    try:
        return facts.colours
    except HilumError:
        return {}


def _banner(facts: Facts) -> dict[str, Any] | None:
    """What a failed audit says above everything else."""
    try:
        return audit.banner(facts.run.audit() or [])
    except (HilumError, AttributeError, TypeError):
        return None  # the section of the audit says what is wrong with it


def _notes(facts: Facts) -> list[str]:
    """What every output of the run must say."""
    try:
        return [str(note) for note in facts.environment.get("notes") or []]
    except HilumError as error:
        return [f"The run's notes cannot be read, so what it warned of is unknown: {error}"]


def _about(facts: Facts) -> dict[str, Any]:
    try:
        recipe, classes = facts.recipe, facts.classes
        return {
            "title": recipe.about.title,
            "summary": recipe.about.summary,
            "backbone": facts.backbone,
            "classes": classes,
        }
    except HilumError:
        return {"title": "", "summary": "", "backbone": "", "classes": []}
