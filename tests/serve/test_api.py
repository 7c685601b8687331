"""Films over REST: results as `hilum predict` gives them, once for the same bytes; a typed error for all else."""

from __future__ import annotations

import io
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

import hilum
from serve.conftest import Serve
from serve.serving import png, until_done


def test_a_film_gets_the_probabilities_that_hilum_predict_gives(
    client: TestClient, films: list[Path], small_run: Path
) -> None:
    answer = client.post("/api/v1/predict", files={"film": (films[0].name, films[0].read_bytes())})
    assert answer.status_code == 200
    (result,) = answer.json()["results"]
    row = hilum.load(small_run).predict(films[0]).iloc[0]
    assert result["predicted"] == row["predicted"]
    for name, p in result["probabilities"].items():
        assert p == pytest.approx(row[f"p_{name}"], abs=1e-6)
    assert answer.json()["notice"] == "Research use only. Not a medical device."


def test_a_body_without_a_form_is_a_film_too(client: TestClient, films: list[Path]) -> None:
    data = films[1].read_bytes()
    plain = client.post("/api/v1/predict?name=../a%20b.png", content=data).json()
    form = client.post("/api/v1/predict", files={"film": ("other.png", data)}).json()
    assert plain["name"] == "a b.png"
    assert form["film_id"] == plain["film_id"]
    assert form["results"] == plain["results"]


def test_the_same_film_from_many_clients_at_once_is_one_film_with_one_result(client: TestClient) -> None:
    data = png(5)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.post("/api/v1/predict", content=data).json(), range(16)))
    assert len({answer["film_id"] for answer in answers}) == 1
    assert all(len(answer["results"]) == 1 for answer in answers)
    assert client.get("/api/v1/films").json()["total"] == 1


def test_many_films_and_a_zip_get_their_results_later(client: TestClient, films: list[Path]) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for film in films[2:6]:
            archive.writestr(f"../../{film.name}", film.read_bytes())
        archive.writestr("__MACOSX/._a.png", b"junk")
        archive.writestr("notes.txt", b"not a film")
    answer = client.post(
        "/api/v1/films",
        files=[("films", ("one.png", films[1].read_bytes())), ("films", ("ten.zip", packed.getvalue()))],
    )
    assert answer.status_code == 202
    batch = answer.json()
    assert [each["name"] for each in batch["accepted"]] == ["one.png", *(film.name for film in films[2:6]), "notes.txt"]
    assert until_done(client, batch["batch"]) == {"waiting": 0, "done": 5, "failed": 1}
    failed = client.get("/api/v1/films?state=failed").json()["films"]
    assert [film["name"] for film in failed] == ["notes.txt"]
    assert "not a film" in failed[0]["error"]


def test_a_film_sent_again_is_known_and_not_worked_on_again(client: TestClient) -> None:
    files = {"films": ("a.png", png(7))}
    first = client.post("/api/v1/films", files=files).json()
    until_done(client, first["batch"])
    made = client.get(f"/api/v1/films/{first['accepted'][0]['film_id']}").json()["results"]
    second = client.post("/api/v1/films", files=files).json()
    assert second["accepted"][0] == {"name": "a.png", "film_id": first["accepted"][0]["film_id"], "known": True}
    assert client.get(f"/api/v1/films/{first['accepted'][0]['film_id']}").json()["results"] == made


@pytest.mark.parametrize(
    ("data", "status", "kind"),
    [
        (b"", 400, "bad-request"),
        (b"no picture at all", 422, "unreadable-film"),
        (png(1)[:300], 422, "unreadable-film"),
        (png(1, side=8), 422, "unreadable-film"),
    ],
    ids=["nothing", "text", "cut off", "tiny"],
)
def test_what_is_no_film_gets_a_typed_error(client: TestClient, data: bytes, status: int, kind: str) -> None:
    answer = client.post("/api/v1/predict", content=data)
    assert (answer.status_code, answer.json()["error"]["kind"]) == (status, kind)
    assert answer.json()["error"]["what"]
    assert client.get("/api/v1/health").json()["status"] == "ok"


def test_a_film_is_shown_with_its_own_aspect_and_a_map_as_large(client: TestClient) -> None:
    import cv2
    import numpy as np

    picture = np.random.default_rng(3).integers(0, 255, (120, 80), np.uint8)
    film = client.post("/api/v1/predict", content=cv2.imencode(".png", picture)[1].tobytes()).json()
    shown = client.get(f"/api/v1/films/{film['film_id']}/picture")
    assert np.array_equal(cv2.imdecode(np.frombuffer(shown.content, np.uint8), cv2.IMREAD_UNCHANGED), picture)
    made = client.get(f"/api/v1/films/{film['film_id']}/map?method=grad-cam")
    assert made.status_code == 200, made.text
    assert cv2.imdecode(np.frombuffer(made.content, np.uint8), cv2.IMREAD_UNCHANGED).shape == (120, 80, 4)
    assert made.headers["x-unit"] == "logits"
    unknown = client.get(f"/api/v1/films/{film['film_id']}/map?method=magic")
    assert (unknown.status_code, unknown.json()["error"]["kind"]) == (404, "not-found")


