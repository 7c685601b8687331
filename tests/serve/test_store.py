"""The store: its tables, its log, its one writer, its people; on SQLite and on PostgreSQL."""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from hilum.errors import RequestError
from hilum.serve.errors import StoreDownError
from hilum.serve.store import films as stored
from hilum.serve.store import log, people
from hilum.serve.store.database import Writer, open_database, reading
from hilum.serve.store.films import Found, NewFilm, NewResult, Wanted
from hilum.serve.store.folder import StoreFolder, new_id
from hilum.serve.store.tables import events, films, metadata

KEY = b"k" * 32


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Engine]:
    """An empty store; PostgreSQL's is a database of its own on the server that HILUM_TEST_POSTGRES names."""
    if request.param == "sqlite":
        made = open_database(f"sqlite:///{tmp_path / 'store.sqlite'}")
        yield made
        made.dispose()
        return
    url = os.environ.get("HILUM_TEST_POSTGRES")
    if not url:
        pytest.skip("no PostgreSQL: set HILUM_TEST_POSTGRES=postgresql+psycopg://USER@HOST/NAME")
    name = f"hilum_{secrets.token_hex(6)}"
    server = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    made = open_database(sa.make_url(url).set(database=name).render_as_string(hide_password=False))
    yield made
    made.dispose()
    with server.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {name}"))


def film(sha256: str, name: str = "a.png", batch: str | None = "b") -> NewFilm:
    return NewFilm(new_id(), sha256, name, 10, True, batch, "ada")


FOUND = Found("png", 10, 10, None, None, ())


def result(model_id: str = "m", members: list[str] | None = None) -> NewResult:
    return NewResult(model_id, {"ill": 0.9, "well": 0.1}, "ill", 0.9, ["ill"] if members is None else members)


