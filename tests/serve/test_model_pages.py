"""The Model page: what lies in a run's folder, and two models beside each other."""

from __future__ import annotations

from dataclasses import replace

from fastapi.testclient import TestClient

from hilum.serve.agreement import agreed
from hilum.serve.models import Model
from serve.conftest import Serve
from serve.serving import png


def test_the_report_and_the_figures_of_a_run_are_shown_and_nothing_else_of_its_folder(
    client: TestClient, model: Model
) -> None:
    page = client.get("/models").text
    at = f"/models/{model.model_id}"
    assert f"{at}/papers/report" in page
    assert f"{at}/figures/roc" in page
    assert client.get(f"{at}/papers/report").headers["content-security-policy"].endswith("sandbox")
    assert client.get(f"{at}/figures/roc").content[:4] == b"\x89PNG"
    for path in ("papers/recipe", "papers/..%2Frecipe.toml", "figures/..%2Freport", "figures/nothing"):
        assert client.get(f"{at}/{path}").status_code == 404


def test_two_models_are_compared_on_the_films_that_both_have_seen(serve: Serve, model: Model) -> None:
    other = replace(model, model_id="0" * 12, name="the-other")
    client = serve(models=[model, other])
    films = [client.post("/api/v1/predict", content=png(number)).json() for number in (41, 42)]
    assert [[result["model"] for result in film["results"]] for film in films] == [[model.name, "the-other"]] * 2
    page = client.get("/models").text
    assert f"{model.name} beside the-other" in page
    # The same network twice: it agrees with itself on both films.
    assert "On 2 films that both have seen they say the same in 100 %" in page


def test_kappa_of_a_table_that_cohen_would_know() -> None:
    # 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: observed 0.7, by chance 0.5 x 0.6 + 0.5 x 0.4 = 0.5, kappa 0.4.
    pairs = [("y", "y")] * 20 + [("y", "n")] * 5 + [("n", "y")] * 10 + [("n", "n")] * 15
    found = agreed(pairs, ("y", "n"))
    assert found["same"] == 0.7
    assert abs((found["kappa"] or 0) - 0.4) < 1e-12
