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


@dataclass
class Node:
    """All that lives while the node runs. `opened` makes it; it ends with its server."""

    settings: NodeSettings
    listening: BoundedServer
    desk: Desk
    outbox: Outbox

    @property
    def port(self) -> int:
        """The port it listens at; of use where any that was free was asked for."""
        return int(self.listening.server_address[1])

    def close(self) -> None:
        """Take in no more, and end after what is in hand."""
        self.listening.shutdown()
        self.desk.close()
        self.outbox.close()


def opened(server: Server, settings: NodeSettings) -> Node:
    """A node that works with a server. Refused as `NodeSettings.check` does; OSError where the port is taken."""
    settings.check()
    silence()
    received, answers = (objects.subfolder(server.folder, name) for name in ("received", "answers"))
    outbox = Outbox(server.engine, server.writer, answers, settings)
    desk = Desk(server, received, answers, [str(target) for target in settings.targets], outbox.wake)
    desk.start()
    waiting = partial(reading, server.engine, objects.open_count)
    listening = listen(Receiver(received, server.writer, settings, desk.wake, waiting).store, settings)
    outbox.start()
    node = Node(settings, listening, desk, outbox)
    server.guests.append(node.close)
    return node
