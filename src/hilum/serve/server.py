"""The server's parts put together, and what its pages and its API ask of them."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import filelock
import sqlalchemy as sa
from fastapi.concurrency import run_in_threadpool

from hilum.serve.backlog import Backlog
from hilum.serve.errors import BadRequestError, BusyError, NotFoundError
from hilum.serve.models import Model, load_models
from hilum.serve.neighbours import TrainingFilms
from hilum.serve.pictures import Pictures
from hilum.serve.receive import Room
from hilum.serve.settings import Settings, check_address
from hilum.serve.store import films as stored
from hilum.serve.store import log, people
from hilum.serve.store.database import Change, T, Writer, open_database, reading
from hilum.serve.store.films import Accepted, NewFilm
from hilum.serve.store.folder import StoreFolder, new_id
from hilum.serve.store.people import Person
from hilum.serve.store.tables import choices
from hilum.serve.work import Work


@dataclass
class Server:
    """All that lives while the server runs. `opened` makes it and `close` ends it.

    points: the wished sensitivity of the operating point that is used, by model. pending: films that are worked on for
    clients that wait, by SHA-256. guests: end what works with this server, before it ends itself.
    """

    settings: Settings
    models: list[Model]
    folder: StoreFolder
    lock: filelock.FileLock
    engine: sa.Engine
    writer: Writer
    work: Work
    backlog: Backlog
    pictures: Pictures
    room: Room
    neighbours: TrainingFilms | None
    has_users: bool
    points: dict[str, float | None]
    pending: dict[str, asyncio.Future[dict[str, Any]]] = field(default_factory=dict)
    guests: list[Callable[[], None]] = field(default_factory=list)

    @property
    def model_ids(self) -> list[str]:
        return [model.model_id for model in self.models]

    def model(self, model_id: str) -> Model:
        """The loaded model of an id, or of a name; "" is the first. NotFoundError where there is none."""
        if not model_id:
            return self.models[0]
        for model in self.models:
            if model_id in (model.model_id, model.name):
                return model
        raise NotFoundError("no such model is loaded", next_step="See /api/v1/models.")

    async def ask(self, question: Change[T]) -> T:
        """The answer of the store."""
        return await run_in_threadpool(reading, self.engine, question)

    async def change(self, change: Change[T]) -> T:
        """Have a change saved."""
        return await asyncio.wrap_future(self.writer.soon(change))

    async def note(self, who: Person, what: str, *, film_id: str = "", model_id: str = "", about: str = "") -> None:
        """Add a record to the log, on disk when this returns."""
        await self.change(
            lambda connection: log.add(
                connection,
                self.folder.key,
                who.name,
                what,
                film_id=film_id or None,
                model_id=model_id or None,
                about=about,
            )
        )

    async def film(self, film_id: str) -> dict[str, Any]:
        """One film with its results and readings. NotFoundError where there is none."""
        found = await self.ask(lambda connection: stored.film_of(connection, film_id))
        if found is None:
            raise NotFoundError("there is no such film", next_step="It may have been deleted.")
        return found

    def new_film(self, who: Person, name: str, data: bytes, *, kept: bool, batch: str | None) -> NewFilm:
        """The record of a film that came."""
        shown = self.folder.keyed(name) if self.settings.hide_names else name
        return NewFilm(new_id(), hashlib.sha256(data).hexdigest(), shown, len(data), kept, batch, who.name)

    async def predict(self, who: Person, name: str, data: bytes) -> dict[str, Any]:
        """Work on a film whose client waits; the film, as `film` has it. The same bytes are worked on once.

        UnreadableError where it is no film; BusyError where too many wait.
        """
        film = self.new_film(who, name, data, kept=False, batch=None)
        # Asked of the writer, which need not be changed to, as a thread of many would be, and back.
        there = await self.change(lambda connection: self._known(connection, film))
        if there is not None:
            return there
        pending = self.pending.get(film.sha256)
        if pending is None:
            pending = self.pending[film.sha256] = asyncio.ensure_future(self._worked_on(film, data))
            pending.add_done_callback(lambda _: self.pending.pop(film.sha256, None))
        # A client that goes away does not take the work of another one with it.
        return await asyncio.shield(pending)

    def _known(self, connection: sa.Connection, film: NewFilm) -> dict[str, Any] | None:
        film_id = stored.known(connection, film.sha256, self.model_ids)
        if film_id is None:
            return None
        log.add(connection, self.folder.key, film.accepted_by, "predict again", film_id=film_id)
        return stored.film_of(connection, film_id)

    async def _worked_on(self, film: NewFilm, data: bytes) -> dict[str, Any]:
        kept = self.settings.keep_hours != 0
        # Before the record, so that no record promises a file that is not there.
        keep = partial(self.folder.write, film.film_id, data) if kept else None
        outcome = await asyncio.wrap_future(self.work.ask(data, keep=keep))

        def change(connection: sa.Connection) -> dict[str, Any] | None:
            film_id = stored.finish(connection, film, outcome.found, outcome.made, kept=kept) or film.film_id
            for each in outcome.made:
                log.add(
                    connection,
                    self.folder.key,
                    film.accepted_by,
                    "predict",
                    film_id=film_id,
                    model_id=each.model_id,
                )
            return stored.film_of(connection, film_id)

        made = await self.change(change)
        assert made is not None  # it was saved a moment ago, in the same transaction
        if made["film_id"] != film.film_id:  # the film was there: it waited, or lacked the result of a model
            if kept:
                await run_in_threadpool(self.folder.rename, film.film_id, made["film_id"])
            else:
                await run_in_threadpool(self.folder.delete, made["film_id"])
        return made

    def accept(self, who: Person, name: str, data: bytes, batch: str) -> Accepted:
        """Take in a film to be worked on later: on disk, and in the database, when this returns.

        BadRequestError for an empty file; BusyError where too many wait already.
        """
        if not data:
            raise BadRequestError("the file is empty", next_step="Copy it again.")
        film = self.new_film(who, name, data, kept=True, batch=batch)
        self.folder.write(film.film_id, data)
        try:
            taken = self.writer.now(lambda connection: self._taken(connection, film))
        except BaseException:
            self.folder.delete(film.film_id)
            raise
        if taken.known:
            self.folder.delete(film.film_id)
        self.backlog.wake()
        return taken

    def _taken(self, connection: sa.Connection, film: NewFilm) -> Accepted:
        if stored.counts(connection)["waiting"] >= self.settings.most_later:
            raise BusyError("too many films wait", next_step="Come back after the seconds of Retry-After.")
        taken = stored.accept(connection, film, self.model_ids)
        if not taken.known and taken.film_id != film.film_id:  # before anybody looks for its bytes
            self.folder.rename(film.film_id, taken.film_id)
        log.add(connection, self.folder.key, film.accepted_by, "accept", film_id=taken.film_id)
        return taken

    async def delete(self, who: Person, film_id: str) -> None:
        """Delete a film, its file, results and readings; that it was deleted stays in the log."""
        await self.film(film_id)

        def change(connection: sa.Connection) -> None:
            if stored.delete(connection, film_id):
                log.add(connection, self.folder.key, who.name, "delete", film_id=film_id)

        await self.change(change)
        await run_in_threadpool(self.folder.delete, film_id)
        self.pictures.forget(film_id)

    async def choose_point(self, who: Person, model: Model, wished: float | None) -> None:
        """Use one of the operating points that were fitted on validation, or None. BadRequestError for another."""
        if wished is not None and wished not in model.points:
            raise BadRequestError("no such operating point was fitted", next_step="See /api/v1/models.")
        key = f"point/{model.model_id}"

        def change(connection: sa.Connection) -> None:
            connection.execute(sa.delete(choices).where(choices.c.key == key))
            if wished is not None:
                connection.execute(choices.insert().values(key=key, value=wished))
            log.add(
                connection, self.folder.key, who.name, "choose point", model_id=model.model_id, about=str(wished or "")
            )

        await self.change(change)
        self.points[model.model_id] = wished

    def close(self) -> None:
        """End: what waits in the store goes on with the next server."""
        for end in self.guests:
            end()
        self.backlog.close()
        self.work.close()
        self.writer.close()
        self.engine.dispose()
        self.lock.release()


def opened(settings: Settings, models: Sequence[Model] | None = None) -> Server:
    """The server of some settings. Refused as `models.load_models`, `open_database` and `check_address` do."""
    folder = StoreFolder.open(settings.store)
    lock = folder.lock()
    try:
        engine = open_database(settings.database or folder.database_url)
        has_users = reading(engine, people.has_users)
        check_address(settings, has_users=has_users)
        loaded = list(models or load_models(settings.runs, coverage=settings.coverage, engine=settings.engine))
    except BaseException:
        lock.release()
        raise
    points = reading(engine, lambda connection: _points(connection, loaded))
    writer = Writer(engine)
    work = Work(
        loaded,
        folder.keyed,
        lungs=settings.lungs,
        most_waiting=settings.most_waiting,
        decoders=settings.decoders,
        identify=settings.identify,
    )
    backlog = Backlog(engine, writer, folder, work, keep_hours=settings.keep_hours)
    backlog.start()
    room = Room(settings.limits.held_bytes)
    pictures = Pictures(folder)
    near = TrainingFilms(loaded) if settings.neighbours else None
    return Server(
        settings, loaded, folder, lock, engine, writer, work, backlog, pictures, room, near, has_users, points
    )


def _points(connection: sa.Connection, models: Sequence[Model]) -> dict[str, float | None]:
    chosen = {row[0]: row[1] for row in connection.execute(sa.select(choices.c.key, choices.c.value))}
    found = {model.model_id: chosen.get(f"point/{model.model_id}") for model in models}
    return {
        model.model_id: found[model.model_id] if found[model.model_id] in model.points else None for model in models
    }
