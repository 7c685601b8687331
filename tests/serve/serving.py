"""Films to send, and a server in a process of its own."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from fastapi.testclient import TestClient

from commands import Started, started
from hilum.recipe.schema import Prepare
from hilum.serve.decoding import Examined, examined


class InThisProcess:
    """A decoder that starts no process, which takes longer than all else in a test."""

    def __init__(self, hows: Sequence[Prepare], *, lungs: bool) -> None:
        self._hows, self._lungs = hows, lungs

    def start(self) -> None: ...

    def close(self) -> None: ...

    def __call__(self, data: bytes) -> Examined:
        return examined(data, self._hows, self._lungs)


def png(seed: int = 0, side: int = 96) -> bytes:
    """A picture that is no other test's."""
    done, data = cv2.imencode(".png", np.random.default_rng(seed).integers(0, 255, (side, side), np.uint8))
    assert done
    return data.tobytes()


def until_done(client: TestClient, batch: str, seconds: float = 60.0) -> dict[str, int]:
    """The counts of a batch of which nothing waits any more."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        counts = client.get(f"/api/v1/batches/{batch}").json()
        if not counts["waiting"]:
            return counts
        time.sleep(0.05)
    raise AssertionError(f"still waiting: {counts}")


@contextmanager
def served(run: Path, store: Path, *more: str) -> Iterator[tuple[Started, str]]:
    """`hilum serve` in a process of its own, and its address."""
    words = ["--json", "serve", str(run), "--store", str(store), "--port", "0", "--no-lungs", *more]
    with started(words, env={"OMP_NUM_THREADS": "1"}) as process:
        (line,) = process.first_lines()
        yield process, json.loads(line)["address"]
        process.send_signal(signal.SIGTERM)
        process.wait(30)
