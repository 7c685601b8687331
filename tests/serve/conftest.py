"""A server on the small run, on a store of each test's own, and films to send."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from hilum.serve.app import create_app
from hilum.serve.models import Model, load_model
from hilum.serve.server import opened
from hilum.serve.settings import Settings
from serve.serving import InThisProcess, served


@pytest.fixture(scope="session")
def model(small_run: Path) -> Model:
    return load_model(small_run)


@pytest.fixture
def settings(small_run: Path, tmp_path: Path) -> Settings:
    # The lung network refuses phantoms of 96 pixels; a test of the gate asks for it.
    return Settings(runs=(small_run,), store=tmp_path / "store", lungs=False, decoders=1)


Serve = Callable[..., TestClient]


@pytest.fixture
def serve(settings: Settings, model: Model, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """serve(keep_hours=...) is a client of a server with these settings; models: others than the small run's."""
    monkeypatch.setattr("hilum.serve.work.Decoder", InThisProcess)
    open_clients: list[TestClient] = []

    def make(models: Sequence[Model] = (), **changes: Any) -> TestClient:
        server = opened(replace(settings, **changes), models or [model])
        client = TestClient(create_app(server), base_url="http://127.0.0.1", raise_server_exceptions=False)
        client.__enter__()
        open_clients.append(client)
        return client

    yield make
    for client in open_clients:
        client.__exit__(None, None, None)


@pytest.fixture
def client(serve: Serve) -> TestClient:
    return serve()


@pytest.fixture(scope="session")
def address(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a server in a process of its own, one for all tests that need one, as it starts slowly."""
    with served(small_run, tmp_path_factory.mktemp("serve") / "store") as (_, address):
        yield address


@pytest.fixture(scope="session")
def films(phantoms: Path) -> list[Path]:
    return sorted(phantoms.parent.glob("**/*.png"))
