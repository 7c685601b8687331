"""The Python client against a real server process, and clients that would hurt others."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from hilum.serve.client import Client, ServerError
from serve.serving import png


def test_a_client_that_says_nothing_or_sends_too_slowly_hurts_nobody(address: str) -> None:
    with Client(address) as client:
        host, port = address.removeprefix("http://").rstrip("/").split(":")
        silent = [socket.create_connection((host, int(port))) for _ in range(40)]
        for each in silent[:20]:
            each.sendall(b"POST /api/v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n\r\nx")
        started = time.monotonic()
        assert client.predict(png(101))["state"] == "done"
        assert time.monotonic() - started < 10
        for each in silent:
            each.close()


def test_a_film_that_is_none_is_a_typed_error_of_the_client(address: str, tmp_path: Path) -> None:
    with Client(address) as client:
        with pytest.raises(ServerError, match="not a film") as refused:
            client.predict(b"a text that is no film")
        assert refused.value.kind == "unreadable-film"
        film = tmp_path / "a.png"
        film.write_bytes(png(102))
        made = client.predict(film)
        assert made["name"] == "a.png"
        assert client.picture(made["film_id"])[:4] == b"\x89PNG"
        assert client.models()[0]["model_id"] == made["results"][0]["model_id"]
        client.delete(made["film_id"])
        with pytest.raises(ServerError, match="no such film"):
            client.film(made["film_id"])
