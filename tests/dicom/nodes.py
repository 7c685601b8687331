"""DICOM objects to send, nodes that send and receive, and Orthanc as the PACS."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
import pytest
import uvicorn
from numpy.typing import NDArray
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.dimse_primitives import C_STORE

CR = "1.2.840.10008.5.1.4.1.1.1"


def film(pixels: NDArray[Any] | None = None, **elements: Any) -> pydicom.Dataset:
    """A valid CR object of a chest film, uint8 or uint16 (H, W); elements replace or add, None leaves out."""
    if pixels is None:
        pixels = np.random.default_rng().integers(0, 255, (96, 96), np.uint8)
    made = pydicom.Dataset()
    made.file_meta = pydicom.dataset.FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    bits = pixels.dtype.itemsize * 8
    values: dict[str, Any] = {
        "SpecificCharacterSet": "ISO_IR 192", "SOPClassUID": CR, "SOPInstanceUID": generate_uid(),
        "StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid(), "Modality": "CR",
        "StudyDate": "20240305", "StudyTime": "101112", "AccessionNumber": "A1", "ReferringPhysicianName": "Ref^Er",
        "PatientName": "Doe^Jane", "PatientID": "P-17", "PatientBirthDate": "19600102", "PatientSex": "F",
        "StudyID": "S1", "SeriesNumber": "1", "InstanceNumber": "1", "BodyPartExamined": "CHEST",
        "ViewPosition": "PA", "PatientOrientation": ["L", "F"], "ImageType": ["ORIGINAL", "PRIMARY"],
        "Manufacturer": "Phantoms", "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2",
        "Rows": pixels.shape[0], "Columns": pixels.shape[1], "BitsAllocated": bits, "BitsStored": bits,
        "HighBit": bits - 1, "PixelRepresentation": 0,
    }  # fmt: skip
    for keyword, value in {**values, **elements}.items():
        if value is not None:
            setattr(made, keyword, value)
    made.add_new(0x7FE00010, "OB" if bits == 8 else "OW", pixels.tobytes())
    return made


def read_png(path: Path) -> NDArray[np.uint8]:
    return np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), np.uint8)


def file_of(dataset: pydicom.Dataset) -> bytes:
    out = BytesIO()
    pydicom.dcmwrite(out, dataset, enforce_file_format=True)
    return out.getvalue()


def send(port: int, *datasets: pydicom.Dataset, title: str = "SENDER", called: str = "HILUM", **more: Any) -> list[int]:
    """C-STORE over one association; the statuses, -1 for none."""
    ae = AE(ae_title=title)
    for dataset in datasets:
        ae.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
    association = ae.associate("127.0.0.1", port, ae_title=called, **more)
    if not association.is_established:
        return [-1] * len(datasets)
    try:
        return [association.send_c_store(dataset).get("Status", -1) for dataset in datasets]
    finally:
        association.release()


def send_raw(association: Any, sop_class: str, instance_uid: str, data: bytes) -> int:
    """C-STORE of bytes as they are, under the first context of the association; the status."""
    request = C_STORE()
    request.MessageID, request.Priority = 7, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = sop_class, instance_uid
    request.DataSet = BytesIO(data)
    association._reactor_checkpoint.clear()
    try:
        association.dimse.send_msg(request, association.accepted_contexts[0].context_id)
        _, answer = association.dimse.get_msg(block=True)
    finally:
        association._reactor_checkpoint.set()
    return -1 if answer is None else int(answer.Status)


def until(what: Callable[[], Any], seconds: float = 60.0) -> Any:
    """The first answer that is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come to pass in time")


@dataclass
class Pacs:
    """A node that stores what it gets. status: what it answers with; got: datasets in the order in which they came."""

    status: int = 0
    got: list[pydicom.Dataset] = field(default_factory=list)
    port: int = 0

    @property
    def uids(self) -> list[str]:
        return [str(each.SOPInstanceUID) for each in self.got]


@contextmanager
def pacs(port: int = 0, **known: Any) -> Iterator[Pacs]:
    """A node in this process while the block runs."""
    made = Pacs(**known)

    def store(event: evt.Event) -> int:
        if made.status == 0:
            dataset = event.dataset
            dataset.file_meta = event.file_meta
            made.got.append(dataset)
        return made.status

    ae = AE(ae_title="PACS")
    ae.supported_contexts = AllStoragePresentationContexts
    server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    made.port = server.server_address[1]
    try:
        yield made
    finally:
        server.shutdown()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def tool(name: str, package: str) -> str:
    """A program from Debian; the test is skipped where it is absent."""
    found = shutil.which(name) or shutil.which(f"/usr/sbin/{name}")
    if found is None:
        pytest.skip(f"no {name}: apt-get install {package}")
    return found


@contextmanager
def over_http(app: Any) -> Iterator[str]:
    """The address of an application on a port of its own while the block runs."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)


@dataclass
class Orthanc:
    """A running Orthanc: its DICOM port, and its REST interface."""

    port: int
    web: int

    def ask(self, path: str, value: Any = None, method: str | None = None) -> Any:
        """The answer to a GET, or to a POST or other method with a value; JSON is read, other answers are bytes."""
        data = None if value is None else json.dumps(value).encode()
        asked = urllib.request.Request(f"http://127.0.0.1:{self.web}{path}", data, method=method)
        with urllib.request.urlopen(asked, timeout=30) as answer:
            body = answer.read()
            return json.loads(body) if "json" in answer.headers.get_content_type() else body


@contextmanager
def orthanc(folder: Path, hilum_port: int) -> Iterator[Orthanc]:
    """Orthanc in a process of its own, which knows a node HILUM at this machine."""
    program = tool("Orthanc", "orthanc")
    made = Orthanc(free_port(), free_port())
    settings = {
        "StorageDirectory": str(folder / "orthanc"),
        "IndexDirectory": str(folder / "orthanc"),
        "DicomAet": "ORTHANC",
        "DicomPort": made.port,
        "HttpPort": made.web,
        "RemoteAccessAllowed": False,
        "DicomModalities": {"hilum": ["HILUM", "127.0.0.1", hilum_port]},
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowGet": True,
        "DicomAlwaysAllowMove": True,
        "Plugins": [str(path) for path in Path("/usr/share/orthanc/plugins").glob("libOrthancDicomWeb.so")],
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    process = subprocess.Popen(
        [program, str(folder / "orthanc.json")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until(lambda: _answers(made), seconds=90)
        yield made
    finally:
        process.terminate()
        process.wait(20)


def _answers(made: Orthanc) -> bool:
    try:
        made.ask("/system")
    except OSError:
        return False
    return True


def association_threads() -> int:
    """How many threads of associations are alive in this process."""
    return sum("AcceptorThread" in each.name for each in threading.enumerate())
