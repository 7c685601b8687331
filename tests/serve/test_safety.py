"""Who may, what is too much, and what must never come out."""

from __future__ import annotations

import asyncio
import io
import logging
import socket
import struct
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pydicom
import pydicom.data
import pytest
from fastapi.testclient import TestClient

from hilum.errors import RequestError
from hilum.serve.body import Body, Message
from hilum.serve.models import Model
from hilum.serve.server import opened
from hilum.serve.settings import Limits, Settings
from hilum.serve.store import people
from hilum.serve.store.database import open_database
from hilum.serve.store.folder import StoreFolder
from serve.conftest import Serve
from serve.serving import png, until_done

PASSWORD = "correct horse"


@pytest.fixture
def tokens(settings: Settings) -> dict[str, str]:
    """A store with an admin, Ada, and a reader, Ben; their tokens."""
    folder = StoreFolder.open(settings.store)
    engine = open_database(folder.database_url)
    with engine.begin() as connection:
        people.save_user(connection, "ada", "admin", PASSWORD)
        people.save_user(connection, "ben", "reader", PASSWORD)
        made = {name: people.make_token(connection, name, "test") for name in ("ada", "ben")}
    engine.dispose()
    return made


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def test_an_address_that_others_reach_needs_a_user_and_tls(settings: Settings, model: Model) -> None:
    from dataclasses import replace

    with pytest.raises(RequestError, match="no user yet"):
        opened(replace(settings, host="0.0.0.0", behind_proxy=True), [model])


def test_with_a_user_an_address_that_others_reach_still_needs_tls(
    settings: Settings, model: Model, tokens: dict[str, str]
) -> None:
    from dataclasses import replace

    with pytest.raises(RequestError, match="in the clear"):
        opened(replace(settings, host="0.0.0.0"), [model])


def test_without_login_nothing_is_shown(serve: Serve, tokens: dict[str, str]) -> None:
    client = serve(behind_proxy=True)
    described = client.get("/api/v1/openapi.json").json()
    asked = 0
    for path, operations in described["paths"].items():
        for method in operations:
            if path in ("/api/v1/health",):
                continue
            answer = client.request(method, path.replace("{film_id}", "0" * 32))
            assert answer.status_code == 401, (method, path)
            asked += 1
    assert asked > 10
    for page in ("/", "/cards", "/worklist", "/models", "/films/" + "0" * 32):
        answer = client.get(page, follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, "/login")


def test_a_reader_reads_and_only_an_admin_deletes_and_chooses(serve: Serve, tokens: dict[str, str]) -> None:
    client = serve(behind_proxy=True)
    film = client.post("/api/v1/predict", content=png(1), headers=bearer(tokens["ben"])).json()
    assert film["accepted_by"] == "ben"
    path = f"/api/v1/films/{film['film_id']}"
    refused = client.delete(path, headers=bearer(tokens["ben"]))
    assert (refused.status_code, refused.json()["error"]["kind"]) == (403, "forbidden")
    model_id = film["results"][0]["model_id"]
    point = {"wished_sensitivity": 0.9}
    for name, status in (("ben", 403), ("ada", 200)):
        answer = client.put(f"/api/v1/models/{model_id}/point", json=point, headers=bearer(tokens[name]))
        assert answer.status_code == status
    assert client.delete(path, headers=bearer(tokens["ada"])).status_code == 204


def test_a_login_opens_a_session_with_a_cookie_that_no_script_and_no_other_site_gets(
    serve: Serve, tokens: dict[str, str]
) -> None:
    client = serve(behind_proxy=True)
    client.base_url = "https://127.0.0.1"
    wrong = client.post("/login", data={"name": "ada", "password": "wrong horse"})
    assert wrong.status_code == 401
    answer = client.post("/login", data={"name": "ada", "password": PASSWORD}, follow_redirects=False)
    assert answer.status_code == 303
    cookie = answer.headers["set-cookie"].lower()
    assert all(word in cookie for word in ("httponly", "samesite=strict", "secure"))
    assert client.get("/api/v1/films").status_code == 200
    client.post("/logout")
    assert client.get("/api/v1/films").status_code == 401


