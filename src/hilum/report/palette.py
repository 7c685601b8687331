"""One colour per class everywhere, and pictures that follow the page's light or dark theme.

Colours are those of Okabe and Ito, 2008, https://jfly.uni-koeln.de/color/, which people with any colour vision can
tell apart; those with a contrast of at least 3 : 1 on white come first, and yellow is left out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from hilum.files import whole_file

CLASS_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
DASHES = ("solid", (0, (5, 1.5)), (0, (1.5, 1.5)), (0, (5, 1.5, 1.5, 1.5)))

INK, MUTED, LINE, PAPER = "#1b1f24", "#57606a", "#d0d7de", "#ffffff"
# What each of these becomes in the page, whose style sheet has a light and a dark value for it.
_THEME = {INK: "currentColor", MUTED: "var(--muted)", LINE: "var(--line)", PAPER: "var(--paper)"}

STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "text.parse_math": False,  # a class may be called "$5"
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.facecolor": PAPER,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "figure.facecolor": PAPER,
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "svg.fonttype": "none",  # words stay words: they can be selected, searched and read aloud
    "svg.hashsalt": "hilum",  # the same run gives the same file
}


def class_colours(classes: Sequence[str]) -> dict[str, str]:
    """The colour of each class, by its place among the classes; from the seventh on, colours come again.

    >>> class_colours(["covid-19", "normal"])
    {'covid-19': '#0072b2', 'normal': '#d55e00'}
    """
    return {name: CLASS_COLOURS[place % len(CLASS_COLOURS)] for place, name in enumerate(classes)}


def class_dashes(classes: Sequence[str]) -> dict[str, object]:
    """The line style of each class: solid, and another each time that the colours come again."""
    return {name: DASHES[place // len(CLASS_COLOURS) % len(DASHES)] for place, name in enumerate(classes)}


def svg(figure: Figure) -> str:
    """The figure as an SVG file's text, on white."""
    out = BytesIO()
    with rc_context(STYLE):
        figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue().decode("utf-8")


def inline_svg(text: str, *, name: str, alt: str) -> str:
    """An SVG file's text as an element of a page: no address in it, ids of its own, the page's font and colours.

    name: letters, digits and hyphens, unlike any other in the page; it makes the ids unique.
    alt: what the picture shows, in words.
    """
    body = text[text.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    opening, _, body = body.partition(">")
    view_box = re.search(r'viewBox="[\d .-]+"', opening)
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r"url\(#", f"url(#{name}-", body)
    body = re.sub(r'href="#', f'href="#{name}-', body)
    body = re.sub(r"font: ((?:bold|\d+) )?([\d.]+)px [^;\"]+", _font, body)
    body = re.sub(r"font-family: [^;\"]+;? ?", "", body)
    for colour, themed in _THEME.items():
        body = body.replace(colour, themed)
    width = float(view_box.group().split()[2]) * 4 / 3 if view_box else 440  # SVG's points in CSS pixels
    return (
        f'<svg role="img" aria-label="{_attribute(alt)}" {view_box.group() if view_box else ""} '
        f'style="max-width:{width:.0f}px">{body}'
    )


def save(figure: Figure, folder: Path, name: str) -> str:
    """Write NAME.svg and NAME.png (200 dots per inch) into the folder; the SVG's text comes back."""
    engine = figure.get_layout_engine()
    if engine is not None:  # laid out once, not again for every format, which takes most of the time
        with rc_context(STYLE):
            engine.execute(figure)
        figure.set_layout_engine("none")
    text = svg(figure)
    with whole_file(folder / f"{name}.svg") as part:
        part.write_text(text, encoding="utf-8")
    with whole_file(folder / f"{name}.png") as part, rc_context(STYLE):
        figure.savefig(part, format="png", dpi=200)
    return text


def _font(found: re.Match[str]) -> str:
    weight = f"font-weight:{found[1].strip()};" if found[1] else ""
    return f"{weight}font-size:{found[2]}px"


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")
