"""STOW-RS (PS3.18 10.5): objects in by multipart/related, each judged by itself as one that comes by C-STORE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pydicom
from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from python_multipart.multipart import parse_options_header

from hilum.serve.dicom import accepted
from hilum.serve.dicom.index import UID
from hilum.serve.dicom.listening import Receiver, Taken
from hilum.serve.dicom.web.json import Attributes
from hilum.serve.dicom.web.media import MANY, OBJECT, UnsupportedError
from hilum.serve.errors import BadRequestError, BusyError
from hilum.serve.receive import Form, Room, Upload, pieces
from hilum.serve.settings import Limits


@dataclass(frozen=True)
class Store:
    """What one request stores into. study: the UID of its address, which its objects must have, or "". caller: who
    sends."""

    receiver: Receiver
    caller: str
    study: str
    limits: Limits
    room: Room


def form_of(request: Request, limits: Limits, folder: Path) -> Form:
    """The body's parts, whose name is their media type. UnsupportedError for another body than multipart/related of
    application/dicom; BadRequestError where it has no boundary."""
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != MANY.encode() or options.get(b"type", OBJECT.encode()).lower() != OBJECT.encode():
        raise UnsupportedError(
            "the body is of a media type that is not stored", next_step=f'Send {MANY}; type="{OBJECT}".'
        )
    return Form(options.get(b"boundary", b""), limits, folder, named=_media_type)


async def stored(request: Request, store: Store, form: Form) -> list[Taken]:
    """What came of each part, in their order, each on disk before the next is looked at.

    Refused as `receive.pieces` and `Form` are; what came whole before is kept then, and is the same where it comes
    again. BadRequestError where there is no part.
    """
    made: list[Taken] = []
    try:
        async for piece in pieces(request, store.limits, store.limits.body_bytes):
            form.feed(piece)
            while form.done:
                made.append(await _taken(form.done.pop(0), store))
        form.end()
        while form.done:
            made.append(await _taken(form.done.pop(0), store))
    finally:
        form.close()
    if not made:
        raise BadRequestError("the body has no part", next_step="Send an object in each part.")
    return made


def limits_of(limits: Limits, object_bytes: int) -> Limits:
    """The limits of a body of objects."""
    return replace(limits, file_bytes=object_bytes)


def told(made: Sequence[Taken], base: str) -> tuple[int, Attributes]:
    """The answer's status and body (PS3.18 10.5.3, I.2). base: the address of this service.

    200 where all are stored, 202 where some are or with a warning, 409 where none is, and 503 where that is for want
    of room, so that it is worth to come again.
    """
    referenced: list[pydicom.Dataset] = []
    failed: list[pydicom.Dataset] = []
    others: list[pydicom.Dataset] = []
    for each in made:
        item = pydicom.Dataset()
        header = each.header
        named = header is not None and all(UID.fullmatch(uid or "") for uid in (header.sop_uid, header.sop_class_uid))
        if header is not None and named:
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = header.sop_class_uid, header.sop_uid
        if each.refused:
            item.FailureReason = each.status
            (failed if named else others).append(item)
            continue
        assert header is not None
        item.RetrieveURL = f"{base}/studies/{header.study_uid}/series/{header.series_uid}/instances/{header.sop_uid}"
        if each.status != accepted.OK:
            item.WarningReason = each.status
        referenced.append(item)
    answer = pydicom.Dataset()
    studies = {each.header.study_uid for each in made if each.header and not each.refused}
    if len(studies) == 1:
        answer.RetrieveURL = f"{base}/studies/{studies.pop()}"
    for keyword, items in (
        ("FailedSOPSequence", failed),
        ("ReferencedSOPSequence", referenced),
        ("OtherFailuresSequence", others),
    ):
        if items:
            setattr(answer, keyword, items)
    body: Attributes = answer.to_json_dict()
    return _status(made), body


def _status(made: Sequence[Taken]) -> int:
    if all(each.status == accepted.OK for each in made):
        return 200
    if all(each.status == accepted.OUT_OF_RESOURCES for each in made):
        return 503
    return 409 if all(each.refused for each in made) else 202


async def _taken(upload: Upload, store: Store) -> Taken:
    try:
        if upload.too_large or upload.size > store.limits.file_bytes:
            return store.receiver.told(Taken(accepted.OUT_OF_RESOURCES), store.caller)
        if upload.name != OBJECT:
            return store.receiver.told(Taken(accepted.NOT_UNDERSTOOD), store.caller)
        try:
            store.room.take(upload.size)
        except BusyError:
            return store.receiver.told(Taken(accepted.OUT_OF_RESOURCES), store.caller)
        try:
            upload.file.seek(0)
            data = await run_in_threadpool(upload.file.read)
            return await run_in_threadpool(store.receiver.take, data, store.caller, study=store.study)
        finally:
            store.room.give_back(upload.size)
    finally:
        upload.file.close()


def _media_type(headers: Mapping[bytes, bytes]) -> str:
    """The media type of a part; one that says none is of the body's own (RFC 2387 3.1)."""
    kind, _ = parse_options_header(headers.get(b"content-type", OBJECT.encode()))
    return kind.decode("latin-1").lower()
