"""Films of a PACS over DIMSE: what is there by C-FIND, and the films by C-GET or C-MOVE."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Final

import pydicom
from pydicom.uid import UID
from pynetdicom import AE, build_role, evt

from hilum.errors import DataError, RequestError
from hilum.serve.dicom import accepted, index
from hilum.serve.dicom.listening import listen
from hilum.serve.dicom.settings import Caller, NodeSettings, Peer
from hilum.serve.dicom.wanted import Series, Wanted
from hilum.serve.settings import is_loopback

# Of an object's UID and bytes, the status to answer with.
Keep = Callable[[str, bytes], int]
# PS3.4 C.6.2, the study root.
FIND, GET, MOVE = (UID(f"1.2.840.10008.5.1.4.1.2.2.{number}") for number in (1, 3, 2))
QUERY_CLASSES: Final[Mapping[str, str]] = {
    FIND: "Study Root Query/Retrieve Information Model - FIND",
    GET: "Study Root Query/Retrieve Information Model - GET",
    MOVE: "Study Root Query/Retrieve Information Model - MOVE",
}
# Objects asked for by one request.
_TOGETHER = 50
_PENDING = (0xFF00, 0xFF01)


def there(peer: Peer, settings: NodeSettings, wanted: Wanted) -> list[Series]:
    """The series that are wanted. RequestError where the PACS cannot be reached or refuses."""
    with _associated(peer, settings, {FIND: accepted.ANSWER_SYNTAXES}) as association:
        return list(_series(association, wanted))


def _series(association: Any, wanted: Wanted) -> Iterator[Series]:
    """The series that are wanted, of every study in the range of dates."""
    study = _identifier("STUDY", StudyDate=wanted.dates, StudyInstanceUID="")
    if wanted.modalities:
        study.ModalitiesInStudy = list(wanted.modalities)
    for found in list(_found(association, study)):
        series = _identifier(
            "SERIES", StudyInstanceUID=found.StudyInstanceUID, SeriesInstanceUID="", Modality="", BodyPartExamined=""
        )
        for one in list(_found(association, series)):
            if not wanted.takes(str(one.get("Modality") or ""), str(one.get("BodyPartExamined") or "")):
                continue
            image = _identifier(
                "IMAGE",
                StudyInstanceUID=found.StudyInstanceUID,
                SeriesInstanceUID=one.SeriesInstanceUID,
                SOPInstanceUID="",
            )
            uids = [str(each.SOPInstanceUID) for each in _found(association, image) if "SOPInstanceUID" in each]
            yield Series(
                str(found.StudyInstanceUID),
                str(one.SeriesInstanceUID),
                tuple(uid for uid in uids if index.UID.fullmatch(uid)),
            )


def _found(association: Any, identifier: pydicom.Dataset) -> Iterator[pydicom.Dataset]:
    """What the PACS answers to a query. RequestError where it refuses it or goes away."""
    for status, answer in association.send_c_find(identifier, FIND):
        code = status.get("Status")
        if code in _PENDING and answer is not None:
            yield answer
        elif code != accepted.OK:
            raise RequestError(
                f"the PACS refused the query: {'no answer' if code is None else f'status {code:04X}'}",
                next_step="Look at its log; give the same command again.",
            )


def got(peer: Peer, settings: NodeSettings, keep: Keep, missing: Sequence[Series]) -> Iterator[int]:
    """Fetch over the association that asks (C-GET); how many were asked for, each time that some came."""
    contexts = {GET: accepted.ANSWER_SYNTAXES, **dict.fromkeys(accepted.FILM_CLASSES, accepted.FILM_SYNTAXES)}
    with _associated(
        peer,
        settings,
        contexts,
        ext_neg=[build_role(sop_class, scp_role=True) for sop_class in accepted.FILM_CLASSES],
        evt_handlers=[(evt.EVT_C_STORE, partial(_kept, keep))],
    ) as association:
        for identifier, count in _requests(missing):
            _carried_out(association.send_c_get(identifier, GET))
            yield count


def moved(peer: Peer, settings: NodeSettings, keep: Keep, missing: Sequence[Series]) -> Iterator[int]:
    """The same, where the PACS sends to a port of ours (C-MOVE); only its title may call there."""
    own = replace(
        settings,
        host="127.0.0.1" if is_loopback(peer.host) else "0.0.0.0",
        allowed=(Caller(peer.title),),
    )
    listening = listen(partial(_kept, keep), own)
    try:
        with _associated(peer, settings, {MOVE: accepted.ANSWER_SYNTAXES}) as association:
            for identifier, count in _requests(missing):
                _carried_out(association.send_c_move(identifier, settings.title, MOVE))
                yield count
    finally:
        listening.shutdown()


def _kept(keep: Keep, event: evt.Event) -> int:
    """Answer a C-STORE."""
    if event.request.DataSet is None:
        return accepted.NOT_UNDERSTOOD
    return keep(str(event.request.AffectedSOPInstanceUID), event.encoded_dataset())


def _requests(missing: Sequence[Series]) -> Iterator[tuple[pydicom.Dataset, int]]:
    for series in missing:
        for at in range(0, len(series.instance_uids), _TOGETHER):
            uids = list(series.instance_uids[at : at + _TOGETHER])
            yield (
                _identifier(
                    "IMAGE",
                    StudyInstanceUID=series.study_uid,
                    SeriesInstanceUID=series.series_uid,
                    SOPInstanceUID=uids,
                ),
                len(uids),
            )


def _carried_out(answers: Iterator[tuple[pydicom.Dataset, pydicom.Dataset | None]]) -> None:
    """DataError where objects did not come; what came stays."""
    code: int | None = None
    for status, _ in answers:
        code = status.get("Status")
    if code != accepted.OK:
        raise DataError(
            f"the PACS did not send all: {'it went away' if code is None else f'status {code:04X}'}",
            next_step="What came is kept. Give the same command again for the rest.",
        )


@contextmanager
def _associated(
    peer: Peer, settings: NodeSettings, contexts: Mapping[Any, Mapping[str, str]], **more: Any
) -> Iterator[Any]:
    """An association while the block runs. RequestError where the PACS does not agree to one."""
    ae = AE(ae_title=settings.title)
    ae.connection_timeout = ae.acse_timeout = 10.0
    ae.network_timeout = ae.dimse_timeout = 2 * settings.limits.idle_seconds
    for sop_class, syntaxes in contexts.items():
        ae.add_requested_context(sop_class, list(syntaxes))
    tls = (settings.calling(), peer.host) if peer.tls else None
    association = ae.associate(peer.host, peer.port, ae_title=peer.title, tls_args=tls, **more)
    if not association.is_established:
        why = "it refuses this node's title or what it asks for" if association.is_rejected else "nothing answers there"
        raise RequestError(
            f"no association: {why}", where=str(peer), next_step="Compare title, address and port with the PACS's own."
        )
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def _identifier(level: str, **values: Any) -> pydicom.Dataset:
    made = pydicom.Dataset()
    made.QueryRetrieveLevel = level
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made
