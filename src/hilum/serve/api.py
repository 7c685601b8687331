"""REST under /api/v1. /api/v1/openapi.json describes it, with units and errors."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from python_multipart.multipart import parse_options_header

from hilum import __version__
from hilum.explain.maps import METHODS
from hilum.serve import metrics
from hilum.serve.access import Administrator, Asking, Serving, person_of
from hilum.serve.errors import BadRequestError, NotFoundError, ServeError, StoreDownError, TooLargeError
from hilum.serve.models import Model
from hilum.serve.neighbours import TrainingFilms
from hilum.serve.pictures import LONGEST_PX, THUMB_PX
from hilum.serve.receive import Form, films_in, one_film, pieces
from hilum.serve.records import (
    AcceptedRecord,
    Batch,
    BatchState,
    FilmList,
    FilmRecord,
    Health,
    ModelRecord,
    Neighbours,
    PointIn,
    Problem,
    ProblemBody,
    ReadingIn,
    RefusedRecord,
    film_record,
    model_record,
)
from hilum.serve.server import Server
from hilum.serve.store import films as stored
from hilum.serve.store import log
from hilum.serve.store.films import Wanted
from hilum.serve.store.folder import new_id
from hilum.serve.store.people import Person
from hilum.serve.table import as_csv

PREDICT, FILMS = "/api/v1/predict", "/api/v1/films"
ANSWERS: dict[int | str, dict[str, Any]] = {
    status: {"model": ProblemBody, "description": text}
    for status, text in {
        400: "The request is wrong.",
        401: "Nobody is logged in.",
        403: "The role does not allow it, or the request came from another site.",
        404: "There is no such thing.",
        408: "The body did not arrive in time.",
        410: "The film's file is not kept.",
        413: "The body, or a film in it, is too large.",
        422: "The file is no film of a chest, or is broken.",
        429: "Too many requests; see Retry-After, seconds.",
        503: "The queue is full, or the database is away; see Retry-After, seconds.",
    }.items()
}
router = APIRouter(prefix="/api/v1", responses=ANSWERS)

Identity = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]
FilmId = Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="32 hexadecimal digits.")]
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_ONE = {
    "requestBody": {
        "required": True,
        "content": {
            "application/octet-stream": _BINARY,
            "multipart/form-data": {
                "schema": {"type": "object", "properties": {"film": _BINARY["schema"]}, "required": ["film"]}
            },
        },
    }
}
_MANY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"films": {"type": "array", "items": _BINARY["schema"]}},
                    "required": ["films"],
                }
            }
        },
    }
}
# With response_class=Response, as any other class would have the errors described in its own type too.
_PICTURE: dict[int | str, dict[str, Any]] = {200: {"content": {"image/png": _BINARY}, "description": "PNG."}}
_TEXT = {"schema": {"type": "string"}}
_CSV: dict[int | str, dict[str, Any]] = {200: {"content": {"text/csv": _TEXT}, "description": "CSV, UTF-8."}}
_PLAIN: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": _TEXT}, "description": "Prometheus' text."}}


class _Png(Response):
    media_type = "image/png"


@router.post("/predict", openapi_extra=_ONE, summary="Predict one film and wait for it")
async def predict(request: Request, server: Serving, who: Asking) -> FilmRecord:
    """The film's bytes (PNG, JPEG, DICOM, BMP, TIFF, WebP) are the body, or the one file of a multipart form; `name` in
    the query names a body. The same bytes again give the same film, and are not worked on again."""
    async with one_film(request, server.settings.limits, server.room) as (name, data):
        found = await server.predict(who, name, data)
    return film_record(found, server.models, server.points)


@router.post("/films", openapi_extra=_MANY, status_code=202, summary="Send many films, or ZIPs of them")
async def send(
    request: Request,
    server: Serving,
    who: Asking,
    batch: Annotated[
        str,
        Query(description="32 hexadecimal digits that several requests share; default new.", pattern="^[0-9a-f]{32}$"),
    ] = "",
) -> Batch:
    """Films that were accepted are on disk when this answers, and get their results even if the server is killed. The
    batch tells how far they are. A file that is too large is refused by itself."""
    return await taken_in(request, server, who, batch or new_id())


@router.get("/batches/{batch}", summary="How far an upload is")
async def batch_state(batch: Identity, server: Serving, who: Asking) -> BatchState:
    found = await server.ask(lambda connection: stored.counts(connection, batch=batch))
    if not any(found.values()):
        raise NotFoundError("there is no such batch")
    return BatchState(**found)


async def wanted_of(
    server: Serving,
    model: Annotated[str, Query(description="Id or name; default the first loaded.", max_length=120)] = "",
    state: Literal["", "waiting", "done", "failed", "refer", "read", "unread"] = "",
    predicted: Annotated[str, Query(max_length=120)] = "",
    day: Annotated[str, Query(description="YYYY-MM-DD, UTC.", pattern=r"^(\d{4}-\d\d-\d\d)?$")] = "",
    text: Annotated[str, Query(description="Part of the name.", max_length=160)] = "",
    batch: Annotated[str, Query(max_length=32)] = "",
    order: Literal["newest", "oldest", "least-confident", "most-confident", "name", "class", "state"] = "newest",
) -> Wanted:
    """Which films a query means."""
    clean = {"predicted": predicted, "text": text, "batch": batch}
    return Wanted(
        server.model(model).model_id,
        state=state,
        day=day,
        order=order,
        **{name: value.replace("\x00", "") for name, value in clean.items()},
    )


Listing = Annotated[Wanted, Depends(wanted_of)]


@router.get("/films", summary="Films with their results")
async def films(
    server: Serving,
    who: Asking,
    wanted: Listing,
    most: Annotated[int, Query(ge=1, le=500)] = 50,
    skip: Annotated[int, Query(ge=0, le=10**9)] = 0,
) -> FilmList:
    found, total = await server.ask(lambda connection: stored.listed(connection, wanted, most=most, skip=skip))
    await server.note(who, "list films")
    return FilmList(total=total, films=[film_record(film, server.models, server.points) for film in found])


@router.get("/films.csv", summary="The same list as CSV", response_class=Response, responses=_CSV)
async def table(server: Serving, who: Asking, wanted: Listing) -> Response:
    """A row per film: its facts, the model's result, each class's probability, and every reader's last finding."""
    found, _ = await server.ask(lambda connection: stored.listed(connection, wanted, most=1_000_000))
    await server.note(who, "export", model_id=wanted.model_id, about=f"{len(found)} films")
    text = await run_in_threadpool(as_csv, server.model(wanted.model_id), found)
    return Response(
        text,
        media_type="text/csv; charset=utf-8",
        headers={"content-disposition": 'attachment; filename="hilum-films.csv"'},
    )


