"""What every page has in common: its templates, and figures inside it."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from hilum.report.palette import inline_svg, svg


@dataclass(frozen=True)
class Picture:
    """A figure inside a page; `file` is where it also lies, or "" where the page alone has it."""

    svg: Markup
    caption: str
    file: str = ""


def templates() -> Environment:
    """The templates of hilum.report; a page extends base.html and gives it `made`, (section, its HTML) in order.

    >>> templates().from_string("{{ name }}: {{ 0.25 | share }}").render(name="<b>")
    '&lt;b&gt;: 25 %'
    """
    jinja = Environment(
        loader=PackageLoader("hilum.report"),
        autoescape=True,  # class names, paths and labels are strangers' words
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    jinja.filters["share"] = lambda share: f"{100 * share:.0f} %"
    jinja.globals["version"] = importlib.metadata.version("hilum")
    return jinja


def picture(figure: Figure, name: str, alt: str, caption: str) -> Picture:
    """A figure for a page that stands alone; name: unlike any other in the page; alt: what it shows, in words."""
    return Picture(Markup(inline_svg(svg(figure), name=name, alt=alt)), caption)
