"""The node as others see it: what it takes, what it refuses and how, and what became of each object."""

from __future__ import annotations

import logging
import ssl
import subprocess
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import CTImageStorage, JPEG2000Lossless, generate_uid
from pynetdicom import AE

from dicom.conftest import Start
from dicom.nodes import CR, file_of, film, free_port, send, send_raw, tool, until
from hilum.errors import RequestError
from hilum.serve.dicom.settings import Caller, NodeLimits, NodeSettings
from hilum.serve.store.folder import StoreFolder


def test_a_film_is_received_predicted_and_its_bytes_are_deleted(start: Start, films: list[Any]) -> None:
    running = start()
    assert send(running.port, film(films[0])) == [0x0000]
    assert running.ended(1) == {"received": 0, "asked": 0, "answered": 1, "not-applicable": 0, "failed": 0}
    (row,) = running.rows()
    record = running.server.engine.connect().exec_driver_sql("select name, accepted_by, state from films").one()
    assert record == (f"{row.object_id[:12]}.dcm", "dicom SENDER", "done")
    folder = StoreFolder(running.server.folder.path / "dicom" / "received", b"")
    until(lambda: folder.lying() == [])


@pytest.mark.parametrize(
    ("elements", "why"),
    [
        ({"BodyPartExamined": "FOOT"}, "its body part is 'FOOT', not the chest"),
        ({"ViewPosition": "LL"}, "not frontal: its view is lateral"),
        ({"Modality": "CT"}, "its modality is 'CT', not a radiograph (CR, DX, DR, RG)"),
        ({"ViewPosition": "XX"}, "its position 'XX' is no known view"),
    ],
)
def test_what_is_no_frontal_chest_film_is_acknowledged_and_not_predicted(
    start: Start, films: list[Any], elements: dict[str, str], why: str
) -> None:
    running = start()
    assert send(running.port, film(films[0], **elements)) == [0x0000]
    assert running.ended(1)["not-applicable"] == 1
    assert running.rows()[0].reason == why
    assert running.server.engine.connect().exec_driver_sql("select count(*) from films").scalar() == 0


@pytest.mark.real
def test_a_picture_without_lungs_is_not_applicable_and_a_real_film_is_predicted(start: Start, shared: Path) -> None:
    running = start(server={"lungs": True})
    real = pydicom.dcmread(shared / "data" / "dicom" / "nih-dx-frontal.dcm")
    assert send(running.port, film(), real) == [0x0000, 0x0000]
    assert running.ended(2)["answered"] == 1
    (row,) = [each for each in running.rows() if each.state == "not-applicable"]
    assert row.reason.startswith("no lungs:")


def test_an_object_sent_again_is_the_same_one_and_another_under_its_uid_is_told(start: Start, films: list[Any]) -> None:
    running = start()
    one = film(films[0])
    other = film(films[1], SOPInstanceUID=one.SOPInstanceUID)
    assert send(running.port, one, one, other) == [0x0000, 0x0000, 0xB006]
    running.ended(1)
    assert send(running.port, one) == [0x0000]
    assert sum(running.counts().values()) == 1


def test_an_object_that_contradicts_its_request_or_is_damaged_is_refused_with_its_status(
    start: Start, films: list[Any]
) -> None:
    running = start()
    ae = AE(ae_title="SENDER")
    good, other = film(films[0]), film(films[0])
    ae.add_requested_context(good.SOPClassUID, good.file_meta.TransferSyntaxUID)
    association = ae.associate("127.0.0.1", running.port, ae_title="HILUM")
    try:
        assert association.send_c_store(film(films[0], StudyInstanceUID=None)).Status == 0xA900
        for data, status in (
            (file_of(good)[300:], 0xC000),  # begins in the middle
            (file_of(other)[144 + meta_length(other) :], 0xA900),  # another instance than was said
        ):
            assert send_raw(association, CR, generate_uid(), data) == status
        assert association.send_c_store(good).Status == 0x0000  # the association goes on
    finally:
        association.release()
    running.ended(1)
    assert sum(running.counts().values()) == 1


def meta_length(dataset: pydicom.Dataset) -> int:
    return int(pydicom.dcmread(BytesIO(file_of(dataset))).file_meta.FileMetaInformationGroupLength)


