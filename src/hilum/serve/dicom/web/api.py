"""DICOMweb under /dicom-web: what it answers, to whom, and what the log keeps of it.

Any user stores, searches and sees pictures, as over REST. Objects and their metadata name the patient, so they are for
administrators, unless the server was started with --identify.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, StreamingResponse

from hilum.serve.access import Asking, Serving
from hilum.serve.dicom import index
from hilum.serve.dicom.index import Instance
from hilum.serve.dicom.node import Node
from hilum.serve.dicom.web import PREFIX, media, retrieve, search
from hilum.serve.dicom.web.media import MediaRange
from hilum.serve.dicom.web.search import Level
from hilum.serve.dicom.web.store import Store, form_of, limits_of, stored, told
from hilum.serve.errors import RETRY_AFTER_SECONDS, ForbiddenError
from hilum.serve.server import Server
from hilum.serve.store import log
from hilum.serve.store.people import Person

router = APIRouter(prefix=PREFIX, tags=["DICOMweb"])

Uid = Annotated[str, Path(pattern=r"^[0-9][0-9.]{0,63}$", description="A UID.")]
_STUDY = "/studies/{study}"
_SERIES = _STUDY + "/series/{series}"
_INSTANCE = _SERIES + "/instances/{instance}"


def node_of(request: Request) -> Node:
    node: Node = request.app.state.node
    return node


def ranges_of(request: Request) -> list[MediaRange]:
    return media.ranges_of(request.query_params.get("accept") or request.headers.get("accept", ""))


async def identified(who: Asking, server: Serving) -> Person:
    """Who asks, and may be told whose film it is."""
    if who.role != "admin" and not server.settings.identify:
        raise ForbiddenError(
            "objects and their metadata name the patient",
            next_step="Ask as an administrator, or have the server started with --identify.",
        )
    return who


Noded = Annotated[Node, Depends(node_of)]
Ranges = Annotated[list[MediaRange], Depends(ranges_of)]
Identified = Annotated[Person, Depends(identified)]


@router.post("/studies", summary="Store objects (STOW-RS)", response_class=Response)
async def store(request: Request, node: Noded, server: Serving, who: Asking, ranges: Ranges) -> Response:
    """Each part of multipart/related is one object. The answer says what became of each; what is stored is on disk."""
    return await _stored(request, node, server, who, ranges, "")


@router.post(_STUDY, summary="Store objects of one study (STOW-RS)", response_class=Response)
async def store_study(
    study: Uid, request: Request, node: Noded, server: Serving, who: Asking, ranges: Ranges
) -> Response:
    """Objects of another study are refused."""
    return await _stored(request, node, server, who, ranges, study)


@router.get("/studies", summary="Search studies (QIDO-RS)", response_class=Response)
async def studies(request: Request, server: Serving, who: Asking, ranges: Ranges) -> Response:
    return await _searched(request, server, who, ranges, "study")


@router.get("/series", summary="Search series (QIDO-RS)", response_class=Response)
@router.get(_STUDY + "/series", summary="Search a study's series (QIDO-RS)", response_class=Response)
async def series(request: Request, server: Serving, who: Asking, ranges: Ranges) -> Response:
    return await _searched(request, server, who, ranges, "series")


@router.get("/instances", summary="Search instances (QIDO-RS)", response_class=Response)
@router.get(_STUDY + "/instances", summary="Search a study's instances (QIDO-RS)", response_class=Response)
@router.get(_SERIES + "/instances", summary="Search a series' instances (QIDO-RS)", response_class=Response)
async def instances(request: Request, server: Serving, who: Asking, ranges: Ranges) -> Response:
    return await _searched(request, server, who, ranges, "instance")


@router.get(_STUDY, summary="Retrieve a study (WADO-RS)", response_class=Response)
@router.get(_SERIES, summary="Retrieve a series (WADO-RS)", response_class=Response)
@router.get(_INSTANCE, summary="Retrieve an instance (WADO-RS)", response_class=Response)
async def objects(request: Request, node: Noded, server: Serving, who: Identified, ranges: Ranges) -> Response:
    """Objects as they came, and answers, as multipart/related. 206 where some are not kept, 410 where none is."""
    found = await _found(request, server)
    kind, fits = retrieve.in_syntax(ranges, retrieve.need_kept(found))
    await _note(server, who, "retrieve", fits)
    status = 200 if len(fits) == len(found) else 206
    if kind == media.OBJECT:
        return Response(await run_in_threadpool(retrieve.bytes_of, node, fits[0]), status, media_type=kind)
    kind, body = retrieve.parts(node, fits)
    return StreamingResponse(body, status, headers={"content-type": kind})


@router.get(_STUDY + "/metadata", summary="A study's metadata (WADO-RS)", response_class=Response)
@router.get(_SERIES + "/metadata", summary="A series' metadata (WADO-RS)", response_class=Response)
@router.get(_INSTANCE + "/metadata", summary="An instance's metadata (WADO-RS)", response_class=Response)
async def metadata(request: Request, node: Noded, server: Serving, who: Identified, ranges: Ranges) -> Response:
    """The attributes, without pixels and other long values of bytes."""
    media.need_json(ranges)
    found = await _found(request, server)
    kept = retrieve.need_kept(found)
    made = await run_in_threadpool(retrieve.metadata, node, kept)
    await _note(server, who, "retrieve metadata", kept)
    return _json(made, 200 if len(made) == len(found) else 206)


@router.get(_INSTANCE + "/rendered", summary="A picture of an instance (WADO-RS)", response_class=Response)
async def rendered(request: Request, node: Noded, server: Serving, who: Asking, ranges: Ranges) -> Response:
    """JPEG or PNG of a film or a capture."""
    kind = media.need(ranges, retrieve.JPEG, retrieve.PNG)
    kept = retrieve.need_kept(await _found(request, server))
    made = await run_in_threadpool(retrieve.picture, node, kept[0], kind)
    await _note(server, who, "see picture", kept)
    return Response(made, media_type=kind)


async def _stored(
    request: Request, node: Node, server: Server, who: Person, ranges: Sequence[MediaRange], study: str
) -> Response:
    media.need_json(ranges)
    limits = limits_of(server.settings.limits, node.settings.limits.object_bytes)
    form = form_of(request, limits, server.folder.path)
    made = await stored(request, Store(node.receiver, who.name[:16], study, limits, server.room), form)
    status, body = told(made, _base(request))
    return _json(body, status, **({"retry-after": str(RETRY_AFTER_SECONDS)} if status == 503 else {}))


async def _searched(
    request: Request, server: Server, who: Person, ranges: Sequence[MediaRange], level: Level
) -> Response:
    media.need_json(ranges)
    path = request.path_params
    under = {"StudyInstanceUID": path.get("study", ""), "SeriesInstanceUID": path.get("series", "")}
    asked = search.asked_of(level, request.query_params.multi_items(), **under)
    base, key, identify = _base(request), server.work.patient_key, server.settings.identify
    found = await server.ask(lambda connection: search.searched(connection, asked, base, key, identify=identify))
    await server.note(who, "search DICOM", about=f"{len(found.found)} found")
    warnings = []
    if found.left:
        warnings.append(f'299 hilum "There are {found.left} additional results that can be requested"')
    if asked.fuzzy:
        warnings.append(
            '299 hilum "The fuzzymatching parameter is not supported. Only literal matching has been performed."'
        )
    return _json(list(found.found), 200, **({"warning": ", ".join(warnings)} if warnings else {}))


async def _found(request: Request, server: Server) -> list[Instance]:
    """What is known under the UIDs of an address; nothing under what is no UID."""
    uids = [request.path_params.get(name, "") for name in ("study", "series", "instance")]
    if not all(index.UID.fullmatch(uid) for uid in uids if uid):
        return []
    return await server.ask(lambda connection: index.instances_of(connection, *uids))


async def _note(server: Server, who: Person, what: str, seen: Sequence[Instance]) -> None:
    """Add a record to the log for each film that was seen; of objects that are no film yet, for all together."""
    films = dict.fromkeys(each.film_id for each in seen)

    def change(connection: Any) -> None:
        for film_id in films:
            log.add(connection, server.folder.key, who.name, what, film_id=film_id, about="DICOMweb")

    await server.change(change)


def _base(request: Request) -> str:
    return str(request.base_url).rstrip("/") + PREFIX


def _json(body: Any, status: int, **headers: str) -> Response:
    return JSONResponse(body, status, headers=headers, media_type=media.JSON)
