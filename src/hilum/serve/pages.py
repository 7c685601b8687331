"""The pages of films: Screen, Film and Worklist. They ask the server what the API asks."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from hilum.explain.maps import METHODS
from hilum.serve.access import Administrator, Asking, Serving
from hilum.serve.agreement import agreement
from hilum.serve.api import FilmId, Listing, neighbours_of, save_reading, taken_in
from hilum.serve.errors import BusyError, ServeError
from hilum.serve.html import colours_of, page, query_of
from hilum.serve.records import ReadingIn, film_record
from hilum.serve.server import Server
from hilum.serve.store import films as stored
from hilum.serve.store.films import Wanted
from hilum.serve.store.folder import new_id

UPLOAD = "/screen"
PAGE = 50
router = APIRouter(include_in_schema=False)

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
    "class": "by class",
    "state": "by state",
}


@router.get("/")
async def screen(server: Serving, who: Asking, wanted: Listing) -> Response:
    """Films in, and a card for each."""
    await server.note(who, "list films")
    return page("screen.html", server, who, here="screen", **await _cards(server, wanted))


@router.get("/cards")
async def cards(server: Serving, who: Asking, wanted: Listing) -> Response:
    """The cards alone, which the page asks for again while films wait."""
    return page("cards.html", server, who, **await _cards(server, wanted))


async def _cards(server: Server, wanted: Wanted) -> dict[str, Any]:
    # Counted first: a film that is done in between is asked for once more, and not shown as waiting for ever.
    counts = await server.ask(lambda connection: stored.counts(connection, batch=wanted.batch or None))
    found, total = await server.ask(lambda connection: stored.listed(connection, wanted, most=PAGE))
    return {
        "films": [film_record(film, server.models, server.points) for film in found],
        "total": total,
        "counts": counts,
        "batch": wanted.batch,
        "colours": colours_of(server.models),
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
    return page(
        "film.html",
        server,
        who,
        here="worklist",
        film=record,
        before=before,
        after=after,
        query=query_of(wanted),
        methods=METHODS,
        colours=colours_of(server.models),
        by_id={model.model_id: model for model in server.models},
        findings=_findings(server),
        own=next((reading for reading in reversed(record.readings) if reading.reader == who.name), None),
        neighbours=server.neighbours is not None and record.kept and bool(record.results),
    )


@router.get("/films/{film_id}/neighbours")
async def neighbours(
    film_id: FilmId, server: Serving, who: Asking, model: Annotated[str, Query(max_length=120)] = ""
) -> Response:
    """The nearest training films alone, which the film's page asks for."""
    asked, near, reason, waits = server.model(model), None, "", False
    try:
        near = await neighbours_of(server, who, film_id, asked)
    except BusyError as error:
        reason, waits = f"{error.what}.", True
    except ServeError as error:
        reason = f"{error.what}. {error.next_step}".strip()
    return page(
        "neighbours.html", server, who, film_id=film_id, asked=asked, near=near, reason=reason, waits=waits,
        colours=colours_of(server.models),
    )  # fmt: skip


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
    return RedirectResponse(f"/films/{after or film_id}?{query_of(wanted)}", status_code=303)


@router.post("/films/{film_id}/delete")
async def delete(film_id: FilmId, server: Serving, who: Administrator) -> Response:
    await server.delete(who, film_id)
    return RedirectResponse("/worklist", status_code=303)


@router.get("/worklist")
async def worklist(
    request: Request, server: Serving, who: Asking, wanted: Listing, at: Annotated[int, Query(alias="page")] = 1
) -> Response:
    """All films, with what readers saw and how far they agree with the model."""
    at = min(max(at, 1), 10**6)
    found, total = await server.ask(
        lambda connection: stored.listed(connection, wanted, most=PAGE, skip=(at - 1) * PAGE)
    )
    await server.note(who, "list films")
    model = server.model(wanted.model_id)
    table = {"page": at, "pages": max(1, -(-total // PAGE)), "total": total}
    return page(
        "worklist_rows.html" if "hx-request" in request.headers else "worklist.html",
        server,
        who,
        here="worklist",
        films=[film_record(film, server.models, server.points) for film in found],
        wanted=wanted,
        model=model,
        query=query_of(wanted),
        states=_STATES,
        orders=_ORDERS,
        agreement=await server.ask(lambda connection: agreement(connection, model)),
        colours=colours_of(server.models),
        **table,
    )


def _findings(server: Server) -> list[str]:
    classes = dict.fromkeys(name for model in server.models for name in model.classes)
    return [*classes, "other finding", "not readable"]
