"""Logging in and out."""

from __future__ import annotations

import secrets
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from hilum.serve.access import COOKIE, Asking, Serving
from hilum.serve.errors import ForbiddenError, LoginNeededError
from hilum.serve.html import page
from hilum.serve.store import people
from hilum.serve.store.people import LOCAL, SESSION_HOURS, Person

router = APIRouter(include_in_schema=False)


@router.get("/login")
async def login_page(server: Serving) -> Response:
    return page("login.html", server, None, here="", wrong=False)


@router.post("/login")
async def login(
    request: Request,
    server: Serving,
    name: Annotated[str, Form(max_length=64)],
    password: Annotated[str, Form(max_length=1024)],
) -> Response:
    """Open a session; a wrong name and a wrong password look the same, and take as long."""
    address = request.client.host if request.client else ""
    request.app.state.logins.spend(f"address {address}")
    request.app.state.logins.spend(f"name {name}")
    found = await server.ask(lambda connection: people.with_password(connection, name, password))
    if found is None:
        await server.note(Person(name, "reader"), "login refused")
        again = page("login.html", server, None, here="", wrong=True)
        again.status_code = LoginNeededError.status
        return again
    secret = await server.change(partial(people.open_session, person=found))
    await server.note(found, "login")
    answer = RedirectResponse("/", status_code=303)
    answer.set_cookie(
        COOKIE, secret, max_age=SESSION_HOURS * 3600, httponly=True, samesite="strict", secure=not server.settings.local
    )
    return answer


@router.post("/logout")
async def logout(request: Request, server: Serving, who: Asking) -> Response:
    if who == LOCAL:
        raise ForbiddenError("there is nobody to log out")
    secret = request.cookies.get(COOKIE, secrets.token_hex(4))
    await server.change(lambda connection: people.end_session(connection, secret))
    await server.note(who, "logout")
    answer = RedirectResponse("/login", status_code=303)
    answer.delete_cookie(COOKIE)
    return answer