def test_the_migrations_make_the_tables_that_the_code_knows(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_a_database_is_opened_twice(engine: sa.Engine) -> None:
    again = open_database(engine.url.render_as_string(hide_password=False))
    assert reading(again, stored.counts) == {"waiting": 0, "done": 0, "failed": 0}
    again.dispose()


def test_an_accepted_film_waits_until_it_is_done_and_has_one_result_of_each_model(engine: sa.Engine) -> None:
    one = film("1" * 64)
    with engine.begin() as connection:
        assert stored.accept(connection, one, ["m"]) == stored.Accepted(one.film_id, False)
        assert [each.film_id for each in stored.waiting(connection, most=5)] == [one.film_id]
        assert stored.waiting(connection, most=5, but=[one.film_id]) == []
        for _ in range(2):
            assert stored.finish(connection, one, FOUND, [result()], kept=True) == one.film_id
        assert stored.known(connection, "1" * 64, ["m"]) == one.film_id
        assert stored.known(connection, "1" * 64, ["m", "n"]) is None
        found = stored.film_of(connection, one.film_id)
        assert found is not None
        assert len(found["results"]) == 1
        assert stored.accept(connection, film("1" * 64), ["m"]) == stored.Accepted(one.film_id, True)
        # A second model was loaded: the film waits for its result, and keeps the first.
        assert stored.accept(connection, film("1" * 64), ["m", "n"]) == stored.Accepted(one.film_id, False)
        assert stored.finish(connection, one, FOUND, [result("m"), result("n")], kept=True) == one.film_id
        assert stored.known(connection, "1" * 64, ["m", "n"]) == one.film_id


def test_a_film_that_was_deleted_while_it_was_worked_on_does_not_come_back(engine: sa.Engine) -> None:
    one = film("2" * 64)
    with engine.begin() as connection:
        stored.accept(connection, one, ["m"])
        assert stored.delete(connection, one.film_id)
        assert stored.finish(connection, one, FOUND, [result()], kept=True) is None
        assert stored.film_of(connection, one.film_id) is None


def test_films_are_listed_by_class_state_name_and_confidence(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        for number, members in enumerate((["ill"], ["ill", "well"], [])):
            each = film(str(number) * 64, name=f"Film_{number}.png")
            stored.accept(connection, each, ["m"])
            made = NewResult("m", {"ill": 0.9, "well": 0.1}, "ill" if number else "well", 0.9 - number / 10, members)
            stored.finish(connection, each, FOUND, [made], kept=True)
        stored.accept(connection, film("9" * 64, name="later.png", batch="c"), ["m"])

        def names(**wanted: str) -> list[str]:
            return [each["name"] for each in stored.listed(connection, Wanted("m", **wanted), most=9)[0]]

        assert names(state="refer", order="oldest") == ["Film_1.png", "Film_2.png"]
        assert names(state="waiting") == ["later.png"]
        assert names(predicted="well") == ["Film_0.png"]
        assert names(text="film_2") == ["Film_2.png"]
        assert names(text="%") == []
        assert names(state="done", order="least-confident") == ["Film_2.png", "Film_1.png", "Film_0.png"]
        assert names(order="class")[-2:] == ["Film_0.png", "later.png"]  # well, after the ill; and not known yet
        assert names(order="most-confident")[-1] == "later.png"
        assert names(order="state")[-1] == "later.png"
        assert names(batch="c") == ["later.png"]
        by_name = Wanted("m", state="done", order="name")
        ids = [each["film_id"] for each in stored.listed(connection, by_name, most=9)[0]]
        assert stored.beside(connection, by_name, ids[1]) == (ids[0], ids[2])
        assert stored.beside(connection, by_name, ids[0]) == (None, ids[1])


def test_the_log_cannot_be_changed_through_the_database(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        log.add(connection, KEY, "ada", "see film", film_id="f")
    for change in (sa.update(events).values(who="eve"), sa.delete(events)):
        with pytest.raises(sa.exc.DBAPIError, match="append-only"), engine.begin() as connection:
            connection.execute(change)


def test_the_log_is_verified_and_every_kind_of_change_is_found() -> None:
    def logged() -> sa.Connection:
        connection = open_database("sqlite://").connect()
        for number in range(5):
            log.add(connection, KEY, "ada", "see film", film_id=f"film-{number}")
        for verb in ("update", "delete"):
            connection.execute(sa.text(f"DROP TRIGGER events_no_{verb}"))
        return connection

    whole = logged()
    assert log.verify(whole, KEY).records == 5
    assert log.verify(whole, KEY).broken_at is None
    assert log.verify(whole, b"another key").broken_at == 1
    changed = logged()
    changed.execute(sa.update(events).where(events.c.number == 3).values(who="eve"))
    assert log.verify(changed, KEY).broken_at == 3
    dropped = logged()
    dropped.execute(sa.delete(events).where(events.c.number == 2))
    assert log.verify(dropped, KEY).broken_at == 2
    cut = logged()
    mark = log.verify(cut, KEY).last_mark
    assert log.verify(cut, KEY, expect=mark).broken_at is None
    cut.execute(sa.delete(events).where(events.c.number == 5))
    assert log.verify(cut, KEY).broken_at is None  # which is why a mark is noted elsewhere
    assert log.verify(cut, KEY, expect=mark).broken_at == 5


def test_many_changes_at_once_are_saved_and_one_that_fails_takes_no_other_with_it(engine: sa.Engine) -> None:
    writer = Writer(engine)
    held = threading.Event()
    writer.soon(lambda connection: held.wait(5))

    def accept(number: int) -> stored.Accepted:
        return writer.soon(lambda connection: stored.accept(connection, film(f"{number:064}"), ["m"]))  # type: ignore[return-value]

    futures = [accept(number) for number in range(20)]
    broken = writer.soon(lambda connection: connection.execute(sa.text("SELECT nothing FROM nowhere")))
    futures += [accept(number) for number in range(20, 40)]
    held.set()
    assert len({future.result(20).film_id for future in futures}) == 40  # type: ignore[attr-defined]
    assert broken.exception(20) is not None
    assert reading(engine, stored.counts)["waiting"] == 40
    writer.close()


def test_passwords_are_kept_as_argon2_and_tokens_as_hashes(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        people.save_user(connection, "ada", "admin", "correct horse")
        secret = people.make_token(connection, "ada", "pacs")
        session = people.open_session(connection, people.Person("ada", "admin"))
        assert people.with_password(connection, "ada", "correct horse") == people.Person("ada", "admin")
        assert people.with_password(connection, "ada", "wrong horse") is None
        assert people.with_password(connection, "eve", "correct horse") is None
        assert people.of_token(connection, secret) == people.Person("ada", "admin")
        assert people.of_session(connection, session) == people.Person("ada", "admin")
        assert people.of_session(connection, secret) is None
        stored_values = repr(
            [connection.execute(sa.select(table)).all() for table in metadata.sorted_tables if table is not films]
        )
        assert "$argon2id$" in stored_values
        assert not any(each in stored_values for each in ("correct horse", secret, session))
        people.save_user(connection, "ada", "reader", "another horse")  # a new password ends the sessions
        assert people.of_session(connection, session) is None
        people.remove_user(connection, "ada")
        assert people.of_token(connection, secret) is None


@pytest.mark.parametrize(("name", "password"), [("a/b", "long enough"), ("", "long enough"), ("ada", "short")])
def test_a_weak_password_or_a_strange_name_is_refused(name: str, password: str) -> None:
    with open_database("sqlite://").begin() as connection, pytest.raises(RequestError):
        people.save_user(connection, name, "reader", password)


def test_the_folder_takes_no_name_but_its_own(tmp_path: Path) -> None:
    folder = StoreFolder.open(tmp_path / "store")
    for name in ("../key", "a" * 31, "A" * 32, "", "0" * 33, "/etc/passwd"):
        with pytest.raises(ValueError, match="no id"):
            folder.film(name)
    film_id = new_id()
    folder.write(film_id, b"film")
    assert folder.lying() == [film_id]
    assert folder.film(film_id).stat().st_mode & 0o077 == 0
    assert (folder.path / "key").stat().st_mode & 0o077 == 0
    assert StoreFolder.open(tmp_path / "store").key == folder.key
    assert StoreFolder.open(tmp_path / "other").keyed("7") != folder.keyed("7")


def test_two_servers_do_not_share_a_folder(tmp_path: Path) -> None:
    lock = StoreFolder.open(tmp_path).lock()
    with pytest.raises(RequestError, match="another server"):
        StoreFolder.open(tmp_path).lock()
    lock.release()


def test_a_database_that_is_away_is_told_to_all_that_wait_and_not_to_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hilum.serve.store.database.PATIENCE_SECONDS", 0.2)

    def away(connection: sa.Connection) -> None:
        raise sa.exc.OperationalError("", {}, Exception("away"))

    engine = open_database("sqlite://")
    writer = Writer(engine)
    monkeypatch.setattr(engine, "begin", lambda: away(engine.connect()))
    started = time.monotonic()
    for future in [writer.soon(away) for _ in range(30)]:
        with pytest.raises(StoreDownError):
            future.result(timeout=5)
    assert time.monotonic() - started < 2
    writer.close()
