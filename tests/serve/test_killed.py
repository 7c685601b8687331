"""A real server process, killed in the middle of its work, and started again on the same store."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hilum.serve.client import Client, ServerError
from serve.serving import png, served

FILMS = 200


@pytest.mark.slow
def test_after_kill_9_every_accepted_film_has_its_result_once(small_run: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    with served(small_run, store) as (process, address):
        with Client(address) as client:
            batch = client.send([(f"{number}.png", png(number)) for number in range(FILMS)])
            assert len(batch["accepted"]) == FILMS
            while client.batch(batch["batch"])["done"] < 20:
                time.sleep(0.01)
        process.kill()
        process.wait(10)
    with served(small_run, store) as (_, address), Client(address) as client:
        counts = client.wait(batch["batch"], seconds=120)
        assert counts == {"waiting": 0, "done": FILMS, "failed": 0}
        found = client.films(most=500)
        assert {film["film_id"] for film in found["films"]} == {each["film_id"] for each in batch["accepted"]}
        assert all(len(film["results"]) == 1 for film in found["films"])
    verified = subprocess.run(
        [sys.executable, "-m", "hilum.cli.app", "--json", "serve", "verify-log", "--store", str(store)],
        capture_output=True,
        text=True,
        check=True,
    )
    # Accepted, predicted and listed: each once.
    assert json.loads(verified.stdout)["records"] == 2 * FILMS + 1


def test_a_client_that_says_nothing_or_sends_too_slowly_hurts_nobody(small_run: Path, tmp_path: Path) -> None:
    import socket

    with served(small_run, tmp_path / "store") as (_, address), Client(address) as client:
        host, port = address.removeprefix("http://").rstrip("/").split(":")
        silent = [socket.create_connection((host, int(port))) for _ in range(40)]
        for each in silent[:20]:
            each.sendall(b"POST /api/v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n\r\nx")
        started = time.monotonic()
        assert client.predict(png(1))["state"] == "done"
        assert time.monotonic() - started < 10
        for each in silent:
            each.close()


def test_a_film_that_is_none_is_a_typed_error_of_the_client(small_run: Path, tmp_path: Path) -> None:
    with served(small_run, tmp_path / "store") as (_, address), Client(address) as client:
        with pytest.raises(ServerError, match="not a film") as refused:
            client.predict(b"a text that is no film")
        assert refused.value.kind == "unreadable-film"
        film = tmp_path / "a.png"
        film.write_bytes(png(2))
        made = client.predict(film)
        assert made["name"] == "a.png"
        assert client.picture(made["film_id"])[:4] == b"\x89PNG"
        assert client.models()[0]["model_id"] == made["results"][0]["model_id"]
        client.delete(made["film_id"])
        with pytest.raises(ServerError, match="no such film"):
            client.film(made["film_id"])
