"""What all pages share: templates, and how numbers read on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from fastapi import Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from hilum import __version__
from hilum.report.palette import class_colours
from hilum.serve.errors import ServeError
from hilum.serve.models import VERDICTS, Model
from hilum.serve.records import RESEARCH, ReadingRecord
from hilum.serve.server import Server
from hilum.serve.store.films import Wanted
from hilum.serve.store.people import Person


def _jinja() -> Environment:
    jinja = Environment(
        loader=PackageLoader("hilum.serve"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    jinja.filters["percent"] = percent
    jinja.filters["threshold"] = threshold
    jinja.filters["last_of_each"] = last_of_each
    jinja.filters["when"] = lambda text: text[:16].replace("T", " ")
    jinja.globals.update(version=__version__, research=RESEARCH, verdicts=VERDICTS)
    return jinja


def percent(share: float) -> str:
    """A probability as people read it; never a certainty that it is not.

    >>> percent(0.913), percent(0.9996), percent(0.0002)
    ('91 %', 'over 99 %', 'under 1 %')
    """
    if share > 0.99:
        return "over 99 %"
    return "under 1 %" if share < 0.01 else f"{100 * share:.0f} %"


def threshold(p: float | None) -> str:
    """A probability from which on a class is called, with as many places as tell it from 1.

    >>> threshold(0.4771), threshold(0.99962), threshold(None)
    ('0.477', '0.9996', '–')
    """
    if p is None:
        return "–"
    return f"{p:.3f}" if p < 0.9995 else f"{p:.4f}" if p < 0.99995 else "over 0.9999"


def last_of_each(readings: Sequence[ReadingRecord]) -> list[ReadingRecord]:
    """Each reader's last reading."""
    return list({reading.reader: reading for reading in readings}.values())


JINJA = _jinja()


def page(name: str, server: Server, who: Person | None, **given: Any) -> HTMLResponse:
    """A template filled in for somebody; who: None where nobody is logged in."""
    text = JINJA.get_template(name).render(
        who=who,
        models=server.models,
        local=server.settings.local and not server.has_users,
        keep_hours=server.settings.keep_hours,
        **given,
    )
    return HTMLResponse(text)


def error_page(request: Request, error: ServeError, *, headers: Mapping[str, str]) -> Response:
    """An error as people get it."""
    made = page("error.html", request.app.state.server, None, error=error, here="")
    made.status_code = error.status
    made.headers.update(headers)
    return made


def colours_of(models: Sequence[Model]) -> dict[str, int]:
    """The number of each class's colour in the style sheet."""
    classes = list(dict.fromkeys(name for model in models for name in model.classes))
    shades = list(dict.fromkeys(class_colours(classes).values()))
    return {name: shades.index(colour) for name, colour in class_colours(classes).items()}


def query_of(wanted: Wanted) -> str:
    """A list's question as it stands in addresses."""
    asked = {"model": wanted.model_id}
    asked |= {name: getattr(wanted, name) for name in ("state", "predicted", "day", "text", "batch", "order")}
    return urlencode({name: value for name, value in asked.items() if value})
