"""WADO-RS (PS3.18 10.4): objects and their answers as they lie here, their metadata, and pictures of them."""

from __future__ import annotations

import io
import secrets
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
import pydicom

from hilum.errors import FilmError
from hilum.image.dicom import broken_as_film_error
from hilum.serve.dicom import objects
from hilum.serve.dicom.accepted import REPORT_CLASS
from hilum.serve.dicom.index import Instance
from hilum.serve.dicom.node import Node
from hilum.serve.dicom.web.json import Attributes
from hilum.serve.dicom.web.media import MANY, OBJECT, MediaRange, NotAcceptableError
from hilum.serve.errors import BusyError, GoneError, NotFoundError, UnreadableError

# Longer values of bytes are left out of metadata: pixels, and what is like them.
_MOST_INLINE = 1024
JPEG, PNG = "image/jpeg", "image/png"
_BYTES = ("OB", "OD", "OF", "OL", "OV", "OW", "UN")


def need_kept(found: Sequence[Instance]) -> list[Instance]:
    """Those whose bytes lie here. NotFoundError where nothing was found; GoneError, with why, where none is kept."""
    if not found:
        raise NotFoundError("there is no such study, series or instance")
    kept = [each for each in found if each.kept]
    if kept:
        return kept
    if all(each.state in ("not-applicable", "failed") for each in found):
        raise GoneError("it is no frontal film of the chest, or cannot be read, and is not kept")
    raise GoneError(
        "its bytes are not kept, or no longer",
        next_step="Send the film again, or start the server with a longer --keep.",
    )


def in_syntax(ranges: Sequence[MediaRange], kept: Sequence[Instance]) -> tuple[str, list[Instance]]:
    """The media type to answer with, multipart/related or, of one object, application/dicom; and what of the objects
    is in a transfer syntax that the client takes. NotAcceptableError where nothing is.

    Objects are sent as they came; none is transcoded.
    """
    for each in ranges:
        many = each.takes(MANY) and each.of in ("", "*/*", OBJECT)
        if not many and not (each.takes(OBJECT) and len(kept) == 1):
            continue
        fits = [one for one in kept if each.syntax in ("", "*", one.syntax_uid)]
        if fits:
            return MANY if many else OBJECT, fits
    raise NotAcceptableError(
        "objects are sent as they came, and not in what was asked for",
        next_step=f'Ask for {MANY}; type="{OBJECT}"; transfer-syntax=*.',
    )


def bytes_of(node: Node, one: Instance) -> bytes:
    """The file of an object or answer. GoneError where it is not here, as it may have been deleted meanwhile."""
    if one.answer:
        places = [node.answers.film(objects.answer_name(one.instance_uid))]
    else:
        places = [node.received.film(one.object_id)]
        places += [node.server.folder.film(one.film_id)] if one.film_id else []
    for place in places:
        try:
            return place.read_bytes()
        except FileNotFoundError:
            continue
    raise GoneError("its bytes are not kept, or no longer")


def parts(node: Node, found: Sequence[Instance]) -> tuple[str, Iterator[bytes]]:
    """Media type and body of several objects, read one after the other. What is deleted meanwhile is left out."""
    mark = secrets.token_hex(16)

    def body() -> Iterator[bytes]:
        for one in found:
            try:
                data = bytes_of(node, one)
            except GoneError:
                continue
            kind = f"{OBJECT}; transfer-syntax={one.syntax_uid}"
            yield f"--{mark}\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n\r\n".encode()
            yield data
            yield b"\r\n"
        yield f"--{mark}--\r\n".encode()

    return f'{MANY}; type="{OBJECT}"; boundary={mark}', body()


def metadata(node: Node, found: Sequence[Instance]) -> list[Attributes]:
    """The attributes of objects in DICOM's JSON model, without pixels and other long bytes; those that cannot be read
    are left out. UnreadableError where none can."""
    made = []
    for one in found:
        try:
            made.append(_attributes(bytes_of(node, one)))
        except (GoneError, FilmError):
            continue
    if not made:
        raise UnreadableError("the object is damaged")
    return made


def picture(node: Node, one: Instance, kind: str) -> bytes:
    """A film, or the capture of one, in a media type: PNG, or JPEG for any other.

    NotAcceptableError of a report, which has no picture; BusyError for a film that was not looked at yet; else refused
    as `Pictures.film` is.
    """
    if one.class_uid == REPORT_CLASS:
        raise NotAcceptableError("this is a report, and has no picture", next_step="Ask for its metadata.")
    if one.answer:
        pixels = pydicom.dcmread(io.BytesIO(bytes_of(node, one))).pixel_array[:, :, ::-1]
    else:
        if one.film_id is None:
            raise BusyError("the film waits", next_step="Come back after the seconds of Retry-After.")
        png = node.server.pictures.film(one.film_id)
        if kind == PNG:
            return png
        pixels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE)
    return bytes(cv2.imencode(".png" if kind == PNG else ".jpg", pixels)[1])


def _attributes(data: bytes) -> Attributes:
    def without_long(dataset: pydicom.Dataset, element: Any) -> None:
        if element.VR in _BYTES and element.value is not None and len(element.value) > _MOST_INLINE:
            del dataset[element.tag]

    with broken_as_film_error():
        dataset = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True)
        dataset.walk(without_long)
        made: Attributes = dataset.to_json_dict(suppress_invalid_tags=True)
    made.pop("00080005", None)  # the character set: JSON is UTF-8 (PS3.18 F.2.1)
    return made
