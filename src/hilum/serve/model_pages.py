"""The Model page: what a run says of itself, its operating point, and two loaded models beside each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from typing import Annotated, Any

from fastapi import APIRouter, Form, Path, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse

from hilum.report.audit import shown_value
from hilum.serve.access import Administrator, Asking, Serving
from hilum.serve.agreement import agreed
from hilum.serve.errors import NotFoundError
from hilum.serve.html import colours_of, page
from hilum.serve.models import Model
from hilum.serve.store import films as stored

router = APIRouter(include_in_schema=False)

# A report stands alone: its styles and pictures are inside it, and no script runs.
_REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'; sandbox"
_PAPERS = {
    "report": ("report.html", "Report"),
    "audit": ("audit.html", "Audit"),
    "model-card": ("paperwork/model-card.html", "Model card"),
    "tripod-ai": ("paperwork/tripod-ai.html", "TRIPOD+AI"),
    "claim-2024": ("paperwork/claim-2024.html", "CLAIM 2024"),
    "mistakes": ("mistakes.html", "Misclassified films"),
    "concepts": ("concepts.html", "Concepts"),
}
FIGURES = ("accuracy", "balanced_accuracy", "macro_auroc", "calibration_error")
_GRAVEST_FIRST = ("fail", "warn", "not done", "pass")
_MOST_SHOWN = 12


@router.get("/models")
async def models(server: Serving, who: Asking) -> Response:
    """What is loaded, and what is to be said of it."""
    pairs = await server.ask(
        lambda connection: [_compared(connection, one, other) for one, other in combinations(server.models, 2)]
    )
    return page(
        "models.html",
        server,
        who,
        here="models",
        points=server.points,
        pairs=pairs,
        papers={model.model_id: _papers(model) for model in server.models},
        pictures={model.model_id: _pictures(model) for model in server.models},
        checks={model.model_id: _checks(model) for model in server.models},
        colours=colours_of(server.models),
        figures=FIGURES,
    )


@router.post("/models/{model}/point")
async def choose_point(
    model: str, server: Serving, who: Administrator, wished: Annotated[str, Form(max_length=10)] = ""
) -> Response:
    chosen = next((each for each in server.model(model).points if str(each) == wished), None)
    await server.choose_point(who, server.model(model), chosen)
    return RedirectResponse("/models", status_code=303)


@router.get("/models/{model}/papers/{name}")
async def paper(model: str, name: str, server: Serving, who: Asking) -> Response:
    """A page that lies in the run's folder: its report, model card and so on."""
    asked = server.model(model)
    if name not in _papers(asked):
        raise NotFoundError("the run has no such page")
    text = await run_in_threadpool((asked.path / _PAPERS[name][0]).read_text, encoding="utf-8")
    return HTMLResponse(text, headers={"content-security-policy": _REPORT_POLICY})


@router.get("/models/{model}/figures/{name}")
async def figure(model: str, name: Annotated[str, Path(max_length=80)], server: Serving, who: Asking) -> Response:
    """One of the run's figures, PNG."""
    asked = server.model(model)
    if name not in _pictures(asked):
        raise NotFoundError("the run has no such figure")
    data = await run_in_threadpool((asked.path / "figures" / f"{name}.png").read_bytes)
    return Response(data, media_type="image/png")


def _papers(model: Model) -> dict[str, str]:
    """The pages that the run's folder holds, by name, with their titles."""
    return {name: title for name, (file, title) in _PAPERS.items() if (model.path / file).is_file()}


def _pictures(model: Model) -> list[str]:
    """The names of the run's figures."""
    return sorted(file.stem for file in (model.path / "figures").glob("*.png"))


def _checks(model: Model) -> list[dict[str, Any]]:
    """The audit's checks, the gravest first, each with its value in words."""
    order = {verdict: place for place, verdict in enumerate(_GRAVEST_FIRST)}
    checks = sorted(model.audit or (), key=lambda check: order.get(str(check.get("verdict")), len(order)))
    return [{"reason": "", "meaning": "", "advice": "", **check, "shown": shown_value(check)} for check in checks]


def _compared(connection: Any, one: Model, other: Model) -> dict[str, Any]:
    """Two models on the films that both have seen: how often they say the same, and where they differ most.

    counts: films by what the one and what the other says.
    """
    rows = stored.paired(connection, one.model_id, other.model_id)
    pairs = [(row.one, row.other) for row in rows]
    differ = sorted((row for row in rows if row.one != row.other), key=lambda row: -min(row.p, row.q))
    found = {"one": one, "other": other, "n": len(rows), "differ": differ[:_MOST_SHOWN], "differing": len(differ)}
    return found | {"counts": Counter(pairs), "same": None, "kappa": None} | _agreed(pairs, one, other)


def _agreed(pairs: Sequence[tuple[str, str]], one: Model, other: Model) -> dict[str, float | None]:
    return agreed(pairs, tuple(dict.fromkeys([*one.classes, *other.classes]))) if pairs else {}
