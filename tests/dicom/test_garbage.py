"""The garbage of a network: the node stays up, its memory flat, and films still come through."""

from __future__ import annotations

import gc
import logging
import socket
import struct
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pydicom
import pytest
from pydicom.uid import generate_uid
from pynetdicom import AE

from dicom.conftest import Running, Start
from dicom.nodes import CR, association_threads, film, send, send_raw, until
from hilum.serve.dicom import accepted
from hilum.serve.dicom.settings import NodeLimits

TEST_FILES = Path(pydicom.__file__).parent / "data" / "test_files"


def connected(running: Running) -> socket.socket:
    return socket.create_connection(("127.0.0.1", running.port), timeout=10)


def answer_to(running: Running, data: bytes) -> bytes:
    """What the node says before it closes."""
    with connected(running) as wire:
        wire.sendall(data)
        said = b""
        try:
            while piece := wire.recv(4096):
                said += piece
        except ConnectionResetError:
            pass
    return said


def request_of_association(title: bytes = b"SENDER") -> bytes:
    """An A-ASSOCIATE-RQ for verification, written by hand (PS3.8 9.3.2)."""

    def item(kind: int, content: bytes) -> bytes:
        return struct.pack(">BxH", kind, len(content)) + content

    context = item(0x20, b"\x01\0\0\0" + item(0x30, b"1.2.840.10008.1.1") + item(0x40, b"1.2.840.10008.1.2"))
    user = item(0x50, item(0x51, struct.pack(">L", 16384)) + item(0x52, b"1.2.3"))
    body = struct.pack(">HH", 1, 0) + b"HILUM".ljust(16) + title.ljust(16) + bytes(32)
    body += item(0x10, b"1.2.840.10008.3.1.1.1") + context + user
    return struct.pack(">BxL", 1, len(body)) + body


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: node\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),  # a TLS greeting to a port without TLS
        struct.pack(">BxL", 1, 0xFFFFFFFF) + bytes(1000),
        struct.pack(">BxL", 4, 0x7FFFFFFF),
        struct.pack(">BxL", 1, 10) + bytes(10),
        struct.pack(">BxL", 0, 0),
        b"\xff" * 3000,
        request_of_association() + struct.pack(">BxL", 4, 0xFFFFFFF0),
        request_of_association() + struct.pack(">BxL", 4, 12) + b"\xff" * 12,
        request_of_association() + request_of_association(),
    ],
    ids=[
        "http",
        "tls",
        "huge-request",
        "huge-data",
        "short-request",
        "no-kind",
        "ones",
        "huge-after",
        "ones-after",
        "twice",
    ],
)
def test_garbage_ends_its_own_connection_only(start: Start, films: list[Any], data: bytes) -> None:
    running = start(limits=NodeLimits(idle_seconds=3, asking_seconds=1))
    started = time.monotonic()
    answer_to(running, data)
    assert time.monotonic() - started < 8
    until(lambda: association_threads() == 0, seconds=10)
    assert send(running.port, film(films[0])) == [0x0000]


def test_half_open_connections_and_those_that_trickle_keep_nobody_out(start: Start, films: list[Any]) -> None:
    running = start(limits=NodeLimits(associations=4, connections=40, idle_seconds=2, asking_seconds=2))
    wires = [connected(running) for _ in range(30)]
    for wire in wires[:10]:
        wire.sendall(b"\x01\x00\x00")  # half of a header
    for wire in wires[10:20]:
        wire.sendall(request_of_association()[:40])
    assert send(running.port, film(films[0])) == [0x0000]  # though 30 are open and 4 associations the most
    until(lambda: association_threads() == 0, seconds=20)
    for wire in wires:
        wire.close()


