"""Answers on their way: nodes that are away, that refuse, and a process that is killed."""

from __future__ import annotations

import json
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from commands import Started, hilum, started
from dicom.conftest import Start
from dicom.nodes import film, free_port, pacs, send, until
from hilum.serve.client import Client
from hilum.serve.dicom import objects, outbox
from hilum.serve.dicom.objects import answer_name
from hilum.serve.store.database import reading
from hilum.serve.store.folder import StoreFolder


def test_answers_wait_for_a_node_that_is_away_and_then_arrive_once(
    start: Start, films: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "_LEAST_WAIT", 0.1)
    port = free_port()
    running = start(f"PACS@127.0.0.1:{port}")
    sources = [film(pixels) for pixels in films[:3]]
    assert send(running.port, *sources) == [0x0000] * 3
    running.ended(3)
    target = f"PACS@127.0.0.1:{port}"
    assert running.outbox()[target]["due"] == 6
    with pacs(port) as other:
        until(lambda: running.outbox()[target]["sent"] == 6, seconds=30)
        running.node.outbox.wake()
        assert sorted(Counter(other.uids).values()) == [1] * 6
        folder = StoreFolder(running.server.folder.path / "dicom" / "answers", b"")
        until(lambda: folder.lying() == [])


def test_every_node_gets_every_answer_and_one_that_is_away_keeps_no_other_waiting(
    start: Start, films: list[Any]
) -> None:
    away = free_port()
    with pacs() as other:
        running = start(f"PACS@127.0.0.1:{other.port}", f"AWAY@127.0.0.1:{away}")
        send(running.port, film(films[0]))
        until(lambda: len(other.got) == 2)
        folder = StoreFolder(running.server.folder.path / "dicom" / "answers", b"")
        assert sorted(folder.lying()) == sorted(answer_name(uid) for uid in other.uids)  # for the one that is away
    assert running.outbox()[f"AWAY@127.0.0.1:{away}"] == {"due": 2, "sent": 0, "refused": 0}


def test_what_a_node_refuses_is_tried_again_and_then_left_to_a_person(
    start: Start, films: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "_LEAST_WAIT", 0.01)
    monkeypatch.setattr(outbox, "MOST_TRIES", 3)
    with pacs(status=0xA900) as other:
        target = f"PACS@127.0.0.1:{other.port}"
        running = start(target)
        send(running.port, film(films[0]))
        until(lambda: running.outbox().get(target, {}).get("refused") == 2)
        tries = reading(
            running.server.engine, lambda c: c.exec_driver_sql("select tries, error from dicom_outbox").all()
        )
        assert tries == [(3, "status A900"), (3, "status A900")]
        other.status = 0
        assert running.server.writer.now(objects.retry) == 2
        until(lambda: len(other.got) == 2)


@contextmanager
def listening(run: Path, store: Path, target: str) -> Iterator[tuple[Started, int]]:
    """`hilum dicom listen` in a process of its own, and its port."""
    words = ["--json", "dicom", "listen", str(run), "--store", str(store), "--port", "0", "--no-lungs"]
    with started([*words, "--send-to", target], env={"OMP_NUM_THREADS": "1"}) as process:
        (line,) = process.first_lines()
        yield process, json.loads(line)["port"]
        process.send_signal(signal.SIGTERM)
        process.wait(30)


@pytest.mark.slow
def test_after_kill_9_every_object_that_was_acknowledged_has_each_answer_once(
    small_run: Path, tmp_path: Path, films: list[Any]
) -> None:
    sources = [film(films[number % len(films)], PatientID=f"P{number}") for number in range(12)]
    store, port = tmp_path / "store", free_port()
    target = f"PACS@127.0.0.1:{port}"
    taken: list[int] = []
    with listening(small_run, store, target) as (process, at):
        halves = [
            threading.Thread(target=lambda part=part: taken.extend(send(at, *part)))
            for part in (sources[:6], sources[6:])
        ]
        for thread in halves:
            thread.start()
        for thread in halves:
            thread.join()
        process.kill()  # in the middle of its work
        process.wait(10)
    assert taken == [0x0000] * 12
    with pacs(port) as other, listening(small_run, store, target) as (process, at):
        until(lambda: len(other.got) >= 5, seconds=90)
        process.kill()  # in the middle of its sending
        process.wait(10)
    first = list(other.uids)
    with pacs(port) as other, listening(small_run, store, target) as (_, at):
        assert send(at, *sources[:5]) == [0x0000] * 5  # sent again by a node that does not know
        arrived = lambda: len(set(first + other.uids)) == 24  # noqa: E731
        until(arrived, seconds=90)
        told = json.loads(hilum("--json", "dicom", "status", "--store", str(store)).stdout)
    assert told["objects"] == {"received": 0, "asked": 0, "answered": 12, "not-applicable": 0, "failed": 0}
    assert told["answers"][target]["refused"] == 0
    # A reply that was lost with the process makes an answer come twice, under the same UID: at most the one in hand.
    again = [uid for uid, count in Counter(first + other.uids).items() if count > 1]
    assert len(again) <= 1


@pytest.mark.slow
def test_hilum_serve_is_a_node_beside_its_pages(small_run: Path, tmp_path: Path, films: list[Any]) -> None:
    with pacs() as other:
        words = ["--json", "serve", str(small_run), "--no-lungs", "--store", str(tmp_path / "store"), "--port", "0"]
        node_words = ["--dicom", "0", "--dicom-title", "SERVE", "--dicom-send-to", f"PACS@127.0.0.1:{other.port}"]
        with started([*words, *node_words], env={"OMP_NUM_THREADS": "1"}) as process:
            node, pages = map(json.loads, process.first_lines(2))
            assert send(node["port"], film(films[0]), called="SERVE") == [0x0000]
            until(lambda: len(other.got) == 2)
            with Client(pages["address"]) as client:
                (told,) = client.films(most=10)["films"]
            assert told["state"] == "done" and told["name"].endswith(".dcm") and told["view"] == "PA"
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) in (0, -signal.SIGTERM)
