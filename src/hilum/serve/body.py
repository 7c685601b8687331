"""What a client still sends when its answer is ready: a little is taken and thrown away, without end it is cut off."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

# A client that is still sending reads its answer only after that, unless the connection is cut under it.
_LEFT_BYTES, _LEFT_SECONDS = 64 * 2**20, 10.0
_TOO_SLOW = 408


class Body:
    """One request's body, read by the application through `receive`; its answer goes through `sending(send)`.

    headers: those of the request, by lower-case name.
    """

    def __init__(self, receive: Receive, headers: Mapping[str, str]) -> None:
        self._receive = receive
        self._ended = headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers

    async def receive(self) -> Message:
        message = await self._receive()
        self._ended = self._ended or message["type"] == "http.disconnect" or not message.get("more_body", False)
        return message

    def sending(self, send: Send) -> Send:
        """`send`, which ends the connection after an answer whose request does not end."""

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start" and not self._ended:
                if message["status"] != _TOO_SLOW:
                    await self._swallow()
                if not self._ended:
                    message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        return sent

    async def _swallow(self) -> None:
        left = _LEFT_BYTES
        try:
            async with asyncio.timeout(_LEFT_SECONDS):
                while left > 0 and not self._ended:
                    left -= len((await self.receive()).get("body", b""))
        except TimeoutError:
            return