@pytest.mark.slow
def test_of_100_associations_at_once_those_over_the_limit_are_refused_and_the_node_stays(
    start: Start, films: list[Any]
) -> None:
    running = start(limits=NodeLimits(associations=8, connections=32, idle_seconds=2, asking_seconds=2))
    outcomes: list[bytes] = []

    def ask() -> None:
        try:
            with connected(running) as wire:
                wire.sendall(request_of_association())
                wire.settimeout(10)
                outcomes.append(wire.recv(1) or b"closed")
                time.sleep(0.3)
        except OSError:
            outcomes.append(b"closed")

    threads = [threading.Thread(target=ask) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    kinds = {kind: outcomes.count(kind) for kind in (b"\x02", b"\x03", b"closed")}
    assert sum(kinds.values()) == 100
    assert kinds[b"\x02"] >= 1  # some were accepted, and never over the limit
    assert kinds[b"\x03"] + kinds[b"closed"] >= 1
    until(lambda: association_threads() == 0, seconds=20)
    assert send(running.port, film(films[0])) == [0x0000]


def test_garbage_leaves_no_memory_behind(start: Start, films: list[Any]) -> None:
    running = start(limits=NodeLimits(idle_seconds=2, asking_seconds=1))
    send(running.port, film(films[0]))
    running.ended(1)  # the network is converted by then, which takes memory
    process = psutil.Process()

    def some(count: int) -> None:
        for _ in range(count):
            for data in (
                request_of_association() + struct.pack(">BxL", 4, 0xFFFFFFF0),
                b"GET / HTTP/1.1" + bytes(5000),
            ):
                with connected(running) as wire:
                    wire.sendall(data)
                    wire.recv(16)
        until(lambda: association_threads() == 0, seconds=20)
        gc.collect()

    some(8)
    before = process.memory_info().rss
    some(20)
    assert process.memory_info().rss - before < 20 * 2**20


def test_a_message_without_end_is_cut_off(start: Start, films: list[Any]) -> None:
    running = start(limits=NodeLimits(object_bytes=200_000, idle_seconds=3))
    with connected(running) as wire:
        wire.sendall(request_of_association())
        assert wire.recv(4096)[:1] == b"\x02"
        # A fragment of a command that is never the last one (PS3.8 9.3.5, E.2).
        piece = struct.pack(">LBB", 60_000 + 2, 1, 0x01) + bytes(60_000)
        sent = 0
        try:
            for _ in range(100):
                wire.sendall(struct.pack(">BxL", 4, len(piece)) + piece)
                sent += len(piece)
                time.sleep(0.01)
        except OSError:
            pass
        assert sent < 4_000_000
    assert send(running.port, film(films[0])) == [0x0000]


def test_pydicoms_test_files_each_get_a_status_and_a_line_without_patients_and_the_node_stays_up(
    start: Start, films: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "hilum")
    running = start()
    patients: set[str] = set()
    ae = AE(ae_title="SENDER")
    ae.add_requested_context(CR, next(iter(accepted.FILM_SYNTAXES)))
    association = ae.associate("127.0.0.1", running.port, ae_title="HILUM")
    statuses: Counter[int] = Counter()
    for path in sorted(each for each in TEST_FILES.rglob("*") if each.is_file() and each.stat().st_size < 4_000_000):
        data = path.read_bytes()
        instance_uid = generate_uid()
        try:
            opened = pydicom.dcmread(path, stop_before_pixels=True)
            instance_uid = str(opened.SOPInstanceUID)
            patients |= {str(opened.get(name) or "") for name in ("PatientID", "PatientName", "SOPInstanceUID")}
            data = data[144 + int(opened.file_meta.FileMetaInformationGroupLength) :]
        except Exception:  # broken on purpose: all its bytes are sent
            pass
        # As a film that they are, mostly, not.
        data = data.replace(b"1.2.840.10008.5.1.4.1.1.4\0", CR.encode() + b"\0")
        statuses[send_raw(association, CR, instance_uid[:64], data)] += 1
    association.release()
    assert sum(statuses.values()) > 60
    assert set(statuses) <= {*accepted.STATUSES}
    assert statuses[accepted.NOT_MATCHING] and statuses[accepted.NOT_UNDERSTOOD]
    running.ended(sum(running.counts().values()))
    assert send(running.port, film(films[0])) == [0x0000]
    refusals = [line for line in caplog.messages if line.startswith("an object of SENDER was refused: status ")]
    assert Counter(int(line[-4:], 16) for line in refusals) == {
        status: count for status, count in statuses.items() if status not in (accepted.OK, accepted.DISCARDED)
    }
    told = "\n".join(caplog.messages)
    assert len(patients) > 30
    assert not [each for each in patients if len(each) > 4 and each in told]
