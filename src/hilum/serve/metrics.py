"""Figures for Prometheus: requests and their time by route and status, films that wait."""

from __future__ import annotations

import time
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from hilum.serve.access import App, Message, Receive, Send
from hilum.serve.server import Server

MEDIA_TYPE = CONTENT_TYPE_LATEST


@dataclass(frozen=True)
class Figures:
    """The counters of one application."""

    registry: CollectorRegistry
    requests: Counter
    seconds: Histogram
    waiting: Gauge


def figures() -> Figures:
    """New counters, all zero."""
    registry = CollectorRegistry()
    return Figures(
        registry,
        Counter("hilum_requests", "Requests answered.", ["route", "method", "status"], registry=registry),
        Histogram("hilum_request_seconds", "From a request's head to its answer's end.", ["route"], registry=registry),
        Gauge("hilum_films_waiting", "Films that are not decoded yet.", registry=registry),
    )


def shown(known: Figures, server: Server) -> bytes:
    """The counters in Prometheus' text."""
    known.waiting.set(server.work.waiting)
    return generate_latest(known.registry)


class Measured:
    """Counts the requests of an application by route, never by path, whose ids are without end."""

    def __init__(self, app: App, *, known: Figures) -> None:
        self._app, self._known = app, known

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = time.monotonic(), 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            method = scope["method"] if scope["method"] in ("GET", "POST", "PUT", "DELETE", "HEAD") else "other"
            self._known.requests.labels(route, method, str(status)).inc()
            self._known.seconds.labels(route).observe(time.monotonic() - start)
