"""A client of a hilum server, for programs.

with Client("http://127.0.0.1:8000/") as client:
    client.predict("film.dcm")["results"][0]["probabilities"]
    batch = client.send(["films.zip"])["batch"]
    client.wait(batch)
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx2 as httpx

from hilum.errors import HilumError

# A film may wait behind a full queue, and be large.
TIMEOUT_SECONDS = 120.0
Source = Path | str | bytes | tuple[str, bytes]


class ServerError(HilumError):
    """The server did not do what was asked; kind: for programs, as not-found, too-large or unreadable-film."""

    def __init__(self, what: str, *, where: str = "", next_step: str = "", kind: str = "failed") -> None:
        super().__init__(what, where=where, next_step=next_step)
        self.kind = kind


class Client:
    """token: where the server has users. tries: how often a full queue is asked again, as its Retry-After says.

    What comes back are the records that docs/serve.md describes, as dictionaries. ServerError for every refusal.
    """

    def __init__(self, address: str, *, token: str = "", tries: int = 10, verify: bool = True) -> None:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self._tries = tries
        self._http = httpx.Client(base_url=address, headers=headers, timeout=TIMEOUT_SECONDS, verify=verify)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._http.close()

    def predict(self, film: Source) -> Any:
        """Send one film, a path or bytes, and wait for what the models say of it."""
        name, data = _named(film)
        return self._ask("POST", "/api/v1/predict", params={"name": name}, content=data).json()

    def send(self, films: Iterable[Source]) -> Any:
        """Send many films, or ZIPs of them; the answer tells which were accepted, and their `batch`."""
        files = [("films", _named(film)) for film in films]
        return self._ask("POST", "/api/v1/films", files=files).json()

    def batch(self, batch: str) -> Any:
        """How many films of a batch wait, are done, have failed."""
        return self._ask("GET", f"/api/v1/batches/{batch}").json()

    def wait(self, batch: str, *, seconds: float = 600.0) -> Any:
        """The same, when none waits any more. ServerError where that takes longer."""
        end = time.monotonic() + seconds
        while (counts := self.batch(batch))["waiting"]:
            if time.monotonic() > end:
                raise ServerError(f"{counts['waiting']} films still wait after {seconds:.0f} s", kind="too-slow")
            time.sleep(0.2)
        return counts

    def films(self, **wanted: Any) -> Any:
        """Films with their results; see GET /api/v1/films for what may be asked."""
        return self._ask("GET", "/api/v1/films", params=wanted).json()

    def film(self, film_id: str) -> Any:
        """One film."""
        return self._ask("GET", f"/api/v1/films/{film_id}").json()

    def delete(self, film_id: str) -> None:
        """Delete a film with its file, results and readings."""
        self._ask("DELETE", f"/api/v1/films/{film_id}")

    def picture(self, film_id: str) -> bytes:
        """The film as grey PNG."""
        return bytes(self._ask("GET", f"/api/v1/films/{film_id}/picture").content)

    def map(self, film_id: str, *, class_: str = "", method: str = "grad-cam", model: str = "") -> bytes:
        """Where a model's answer comes from, RGBA PNG as large as the picture."""
        asked = {"class": class_, "method": method, "model": model}
        return bytes(self._ask("GET", f"/api/v1/films/{film_id}/map", params=asked).content)

    def read(self, film_id: str, finding: str, comment: str = "") -> Any:
        """Record what a reader sees."""
        said = {"finding": finding, "comment": comment}
        return self._ask("PUT", f"/api/v1/films/{film_id}/reading", json=said).json()

    def models(self) -> Any:
        """The loaded models."""
        return self._ask("GET", "/api/v1/models").json()

    def health(self) -> Any:
        """Whether the server works."""
        return self._ask("GET", "/api/v1/health").json()

    def _ask(self, method: str, path: str, **how: Any) -> httpx.Response:
        for attempt in range(self._tries):
            try:
                answer = self._http.request(method, path, **how)
            except httpx.TransportError as error:
                raise ServerError(
                    f"the server does not answer: {error}",
                    where=str(self._http.base_url),
                    next_step="Start it with: hilum serve RUN",
                    kind="no-answer",
                ) from None
            if answer.status_code not in (429, 503) or attempt == self._tries - 1:
                break
            time.sleep(float(answer.headers.get("retry-after", 1)))
        if answer.is_error:
            try:
                told = answer.json()["error"]
            except (ValueError, KeyError, TypeError):
                told = {"kind": "failed", "what": f"the answer was {answer.status_code}", "next_step": ""}
            raise ServerError(told["what"], where=path, next_step=told["next_step"], kind=told["kind"])
        return answer


def _named(film: Source) -> tuple[str, bytes]:
    if isinstance(film, tuple):
        return film
    if isinstance(film, bytes):
        return "film", film
    path = Path(film)
    return path.name, path.read_bytes()
