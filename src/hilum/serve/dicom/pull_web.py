"""Films of a PACS over DICOMweb: what is there by QIDO-RS, and the films by WADO-RS (PS3.18 10.4, 10.6)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

import httpx2 as httpx
from python_multipart.multipart import parse_options_header

from hilum.errors import DataError, RequestError
from hilum.serve.dicom import accepted, index
from hilum.serve.dicom.delivery import client_of
from hilum.serve.dicom.settings import NodeSettings, WebPeer
from hilum.serve.dicom.wanted import Series, Wanted
from hilum.serve.errors import ServeError
from hilum.serve.receive import Form
from hilum.serve.settings import Limits

# Answers asked for at once, and the most that are read of any one question.
_PAGE: Final = 500
_MOST_ANSWERS: Final = 1_000_000
# Around an object, for the boundary and its headers.
_MORE_BYTES: Final = 64 * 2**10
_OBJECT: Final = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_AGAIN: Final = "What came is kept. Give the same command again for the rest."
# What a PACS says of one object that it does not give, so that it may give the others.
_NOT_HERE: Final = (404, 406, 410)
_STUDY, _SERIES, _INSTANCE, _MODALITY, _BODY_PART = "0020000D", "0020000E", "00080018", "00080060", "00180015"


def there(peer: WebPeer, settings: NodeSettings, wanted: Wanted) -> list[Series]:
    """The series that are wanted. RequestError where the PACS cannot be reached or refuses."""
    dates = {"StudyDate": wanted.dates} if wanted.dates else {}
    found = []
    with client_of(settings, peer) as client:
        studies: dict[str, None] = {}
        for modality in wanted.modalities or ("",):
            asked = {**dates, **({"ModalitiesInStudy": modality} if modality else {})}
            studies |= dict.fromkeys(_text(one, _STUDY) for one in _found(client, peer, "/studies", _STUDY, asked))
        for study in studies:
            place = f"/studies/{study}/series"
            for one in _found(client, peer, place, _SERIES, {"includefield": "BodyPartExamined"}):
                series = _text(one, _SERIES)
                if wanted.takes(_text(one, _MODALITY), _text(one, _BODY_PART)):
                    instances = _found(client, peer, f"{place}/{series}/instances", _INSTANCE, {})
                    found.append(Series(study, series, tuple(_text(each, _INSTANCE) for each in instances)))
    return found


def got(
    peer: WebPeer, settings: NodeSettings, keep: Callable[[str, bytes], int], missing: Sequence[Series]
) -> Iterator[str]:
    """Fetch one object after the other; "" for each that came, else why the PACS does not give it.

    DataError where it goes away, or sends what is no object; what came stays.
    """
    with client_of(settings, peer) as client:
        for series in missing:
            for uid in series.instance_uids:
                place = f"/studies/{series.study_uid}/series/{series.series_uid}/instances/{uid}"
                data, why = _object(client, f"{peer.address}{place}", settings.limits.object_bytes)
                if not why and keep(uid, data) != accepted.OK:
                    raise DataError("the PACS sent another object, or it cannot be written", next_step=_AGAIN)
                yield why


def _found(client: httpx.Client, peer: WebPeer, path: str, tag: str, asked: dict[str, str]) -> Iterator[dict[str, Any]]:
    """What the PACS answers to a query, page by page, each of a UID once."""
    seen: set[str] = set()
    while len(seen) < _MOST_ANSWERS:
        page = _page(client, f"{peer.address}{path}", {**asked, "limit": str(_PAGE), "offset": str(len(seen))})
        new = {uid: one for one in page if index.UID.fullmatch(uid := _text(one, tag)) and uid not in seen}
        yield from new.values()
        seen |= new.keys()
        if len(page) < _PAGE or not new:  # the last one, or the PACS has no pages
            return


def _page(client: httpx.Client, address: str, asked: dict[str, str]) -> list[dict[str, Any]]:
    try:
        answer = client.get(address, params=asked, headers={"accept": "application/dicom+json"})
        if answer.status_code == 204:
            return []
        if answer.status_code != 200:
            raise _refused(f"HTTP {answer.status_code}")
        page = answer.json()
    except httpx.HTTPError:
        raise RequestError(
            "nothing answers there", where=address.partition("/studies")[0], next_step="Compare the address."
        ) from None
    except ValueError:
        raise _refused("its answer is no JSON") from None
    if not isinstance(page, list) or not all(isinstance(one, dict) for one in page):
        raise _refused("its answer is no list")
    return page


def _refused(why: str) -> RequestError:
    return RequestError(f"the PACS refused the query: {why}", next_step="Look at its log; give the command again.")


def _object(client: httpx.Client, address: str, most_bytes: int) -> tuple[bytes, str]:
    """The bytes of one object, or why there are none."""
    try:
        with client.stream("GET", address, headers={"accept": _OBJECT}) as answer:
            if answer.status_code in _NOT_HERE:
                return b"", "the PACS does not give it"
            if answer.status_code != 200:
                raise DataError(f"the PACS did not send all: HTTP {answer.status_code}", next_step=_AGAIN)
            _, options = parse_options_header(answer.headers.get("content-type", ""))
            limits = replace(Limits(), file_bytes=most_bytes, files=1)
            form = Form(options.get(b"boundary", b""), limits, None, named=lambda headers: "object")
            taken = 0
            for piece in answer.iter_bytes():
                taken += len(piece)
                if taken > most_bytes + _MORE_BYTES:
                    return b"", "it is over the limit"
                form.feed(piece)
            (upload,) = form.end()
            upload.file.seek(0)
            return upload.file.read(), ""
    except httpx.HTTPError:
        raise DataError("the PACS did not send all: it went away", next_step=_AGAIN) from None
    except (ServeError, ValueError):
        raise DataError("the PACS sent what is no object", next_step=_AGAIN) from None


def _text(attributes: dict[str, Any], tag: str) -> str:
    """The first value of an attribute in DICOM's JSON model, "" where there is none."""
    try:
        return str(attributes[tag]["Value"][0])
    except (LookupError, TypeError):
        return ""
