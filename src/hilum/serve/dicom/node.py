"""The node put together: receiving, the desk and the outbox around one server."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from hilum.serve.dicom import objects
from hilum.serve.dicom.desk import Desk
from hilum.serve.dicom.guard import BoundedServer
from hilum.serve.dicom.listening import Receiver, listen, silence
from hilum.serve.dicom.outbox import Outbox
from hilum.serve.dicom.settings import NodeSettings
from hilum.serve.server import Server
from hilum.serve.store.database import reading
from hilum.serve.store.folder import StoreFolder


@dataclass
class Node:
    """All that lives while the node runs. `opened` makes it; it ends with its server.

    received, answers: the folders of the bytes. listening: None with DICOMweb alone.
    """

    settings: NodeSettings
    server: Server
    received: StoreFolder
    answers: StoreFolder
    receiver: Receiver
    listening: BoundedServer | None
    desk: Desk
    outbox: Outbox

    @property
    def port(self) -> int | None:
        """The port it listens at; of use where any that was free was asked for."""
        return int(self.listening.server_address[1]) if self.listening else None

    def close(self) -> None:
        """Take in no more, and end after what is in hand."""
        if self.listening is not None:
            self.listening.shutdown()
        self.desk.close()
        self.outbox.close()


def opened(server: Server, settings: NodeSettings) -> Node:
    """A node that works with a server. Refused as `NodeSettings.check` does; OSError where the port is taken."""
    settings.check()
    silence()
    received, answers = (objects.subfolder(server.folder, name) for name in ("received", "answers"))
    kept = settings.web and server.settings.keep_hours != 0
    outbox = Outbox(server.engine, server.writer, answers, settings, kept=kept)
    desk = Desk(server, received, answers, [str(target) for target in settings.targets], outbox.wake, kept=kept)
    desk.start()
    waiting = partial(reading, server.engine, objects.open_count)
    patient_key = server.work.patient_key if settings.web else None
    receiver = Receiver(received, server.writer, settings, desk.wake, waiting, patient_key)
    listening = listen(receiver.store, settings) if settings.port is not None else None
    outbox.start()
    node = Node(settings, server, received, answers, receiver, listening, desk, outbox)
    server.guests.append(node.close)
    return node
