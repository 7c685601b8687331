"""Receiving: C-ECHO and C-STORE. An object that was answered with success is on disk and in the database.

No log line holds what an object says: its own name here is a keyed hash.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable
from typing import Any

from pynetdicom import _config, evt

from hilum.errors import FilmError
from hilum.image.dicom import read_header
from hilum.serve.dicom import accepted, objects
from hilum.serve.dicom.guard import LOG, BoundedAE, BoundedServer
from hilum.serve.dicom.settings import NodeSettings
from hilum.serve.errors import StoreDownError
from hilum.serve.store.database import Writer
from hilum.serve.store.folder import StoreFolder

# PS3.8 9.3.4: rejected for good, by the service user, because it does not know the calling or the called title.
_CALLER_UNKNOWN, _CALLED_UNKNOWN = (1, 1, 3), (1, 1, 7)


class Receiver:
    """Takes in objects; `store` is asked by the threads of several associations at once."""

    def __init__(
        self,
        received: StoreFolder,
        writer: Writer,
        settings: NodeSettings,
        wake: Callable[[], None],
        waiting: Callable[[], int],
    ) -> None:
        self._received, self._writer, self._settings = received, writer, settings
        self._wake, self._waiting = wake, waiting
        # The same object may come over two associations at once.
        self._locks = [threading.Lock() for _ in range(16)]

    def store(self, event: evt.Event) -> int:
        """Answer a C-STORE with its status, one of `accepted.STATUSES`."""
        status = self._stored(event)
        if status not in (accepted.OK, accepted.DISCARDED):
            LOG.warning("an object of %s was refused: status %04X", caller_of(event.assoc), status)
        return status

    def _stored(self, event: evt.Event) -> int:
        request = event.request
        if request.DataSet is None:
            return accepted.NOT_UNDERSTOOD
        if request.DataSet.getbuffer().nbytes > self._settings.limits.object_bytes:
            return accepted.OUT_OF_RESOURCES
        data = event.encoded_dataset()
        try:
            header = read_header(data)
        except FilmError:
            return accepted.NOT_UNDERSTOOD
        if header.sop_uid is None or header.sop_class_uid is None:
            return accepted.NOT_UNDERSTOOD
        named = (str(request.AffectedSOPInstanceUID), str(request.AffectedSOPClassUID))
        if (header.sop_uid, header.sop_class_uid) != named or header.study_uid is None:
            return accepted.NOT_MATCHING
        try:
            return self._kept(named[0], data, caller_of(event.assoc))
        except (OSError, StoreDownError):
            return accepted.OUT_OF_RESOURCES

    def _kept(self, instance_uid: str, data: bytes, caller: str) -> int:
        object_id = objects.object_id_of(self._received.key, instance_uid)
        digest = hashlib.sha256(data).hexdigest()
        with self._locks[int(object_id[0], 16)]:
            there = self._writer.now(lambda connection: objects.known(connection, object_id))
            if there is not None:
                LOG.info("object %s came again%s", object_id, "" if there == digest else " with another content")
                return accepted.OK if there == digest else accepted.DISCARDED
            if self._waiting() >= self._settings.limits.waiting:
                return accepted.OUT_OF_RESOURCES
            self._received.write(object_id, data)
            self._writer.now(lambda connection: objects.take(connection, object_id, digest, len(data), caller))
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
