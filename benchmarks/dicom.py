"""Many objects through C-STORE while nodes disappear and the process is killed: does each have its answers once?

    python benchmarks/dicom.py RUN --objects 5000 [--out results.json]

Sends synthetic films over several associations to `hilum dicom listen`, a process of its own, which is killed with
SIGKILL three times on the way; the node that gets the answers goes away for a minute; senders drop associations in the
middle. In the end each object that was acknowledged must have exactly one result, and its report and its map must have
arrived, and nothing else. An answer that comes again, as its reply was lost with the process, has the same UID and the
same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pydicom
from pynetdicom import AE, AllStoragePresentationContexts, evt

_SIDE_PX = 96


class Hilum:
    """The node as a process that can be killed and started again at the same port."""

    def __init__(self, run: Path, store: Path, port: int, target: str) -> None:
        self._command = [
            *(sys.executable, "-m", "hilum.cli.app", "--quiet", "--json", "dicom", "listen", str(run)),
            *("--store", str(store), "--port", str(port), "--send-to", target, "--no-lungs"),
        ]
        self.cpu_seconds = 0.0
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.process.stdout is not None
        assert json.loads(self.process.stdout.readline())

    def kill(self) -> None:
        self.cpu_seconds += self._cpu()
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        self.cpu_seconds += self._cpu()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)

    def _cpu(self) -> float:
        top = psutil.Process(self.process.pid)
        return sum(sum(each.cpu_times()[:2]) for each in (top, *top.children(recursive=True)))

    @property
    def memory_mib(self) -> float:
        """Of the process and the decoders that it started."""
        try:
            top = psutil.Process(self.process.pid)
            return sum(each.memory_info().rss for each in (top, *top.children(recursive=True))) / 2**20
        except psutil.NoSuchProcess:
            return float("nan")


class Target:
    """The node that gets the answers, counting each UID, and each content under it."""

    def __init__(self, port: int) -> None:
        self.port, self.got, self.contents = port, Counter[str](), set[tuple[str, bytes]]()
        self.open()

    def open(self) -> None:
        ae = AE(ae_title="PACS")
        ae.supported_contexts = AllStoragePresentationContexts
        self._server = ae.start_server(
            ("127.0.0.1", self.port), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)]
        )

    def close(self) -> None:
        self._server.shutdown()

    def _store(self, event: evt.Event) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        self.contents.add((uid, hashlib.sha256(event.request.DataSet.getvalue()).digest()))
        self.got[uid] += 1
        return 0


def sending(port: int, sources: list[pydicom.Dataset], taken: set[str], seed: int) -> None:
    """Send until each was acknowledged; every hundredth or so the association is dropped without a word."""
    random = np.random.default_rng(seed)
    ae = AE(ae_title=f"ROOM_{seed}")
    ae.add_requested_context(sources[0].SOPClassUID, sources[0].file_meta.TransferSyntaxUID)
    left = list(sources)
    while left:
        association = ae.associate("127.0.0.1", port, ae_title="HILUM")
        if not association.is_established:
            time.sleep(0.5)
            continue
        while left and association.is_established:
            try:
                status = association.send_c_store(left[-1]).get("Status")
            except (RuntimeError, ValueError):
                break
            if status == 0:
                taken.add(str(left.pop().SOPInstanceUID))
            elif status is not None:
                time.sleep(0.2)
            if random.random() < 0.01:
                association.abort()
        if association.is_established:
            association.release()


def told(store: Path) -> dict[str, Any]:
    """What the store has: objects by state, films by their number of results, answers by state."""
    questions = {
        "objects": "select state, count(*) from dicom_objects group by state",
        "films_by_results": "select n, count(*) from (select count(model_id) n from films left join results "
        "using (film_id) group by film_id) group by n",
        "answers": "select state, count(*) from dicom_outbox group by state",
    }
    with sqlite3.connect(f"file:{store / 'store.sqlite'}?mode=ro", uri=True, timeout=60) as connection:
        return {name: dict(connection.execute(question).fetchall()) for name, question in questions.items()}


def until(what: Any, end: float) -> None:
    """Wait for something to be true; a benchmark that waits for ever tells nothing."""
    while not what() and time.monotonic() < end:
        time.sleep(2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--objects", type=int, default=5000)
    parser.add_argument("--associations", type=int, default=4)
    parser.add_argument("--away-seconds", type=float, default=60.0)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--most-seconds", type=float, default=3600.0)
    parser.add_argument("--out", type=Path, help="JSON of the figures")
    asked = parser.parse_args()
    # In place of this folder, in which this file hides the package of the same name.
    sys.path[0] = str(Path(__file__).resolve().parents[1] / "tests")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as folder:
        found = measured(asked, Path(folder) / "store")
    found |= {"machine": f"{platform.machine()}, {os.cpu_count()} cores", "load": round(os.getloadavg()[2], 1)}
    for name, value in found.items():
        print(f"{name:22} {value}", flush=True)
    if asked.out:
        asked.out.write_text(json.dumps(found, indent=2) + "\n")
    sys.exit(0 if found["each_once"] else 1)


def measured(asked: argparse.Namespace, store: Path) -> dict[str, Any]:
    """Send, kill, wait, and count."""
    from dicom.nodes import film, free_port

    random = np.random.default_rng(0)
    sources = [
        film(random.integers(0, 255, (_SIDE_PX, _SIDE_PX), np.uint8), PatientID=f"P{number}")
        for number in range(asked.objects)
    ]
    port, target = free_port(), Target(free_port())
    hilum = Hilum(asked.run, store, port, f"PACS@127.0.0.1:{target.port}")
    taken: set[str] = set()
    start = time.monotonic()
    end = start + asked.most_seconds
    senders = [
        threading.Thread(target=sending, args=(port, sources[number :: asked.associations], taken, number), daemon=True)
        for number in range(asked.associations)
    ]
    for sender in senders:
        sender.start()
    memory = []
    for number in range(asked.kills):
        until(lambda at=number: len(taken) >= asked.objects * (at + 1) / (asked.kills + 1), end)
        print(f"{time.monotonic() - start:.0f} s: {len(taken)} taken, {told(store)}; killed", flush=True)
        memory.append(hilum.memory_mib)
        hilum.kill()
        if number == 0:
            target.close()
            threading.Timer(asked.away_seconds, target.open).start()
        hilum.start()
    for sender in senders:
        sender.join(max(0.0, end - time.monotonic()))
    received_s = time.monotonic() - start
    print(f"{received_s:.0f} s: all taken, {told(store)}", flush=True)
    until(lambda: told(store)["objects"].keys() <= {"answered", "failed", "not-applicable"}, end)
    until(lambda: told(store)["answers"].keys() <= {"sent", "refused"}, end)
    done_s = time.monotonic() - start
    memory.append(hilum.memory_mib)
    hilum.end()
    target.close()
    found = told(store)
    again = sum(target.got.values()) - len(target.got)
    each_once = (
        len(taken) == asked.objects
        and found["objects"] == {"answered": asked.objects}
        and found["films_by_results"] == {1: asked.objects}
        and found["answers"] == {"sent": 2 * asked.objects}
        and len(target.got) == len(target.contents) == 2 * asked.objects
    )
    return {
        "each_once": each_once,
        "objects": asked.objects,
        "acknowledged": len(taken),
        "in_the_store": found,
        "answers_arrived": len(target.got),
        "contents_arrived": len(target.contents),
        "came_again": again,
        "kills": asked.kills,
        "target_away_s": asked.away_seconds,
        "received_s": round(received_s),
        "done_s": round(done_s),
        "cpu_s_an_object": round(hilum.cpu_seconds / asked.objects, 3),
        "memory_mib": [round(each) for each in memory],
    }


if __name__ == "__main__":
    main()
