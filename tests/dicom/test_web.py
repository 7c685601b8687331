"""DICOMweb as others see it: objects in, found and out again, who may what, and what is refused and how."""

from __future__ import annotations

import json
import logging
import subprocess
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
import pytest
import requests
from dicomweb_client.api import DICOMwebClient
from fastapi.testclient import TestClient
from pydicom.uid import CTImageStorage, DeflatedExplicitVRLittleEndian, generate_uid
from requests.adapters import BaseAdapter

from dicom.conftest import Running, Start
from dicom.nodes import CR, file_of, film, send, tool, until
from dicom.test_garbage import TEST_FILES
from hilum.serve.app import create_app
from hilum.serve.dicom import accepted, objects
from hilum.serve.dicom.settings import NodeLimits
from hilum.serve.store.people import make_token, save_user

MARK = "the-boundary"
KIND = f'multipart/related; type="application/dicom"; boundary={MARK}'


class Web:
    """A running node, and a client of its DICOMweb."""

    def __init__(self, running: Running, client: TestClient) -> None:
        self.running, self.client = running, client

    def post(self, *parts: bytes, path: str = "/dicom-web/studies", kind: str = "application/dicom") -> Any:
        return self.client.post(path, content=body_of(*parts, kind=kind), headers={"content-type": KIND})

    def get(self, path: str, accept: str = "", **query: Any) -> Any:
        headers = {"accept": accept} if accept else {}
        return self.client.get(f"/dicom-web{path}", params=query or None, headers=headers)


def body_of(*parts: bytes, kind: str = "application/dicom", end: str = f"--{MARK}--\r\n") -> bytes:
    head = f"--{MARK}\r\nContent-Type: {kind}\r\n\r\n".encode()
    return b"".join(head + part + b"\r\n" for part in parts) + end.encode()


Serve = Callable[..., Web]


@pytest.fixture
def web(start: Start) -> Iterator[Serve]:
    """web(...) is a node with DICOMweb, as `start` makes one."""
    clients: list[TestClient] = []

    def make(*targets: str, **changes: Any) -> Web:
        running = start(*targets, web=True, **changes)
        client = TestClient(
            create_app(running.server, running.node), base_url="http://127.0.0.1", raise_server_exceptions=False
        )
        clients.append(client)
        return Web(running, client)

    yield make
    for client in clients:
        client.close()


class _ToTestClient(BaseAdapter):
    """Hands what dicomweb-client sends to the application, without a port."""

    def __init__(self, client: TestClient) -> None:
        super().__init__()
        self._client = client

    def send(self, request: Any, **_: Any) -> requests.Response:  # type: ignore[override]
        content = request.body
        if content is not None and not isinstance(content, bytes):
            content = b"".join(content)
        came = self._client.request(request.method, request.url, content=content, headers=dict(request.headers))
        made = requests.Response()
        made.status_code, made.url, made.request = came.status_code, request.url, request
        made.headers = requests.structures.CaseInsensitiveDict(came.headers)
        made.raw = BytesIO(came.content)
        return made

    def close(self) -> None: ...


def dicomweb(client: TestClient) -> DICOMwebClient:
    """dicomweb-client of PyPI, which nobody here wrote."""
    session = requests.Session()
    session.mount("http://", _ToTestClient(client))
    return DICOMwebClient("http://127.0.0.1/dicom-web", session=session)


def value(attributes: dict[str, Any], tag: str) -> Any:
    return attributes[tag].get("Value", [None])[0]


def test_a_film_stored_over_the_web_is_found_with_its_report_and_its_map_and_comes_back_as_it_was(
    web: Serve, films: list[Any]
) -> None:
    served = web()
    other = dicomweb(served.client)
    source = film(films[0])
    source.preamble = bytes(128)  # which dicomweb-client writes where there is one only
    answer = other.store_instances([source])
    (stored,) = answer.ReferencedSOPSequence
    assert stored.ReferencedSOPInstanceUID == source.SOPInstanceUID and "FailedSOPSequence" not in answer
    served.running.ended(1)
    (study,) = other.search_for_studies(search_filters={"StudyDate": "20240301-20240331"})
    assert value(study, "0020000D") == source.StudyInstanceUID
    assert study["00080061"]["Value"] == ["CR", "OT", "SR"]
    assert value(study, "00201208") == 3 and value(study, "00080056") == "ONLINE"
    series = other.search_for_series(source.StudyInstanceUID)
    assert sorted(value(each, "00080060") for each in series) == ["CR", "OT", "SR"]
    came = {each.Modality: each for each in other.retrieve_study(source.StudyInstanceUID)}
    assert came["CR"] == source  # every element, the pixels too
    assert came["SR"].ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert came["OT"].SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    one = (source.StudyInstanceUID, source.SeriesInstanceUID, source.SOPInstanceUID)
    assert other.retrieve_instance(*one) == source
    told = pydicom.Dataset.from_json(json.dumps(other.retrieve_instance_metadata(*one)))
    del source.PixelData, source.SpecificCharacterSet
    assert told == source