def test_passwords_cannot_be_tried_without_end(serve: Serve, tokens: dict[str, str]) -> None:
    client = serve(behind_proxy=True)
    tried = [client.post("/login", data={"name": "ada", "password": f"guess {n}"}) for n in range(7)]
    assert [answer.status_code for answer in tried] == [401] * 5 + [429] * 2
    assert tried[-1].headers["retry-after"] == "60"


def test_one_program_cannot_take_everything(serve: Serve, tokens: dict[str, str]) -> None:
    client = serve(behind_proxy=True, limits=Limits(a_minute=3))
    answers = [client.get("/api/v1/models", headers=bearer(tokens["ben"])) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200] * 3 + [429] * 2
    assert client.get("/api/v1/models", headers=bearer(tokens["ada"])).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
    ],
)
def test_a_page_of_another_site_changes_nothing(client: TestClient, headers: dict[str, str]) -> None:
    answer = client.post("/api/v1/predict", content=png(2), headers=headers)
    assert (answer.status_code, answer.json()["error"]["kind"]) == (403, "forbidden")
    assert client.get("/api/v1/films").json()["total"] == 0


def test_another_name_for_this_machine_is_refused(client: TestClient) -> None:
    answer = client.get("/api/v1/films", headers={"host": "rebound.example:8000"})
    assert answer.status_code == 403


def test_every_answer_has_the_policy_and_no_page_has_a_script_inside(client: TestClient) -> None:
    film = client.post("/api/v1/predict", content=png(3)).json()
    for path in ("/", "/worklist", "/models", "/login", f"/films/{film['film_id']}", "/nothing", "/static/hilum.css"):
        answer = client.get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        if "html" in answer.headers["content-type"]:
            assert "Research use only. Not a medical device." in answer.text
            assert "<script>" not in answer.text
            assert " style=" not in answer.text
            assert " onclick=" not in answer.text
    assert "unsafe" not in client.get("/api/v1/films").headers["content-security-policy"]


