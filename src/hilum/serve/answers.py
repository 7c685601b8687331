"""Errors as answers: JSON for programs, a page for people; never a traceback, never what the client sent."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException
from starlette.routing import Match

from hilum.errors import HilumError, RequestError
from hilum.serve.dicom.web import PREFIX as DICOM_WEB
from hilum.serve.errors import (
    RETRY_AFTER_SECONDS,
    BadRequestError,
    LoginNeededError,
    NotFoundError,
    ServeError,
    TooManyError,
)
from hilum.serve.html import error_page
from hilum.serve.records import Problem, ProblemBody

_LOG = logging.getLogger("hilum.serve")
_STATUSES = {404: "there is nothing here", 405: "this address does not know this method"}


def problem(error: ServeError) -> JSONResponse:
    """An error as a program gets it."""
    body = ProblemBody(error=Problem(kind=error.kind, what=error.what, next_step=error.next_step))
    return JSONResponse(body.model_dump(), status_code=error.status, headers=_headers(error))


def _headers(error: ServeError) -> dict[str, str]:
    if error.status == 503:
        return {"retry-after": str(RETRY_AFTER_SECONDS)}
    if isinstance(error, TooManyError):
        return {"retry-after": "60"}
    return {"www-authenticate": "Bearer"} if isinstance(error, LoginNeededError) else {}


def _methods(request: Request) -> list[str]:
    """What the address knows: one path may have a route for each method, and Starlette names those of the first."""
    asked = {name: {**request.scope, "method": name} for name in ("DELETE", "GET", "PATCH", "POST", "PUT")}
    routes = request.app.routes
    return [name for name, scope in asked.items() if any(each.matches(scope)[0] == Match.FULL for each in routes)]


def add_handlers(app: FastAPI) -> None:
    """Have every error answered."""

    def answer(request: Request, error: ServeError) -> Response:
        if request.url.path.startswith(("/api/", f"{DICOM_WEB}/")):
            return problem(error)
        if isinstance(error, LoginNeededError) and request.method == "GET":
            return RedirectResponse("/login", status_code=303)
        return error_page(request, error, headers=_headers(error))

    async def served(request: Request, error: Exception) -> Response:
        assert isinstance(error, ServeError)
        return answer(request, error)

    async def foreseen(request: Request, error: Exception) -> Response:
        assert isinstance(error, HilumError)
        kind = BadRequestError if isinstance(error, RequestError) else ServeError
        return answer(request, kind(error.what, next_step=error.next_step))

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        # Where and why, and not the value: it may be a patient's name.
        first: dict[str, Any] = dict(error.errors()[0])
        place = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
        return answer(request, BadRequestError(f"{place}: {first['msg']}", next_step="See /api/v1/openapi.json."))

    async def plain(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if isinstance(error.__cause__, ServeError):  # raised while the body was read
            return answer(request, error.__cause__)
        refused = NotFoundError if error.status_code == 404 else BadRequestError
        made = refused(_STATUSES.get(error.status_code, "the request cannot be read"))
        answered = answer(request, made)
        answered.status_code = error.status_code
        answered.headers.update(error.headers or {})
        if error.headers and "Allow" in error.headers:
            answered.headers["allow"] = ", ".join(_methods(request))
        return answered

    async def unforeseen(request: Request, error: Exception) -> Response:
        _LOG.exception("a request failed: %s %s", request.method, request.url.path)
        return answer(request, ServeError("the server failed on this request", next_step="Its log tells why."))

    app.add_exception_handler(ServeError, served)
    app.add_exception_handler(HilumError, foreseen)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, plain)
    app.add_exception_handler(Exception, unforeseen)