def test_what_came_by_c_store_is_found_too_and_is_the_same_object_over_the_web(web: Serve, films: list[Any]) -> None:
    served = web()
    source = film(films[0])
    assert send(served.running.port, source) == [0x0000]
    served.running.ended(1)
    answer = served.post(file_of(source))
    assert answer.status_code == 200 and "00081199" in answer.json()  # no warning: the same data set
    assert sum(served.running.counts().values()) == 1
    assert len(served.get("/instances", SOPInstanceUID=str(source.SOPInstanceUID)).json()) == 1


def test_each_part_has_its_own_outcome(web: Serve, films: list[Any]) -> None:
    served = web()
    good, tomography = film(films[0]), film(films[1], SOPClassUID=CTImageStorage)
    other = film(films[1], SOPInstanceUID=good.SOPInstanceUID)
    deflated = film(films[1])
    deflated.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    answer = served.post(file_of(good), file_of(tomography), b"no object", file_of(other), file_of(deflated))
    assert answer.status_code == 202 and answer.headers["content-type"] == "application/dicom+json"
    told = answer.json()
    stored = told["00081199"]["Value"]
    place = f"http://127.0.0.1/dicom-web/studies/{good.StudyInstanceUID}"
    assert value(stored[0], "00081190") == f"{place}/series/{good.SeriesInstanceUID}/instances/{good.SOPInstanceUID}"
    assert "00081196" not in stored[0] and value(stored[1], "00081196") == 0xB006
    (refused,) = told["00081198"]["Value"]
    assert value(refused, "00081155") == tomography.SOPInstanceUID and value(refused, "00081197") == 0x0122
    assert [value(each, "00081197") for each in told["0008119A"]["Value"]] == [0xC000, 0xC122]
    served.running.ended(1)


def test_a_request_of_which_nothing_is_stored_is_a_conflict_and_one_for_want_of_room_may_come_again(
    web: Serve, films: list[Any]
) -> None:
    served = web(limits=NodeLimits(waiting=0))
    assert served.post(b"no object").status_code == 409
    full = served.post(file_of(film(films[0])))
    assert (full.status_code, full.headers["retry-after"]) == (503, "2")
    assert value(full.json()["00081198"]["Value"][0], "00081197") == 0xA700


def test_objects_of_another_study_than_the_address_are_refused(web: Serve, films: list[Any]) -> None:
    served = web()
    source = film(films[0])
    assert served.post(file_of(source), path="/dicom-web/studies/1.2.3").status_code == 409
    assert served.post(file_of(source), path=f"/dicom-web/studies/{source.StudyInstanceUID}").status_code == 200
    assert served.post(file_of(source), path="/dicom-web/studies/..%2f..").status_code in (400, 404)


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("application/dicom", b"", 415),
        ("multipart/form-data; boundary=b", b"", 415),
        (f'multipart/related; type="application/dicom+json"; boundary={MARK}', b"", 415),
        ('multipart/related; type="application/dicom"', b"", 400),
        (KIND, b"", 400),
        (KIND, b"this has no boundary", 400),
        (KIND, body_of(), 400),
        (KIND, body_of(b"x" * 10, end=""), 400),
        (KIND, body_of(b"x" * 10)[:-30], 400),
        (KIND, f"--{MARK}\r\nContent-Ty".encode(), 400),
        (KIND, f"--{MARK}\r\n{'a: b' * 9000}\r\n\r\nx\r\n--{MARK}--".encode(), 400),
        (KIND, body_of(b"\x00" * 132 + b"DICM"), 409),
        (KIND, body_of(bytes(range(256)) * 40), 409),
        (KIND, body_of(b"{}", kind="application/json"), 409),
    ],
)
def test_a_body_that_is_no_body_of_objects_is_refused_with_its_status(
    web: Serve, films: list[Any], kind: str, body: bytes, status: int
) -> None:
    served = web()
    answer = served.client.post("/dicom-web/studies", content=body, headers={"content-type": kind})
    assert answer.status_code == status, answer.text
    assert served.post(file_of(film(films[0]))).status_code == 200
    assert sum(served.running.counts().values()) == 1