def test_a_name_cannot_become_a_script_or_a_path(client: TestClient, tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(1)>.png"
    made = client.post("/api/v1/films", files={"films": (f"../../{name}", png(4))}).json()
    until_done(client, made["batch"])
    for path in ("/", "/worklist", f"/films/{made['accepted'][0]['film_id']}"):
        assert "<img src=x" not in client.get(path).text
    assert all(file.name == made["accepted"][0]["film_id"] for file in (tmp_path / "store/films").glob("*/*"))


def test_a_film_over_the_limit_is_refused_as_it_arrives(serve: Serve) -> None:
    client = serve(limits=Limits(file_bytes=50_000, body_bytes=300_000))
    for answer in (
        client.post("/api/v1/predict", content=b"x" * 60_000),
        client.post("/api/v1/predict", content=iter([b"x" * 10_000] * 7)),  # which does not say how long it is
        client.post("/api/v1/predict", files={"film": ("a.png", b"x" * 60_000)}),
    ):
        assert (answer.status_code, answer.json()["error"]["kind"]) == (413, "too-large")
    many = client.post(
        "/api/v1/films", files=[("films", ("big.png", b"x" * 60_000)), ("films", ("good.png", png(5, 64)))]
    ).json()
    assert [each["name"] for each in many["refused"]] == ["big.png"]
    assert [each["name"] for each in many["accepted"]] == ["good.png"]
    assert client.post("/api/v1/films", files={"films": ("a", b"x" * 400_000)}).status_code == 413


def test_a_body_without_end_is_cut_off_and_a_longer_one_gets_its_answer() -> None:
    def answered(pieces: int, size: int) -> tuple[int, bool]:
        """Pieces that were taken, and whether the connection ends, where the answer comes at once."""
        taken, sent = 0, []

        async def receive() -> Message:
            nonlocal taken
            taken += 1
            return {"type": "http.request", "body": b"x" * size, "more_body": taken < pieces}

        async def send(message: Message) -> None:
            sent.append(message)

        async def answer() -> None:
            body = Body(receive, {"transfer-encoding": "chunked"})
            await body.sending(send)({"type": "http.response.start", "status": 413, "headers": []})

        asyncio.run(answer())
        return taken, (b"connection", b"close") in sent[0]["headers"]

    assert answered(pieces=5, size=2**20) == (5, False)
    assert answered(pieces=10_000, size=2**20) == (64, True)


def zip_of(entries: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return out.getvalue()


def test_a_zip_bomb_is_counted_and_not_believed(serve: Serve, tmp_path: Path) -> None:
    client = serve(limits=Limits(file_bytes=100_000, unzipped_bytes=1_000_000, files=20))
    bomb = zip_of({f"{n}.png": bytes(90_000) + bytes([n]) for n in range(15)})
    assert len(bomb) < 5_000
    answer = client.post("/api/v1/films", files={"films": ("bomb.zip", bomb)}).json()
    assert [each["error"]["kind"] for each in answer["refused"]] == ["too-large"]
    crowded = client.post("/api/v1/films", files={"films": ("many.zip", zip_of({f"{n}": b"x" for n in range(21)}))})
    assert crowded.json()["refused"][0]["error"]["kind"] == "too-large"


@pytest.mark.parametrize(
    "data",
    [
        b"PK\x03\x04 and nothing more",
        zip_of({"a.png": png(6, 32)})[:-30],
        zip_of({"a.png": png(6, 32)}).replace(b"IHDR", b"XXXX"),
        b"PK\x05\x06" + struct.pack("<HHHHLLH", 0, 0, 0xFFFF, 0xFFFF, 2**31, 0, 0),
    ],
    ids=["begun", "cut off", "wrong checksum", "endless directory"],
)
def test_a_broken_zip_is_a_typed_error(client: TestClient, data: bytes) -> None:
    answer = client.post("/api/v1/films", files={"films": ("a.zip", data)})
    assert answer.status_code == 202
    assert answer.json()["refused"][0]["error"]["kind"] in ("bad-request", "too-large")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"--x\r\n", "multipart/form-data; boundary=x"),
        (b"--x--\r\n", "multipart/form-data; boundary=x"),
        (b"garbage", "multipart/form-data; boundary=x"),
        (b"garbage", "multipart/form-data"),
        (b"", "multipart/form-data; boundary=" + "x" * 300),
        (
            b'--x\r\nContent-Disposition: form-data; name="f"; filename="a.png"\r\n\r\nhalf',
            "multipart/form-data; boundary=x",
        ),
        (b"a=1", "application/x-www-form-urlencoded"),
    ],
)
def test_a_broken_form_is_a_typed_error(client: TestClient, content: bytes, kind: str) -> None:
    answer = client.post("/api/v1/films", content=content, headers={"content-type": kind})
    assert (answer.status_code, answer.json()["error"]["kind"]) == (400, "bad-request")


