"""The database: opened, brought to the newest tables, and written by one thread that saves many changes at once."""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, InterfaceError, OperationalError

from hilum.errors import DataError, RequestError
from hilum.serve.errors import StoreDownError
from hilum.serve.store.tables import choices

T = TypeVar("T")
Change = Callable[[sa.Connection], T]

# Changes that wait while one group is saved go into the next one together.
_TOGETHER = 64
# How long a change waits for a database that went away; a request is not kept waiting longer than that.
PATIENCE_SECONDS = 5.0
_MIGRATIONS = Path(__file__).parent / "migrations"


def open_database(url: str) -> sa.Engine:
    """The database of a URL, with the newest tables. RequestError where the URL is none or nothing answers there.

    >>> engine = open_database("sqlite://")
    >>> "films" in sa.inspect(engine).get_table_names()
    True
    """
    try:
        made = sa.make_url(url)
        how: dict[str, Any] = {"pool_pre_ping": True} if made.get_backend_name() != "sqlite" else {}
        if made.get_backend_name() == "sqlite" and not made.database:
            how |= {"poolclass": sa.StaticPool, "connect_args": {"check_same_thread": False}}
        engine = sa.create_engine(made, **how)
    except (ArgumentError, sa.exc.NoSuchModuleError) as error:
        raise RequestError(
            f"this is no database that hilum knows: {error}",
            where="--database",
            next_step="Write it as postgresql+psycopg://USER@HOST/NAME.",
        ) from None
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _as_hilum_wants_it)
    _migrate(engine)
    return engine


def _as_hilum_wants_it(connection: Any, record: Any) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "busy_timeout = 10000"):
        cursor.execute(f"PRAGMA {pragma}")
    # What is deleted is overwritten, not only forgotten.
    cursor.execute("PRAGMA secure_delete = ON")
    cursor.close()


def _migrate(engine: sa.Engine) -> None:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except (OperationalError, InterfaceError) as error:
        raise RequestError(
            f"the database does not answer: {_in_short(error)}",
            where="--database",
            next_step="Start it, or correct the address.",
        ) from None
    except DBAPIError as error:
        raise DataError(f"this is no store of hilum's: {_in_short(error)}", where=str(engine.url.database)) from None


def _in_short(error: DBAPIError) -> str:
    return str(error.orig).strip().splitlines()[0]


class Writer:
    """The only one that writes. What several clients want saved at once is saved in one transaction.

    So the disk is asked once for many films, and the log's chain has one author. A change must give the same when it
    is made again: where one of a group fails, each of the group is made again by itself.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._waiting: queue.SimpleQueue[tuple[Change[Any], Future[Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._live, name="store-writer", daemon=True)
        self._thread.start()

    def soon(self, change: Change[T]) -> Future[T]:
        """Have a change saved; the future is done when it is on disk. StoreDownError where the database is gone."""
        future: Future[T] = Future()
        self._waiting.put((change, future))
        return future

    def now(self, change: Change[T]) -> T:
        """Save a change and wait for it."""
        return self.soon(change).result()

    def close(self) -> None:
        """Save what waits, and end."""
        self._waiting.put(None)
        self._thread.join()

    def _live(self) -> None:
        while (first := self._waiting.get()) is not None:
            group, last = [first], False
            with suppress(queue.Empty):
                while len(group) < _TOGETHER:
                    another = self._waiting.get_nowait()
                    if another is None:
                        last = True
                        break
                    group.append(another)
            self._save(group)
            if last:
                return

    def _save(self, group: list[tuple[Change[Any], Future[Any]]]) -> None:
        try:
            made = self._made([change for change, _ in group])
        except StoreDownError as error:  # for all of them: one by one, each would wait as long again
            for _, future in group:
                future.set_exception(error)
            return
        except Exception as error:
            if len(group) > 1:
                for one in group:
                    self._save([one])
            else:
                group[0][1].set_exception(error)
            return
        for (_, future), value in zip(group, made, strict=True):
            future.set_result(value)

    def _made(self, changes: list[Change[Any]]) -> list[Any]:
        patience, answers = time.monotonic() + PATIENCE_SECONDS, False
        for attempt in itertools.count():
            try:
                with self._engine.begin() as connection:
                    return [change(connection) for change in changes]
            except (OperationalError, InterfaceError) as error:
                if answers:  # so it is not the database that fails, but one of the changes
                    raise
                answers = self._answers()
                if not answers and time.monotonic() > patience:
                    raise StoreDownError(
                        f"the database does not answer: {_in_short(error)}", next_step="Try again in a while."
                    ) from None
                time.sleep(0.1)
            except IntegrityError:  # `hilum serve users` wrote to the log at the same moment
                if attempt:
                    raise
        raise AssertionError

    def _answers(self) -> bool:
        """Whether the database can be written to."""
        try:
            with self._engine.begin() as connection:
                connection.execute(sa.delete(choices).where(sa.false()))
        except (OperationalError, InterfaceError):
            return False
        return True


def reading(engine: sa.Engine, question: Change[T]) -> T:
    """The answer to a question that changes nothing. StoreDownError where the database is gone."""
    try:
        with engine.connect() as connection:
            return question(connection)
    except (OperationalError, InterfaceError) as error:
        raise StoreDownError(
            f"the database does not answer: {_in_short(error)}", next_step="Try again in a while."
        ) from None
