"""The pages: Screen, Film, Worklist, Model and the login. They ask the server what the API asks."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import combinations
from typing import Annotated, Any
from urllib.parse import urlencode

import numpy as np
from fastapi import APIRouter, Form, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from hilum import __version__
from hilum.evaluation.metrics import kappa
from hilum.explain.maps import METHODS
from hilum.report.palette import class_colours
from hilum.serve.access import COOKIE, Administrator, Asking, Serving, server_of
from hilum.serve.api import FilmId, Listing, save_reading, taken_in
from hilum.serve.errors import ForbiddenError, LoginNeededError, NotFoundError, ServeError
from hilum.serve.models import Model
from hilum.serve.records import RESEARCH, ReadingIn, film_record
from hilum.serve.server import Server
from hilum.serve.store import films as stored
from hilum.serve.store import people
from hilum.serve.store.films import Wanted
from hilum.serve.store.folder import new_id
from hilum.serve.store.people import LOCAL, SESSION_HOURS, Person

UPLOAD = "/screen"
PAGE = 50
router = APIRouter(include_in_schema=False)

# A report stands alone: its styles and pictures are inside it, and no script runs.
_REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'; sandbox"
_STATES = {
    "": "any state",
    "waiting": "waiting",
    "done": "done",
    "failed": "failed",
    "refer": "refer: not confident",
    "unread": "not read yet",
    "read": "read",
}
_ORDERS = {
    "newest": "newest first",
    "oldest": "oldest first",
    "least-confident": "least confident first",
    "most-confident": "most confident first",
    "name": "by name",
}


def _jinja() -> Environment:
    jinja = Environment(
        loader=PackageLoader("hilum.serve"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    jinja.filters["percent"] = percent
    jinja.filters["when"] = lambda text: text[:16].replace("T", " ")
    jinja.globals.update(version=__version__, research=RESEARCH)
    return jinja


def percent(share: float) -> str:
    """A probability as people read it; never a certainty that it is not.

    >>> percent(0.913), percent(0.9996), percent(0.0002)
    ('91 %', 'over 99 %', 'under 1 %')
    """
    if share > 0.99:
        return "over 99 %"
    return "under 1 %" if share < 0.01 else f"{100 * share:.0f} %"


JINJA = _jinja()


def _page(name: str, server: Server, who: Person | None, **given: Any) -> HTMLResponse:
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
    page = _page("error.html", server_of(request), None, error=error, here="")
    page.status_code = error.status
    page.headers.update(headers)
    return page


@router.get("/")
async def screen(server: Serving, who: Asking, wanted: Listing) -> Response:
    """Films in, and a card for each."""
    await server.note(who, "list films")
    return _page("screen.html", server, who, here="screen", **await _cards(server, wanted))


@router.get("/cards")
async def cards(server: Serving, who: Asking, wanted: Listing) -> Response:
    """The cards alone, which the page asks for again while films wait."""
    return _page("cards.html", server, who, **await _cards(server, wanted))


async def _cards(server: Server, wanted: Wanted) -> dict[str, Any]:
    found, total = await server.ask(lambda connection: stored.listed(connection, wanted, most=PAGE))
    counts = await server.ask(lambda connection: stored.counts(connection, batch=wanted.batch or None))
    return {
        "films": [film_record(film, server.models, server.points) for film in found],
        "total": total,
        "counts": counts,
        "batch": wanted.batch,
        "colours": _colours(server.models),
        "by_id": {model.model_id: model for model in server.models},
    }


@router.post(UPLOAD)
async def upload(request: Request, server: Serving, who: Asking) -> Response:
    """Films of the form; without the page's script the browser sends them all and comes back to their cards."""
    made = await taken_in(request, server, who, new_id())
    if not made.accepted and made.refused:
        refused = made.refused[0]
        error = ServeError(f"{refused.name}: {refused.error.what}", next_step=refused.error.next_step)
        error.status = 422
        raise error
    return RedirectResponse(f"/?batch={made.batch}", status_code=303)