def test_what_came_whole_before_the_body_broke_is_stored_and_may_come_again(web: Serve, films: list[Any]) -> None:
    served = web()
    data = file_of(film(films[0]))
    broken = body_of(data, data)[: -len(data) // 2]
    assert served.client.post("/dicom-web/studies", content=broken, headers={"content-type": KIND}).status_code == 400
    assert sum(served.running.counts().values()) == 1
    assert served.post(data).status_code == 200
    assert sum(served.running.counts().values()) == 1


def test_too_large_a_part_fails_alone_and_too_many_parts_end_the_request(
    web: Serve, films: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    small, large = file_of(film(films[0])), file_of(film(np.zeros((400, 400), np.uint8)))
    served = web(limits=NodeLimits(object_bytes=20_000))
    answer = served.post(small, large, b"PK\x03\x04" + bytes(50_000))
    assert answer.status_code == 202
    assert [value(each, "00081197") for each in answer.json()["0008119A"]["Value"]] == [0xA700, 0xA700]
    assert served.post(*[b"x"] * 2001).status_code == 413


def test_searches_are_by_the_keys_that_are_kept_and_refuse_others(web: Serve, films: list[Any]) -> None:
    served = web()
    sources = [
        film(films[0], StudyDate="20240105"),
        film(films[1], StudyDate="20240305", PatientID="P-18", Modality="DX"),
        film(films[2], StudyDate="20240405", PatientID="P-18"),
    ]
    assert served.post(*(file_of(each) for each in sources)).status_code == 200
    uids = [str(each.StudyInstanceUID) for each in sources]

    def found(**query: Any) -> list[str]:
        answer = served.get("/studies", **query)
        assert answer.status_code == 200
        return sorted((value(each, "0020000D") for each in answer.json()), key=uids.index)

    assert found() == uids == found(PatientName="*", includefield="all")
    assert found(StudyDate="20240101-20240331") == uids[:2] and found(**{"00080020": "20240405"}) == uids[2:]
    assert found(StudyDate="-20240304") == uids[:1] and found(StudyDate="20240306-") == uids[2:]
    assert found(PatientID="P-18") == uids[1:] and found(PatientID="P-1") == []
    assert found(ModalitiesInStudy="DX") == uids[1:2]
    assert found(StudyInstanceUID=",".join(uids[:2])) == uids[:2]
    assert found(StudyInstanceUID="1.2.3") == [] and len(found(limit=2)) == 2 and len(found(offset=2)) == 1
    assert found(limit=0) == []
    assert served.get("/studies", limit=1).headers["warning"].startswith('299 hilum "There are 2 additional')
    assert "fuzzymatching" in served.get("/studies", fuzzymatching="true").headers["warning"]
    (instance,) = served.get("/instances", SOPClassUID=CR, SOPInstanceUID=str(sources[0].SOPInstanceUID)).json()
    assert (value(instance, "00280010"), value(instance, "00280011")) == (96, 96)
    (series,) = served.get(f"/studies/{uids[0]}/series", Modality="CR").json()
    assert value(series, "0020000E") == sources[0].SeriesInstanceUID
    for query in (
        {"PatientName": "Doe"},
        {"PatientID": "P-*"},
        {"Modality": "CR"},  # of series, not of studies
        {"StudyDate": "March"},
        {"limit": "-1"},
        {"nonsense": "1"},
        {"StudyInstanceUID": "1.2.*"},
        {"AccessionNumber": "A1"},
    ):
        answer = served.get("/studies", **query)
        assert answer.status_code == 400 and answer.json()["error"]["kind"] == "bad-request"


def test_patient_numbers_are_matched_and_not_told_unless_asked_for(web: Serve, films: list[Any]) -> None:
    served = web()
    served.post(file_of(film(films[0], PatientID="SECRET-17")))
    answer = served.get("/studies")
    assert len(answer.json()) == 1 and "SECRET" not in answer.text and "Doe" not in answer.text
    database = b"".join(path.read_bytes() for path in served.running.server.folder.path.glob("store.sqlite*"))
    assert b"SECRET-17" not in database and b"Doe^Jane" not in database
    named = web(server={"identify": True, "store": served.running.server.folder.path.with_name("named")})
    named.post(file_of(film(films[0], PatientID="SECRET-17")))
    (study,) = named.get("/studies", PatientID="SECRET-17").json()
    assert value(study, "00100020") == "SECRET-17"


def test_readers_store_search_and_see_pictures_and_only_administrators_get_objects(
    web: Serve, films: list[Any], tmp_path: Path
) -> None:
    served = web()
    server = served.running.server
    with server.engine.begin() as connection:
        for name, role in (("reader", "reader"), ("chief", "admin")):
            save_user(connection, name, role, None)  # type: ignore[arg-type]
    with server.engine.begin() as connection:
        tokens = {name: make_token(connection, name, "tests") for name in ("reader", "chief")}
    server.has_users = True
    source = film(films[0])
    assert served.post(file_of(source)).status_code == 401
    assert served.get("/studies").status_code == 401
    served.client.headers["authorization"] = f"Bearer {tokens['reader']}"
    assert served.post(file_of(source)).status_code == 200
    served.running.ended(1)
    place = f"/studies/{source.StudyInstanceUID}"
    one = f"{place}/series/{source.SeriesInstanceUID}/instances/{source.SOPInstanceUID}"
    assert served.get("/studies").status_code == served.get(f"{one}/rendered").status_code == 200
    assert served.get(place).status_code == served.get(f"{one}/metadata").status_code == 403
    served.client.headers["authorization"] = f"Bearer {tokens['chief']}"
    assert served.get(place).status_code == served.get(f"{one}/metadata").status_code == 200
    rows = server.engine.connect().exec_driver_sql("select who, what from events where film_id is not null").all()
    assert {("reader", "see picture"), ("chief", "retrieve"), ("chief", "retrieve metadata")} <= set(rows)


def test_what_is_not_kept_is_found_and_told_to_be_gone(web: Serve, films: list[Any]) -> None:
    served = web(server={"keep_hours": 0.0})
    source, foot = film(films[0]), film(films[1], BodyPartExamined="FOOT")
    served.post(file_of(source), file_of(foot))
    served.running.ended(2)
    assert [value(each, "00080056") for each in served.get("/studies").json()] == ["UNAVAILABLE"] * 2
    gone = served.get(f"/studies/{source.StudyInstanceUID}")
    assert gone.status_code == 410 and "--keep" in gone.json()["error"]["next_step"]
    other = served.get(f"/studies/{foot.StudyInstanceUID}/metadata")
    assert other.status_code == 410 and "no frontal film" in other.json()["error"]["what"]
    assert served.get("/studies/1.2.3").status_code == 404
    assert served.get("/studies/1.2.3%00").status_code == 404


def test_a_study_of_which_something_is_gone_comes_in_part(web: Serve, films: list[Any]) -> None:
    served = web()
    source = film(films[0])
    lateral = film(films[1], ViewPosition="LL", StudyInstanceUID=source.StudyInstanceUID)
    served.post(file_of(source), file_of(lateral))
    served.running.ended(2)
    answer = served.get(f"/studies/{source.StudyInstanceUID}")
    assert answer.status_code == 206 and answer.content.count(b"Content-Type: application/dicom;") == 3


def test_only_what_the_client_reads_is_sent(web: Serve, films: list[Any]) -> None:
    served = web()
    source = film(films[0])
    served.post(file_of(source))
    served.running.ended(1)
    one = f"/studies/{source.StudyInstanceUID}/series/{source.SeriesInstanceUID}/instances/{source.SOPInstanceUID}"
    alone = served.get(one, "application/dicom")
    assert alone.headers["content-type"] == "application/dicom"
    assert pydicom.dcmread(BytesIO(alone.content)) == source
    many = 'multipart/related; type="application/dicom"'
    for accept, status in (
        (many, 200),
        (f"{many}; transfer-syntax=*", 200),
        (f"{many}; transfer-syntax=1.2.840.10008.1.2.1", 200),
        (f"{many}; transfer-syntax=1.2.840.10008.1.2.4.90", 406),
        ('multipart/related; type="application/octet-stream"', 406),
        ("text/html", 406),
        ("application/dicom;q=0, image/png", 406),
    ):
        assert served.get(one, accept).status_code == status, accept
    assert served.get(f"{one}?accept=text/html").status_code == 406
    assert served.get(f"{one}/metadata", "application/dicom+xml").status_code == 406
    assert served.get("/studies", "application/dicom+xml").status_code == 406


def test_a_film_and_its_capture_have_pictures_and_a_report_has_none(web: Serve, films: list[Any]) -> None:
    served = web()
    source = film(films[0])
    served.post(file_of(source))
    served.running.ended(1)
    pictures = {}
    for each in served.get("/instances").json():
        place = value(each, "00081190").removeprefix("http://127.0.0.1/dicom-web")
        pictures[value(each, "00080060")] = served.get(f"{place}/rendered", "image/png")
    seen = cv2.imdecode(np.frombuffer(pictures["CR"].content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(seen, films[0])
    capture = cv2.imdecode(np.frombuffer(pictures["OT"].content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert capture.shape[1] == 1024 and capture.shape[2] == 3
    assert pictures["SR"].status_code == 406


def test_answers_go_when_their_film_goes(web: Serve, films: list[Any]) -> None:
    served = web(server={"keep_hours": 1.0})
    source = film(films[0])
    served.post(file_of(source))
    served.running.ended(1)
    server, node = served.running.server, served.running.node
    until(lambda: len(node.answers.lying()) == 2)
    with server.engine.begin() as connection:
        connection.exec_driver_sql("update films set accepted_at = '2020'")
    server.backlog.sweep()
    assert served.get(f"/studies/{source.StudyInstanceUID}").status_code == 410
    node.desk._swept = -1e9
    until(lambda: node.answers.lying() == [])


def test_a_node_without_dicomweb_keeps_no_uid_of_what_comes(start: Start, films: list[Any]) -> None:
    running = start()
    source = film(films[0])
    send(running.port, source)
    running.ended(1)
    database = b"".join(path.read_bytes() for path in running.server.folder.path.glob("store.sqlite*"))
    assert str(source.StudyInstanceUID).encode() not in database


def test_dciodvfy_finds_no_error_in_what_is_retrieved(web: Serve, films: list[Any], tmp_path: Path) -> None:
    verify = tool("dciodvfy", "dicom3tools")
    served = web()
    source = film(films[0])
    served.post(file_of(source))
    served.running.ended(1)
    for each in dicomweb(served.client).retrieve_study(source.StudyInstanceUID):
        path = tmp_path / f"{each.Modality}.dcm"
        path.write_bytes(file_of(each))
        done = subprocess.run([verify, str(path)], capture_output=True, text=True)
        if each.Modality != "CR":  # the film itself is as it was sent
            assert "Error" not in done.stderr + done.stdout, done.stderr


def test_pydicoms_test_files_over_the_web_each_get_a_reason_and_a_line_without_patients_and_the_server_stays_up(
    web: Serve, films: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "hilum")
    served = web()
    reasons: list[int] = []
    for path in sorted(each for each in TEST_FILES.rglob("*") if each.is_file() and each.stat().st_size < 4_000_000):
        data = path.read_bytes()
        # And as a film that they are, mostly, not.
        for each in dict.fromkeys((data, data.replace(b"1.2.840.10008.5.1.4.1.1.4\0", CR.encode() + b"\0"))):
            answer = served.post(each)
            assert answer.status_code in (200, 202, 409), (path.name, answer.text)
            for name in ("00081198", "0008119A"):
                reasons += [value(item, "00081197") for item in answer.json().get(name, {}).get("Value", [])]
    assert {accepted.NOT_UNDERSTOOD, accepted.CLASS_NOT_SUPPORTED, accepted.SYNTAX_NOT_SUPPORTED} <= set(reasons)
    assert set(reasons) <= {*accepted.STATUSES}
    lines = [line for line in caplog.messages if line.startswith("an object of local was refused: status ")]
    assert [int(line[-4:], 16) for line in lines] == reasons
    served.running.ended(sum(served.running.counts().values()))
    for each in served.get("/instances").json():
        place = value(each, "00081190").removeprefix("http://127.0.0.1/dicom-web")
        for what in ("", "/metadata", "/rendered"):
            assert served.get(place + what).status_code in (200, 406, 410, 422)
    assert served.post(file_of(film(films[0]))).status_code == 200
    assert "CompressedSamples" not in caplog.text  # the patient of several of them


def test_garbage_is_answered_and_never_a_failure_of_the_server(web: Serve, films: list[Any]) -> None:
    served = web()
    whole = body_of(file_of(film(films[0])), file_of(film(films[1])))
    random = np.random.default_rng(0)
    for number in range(40):
        body = bytearray(whole)
        for at in random.integers(0, len(body), 20 if number % 2 else 2000):
            body[at] = random.integers(0, 256)
        cut = bytes(body[: random.integers(1, len(body))] if number % 4 == 3 else body)
        answer = served.client.post("/dicom-web/studies", content=cut, headers={"content-type": KIND})
        assert answer.status_code in (200, 202, 400, 409), answer.text
    for kind in ("multipart/related; boundary=" + "x" * 400, "multipart/related; boundary=é", ";;;", "", "a/b" * 2000):
        answer = served.client.post("/dicom-web/studies", content=whole, headers={"content-type": kind.encode()})
        assert answer.status_code in (400, 415), kind
    paths = ("x", "1.2/series/%00", "1.2/series/1.3/instances/..%2f..", "9" * 900)
    for path in (f"/studies/{path}{what}" for path in paths for what in ("", "/metadata", "/series")):
        assert served.get(path).status_code in (400, 404), path
    queries = [
        "limit=9999999999",
        "offset=-1",
        "limit=1&limit=x",
        "StudyDate=%00",
        "PatientID=%00",
        "=",
        "&&&",
        "%ff=%ff",
    ]
    for query in (*queries, "&".join(["00080020=1"] * 500), "StudyInstanceUID=" + "1,2" * 300):
        assert served.get(f"/studies?{query}").status_code in (200, 400), query
    for accept in (b",,,", b'multipart/related; type="', b"*/*;q=0", b"\xff", b"a" * 5000):
        assert served.client.get("/dicom-web/studies", headers={"accept": accept}).status_code in (200, 406), accept
    served.running.ended(sum(served.running.counts().values()))
    assert served.post(file_of(film(films[2]))).status_code == 200


def test_a_deflated_bomb_is_not_inflated(web: Serve) -> None:
    served = web()
    hidden = film()
    hidden.file_meta.PrivateInformationCreatorUID = "1.2.3"
    hidden.file_meta.PrivateInformation = bytes(5000)  # past where the syntax is looked for
    hidden.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    data = file_of(hidden)
    answer = served.post(data)
    assert answer.status_code == 409
    assert value(answer.json()["0008119A"]["Value"][0], "00081197") == accepted.SYNTAX_NOT_SUPPORTED


def test_the_preamble_is_not_kept(web: Serve, films: list[Any]) -> None:
    served = web()
    source = film(films[0])
    data = b"MZ a program".ljust(128) + file_of(source)[128:]
    served.post(data)
    served.running.ended(1)
    came = served.get(f"/instances?SOPInstanceUID={source.SOPInstanceUID}").json()
    place = value(came[0], "00081190").removeprefix("http://127.0.0.1/dicom-web")
    assert served.get(place, "application/dicom").content[:128] == bytes(128)


def test_an_answers_own_uid_stays_the_answers(web: Serve, films: list[Any]) -> None:
    served = web()
    source = film(films[0])
    served.post(file_of(source))
    served.running.ended(1)
    captures = served.get(f"/studies/{source.StudyInstanceUID}/instances").json()
    uid = next(value(each, "00080018") for each in captures if value(each, "00080060") == "OT")
    back = film(films[1], SOPInstanceUID=uid, StudyInstanceUID=generate_uid())
    assert served.post(file_of(back)).status_code == 200
    served.running.ended(2)
    assert len(served.get("/instances", SOPInstanceUID=uid).json()) == 1
    assert objects.answer_name(uid) in served.running.node.answers.lying()