@router.get("/films/{film_id}", summary="One film")
async def film(film_id: FilmId, server: Serving, who: Asking) -> FilmRecord:
    made = await record_of(server, film_id)
    await server.note(who, "see film", film_id=film_id)
    return made


@router.delete("/films/{film_id}", status_code=204, summary="Delete a film, its file, results and readings")
async def delete(film_id: FilmId, server: Serving, who: Administrator) -> None:
    await server.delete(who, film_id)


@router.get("/films/{film_id}/picture", response_class=Response, responses=_PICTURE, summary="The film as grey PNG")
async def picture(film_id: FilmId, server: Serving, who: Asking, thumb: bool = False) -> Response:
    """At most 2048 pixels a side, or 320 with `thumb`; of the film's own aspect."""
    await server.film(film_id)
    data = await run_in_threadpool(server.pictures.film, film_id, longest_px=THUMB_PX if thumb else LONGEST_PX)
    if not thumb:
        await server.note(who, "see picture", film_id=film_id)
    return _Png(data)


@router.get("/films/{film_id}/lungs", response_class=Response, responses=_PICTURE, summary="The outline of the lungs")
async def lungs(film_id: FilmId, server: Serving, who: Asking) -> Response:
    """RGBA, of the picture's aspect. 404 where no lungs are believed."""
    await server.film(film_id)
    return _Png(await run_in_threadpool(server.pictures.lungs, film_id))


@router.get(
    "/films/{film_id}/map", response_class=Response, responses=_PICTURE, summary="Where a model's answer comes from"
)
async def heat_map(
    film_id: FilmId,
    server: Serving,
    who: Asking,
    class_: Annotated[str, Query(alias="class", max_length=120, description="Default: the one predicted.")] = "",
    method: Annotated[str, Query(description=f"One of: {', '.join(METHODS)}.", max_length=40)] = "grad-cam",
    model: Annotated[str, Query(max_length=120)] = "",
) -> Response:
    """RGBA, as large as the picture: transparent where nothing speaks for the class, with full colour from
    `X-Full-Colour` on, which is a value in `X-Unit`. It is no explanation of a disease: see docs/explain.md."""
    found, asked = await server.film(film_id), server.model(model)
    if method not in METHODS:
        raise NotFoundError("there is no such method", next_step=f"It is one of: {', '.join(METHODS)}.")
    of = class_ or next((row["predicted"] for row in found["results"] if row["model_id"] == asked.model_id), "")
    made = await run_in_threadpool(server.pictures.map, film_id, asked, method, of or asked.classes[0])
    await server.note(who, "see map", film_id=film_id, model_id=asked.model_id, about=method)
    scale = {"x-full-colour": f"{made.full:.4g}", "x-highest": f"{made.highest:.4g}", "x-unit": made.unit}
    return _Png(made.png, headers=scale)


@router.get("/films/{film_id}/neighbours", summary="The training films nearest to a film")
async def neighbours(
    film_id: FilmId, server: Serving, who: Asking, model: Annotated[str, Query(max_length=120)] = ""
) -> Neighbours:
    """In the model's own features, where the server was started with --neighbours; 404 where it was not. They say what
    the model may have gone by, and prove nothing."""
    return await neighbours_of(server, who, film_id, server.model(model))