@router.get("/films/{film_id}")
async def film(film_id: FilmId, server: Serving, who: Asking, wanted: Listing) -> Response:
    """One film, large, with what is known of it."""
    found = await server.film(film_id)
    before, after = await server.ask(lambda connection: stored.beside(connection, wanted, film_id))
    await server.note(who, "see film", film_id=film_id)
    record = film_record(found, server.models, server.points)
    return _page(
        "film.html",
        server,
        who,
        here="worklist",
        film=record,
        before=before,
        after=after,
        query=_query(wanted),
        methods=METHODS,
        colours=_colours(server.models),
        by_id={model.model_id: model for model in server.models},
        findings=_findings(server),
        own=next((reading for reading in reversed(record.readings) if reading.reader == who.name), None),
    )


@router.post("/films/{film_id}/reading")
async def read(
    film_id: FilmId,
    server: Serving,
    who: Asking,
    wanted: Listing,
    finding: Annotated[str, Form(min_length=1, max_length=120)],
    comment: Annotated[str, Form(max_length=4000)] = "",
) -> Response:
    """Record a reading, and go on with the next film of the list."""
    # Asked before, because a film that is read leaves the list of those that are not.
    _, after = await server.ask(lambda connection: stored.beside(connection, wanted, film_id))
    await save_reading(server, who, film_id, ReadingIn(finding=finding, comment=comment))
    return RedirectResponse(f"/films/{after or film_id}?{_query(wanted)}", status_code=303)


@router.post("/films/{film_id}/delete")
async def delete(film_id: FilmId, server: Serving, who: Administrator) -> Response:
    await server.delete(who, film_id)
    return RedirectResponse("/worklist", status_code=303)