def test_too_large_an_object_and_one_too_many_get_out_of_resources(start: Start, films: list[Any]) -> None:
    running = start(limits=NodeLimits(object_bytes=8000))
    assert send(running.port, film(films[0])) == [0xA700]
    running = start(server={"store": running.server.folder.path.with_name("other")}, limits=NodeLimits(waiting=0))
    assert send(running.port, film(films[0])) == [0xA700]


def test_only_callers_of_the_list_from_their_address_get_an_association(start: Start, films: list[Any]) -> None:
    running = start(allowed=(Caller("ROOM_1"), Caller("ROOM_2", "10.0.0.7")))
    one = film(films[0])
    assert send(running.port, one, title="ROOM_1") == [0x0000]
    for title, called in (("ROOM_2", "HILUM"), ("STRANGER", "HILUM"), ("ROOM_1", "ANOTHER")):
        ae = AE(ae_title=title)
        ae.add_requested_context(one.SOPClassUID)
        refused = ae.associate("127.0.0.1", running.port, ae_title=called)
        assert refused.is_rejected
    with pytest.raises(RequestError, match="any node may call"):
        NodeSettings(port=0, host="0.0.0.0").check()


def test_other_classes_get_no_presentation_context(start: Start) -> None:
    running = start()
    ae = AE()
    ae.add_requested_context(CTImageStorage)
    ae.add_requested_context("1.2.840.10008.1.1")
    association = ae.associate("127.0.0.1", running.port, ae_title="HILUM")
    assert [str(each.abstract_syntax) for each in association.accepted_contexts] == ["1.2.840.10008.1.1"]
    assert association.send_c_echo().Status == 0x0000
    association.release()


def test_over_tls_only_a_caller_whose_certificate_is_known_gets_in(
    start: Start, films: list[Any], tmp_path: Path
) -> None:
    certificate, key = tmp_path / "node.pem", tmp_path / "node.key"
    subprocess.run(
        [
            *(tool("openssl", "openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-keyout", str(key), "-out", str(certificate), "-subj", "/CN=localhost", "-days", "2"),
        ],
        check=True,
        capture_output=True,
    )
    running = start(certificate=certificate, certificate_key=key, authority=certificate)
    context = ssl.create_default_context(cafile=certificate)
    assert send(running.port, film(films[0]), tls_args=(context, "localhost")) == [-1]
    context.load_cert_chain(certificate, key)
    assert send(running.port, film(films[0]), tls_args=(context, "localhost")) == [0x0000]
    assert send(running.port, film(films[0])) == [-1]  # in the clear


@pytest.mark.real
def test_no_log_line_holds_anything_of_the_patient(
    start: Start, shared: Path, films: list[Any], caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    caplog.set_level(logging.DEBUG)
    running = start(f"PACS@127.0.0.1:{free_port()}")
    one = film(films[0], PatientName="Zebedee", PatientID="ID-4711", ReferringPhysicianName="Quux")
    two = film(films[1], PatientName="Zebedee", PatientID="ID-4711", BodyPartExamined="ZEBEDEE FOOT")
    assert send(running.port, one, two, film(films[2], PatientID="ID-4711\\x", StudyInstanceUID=None))
    running.ended(2)
    real = pydicom.dcmread(shared / "data" / "dicom" / "cr-ap-jpeg.dcm")
    send(running.port, real)
    running.ended(3)
    until(lambda: "the next try is in" in caplog.text)
    told = caplog.text + " ".join(str(each.message) for each in recwarn.list)
    for secret in ("Zebedee", "ZEBEDEE", "4711", "Quux", str(one.SOPInstanceUID), str(real.PatientID)):
        assert secret not in told
    assert "not-applicable" in told and "came from SENDER" in told


@pytest.mark.real
def test_a_compressed_film_comes_as_it_is(start: Start, shared: Path) -> None:
    running = start()
    real = pydicom.dcmread(shared / "data" / "dicom" / "cr-chest-monochrome1-jpeg2000.dcm")
    assert real.file_meta.TransferSyntaxUID in (JPEG2000Lossless, "1.2.840.10008.1.2.4.91")
    assert send(running.port, real) == [0x0000]
    assert running.ended(1)["answered"] == 1
