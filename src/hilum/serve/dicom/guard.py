"""Around pynetdicom's server: connections and bytes are counted before anything is parsed.

pynetdicom itself reads as many bytes as a PDU says it has, waits for a TLS handshake in the thread that accepts, and
counts connections that never asked for anything among its associations. Here each has its limit.
"""

from __future__ import annotations

import logging
import socket
import socketserver
import ssl
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from hilum.serve.dicom.settings import NodeSettings

LOG = logging.getLogger("hilum.serve.dicom")
_PIECE = 64 * 2**10


def unforeseen(error: BaseException) -> str:
    """An error as a log may hold it: its kind and its place, as its words may be a patient's.

    >>> unforeseen(ValueError("Doe^Jane"))
    'ValueError'
    """
    where = traceback.extract_tb(error.__traceback__)[-1:]
    return " ".join([type(error).__name__, *(f"at {Path(at.filename).name}:{at.lineno}" for at in where)])


class BoundedReader:
    """Reads a connection's bytes in place of pynetdicom's own `recv`, within limits; OSError ends the connection."""

    def __init__(self, connection: socket.socket, settings: NodeSettings) -> None:
        self._connection, self._limits = connection, settings.limits
        self._taken = 0

    def message_ended(self) -> None:
        """A whole message came; the next one may be as large."""
        self._taken = 0

    def __call__(self, count: int) -> bytearray:
        limits = self._limits
        self._taken += count
        if count > limits.request_bytes or self._taken > 2 * limits.object_bytes:
            LOG.warning("a connection was ended: a PDU of %d bytes, %d of its message", count, self._taken)
            raise OSError("over the limit")
        data = bytearray()
        end = time.monotonic() + limits.idle_seconds
        while len(data) < count:
            self._connection.settimeout(max(0.01, end - time.monotonic()))
            piece = self._connection.recv(min(_PIECE, count - len(data)))
            if not piece:
                break
            data += piece
        return data


class _Handler(RequestHandler):
    def _create_association(self) -> Association:
        made = super()._create_association()
        made.dul.socket.recv = BoundedReader(self.request, self.server.settings)
        return made


class BoundedServer(ThreadedAssociationServer):
    """Accepts connections up to a number, from the addresses that may call; TLS is agreed on in a thread of its own."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, *args: Any, settings: NodeSettings, tls: ssl.SSLContext | None, **more: Any) -> None:
        self.settings, self._tls = settings, tls
        self._greeting, self._lock = 0, threading.Lock()
        hosts = {caller.host for caller in settings.allowed}
        self._hosts = frozenset() if "" in hosts else frozenset(hosts)
        super().__init__(*args, request_handler=_Handler, **more)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept, and no more: whatever waits for the other side waits elsewhere."""
        return self.socket.accept()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether the connection is within the limits, and from an address that may call."""
        if self._hosts and client_address[0] not in self._hosts:
            LOG.warning("a connection was refused: its address is not of the list of callers")
            return False
        if self._greeting + len(self.active_associations) >= self.settings.limits.connections:
            LOG.warning("a connection was refused: %d are open", self.settings.limits.connections)
            return False
        return True

    def process_request(self, request: Any, client_address: Any) -> None:
        """Go on in a thread, which counts as a connection until its association does."""
        with self._lock:
            self._greeting += 1
        threading.Thread(target=self._greet, args=(request, client_address), name="dicom-greeting", daemon=True).start()

    def shutdown(self) -> None:
        """Accept no more, and end every association."""
        socketserver.BaseServer.shutdown(self)
        self.server_close()
        for each in self.active_associations:
            each.abort()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that ended while it was made; socketserver would print a traceback."""
        LOG.warning("a connection ended before it asked for an association")

    def _greet(self, request: socket.socket, client_address: Any) -> None:
        try:
            request.settimeout(self.settings.limits.asking_seconds)
            if self._tls is not None:
                request = self._tls.wrap_socket(request, server_side=True)
            self.finish_request(request, client_address)
        except Exception:
            self.handle_error(request, client_address)
            self.shutdown_request(request)
        finally:
            with self._lock:
                self._greeting -= 1


class BoundedAE(AE):
    """An AE whose limit of associations counts those that were agreed on, and the one that is asking now."""

    @property
    def active_associations(self) -> list[Association]:
        asking = threading.current_thread()
        return [each for each in super().active_associations if each.is_established or each is asking]