@router.get(
    "/models/{model}/training/{row}", response_class=Response, responses=_PICTURE, summary="A training film, small"
)
async def training_film(
    model: str, row: Annotated[int, Path(ge=0, le=10**9)], server: Serving, who: Asking
) -> Response:
    """Only where the server was started with --neighbours."""
    asked = server.model(model)
    return _Png(await run_in_threadpool(_training_films(server).picture, asked.model_id, row))


@router.put("/films/{film_id}/reading", summary="Record what a reader sees")
async def read(film_id: FilmId, reading: ReadingIn, server: Serving, who: Asking) -> FilmRecord:
    """A reader's last reading of a film counts; earlier ones are kept."""
    await save_reading(server, who, film_id, reading)
    return await record_of(server, film_id)


@router.get("/models", summary="The loaded models")
async def models(server: Serving, who: Asking) -> list[ModelRecord]:
    return [model_record(model, server.points[model.model_id]) for model in server.models]


@router.put("/models/{model}/point", summary="Choose an operating point among those fitted on validation")
async def choose_point(model: str, point: PointIn, server: Serving, who: Administrator) -> ModelRecord:
    asked = server.model(model)
    await server.choose_point(who, asked, point.wished_sensitivity)
    return model_record(asked, point.wished_sensitivity)


@router.get("/health", responses={503: {"model": Health}}, summary="Whether the server works")
async def health(server: Serving, response: Response) -> Health:
    """Needs no login. 503 where the database does not answer."""
    later: int | None = None
    try:
        later = (await server.ask(stored.counts))["waiting"]
    except StoreDownError:
        response.status_code = 503
    return Health(
        status="ok" if later is not None else "store-down",
        version=__version__,
        models=len(server.models),
        waiting=server.work.waiting,
        later=later,
    )


@router.get("/metrics", response_class=Response, responses=_PLAIN, summary="Figures for Prometheus",
            dependencies=[Depends(person_of)])  # fmt: skip
async def figures(request: Request, server: Serving) -> Response:
    return Response(metrics.shown(request.app.state.metrics, server), media_type=metrics.MEDIA_TYPE)


async def taken_in(request: Request, server: Server, who: Person, batch: str) -> Batch:
    """Take in the films of a multipart form, each on disk before the next is looked at. BadRequestError for none."""
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary", b"") if kind == b"multipart/form-data" else b""
    form = Form(boundary, server.settings.limits, server.folder.path)
    made = Batch(batch=batch, accepted=[], refused=[])

    async def empty() -> None:
        while form.done:
            await run_in_threadpool(_take, server, who, form.done.pop(0), made)

    try:
        async for piece in pieces(request, server.settings.limits, server.settings.limits.body_bytes):
            form.feed(piece)
            await empty()
        form.end()
        await empty()
    finally:
        form.close()
    if not made.accepted and not made.refused:
        raise BadRequestError("no film came", next_step="Send films, or ZIPs of them, as files of a multipart form.")
    return made


def _take(server: Server, who: Person, upload: Any, made: Batch) -> None:
    limits = server.settings.limits
    try:
        for name, data in films_in(upload, limits):
            try:
                if isinstance(data, ServeError):
                    raise data
                if len(made.accepted) + len(made.refused) >= limits.files:
                    raise TooLargeError(f"at most {limits.files} films come at once", next_step="Send them in parts.")
                taken = server.accept(who, name, data, made.batch)
                made.accepted.append(AcceptedRecord(name=name, film_id=taken.film_id, known=taken.known))
            except ServeError as error:
                made.refused.append(_refused(name, error))
    except ServeError as error:
        made.refused.append(_refused(upload.name[:160], error))
    finally:
        upload.file.close()


def _refused(name: str, error: ServeError) -> RefusedRecord:
    return RefusedRecord(name=name, error=Problem(kind=error.kind, what=error.what, next_step=error.next_step))


async def record_of(server: Server, film_id: str) -> FilmRecord:
    """The record of a film; NotFoundError where there is none."""
    return film_record(await server.film(film_id), server.models, server.points)


async def neighbours_of(server: Server, who: Person, film_id: str, model: Model) -> Neighbours:
    """The nearest training films of a film; refused as `TrainingFilms.near` is."""
    await server.film(film_id)
    films = _training_films(server)
    square = await run_in_threadpool(server.pictures.square, film_id, films.preparation(model.model_id))
    await server.note(who, "see neighbours", film_id=film_id, model_id=model.model_id)
    return await run_in_threadpool(films.near, model.model_id, square)


def _training_films(server: Server) -> TrainingFilms:
    if server.neighbours is None:
        raise NotFoundError("this server does not show training films", next_step="It is started with --neighbours.")
    return server.neighbours


async def save_reading(server: Server, who: Person, film_id: str, reading: ReadingIn) -> None:
    """Record what a reader sees, and that it was recorded."""
    await server.film(film_id)

    def change(connection: Any) -> None:
        stored.read_by(connection, film_id, who.name, reading.finding, reading.comment)
        log.add(connection, server.folder.key, who.name, "read film", film_id=film_id)

    await server.change(change)
