"""A real server process, killed in the middle of its work, and started again on the same store."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from commands import hilum
from hilum.serve.client import Client
from serve.serving import png, served

FILMS = 100


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
    verified = hilum("--json", "serve", "verify-log", "--store", str(store))
    # Accepted, predicted and listed: each once.
    assert json.loads(verified.stdout)["records"] == 2 * FILMS + 1
