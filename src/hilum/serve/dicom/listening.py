"""Receiving: C-ECHO, C-STORE, and what STOW-RS brings. What was answered with success is on disk and in the database.

No log line holds what an object says: its own name here is a keyed hash.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from pynetdicom import _config, evt

from hilum.errors import FilmError
from hilum.image.dicom import DicomHeader, read_header
from hilum.serve.dicom import accepted, index, objects
from hilum.serve.dicom.guard import LOG, BoundedAE, BoundedServer
from hilum.serve.dicom.settings import NodeSettings
from hilum.serve.dicom.source import meta_of
from hilum.serve.errors import StoreDownError
from hilum.serve.store.database import Writer
from hilum.serve.store.folder import StoreFolder

# PS3.8 9.3.4: rejected for good, by the service user, because it does not know the calling or the called title.
_CALLER_UNKNOWN, _CALLED_UNKNOWN = (1, 1, 3), (1, 1, 7)


@dataclass(frozen=True)
class Taken:
    """What came of an object: one of `accepted.STATUSES`, and what it says of itself, where that can be read."""

    status: int
    header: DicomHeader | None = None

    @property
    def refused(self) -> bool:
        return self.status not in (accepted.OK, accepted.DISCARDED)


class Receiver:
    """Takes in objects; asked by the threads of several associations and requests at once.

    patient_key: how patient numbers are kept where DICOMweb finds what came; None where it is not offered.
    """

    def __init__(
        self,
        received: StoreFolder,
        writer: Writer,
        settings: NodeSettings,
        wake: Callable[[], None],
        waiting: Callable[[], int],
        patient_key: Callable[[str], str] | None,
    ) -> None:
        self._received, self._writer, self._settings = received, writer, settings
        self._wake, self._waiting, self._patient_key = wake, waiting, patient_key
        # The same object may come over two associations at once.
        self._locks = [threading.Lock() for _ in range(16)]

    def store(self, event: evt.Event) -> int:
        """Answer a C-STORE with its status, one of `accepted.STATUSES`."""
        request, caller = event.request, caller_of(event.assoc)
        if request.DataSet is None:
            return self.told(Taken(accepted.NOT_UNDERSTOOD), caller).status
        if request.DataSet.getbuffer().nbytes > self._settings.limits.object_bytes:
            return self.told(Taken(accepted.OUT_OF_RESOURCES), caller).status
        named = (str(request.AffectedSOPInstanceUID), str(request.AffectedSOPClassUID))
        return self.take(event.encoded_dataset(), caller, named=named).status

    def take(self, data: bytes, caller: str, *, named: tuple[str, str] | None = None, study: str = "") -> Taken:
        """Take in the bytes of a DICOM file. named, study: the UID and class, or the study, that the request is for."""
        return self.told(self._taken(data, caller, named, study), caller)

    def told(self, taken: Taken, caller: str) -> Taken:
        """The same, with a line in the log where it is refused."""
        if taken.refused:
            LOG.warning("an object of %s was refused: status %04X", caller, taken.status)
        return taken

    def _taken(self, data: bytes, caller: str, named: tuple[str, str] | None, study: str) -> Taken:
        if len(data) > self._settings.limits.object_bytes:
            return Taken(accepted.OUT_OF_RESOURCES)
        try:
            syntax, start = meta_of(data)
            if syntax not in accepted.FILM_SYNTAXES:
                return Taken(accepted.SYNTAX_NOT_SUPPORTED)
            header = read_header(data)
        except FilmError:
            return Taken(accepted.NOT_UNDERSTOOD)
        if header.sop_uid is None or header.sop_class_uid is None:
            return Taken(accepted.NOT_UNDERSTOOD)
        if named not in (None, (header.sop_uid, header.sop_class_uid)) or study not in ("", header.study_uid):
            return Taken(accepted.NOT_MATCHING, header)
        if header.sop_class_uid not in accepted.FILM_CLASSES:
            return Taken(accepted.CLASS_NOT_SUPPORTED, header)
        if not all(index.UID.fullmatch(uid or "") for uid in (header.sop_uid, header.study_uid, header.series_uid)):
            return Taken(accepted.NOT_MATCHING, header)
        try:
            return Taken(self._kept(header, syntax, data, start, caller), header)
        except (OSError, StoreDownError):
            return Taken(accepted.OUT_OF_RESOURCES, header)

    def _kept(self, header: DicomHeader, syntax: str, data: bytes, start: int, caller: str) -> int:
        object_id = objects.object_id_of(self._received.key, str(header.sop_uid))
        # Of the data set alone: the file around it differs by who sends it, and how.
        digest = hashlib.sha256(data[start:]).hexdigest()

        def change(connection: sa.Connection) -> None:
            objects.take(connection, object_id, digest, len(data), caller)
            if self._patient_key is not None:
                number = self._patient_key(header.patient_id) if header.patient_id else None
                index.add(connection, object_id, header, syntax, number)

        with self._locks[int(object_id[0], 16)]:
            there = self._writer.now(lambda connection: objects.known(connection, object_id))
            if there is not None:
                LOG.info("object %s came again%s", object_id, "" if there == digest else " with another content")
                return accepted.OK if there == digest else accepted.DISCARDED
            if self._waiting() >= self._settings.limits.waiting:
                return accepted.OUT_OF_RESOURCES
            # Without its preamble, in which a file of another kind may hide (CVE-2019-11687).
            self._received.write(object_id, bytes(128) + data[128:])
            self._writer.now(change)
        LOG.info("object %s came from %s, %d bytes", object_id, caller, len(data))
        self._wake()
        return accepted.OK


def caller_of(association: Any) -> str:
    """The calling AE title, as it may stand in a log."""
    title = "".join(sign for sign in str(association.requestor.ae_title) if sign.isprintable() and sign.isascii())
    return title.strip()[:16]


def listen(store: Callable[[evt.Event], int], settings: NodeSettings) -> BoundedServer:
    """Open the port; store: answers a C-STORE with its status.

    RequestError where the settings are refused; OSError where the port is taken.
    """
    settings.check()
    silence()
    ae = BoundedAE(ae_title=settings.title)
    limits = settings.limits
    ae.maximum_associations, ae.maximum_pdu_size = limits.associations, limits.pdu_bytes
    ae.acse_timeout, ae.network_timeout, ae.dimse_timeout = (
        limits.asking_seconds,
        limits.idle_seconds,
        limits.idle_seconds,
    )
    ae.add_supported_context(accepted.VERIFICATION, list(accepted.ANSWER_SYNTAXES))
    for sop_class in accepted.FILM_CLASSES:
        ae.add_supported_context(sop_class, list(accepted.FILM_SYNTAXES))
    handlers = [
        (evt.EVT_REQUESTED, _asked, [settings]),
        (evt.EVT_C_STORE, store),
        (evt.EVT_C_ECHO, _echoed),
        (evt.EVT_DIMSE_RECV, lambda event: event.assoc.dul.socket.recv.message_ended()),
        (evt.EVT_REJECTED, _rejected),
        (evt.EVT_ABORTED, lambda event: LOG.warning("an association of %s was aborted", caller_of(event.assoc))),
    ]
    server: BoundedServer = ae.make_server(
        (settings.host, settings.port),
        evt_handlers=handlers,
        server_class=BoundedServer,
        settings=settings,
        tls=settings.accepting(),
    )
    threading.Thread(target=server.serve_forever, name="dicom-listen", daemon=True).start()
    return server


def silence() -> None:
    """Have the libraries log nothing: their lines hold identifiers of queries, and values and UIDs of objects."""
    _config.LOG_HANDLER_LEVEL = "none"
    theirs = logging.getLogger("pynetdicom")
    theirs.propagate = False
    theirs.setLevel(logging.CRITICAL + 1)
    for name in ("pydicom", "highdicom"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def _asked(event: evt.Event, settings: NodeSettings) -> None:
    """Whether the caller, from where it calls, is of the list."""
    association = event.assoc
    asked = association.requestor.primitive
    title, host = str(asked.calling_ae_title).strip(), association.requestor.address
    association.requestor.ae_title = title
    why = None
    if settings.allowed and not any(each.title == title and each.host in ("", host) for each in settings.allowed):
        why = _CALLER_UNKNOWN
    elif str(asked.called_ae_title).strip() != settings.title:
        why = _CALLED_UNKNOWN
    if why is not None:
        association.acse.send_reject(*why)
        evt.trigger(association, evt.EVT_REJECTED, {})
        association.kill()


def _rejected(event: evt.Event) -> None:
    LOG.warning("an association of %s was rejected: title not of the list, or too many", caller_of(event.assoc))


def _echoed(event: evt.Event) -> int:
    LOG.info("echo of %s", caller_of(event.assoc))
    return accepted.OK
