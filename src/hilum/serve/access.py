"""Who asks, and may they: sessions, tokens, roles, other sites, rates, and the headers of every answer."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import Depends, Request

from hilum.serve.answers import problem
from hilum.serve.body import Body, Message, Receive, Send
from hilum.serve.errors import ForbiddenError, LoginNeededError, ServeError, TooLargeError, TooManyError
from hilum.serve.server import Server
from hilum.serve.settings import Limits
from hilum.serve.store import people
from hilum.serve.store.people import LOCAL, Person

COOKIE = "hilum_session"
_LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")
_SAFE = ("GET", "HEAD", "OPTIONS")
# Nothing but what the server itself sends; no script or style stands inside a page.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass
class Rates:
    """How often each of many asks: a bucket of `a_minute` that fills over a minute. The longest idle is forgotten."""

    a_minute: int
    buckets: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)

    def spend(self, who: str) -> None:
        """TooManyError where the bucket is empty.

        >>> rates = Rates(1)
        >>> rates.spend("a"), rates.spend("b")
        (None, None)
        >>> rates.spend("a")
        Traceback (most recent call last):
        hilum.serve.errors.TooManyError: more than 1 requests a minute. Come back in a minute.
        """
        now = time.monotonic()
        left, at = self.buckets.pop(who, (float(self.a_minute), now))
        left = min(float(self.a_minute), left + (now - at) * self.a_minute / 60)
        self.buckets[who] = (max(left - 1, 0.0), now)
        while len(self.buckets) > 10_000:
            self.buckets.popitem(last=False)
        if left < 1:
            raise TooManyError(f"more than {self.a_minute} requests a minute", next_step="Come back in a minute.")


async def server_of(request: Request) -> Server:  # FastAPI asks what is not async in another thread
    server: Server = request.app.state.server
    return server


async def person_of(request: Request) -> Person:
    """Who asks. LoginNeededError where nobody is known; TooManyError where one asks too often."""
    server = await server_of(request)
    if server.settings.local and not server.has_users:
        return LOCAL
    found = None
    cookie = request.cookies.get(COOKIE, "")
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        found = await server.ask(lambda connection: people.of_token(connection, token))
    elif cookie:
        found = await server.ask(lambda connection: people.of_session(connection, cookie))
    if found is None:
        raise LoginNeededError("nobody is logged in", next_step="Log in, or send a token: Authorization: Bearer TOKEN.")
    request.app.state.rates.spend(found.name)
    return found


async def admin_of(person: Annotated[Person, Depends(person_of)]) -> Person:
    """The same, who must be an administrator."""
    if person.role != "admin":
        raise ForbiddenError("only an administrator may do this")
    return person


Asking = Annotated[Person, Depends(person_of)]
Administrator = Annotated[Person, Depends(admin_of)]
Serving = Annotated[Server, Depends(server_of)]


class Shield:
    """Around everything: refuses other sites and other names for this machine, counts and ends bodies, sets headers.

    A page of another site can make a browser send requests here, with its cookies or where no login is needed. Browsers
    say so in Sec-Fetch-Site, or Origin (https://web.dev/articles/fetch-metadata), which no script can forge.

    uploads: the paths that count their bodies themselves; one that ends in / stands for all below it.
    """

    def __init__(self, app: App, *, local: bool, limits: Limits, uploads: tuple[str, ...]) -> None:
        self._app, self._local, self._limits, self._uploads = app, local, limits, uploads
        self._below = tuple(path for path in uploads if path.endswith("/"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                there = {name for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(
                        (name.encode(), value.encode())
                        for name, value in _HEADERS.items()
                        if name.encode() not in there
                    ),
                ]
            await send(message)

        body = Body(receive, headers)
        answer = body.sending(with_headers)
        try:
            self._check(scope["method"], headers)
        except ServeError as error:
            await problem(error)(scope, body.receive, answer)
            return
        if scope["path"] in self._uploads or scope["path"].startswith(self._below):
            await self._app(scope, body.receive, answer)
        else:
            await self._app(scope, self._counted(body.receive), answer)

    def _check(self, method: str, headers: dict[str, str]) -> None:
        host = headers.get("host", "")
        if self._local and host.rsplit(":", 1)[0] not in _LOCAL_NAMES and host not in _LOCAL_NAMES:
            raise ForbiddenError("this server answers to this machine's own name only", next_step="Use 127.0.0.1.")
        if method in _SAFE:
            return
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        foreign = (
            site not in ("same-origin", "none") if site else origin is not None and urlsplit(origin).netloc != host
        )
        if foreign:
            raise ForbiddenError("the request came from a page of another site")

    def _counted(self, receive: Receive) -> Receive:
        count = 0

        async def counted() -> Message:
            nonlocal count
            message = await receive()
            count += len(message.get("body", b""))
            if count > self._limits.small_bytes:
                raise TooLargeError(f"the request is over {self._limits.small_bytes} bytes")
            return message

        return counted