@router.get("/worklist")
async def worklist(request: Request, server: Serving, who: Asking, wanted: Listing, page: int = 1) -> Response:
    """All films, with what readers saw and how far they agree with the model."""
    page = min(max(page, 1), 10**6)
    found, total = await server.ask(
        lambda connection: stored.listed(connection, wanted, most=PAGE, skip=(page - 1) * PAGE)
    )
    await server.note(who, "list films")
    model = server.model(wanted.model_id)
    table = {"page": page, "pages": max(1, -(-total // PAGE)), "total": total}
    return _page(
        "worklist_rows.html" if "hx-request" in request.headers else "worklist.html",
        server,
        who,
        here="worklist",
        films=[film_record(film, server.models, server.points) for film in found],
        wanted=wanted,
        model=model,
        query=_query(wanted),
        states=_STATES,
        orders=_ORDERS,
        agreement=await server.ask(lambda connection: agreement(connection, model)),
        colours=_colours(server.models),
        **table,
    )


@router.get("/models")
async def models(server: Serving, who: Asking) -> Response:
    """What is loaded, and what is to be said of it."""
    pairs = await server.ask(
        lambda connection: [_compared(connection, one, other) for one, other in combinations(server.models, 2)]
    )
    return _page(
        "models.html", server, who, here="models", points=server.points, pairs=pairs, papers=_papers(server.models)
    )


@router.post("/models/{model}/point")
async def choose_point(
    model: str, server: Serving, who: Administrator, wished: Annotated[str, Form(max_length=10)] = ""
) -> Response:
    chosen = next((each for each in server.model(model).points if str(each) == wished), None)
    await server.choose_point(who, server.model(model), chosen)
    return RedirectResponse("/models", status_code=303)


@router.get("/models/{model}/{paper}")
async def paper(model: str, paper: str, server: Serving, who: Asking) -> Response:
    """A page that lies in the run's folder: its report, audit or model card."""
    asked = server.model(model)
    if paper not in _papers([asked])[asked.model_id]:
        raise NotFoundError("the run has no such page")
    text = await run_in_threadpool((asked.path / paper).read_text, encoding="utf-8")
    return HTMLResponse(text, headers={"content-security-policy": _REPORT_POLICY})


@router.get("/login")
async def login_page(server: Serving) -> Response:
    return _page("login.html", server, None, here="", wrong=False)


@router.post("/login")
async def login(
    request: Request,
    server: Serving,
    name: Annotated[str, Form(max_length=64)],
    password: Annotated[str, Form(max_length=1024)],
) -> Response:
    """Open a session; a wrong name and a wrong password look the same, and take as long."""
    address = request.client.host if request.client else ""
    request.app.state.logins.spend(f"address {address}")
    request.app.state.logins.spend(f"name {name}")
    found = await server.ask(lambda connection: people.with_password(connection, name, password))
    if found is None:
        await server.note(Person(name, "reader"), "login refused")
        page = _page("login.html", server, None, here="", wrong=True)
        page.status_code = LoginNeededError.status
        return page
    secret = await server.change(partial(people.open_session, person=found))
    await server.note(found, "login")
    answer = RedirectResponse("/", status_code=303)
    answer.set_cookie(
        COOKIE, secret, max_age=SESSION_HOURS * 3600, httponly=True, samesite="strict", secure=not server.settings.local
    )
    return answer


@router.post("/logout")
async def logout(request: Request, server: Serving, who: Asking) -> Response:
    if who == LOCAL:
        raise ForbiddenError("there is nobody to log out")
    secret = request.cookies.get(COOKIE, secrets.token_hex(4))
    await server.change(lambda connection: people.end_session(connection, secret))
    await server.note(who, "logout")
    answer = RedirectResponse("/login", status_code=303)
    answer.delete_cookie(COOKIE)
    return answer


def agreement(connection: Any, model: Model) -> list[dict[str, Any]]:
    """How far each reader agrees with the model, and with each other reader: Cohen's kappa over the model's classes.

    Films count where both have one of the model's classes; kappa is missing where it is undefined.
    """
    said: dict[str, dict[str, str]] = {"model": stored.predicted_by(connection, model.model_id)}
    for film_id, reader, finding in stored.last_readings(connection):
        said.setdefault(f"reader {reader}", {})[film_id] = finding
    names = list(said)
    rows = []
    for place, one in enumerate(names):
        for other in names[place + 1 :]:
            pairs = [
                (said[one][film_id], said[other][film_id])
                for film_id in said[one].keys() & said[other].keys()
                if said[one][film_id] in model.classes and said[other][film_id] in model.classes
            ]
            if pairs:
                rows.append({"one": one, "other": other, "n": len(pairs), **_agreed(pairs, model.classes)})
    return rows


def _agreed(pairs: Sequence[tuple[str, str]], classes: Sequence[str]) -> dict[str, float | None]:
    counts = np.zeros((len(classes), len(classes)))
    for one, other in pairs:
        counts[classes.index(one), classes.index(other)] += 1
    value = float(kappa(counts))
    return {"same": float(np.trace(counts) / counts.sum()), "kappa": None if np.isnan(value) else value}


def _compared(connection: Any, one: Model, other: Model) -> dict[str, Any]:
    """Two models on the films that both have seen: how often they say the same, and where they differ most."""
    rows = stored.paired(connection, one.model_id, other.model_id)
    classes = tuple(dict.fromkeys([*one.classes, *other.classes]))
    differ = sorted((row for row in rows if row[1] != row[2]), key=lambda row: -min(row[3], row[4]))
    found: dict[str, Any] = {"one": one, "other": other, "n": len(rows), "differ": differ[:12]}
    return found | (_agreed([(row[1], row[2]) for row in rows], classes) if rows else {"same": None, "kappa": None})


def _papers(models: Sequence[Model]) -> dict[str, dict[str, str]]:
    """The pages that a run's folder holds, with what they are, by model."""
    known = {"report.html": "report", "audit.html": "audit", "model-card.html": "model card"}
    return {
        model.model_id: {name: title for name, title in known.items() if (model.path / name).is_file()}
        for model in models
    }


def _findings(server: Server) -> list[str]:
    classes = dict.fromkeys(name for model in server.models for name in model.classes)
    return [*classes, "other finding", "not readable"]


def _colours(models: Sequence[Model]) -> dict[str, int]:
    """The number of each class's colour in the style sheet."""
    classes = list(dict.fromkeys(name for model in models for name in model.classes))
    shades = list(dict.fromkeys(class_colours(classes).values()))
    return {name: shades.index(colour) for name, colour in class_colours(classes).items()}


def _query(wanted: Wanted) -> str:
    """The list's question as it stands in addresses."""
    asked = {"model": wanted.model_id}
    asked |= {name: getattr(wanted, name) for name in ("state", "predicted", "day", "text", "batch", "order")}
    return urlencode({name: value for name, value in asked.items() if value})