def test_a_reader_records_a_finding_and_the_table_has_it(client: TestClient) -> None:
    film = client.post("/api/v1/predict?name=a.png", content=png(8)).json()
    said = {"finding": "normal", "comment": "=HYPERLINK(1)"}
    after = client.put(f"/api/v1/films/{film['film_id']}/reading", json=said).json()
    assert [reading["finding"] for reading in after["readings"]] == ["normal"]
    assert client.get("/api/v1/films?state=read").json()["total"] == 1
    assert client.get("/api/v1/films?state=unread").json()["total"] == 0
    table = client.get("/api/v1/films.csv").text
    assert "finding_local" in table.splitlines()[0]
    assert film["film_id"] in table


def test_an_operating_point_is_chosen_among_those_fitted(client: TestClient) -> None:
    (model,) = client.get("/api/v1/models").json()
    assert [point["wished_sensitivity"] for point in model["operating_points"]] == [0.8, 0.9, 0.95, 0.99]
    film = client.post("/api/v1/predict", content=png(9)).json()
    assert film["results"][0]["called"] is None
    path = f"/api/v1/models/{model['model_id']}/point"
    assert client.put(path, json={"wished_sensitivity": 0.5}).status_code == 400
    assert client.put(path, json={"wished_sensitivity": 0.9}).json()["chosen_point"] == 0.9
    thresholds = model["operating_points"][1]["thresholds"]
    result = client.get(f"/api/v1/films/{film['film_id']}").json()["results"][0]
    assert result["called"] == [name for name, p in result["probabilities"].items() if p >= thresholds[name]]


def test_deletion_deletes_the_file_the_results_and_the_readings(client: TestClient, tmp_path: Path) -> None:
    film = client.post("/api/v1/predict?name=secret-name.png", content=png(10)).json()
    stored = tmp_path / "store" / "films" / film["film_id"][:2] / film["film_id"]
    assert stored.read_bytes() == png(10)
    client.put(f"/api/v1/films/{film['film_id']}/reading", json={"finding": "normal", "comment": "secret-comment"})
    assert client.delete(f"/api/v1/films/{film['film_id']}").status_code == 204
    assert not stored.exists()
    assert client.get(f"/api/v1/films/{film['film_id']}").status_code == 404
    assert client.get(f"/api/v1/films/{film['film_id']}/picture").status_code == 404
    # SQLite overwrites what it deletes; its write-ahead log goes when the last connection closes.
    client.__exit__(None, None, None)
    left = b"".join(file.read_bytes() for file in (tmp_path / "store").iterdir() if file.is_file())
    assert b"secret-name" not in left
    assert b"secret-comment" not in left


def test_with_keep_none_no_file_is_left_and_the_record_is(serve: Serve, tmp_path: Path) -> None:
    client = serve(keep_hours=0.0)
    one = client.post("/api/v1/predict", content=png(11)).json()
    many = client.post("/api/v1/films", files=[("films", (f"{n}.png", png(n))) for n in range(20, 24)]).json()
    assert until_done(client, many["batch"])["done"] == 4
    assert [path for path in (tmp_path / "store" / "films").glob("**/*") if path.is_file()] == []
    assert client.get(f"/api/v1/films/{one['film_id']}").json()["results"]
    gone = client.get(f"/api/v1/films/{one['film_id']}/picture")
    assert (gone.status_code, gone.json()["error"]["kind"]) == (410, "not-kept")


def test_metrics_count_requests_by_route_and_not_by_film(client: TestClient) -> None:
    film = client.post("/api/v1/predict", content=png(12)).json()
    client.get(f"/api/v1/films/{film['film_id']}")
    text = client.get("/api/v1/metrics").text
    assert 'hilum_requests_total{method="GET",route="/api/v1/films/{film_id}",status="200"} 1.0' in text
    assert film["film_id"] not in text


def test_the_description_tells_units_and_errors(client: TestClient) -> None:
    described = client.get("/api/v1/openapi.json").json()
    operation = described["paths"]["/api/v1/predict"]["post"]
    assert {"200", "413", "422", "503"} <= set(operation["responses"])
    confidence = described["components"]["schemas"]["ResultRecord"]["properties"]["confidence"]
    assert "0 to 1" in confidence["description"]
    assert "/cards" not in described["paths"]


def test_a_method_that_an_address_does_not_know_is_told_those_that_it_knows(client: TestClient) -> None:
    data = png(6)
    film = client.post("/api/v1/predict", content=data).json()["film_id"]
    answer = client.patch(f"/api/v1/films/{film}")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "DELETE, GET"
