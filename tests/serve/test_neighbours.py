"""The training films nearest to a film: right ones, and only where the server was started to show them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pandas as pd
from fastapi.testclient import TestClient

from hilum.evaluation.run_folder import RunFolder
from serve.conftest import Serve
from serve.serving import png


def asked(client: TestClient, path: str) -> Any:
    """The answer, when the training films have been gone through."""
    for _ in range(300):
        answer = client.get(path)
        if answer.status_code != 503:
            break
        time.sleep(0.1)
    return answer


def test_a_training_film_is_nearest_to_itself(serve: Serve, small_run: Path) -> None:
    client = serve(neighbours=True)
    manifest = RunFolder(small_run).manifest()
    train = manifest[manifest["part"] == "train"].reset_index(drop=True)
    own = train.iloc[3]
    film = client.post("/api/v1/predict", content=Path(own["path"]).read_bytes()).json()
    found = asked(client, f"/api/v1/films/{film['film_id']}/neighbours").json()
    assert found["among"] == len(train)
    nearest = found["neighbours"][0]
    assert (nearest["row"], nearest["label"]) == (3, own["class"])
    assert nearest["distance"] < 1e-4
    distances = pd.Series([each["distance"] for each in found["neighbours"]])
    assert len(distances) == 5
    assert distances.is_monotonic_increasing
    model = client.get("/api/v1/models").json()[0]["model_id"]
    assert client.get(f"/api/v1/models/{model}/training/3").content[:4] == b"\x89PNG"
    assert client.get(f"/api/v1/models/{model}/training/99999").status_code == 404
    shown = client.get(f"/films/{film['film_id']}/neighbours?model={model}").text
    assert f"/api/v1/models/{model}/training/3" in shown
    assert f"/films/{film['film_id']}/neighbours" in client.get(f"/films/{film['film_id']}").text


def test_training_films_are_not_shown_unless_the_server_was_started_so(client: TestClient) -> None:
    film = client.post("/api/v1/predict", content=png(31)).json()
    model = film["results"][0]["model_id"]
    for path in (f"films/{film['film_id']}/neighbours", f"models/{model}/training/0"):
        answer = client.get(f"/api/v1/{path}")
        assert (answer.status_code, answer.json()["error"]["kind"]) == (404, "not-found")
    assert "neighbours" not in client.get(f"/films/{film['film_id']}").text