def test_a_full_queue_answers_503_with_retry_after(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    client = serve(most_waiting=0)
    answer = client.post("/api/v1/predict", content=png(7))
    assert (answer.status_code, answer.json()["error"]["kind"]) == (503, "busy")
    assert int(answer.headers["retry-after"]) > 0


def chest_dicom(patient: str) -> bytes:
    dataset = pydicom.dcmread(pydicom.data.get_testdata_file("CT_small.dcm"))
    dataset.PatientID, dataset.PatientName, dataset.Modality = patient, "Doe^Jane^Secret", "DX"
    dataset.BodyPartExamined, dataset.ViewPosition = "CHEST", "PA"
    out = io.BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


def test_patients_are_keyed_hashes_and_no_header_value_is_kept_or_logged(
    serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client = serve(keep_hours=0.0)
    with caplog.at_level(logging.DEBUG):
        one = client.post("/api/v1/predict", content=chest_dicom("PATIENT-4711"))
        other = client.post("/api/v1/predict", content=chest_dicom("PATIENT-4712"))
    assert one.status_code == 200, one.text
    keys = [answer.json()["patient_key"] for answer in (one, other)]
    assert len(set(keys)) == 2
    assert all(len(key) == 16 for key in keys)
    client.__exit__(None, None, None)
    kept = b"".join(file.read_bytes() for file in (tmp_path / "store").rglob("*") if file.is_file())
    for secret in ("PATIENT-47", "Secret", "Doe"):
        assert secret.encode() not in kept
        assert secret not in caplog.text


def test_with_identify_the_patient_number_is_kept_as_it_is(serve: Serve) -> None:
    answer = serve(identify=True).post("/api/v1/predict", content=chest_dicom("PATIENT-4711"))
    assert answer.json()["patient_key"] == "PATIENT-4711"


def test_with_hide_names_no_file_name_is_kept(serve: Serve) -> None:
    client = serve(hide_names=True)
    made = client.post("/api/v1/films", files={"films": ("doe-jane.png", png(8))}).json()
    until_done(client, made["batch"])
    assert "doe" not in client.get(f"/api/v1/films/{made['accepted'][0]['film_id']}").json()["name"]


def test_a_picture_that_decodes_to_gigabytes_is_refused(client: TestClient) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">LLBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(10_000))) + chunk(b"IEND", b"")
    answer = client.post("/api/v1/predict", content=bomb)
    assert (answer.status_code, answer.json()["error"]["kind"]) == (422, "unreadable-film")
    assert "million pixels" in answer.json()["error"]["what"]


def test_a_wrong_value_is_not_said_back(client: TestClient) -> None:
    answer = client.get("/api/v1/films?day=Doe-Jane")
    assert (answer.status_code, answer.json()["error"]["kind"]) == (400, "bad-request")
    assert "Doe" not in answer.text


def test_the_log_has_who_saw_what_and_with_which_model(
    serve: Serve, tokens: dict[str, str], settings: Settings
) -> None:
    import sqlalchemy as sa

    from hilum.serve.store import log
    from hilum.serve.store.tables import events

    client = serve(behind_proxy=True)
    film = client.post("/api/v1/predict", content=png(9), headers=bearer(tokens["ben"])).json()
    client.get(f"/api/v1/films/{film['film_id']}/picture", headers=bearer(tokens["ada"]))
    folder = StoreFolder.open(settings.store)
    with open_database(folder.database_url).connect() as connection:
        rows = connection.execute(sa.select(events).order_by(events.c.number)).all()
        assert log.verify(connection, folder.key).broken_at is None
    told = [(row.who, row.what, row.film_id, row.model_id) for row in rows]
    assert told == [
        ("ben", "predict", film["film_id"], film["results"][0]["model_id"]),
        ("ada", "see picture", film["film_id"], None),
    ]


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET /api/v1/health HTTP/1.1\r\nHost: 127.0.0.1\r\nX: "],
    ids=["says nothing", "half a head"],
)
def test_a_client_that_does_not_end_the_head_of_a_request_is_let_go(sent: bytes) -> None:
    with _prompt(0.3) as port, socket.create_connection(("127.0.0.1", port)) as client:
        client.settimeout(10)
        client.sendall(sent)
        assert client.recv(100) == b""


def test_the_wait_for_a_head_is_counted_anew_for_each_request_of_a_connection() -> None:
    whole = b"GET /api/v1/health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with _prompt(0.5) as port, socket.create_connection(("127.0.0.1", port)) as client:
        client.settimeout(10)
        for _ in range(3):
            client.sendall(whole[:20])
            time.sleep(0.3)
            client.sendall(whole[20:])
            assert client.recv(1000).startswith(b"HTTP/1.1 200")
        client.sendall(whole[:20])
        assert client.recv(100) == b""


def test_an_endless_head_is_refused() -> None:
    with _prompt(20.0) as port, socket.create_connection(("127.0.0.1", port)) as client:
        client.settimeout(10)
        client.sendall(b"GET / HTTP/1.1\r\n")
        with suppress(ConnectionError):  # closed while this side still sends
            for number in range(100):
                client.sendall(f"X-{number}: {'x' * 4000}\r\n".encode())
            assert client.recv(1000).startswith(b"HTTP/1.1 400")


@contextmanager
def _prompt(seconds: float) -> Iterator[int]:
    """A server that waits so long for the head of a request, in a thread; its port."""
    import threading

    import uvicorn

    from hilum.serve.heads import within

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    server = uvicorn.Server(uvicorn.Config(app, port=0, http=within(seconds), lifespan="off", log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join()
