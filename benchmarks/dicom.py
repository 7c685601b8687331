"""Many objects through C-STORE while nodes disappear and the process is killed: does each have its answers once?

    python benchmarks/dicom.py RUN --objects 5000

Sends synthetic films over several associations to `hilum dicom listen`, a process of its own, which is killed with
SIGKILL three times on the way; the node that gets the answers goes away for a minute; senders drop associations in the
middle. In the end each object that was acknowledged must have exactly one result, and each answer must have arrived.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
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
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.process.stdout is not None
        assert json.loads(self.process.stdout.readline())

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    @property
    def memory_mib(self) -> float:
        """Of the process and the decoders that it started."""
        try:
            top = psutil.Process(self.process.pid)
            return sum(each.memory_info().rss for each in (top, *top.children(recursive=True))) / 2**20
        except psutil.NoSuchProcess:
            return float("nan")


class Target:
    """The node that gets the answers, counting each UID."""

    def __init__(self, port: int) -> None:
        self.port, self.got = port, Counter[str]()
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
        self.got[str(event.request.AffectedSOPInstanceUID)] += 1
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
    """What `hilum dicom status` says."""
    command = [sys.executable, "-m", "hilum.cli.app", "--json", "dicom", "status", "--store", str(store)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--objects", type=int, default=5000)
    parser.add_argument("--associations", type=int, default=4)
    parser.add_argument("--away-seconds", type=float, default=60.0)
    parser.add_argument("--kills", type=int, default=3)
    asked = parser.parse_args()
    # In place of this folder, in which this file hides the package of the same name.
    sys.path[0] = str(Path(__file__).resolve().parents[1] / "tests")
    from dicom.nodes import film, free_port

    random = np.random.default_rng(0)
    sources = [
        film(random.integers(0, 255, (_SIDE_PX, _SIDE_PX), np.uint8), PatientID=f"P{number}")
        for number in range(asked.objects)
    ]
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as folder:
        store, port, target = Path(folder) / "store", free_port(), Target(free_port())
        hilum = Hilum(asked.run, store, port, f"PACS@127.0.0.1:{target.port}")
        taken: set[str] = set()
        start = time.monotonic()
        senders = [
            threading.Thread(target=sending, args=(port, sources[number :: asked.associations], taken, number))
            for number in range(asked.associations)
        ]
        for sender in senders:
            sender.start()
        memory = []
        for number in range(asked.kills):
            while len(taken) < asked.objects * (number + 1) / (asked.kills + 1):
                time.sleep(0.2)
            memory.append(hilum.memory_mib)
            hilum.kill()
            if number == 0:
                target.close()
                threading.Timer(asked.away_seconds, target.open).start()
            hilum.start()
        for sender in senders:
            sender.join()
        received_s = time.monotonic() - start
        while (found := told(store))["objects"]["received"] + found["objects"]["asked"]:
            time.sleep(2)
        while sum(target.got.values()) < 2 * found["objects"]["answered"]:
            time.sleep(1)
        time.sleep(3)
        memory.append(hilum.memory_mib)
        done_s = time.monotonic() - start
        found = told(store)
        hilum.process.send_signal(signal.SIGTERM)
        hilum.process.wait(60)
        target.close()
    twice = sum(count - 1 for count in target.got.values() if count > 1)
    print(f"objects acknowledged            {len(taken)} of {asked.objects} in {received_s:.0f} s")
    print(f"objects in the store            {found['objects']}")
    print(f"answers                         {next(iter(found['answers'].values()))}")
    print(f"different answers that arrived  {len(target.got)} of {2 * asked.objects}; {twice} came again, same UID")
    print(f"all arrived after               {done_s:.0f} s, {asked.objects / done_s:.1f} objects a second")
    print(f"memory before each kill, end    {', '.join(f'{each:.0f}' for each in memory)} MiB")
    ok = len(taken) == found["objects"]["answered"] == asked.objects and len(target.got) == 2 * asked.objects
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
