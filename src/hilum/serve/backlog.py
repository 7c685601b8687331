"""The server's own chores: films that were accepted and are worked on later, and files that are kept for a time."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from functools import partial

import sqlalchemy as sa

from hilum.errors import FilmError
from hilum.serve.errors import ServeError, StoreDownError
from hilum.serve.store import films as stored
from hilum.serve.store import log
from hilum.serve.store.database import Writer, reading
from hilum.serve.store.films import NewFilm
from hilum.serve.store.folder import StoreFolder
from hilum.serve.store.tables import films
from hilum.serve.work import LATER, Outcome, Work

# Enough that the decoders never wait for the store.
_IN_FLIGHT = 48
_SWEEP_SECONDS = 60.0


class Backlog:
    """A thread that feeds what waits in the store to the work, and saves what comes of it."""

    def __init__(
        self, engine: sa.Engine, writer: Writer, folder: StoreFolder, work: Work, *, keep_hours: float | None
    ) -> None:
        self._engine, self._writer, self._folder, self._work = engine, writer, folder, work
        self._keep_hours = keep_hours
        self._in_flight: set[str] = set()
        self._lock = threading.Lock()
        self._wake, self._closed = threading.Event(), False
        self._thread = threading.Thread(target=self._live, name="backlog", daemon=True)

    def start(self) -> None:
        """Clear what an earlier server left half done, and begin."""
        self.clear_strays()
        self._thread.start()

    def wake(self) -> None:
        """A film was accepted."""
        self._wake.set()

    def close(self) -> None:
        self._closed = True
        self._wake.set()
        self._thread.join(timeout=5.0)

    def clear_strays(self) -> None:
        """Delete files that no film of the database has: of uploads that never ended, or deletions that did not."""
        self._folder.clear_parts()
        question = sa.select(films.c.film_id).where(films.c.kept)
        kept = set(reading(self._engine, lambda connection: connection.scalars(question).all()))
        for film_id in self._folder.lying():
            if film_id not in kept:
                self._folder.delete(film_id)

    def sweep(self) -> int:
        """Delete the files that were kept for long enough; how many."""
        if self._keep_hours is None:
            return 0
        before = (datetime.now(UTC) - timedelta(hours=self._keep_hours)).isoformat(timespec="microseconds")
        gone = reading(self._engine, lambda connection: stored.expired(connection, before))
        if gone:
            for film_id in gone:
                self._folder.delete(film_id)
            self._writer.now(lambda connection: stored.forget_files(connection, gone))
        return len(gone)

    def _live(self) -> None:
        swept = 0.0
        while not self._closed:
            try:
                if time.monotonic() - swept > _SWEEP_SECONDS:
                    self.sweep()
                    swept = time.monotonic()
                self._feed()
            except StoreDownError:
                time.sleep(1.0)
            self._wake.wait(timeout=1.0)
            self._wake.clear()

    def _feed(self) -> None:
        with self._lock:
            busy = list(self._in_flight)
        if len(busy) > _IN_FLIGHT // 2:
            return
        for film in reading(
            self._engine, lambda connection: stored.waiting(connection, most=_IN_FLIGHT - len(busy), but=busy)
        ):
            with self._lock:
                self._in_flight.add(film.film_id)
            asked = self._work.ask(partial(self._bytes, film), rank=LATER)
            asked.add_done_callback(partial(self._save, film))

    def _bytes(self, film: NewFilm) -> bytes:
        try:
            return self._folder.film(film.film_id).read_bytes()
        except OSError:
            raise FilmError("its file is gone from the store", next_step="Send it again.") from None

    def _save(self, film: NewFilm, outcome: Future[Outcome]) -> None:
        """Called where the work ends. A film whose outcome cannot be saved stays in the store and comes again."""
        error = outcome.exception()
        keeps = self._keep_hours != 0 and error is None

        def change(connection: sa.Connection) -> None:
            if error is None:
                made = outcome.result()
                saved = stored.finish(connection, film, made.found, made.made, kept=keeps)
                for each in made.made if saved else ():
                    log.add(
                        connection,
                        self._folder.key,
                        film.accepted_by,
                        "predict",
                        film_id=film.film_id,
                        model_id=each.model_id,
                    )
            else:
                stored.fail(connection, film.film_id, _reason(error))

        def saved(future: Future[None]) -> None:
            if future.exception() is None and not keeps:
                self._folder.delete(film.film_id)
            with self._lock:
                self._in_flight.discard(film.film_id)
            self._wake.set()

        self._writer.soon(change).add_done_callback(saved)


def _reason(error: BaseException) -> str:
    if isinstance(error, ServeError):
        return f"{error.what}. {error.next_step}".strip()
    return f"the server failed on this film: {type(error).__name__}"
