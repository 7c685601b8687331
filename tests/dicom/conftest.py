"""A node on the small run, on a store of each test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dicom.nodes import read_png, until
from hilum.serve.dicom import node as nodes
from hilum.serve.dicom import objects
from hilum.serve.dicom.node import Node
from hilum.serve.dicom.settings import NodeSettings, peers_of
from hilum.serve.models import Model, load_model
from hilum.serve.server import Server, opened
from hilum.serve.settings import Settings
from hilum.serve.store.database import reading
from hilum.serve.store.tables import dicom_objects
from serve.serving import InThisProcess


class Running:
    """A server and its node, and what tests ask of them."""

    def __init__(self, server: Server, node: Node) -> None:
        self.server, self.node, self.port = server, node, node.port

    def counts(self) -> dict[str, int]:
        return reading(self.server.engine, objects.counts)

    def outbox(self) -> dict[str, dict[str, int]]:
        return reading(self.server.engine, objects.outbox_counts)

    def rows(self) -> list[Any]:
        return reading(self.server.engine, lambda connection: connection.execute(sa.select(dicom_objects)).all())

    def ended(self, count: int) -> dict[str, int]:
        """The counts once so many objects are answered, not applicable or failed."""

        def counted() -> dict[str, int] | None:
            found = self.counts()
            return found if sum(found.values()) - found["received"] - found["asked"] >= count else None

        found: dict[str, int] = until(counted)
        return found


Start = Callable[..., Running]


@pytest.fixture(scope="session")
def model(small_run: Path) -> Model:
    return load_model(small_run)


@pytest.fixture
def start(small_run: Path, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """start(targets=..., server={...}, **node settings) is a running node."""
    for place in ("hilum.serve.work.Decoder", "hilum.serve.dicom.desk.Decoder"):
        monkeypatch.setattr(place, InThisProcess)
    servers: list[Server] = []

    def make(*targets: str, server: dict[str, Any] | None = None, **changes: Any) -> Running:
        # The lung network refuses phantoms of 96 pixels; a test of the gate asks for it.
        settings = Settings(runs=(small_run,), store=tmp_path / "store", lungs=False, decoders=1)
        made = opened(replace(settings, **(server or {})), [model])
        servers.append(made)
        node = NodeSettings(port=0, targets=peers_of(targets))
        return Running(made, nodes.opened(made, replace(node, **changes)))

    yield make
    for server in servers:
        server.close()


@pytest.fixture(scope="session")
def films(phantoms: Path) -> list[Any]:
    """Pixels of phantoms."""
    return [read_png(path) for path in sorted(phantoms.parent.glob("**/*.png"))]
