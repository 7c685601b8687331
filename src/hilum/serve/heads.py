"""The heads of requests, which uvicorn waits for as long as a client likes and lets grow as large as it likes."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# Twenty times what a browser sends.
MOST_HEAD_BYTES = 64 * 2**10


class PromptHeads(HttpToolsProtocol):
    """Closes a connection on which nothing, or half of a request's head, came for `seconds`, or an endless head.

    A client that says nothing would else hold its connection for ever, and a thousand of them all that there are.
    """

    seconds = 20.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        self._late: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._have()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._late is not None:
            self._head_bytes += len(data)
            if self._head_bytes > MOST_HEAD_BYTES and not self.transport.is_closing():
                self._have()
                self.send_400_response("The head of the request is too large.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._wait()

    def on_headers_complete(self) -> None:
        self._have()
        super().on_headers_complete()

    def _wait(self) -> None:
        if self._late is None:
            self._head_bytes = 0
            self._late = self.loop.call_later(self.seconds, self.timeout_keep_alive_handler)

    def _have(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


def within(seconds: float) -> type[PromptHeads]:
    """The protocol for uvicorn that waits so long."""

    class Prompt(PromptHeads):
        pass

    Prompt.seconds = seconds
    return Prompt
