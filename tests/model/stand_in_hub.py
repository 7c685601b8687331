"""A model hub on this machine: the part of the protocol that huggingface_hub needs for one file."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Hub:
    """What it serves by path, and how it misbehaves. said: the size and SHA-256 that it tells are of these bytes."""

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    said: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def publish(self, repository: str, content: bytes, *, said: bytes | None = None) -> None:
        """Serve a repository's model.safetensors; `said` is what it ought to be where that differs."""
        path = f"/{repository}/resolve/main/model.safetensors"
        self.files[path] = content
        self.said[path] = content if said is None else said


@contextmanager
def stand_in_hub() -> Iterator[Hub]:
    """A hub that serves nothing yet."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, *, body: bool) -> None:
            hub.asked.append(f"{self.command} {self.path}")
            if self.path not in hub.files:
                self.send_response(404)
                self.send_header("X-Error-Code", "EntryNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            content, said = hub.files[self.path], hub.said.get(self.path, b"")
            self.send_response(200)
            self.send_header("ETag", f'"{sha256(said).hexdigest()}"')
            self.send_header("X-Linked-Size", str(len(said)))
            self.send_header("X-Repo-Commit", "0" * 40)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if body:
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub = Hub(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
