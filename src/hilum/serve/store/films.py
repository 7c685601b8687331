"""Films, results and readings: what is saved of them, and what is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa

from hilum.serve.store.tables import films, now, readings, results

State = Literal["waiting", "done", "failed"]
STATES: tuple[State, ...] = ("waiting", "done", "failed")
# Databases bound the parameters of a question.
_ASKED_AT_ONCE = 5000


@dataclass(frozen=True)
class Accepted:
    """A film that was taken in. known: whether it was there before, with all that was asked."""

    film_id: str
    known: bool


@dataclass(frozen=True)
class NewFilm:
    """What is known of a film before it is decoded. name: as the client called it, for display only."""

    film_id: str
    sha256: str
    name: str
    bytes: int
    kept: bool
    batch: str | None
    accepted_by: str


@dataclass(frozen=True)
class Found:
    """What came of decoding it."""

    kind: str
    width: int
    height: int
    view: str | None
    patient_key: str | None
    doubts: tuple[str, ...]


@dataclass(frozen=True)
class NewResult:
    """What one model says of it. p: by class. members: of the prediction set, None where there are no sets."""

    model_id: str
    p: Mapping[str, float]
    predicted: str
    confidence: float
    members: Sequence[str] | None


# What is asked for every film, made once: SQLAlchemy takes longer to put a question together than SQLite to answer it.
_RESULTS_BY_HASH = (
    sa.select(films.c.film_id, results.c.model_id)
    .join(results, results.c.film_id == films.c.film_id)
    .where(films.c.sha256 == sa.bindparam("sha256"), films.c.state == "done")
)
_BY_HASH = sa.select(films.c.film_id).where(films.c.sha256 == sa.bindparam("sha256"))
_FILM = sa.select(films).where(films.c.film_id == sa.bindparam("film_id"))
_RESULTS = sa.select(results).where(results.c.film_id == sa.bindparam("film_id")).order_by(results.c.made_at)
_READINGS = sa.select(readings).where(readings.c.film_id == sa.bindparam("film_id")).order_by(readings.c.reading_id)


def known(connection: sa.Connection, sha256: str, model_ids: Sequence[str]) -> str | None:
    """The id of a film with these bytes that has a result of each of the models, or None."""
    rows = connection.execute(_RESULTS_BY_HASH, {"sha256": sha256}).all()
    return rows[0].film_id if rows and {row.model_id for row in rows}.issuperset(model_ids) else None


def accept(connection: sa.Connection, film: NewFilm, model_ids: Sequence[str]) -> Accepted:
    """Take a film in, to be worked on. The same bytes are the same film: its id is then the one that it has.

    A film that failed, or that lacks a result of one of the models, waits again.
    """
    row = connection.execute(sa.select(films.c.film_id, films.c.state).where(films.c.sha256 == film.sha256)).first()
    if row is None:
        connection.execute(films.insert().values(**vars(film), state="waiting", accepted_at=now()))
        return Accepted(film.film_id, False)
    if row.state == "waiting" or known(connection, film.sha256, model_ids):
        values: dict[str, Any] = {"batch": film.batch} if film.batch else {}
    else:
        values = {"state": "waiting", "error": None, "batch": film.batch}
    if film.kept and values.get("state"):
        values["kept"] = True
    if values:
        connection.execute(sa.update(films).where(films.c.film_id == row.film_id).values(**values))
    return Accepted(row.film_id, "state" not in values)


def finish(
    connection: sa.Connection, film: NewFilm, found: Found, made: Sequence[NewResult], *, kept: bool
) -> str | None:
    """Save what came of a film; its id, or None where it was deleted meanwhile. Results that are there stay.

    A film that was not accepted before, because its client waited for it, is made now.
    """
    values = {**vars(found), "doubts": list(found.doubts), "state": "done", "error": None, "done_at": now()}
    row = connection.execute(_BY_HASH, {"sha256": film.sha256}).first()
    if row is None:
        if film.batch is not None:
            return None
        film_id = film.film_id
        connection.execute(films.insert(), {**vars(film), **values, "kept": kept, "accepted_at": now()})
    else:
        film_id = row.film_id
        connection.execute(sa.update(films).where(films.c.film_id == film_id).values(**values, kept=kept))
    there = set() if row is None else {each.model_id for each in connection.execute(_RESULTS, {"film_id": film_id})}
    new = [
        {**vars(each), "p": dict(each.p), "members": None if each.members is None else list(each.members)}
        | {"film_id": film_id, "made_at": now()}
        for each in made
        if each.model_id not in there
    ]
    if new:
        connection.execute(results.insert(), new)
    return film_id


def fail(connection: sa.Connection, film_id: str, why: str) -> None:
    """Save that a film that waits cannot be read; its file is not kept."""
    connection.execute(
        sa.update(films)
        .where(films.c.film_id == film_id, films.c.state == "waiting")
        .values(state="failed", error=why, done_at=now(), kept=False)
    )


def delete(connection: sa.Connection, film_id: str) -> bool:
    """Delete a film with its results and readings; whether it was there."""
    for table in (results, readings):
        connection.execute(sa.delete(table).where(table.c.film_id == film_id))
    return connection.execute(sa.delete(films).where(films.c.film_id == film_id)).rowcount > 0


def waiting(connection: sa.Connection, *, most: int, but: Sequence[str] = ()) -> list[NewFilm]:
    """The films that wait longest, but those named."""
    question = sa.select(films).where(films.c.state == "waiting").order_by(films.c.accepted_at, films.c.film_id)
    if but:
        question = question.where(films.c.film_id.not_in(but))
    return [
        NewFilm(row.film_id, row.sha256, row.name, row.bytes, row.kept, row.batch, row.accepted_by)
        for row in connection.execute(question.limit(most))
    ]


def counts(connection: sa.Connection, *, batch: str | None = None) -> dict[str, int]:
    """How many films are in each state; batch: of one upload."""
    question = sa.select(films.c.state, sa.func.count()).group_by(films.c.state)
    if batch is not None:
        question = question.where(films.c.batch == batch)
    found: dict[str, int] = {row[0]: row[1] for row in connection.execute(question)}
    return {state: found.get(state, 0) for state in STATES}


def expired(connection: sa.Connection, before: str) -> list[str]:
    """The films whose file lies in the store since before a time, and that are done with."""
    return list(
        connection.scalars(
            sa.select(films.c.film_id).where(films.c.kept, films.c.state != "waiting", films.c.accepted_at < before)
        )
    )


def forget_files(connection: sa.Connection, film_ids: Sequence[str]) -> None:
    """Save that the files of these films are gone."""
    connection.execute(sa.update(films).where(films.c.film_id.in_(film_ids)).values(kept=False))


def read_by(connection: sa.Connection, film_id: str, reader: str, finding: str, comment: str) -> None:
    """Record what a reader sees on a film."""
    connection.execute(
        readings.insert().values(film_id=film_id, reader=reader, finding=finding, comment=comment, read_at=now())
    )


# Films without a result come last; databases differ in where they would put them.
ORDERS: dict[str, tuple[sa.ColumnElement[Any], sa.ColumnElement[Any]]] = {
    "newest": (films.c.accepted_at.desc(), films.c.film_id),
    "oldest": (films.c.accepted_at, films.c.film_id),
    "least-confident": (results.c.confidence.nulls_last(), films.c.film_id),
    "most-confident": (results.c.confidence.desc().nulls_last(), films.c.film_id),
    "name": (films.c.name, films.c.film_id),
    "class": (results.c.predicted.nulls_last(), films.c.film_id),
    "state": (films.c.state, films.c.film_id),
}


@dataclass(frozen=True)
class Wanted:
    """Which films are listed, as one model sees them. "" is any.

    state: waiting, done, failed, refer (done, but the model is not confident), unread or read (by anybody).
    day: of acceptance, YYYY-MM-DD. text: part of the name. batch: one upload.
    """

    model_id: str
    state: str = ""
    predicted: str = ""
    day: str = ""
    text: str = ""
    batch: str = ""
    order: str = "newest"


def film_of(connection: sa.Connection, film_id: str) -> dict[str, Any] | None:
    """One film, with `results` and `readings`; or None."""
    asked = {"film_id": film_id}
    row = connection.execute(_FILM, asked).mappings().first()
    if row is None:
        return None
    parts = {"results": _RESULTS, "readings": _READINGS}
    return {**row} | {
        name: [dict(each) for each in connection.execute(question, asked).mappings()]
        for name, question in parts.items()
    }


def listed(connection: sa.Connection, wanted: Wanted, *, most: int, skip: int = 0) -> tuple[list[dict[str, Any]], int]:
    """The films wanted, each with `results` and `readings`, and how many there are in all."""
    joined = films.outerjoin(results, (results.c.film_id == films.c.film_id) & (results.c.model_id == wanted.model_id))
    chosen = _condition(wanted)
    total = connection.scalar(sa.select(sa.func.count()).select_from(joined).where(*chosen)) or 0
    order = ORDERS.get(wanted.order, ORDERS["newest"])
    rows = connection.execute(
        sa.select(films).select_from(joined).where(*chosen).order_by(*order).limit(most).offset(skip)
    )
    return _with_all(connection, [row._mapping for row in rows]), total


def beside(connection: sa.Connection, wanted: Wanted, film_id: str) -> tuple[str | None, str | None]:
    """The films before and after this one in a list, by id."""
    joined = films.outerjoin(results, (results.c.film_id == films.c.film_id) & (results.c.model_id == wanted.model_id))
    order = ORDERS.get(wanted.order, ORDERS["newest"])
    lined_up = (
        sa.select(
            films.c.film_id,
            sa.func.lag(films.c.film_id).over(order_by=order).label("before"),
            sa.func.lead(films.c.film_id).over(order_by=order).label("after"),
        )
        .select_from(joined)
        .where(*_condition(wanted))
        .subquery()
    )
    row = connection.execute(sa.select(lined_up).where(lined_up.c.film_id == film_id)).first()
    return (row.before, row.after) if row else (None, None)


def _condition(wanted: Wanted) -> list[sa.ColumnElement[bool]]:
    read = sa.exists().where(readings.c.film_id == films.c.film_id)
    chosen: list[sa.ColumnElement[bool]] = []
    if wanted.state in STATES:
        chosen.append(films.c.state == wanted.state)
    elif wanted.state == "refer":
        # One class in the set: its JSON text has no comma between two strings and is not empty.
        chosen.append(sa.and_(films.c.state == "done", sa.func.json_array_length(results.c.members) != 1))
    elif wanted.state in ("read", "unread"):
        chosen.append(read if wanted.state == "read" else ~read)
    if wanted.predicted:
        chosen.append(results.c.predicted == wanted.predicted)
    if wanted.day:
        chosen.append(films.c.accepted_at.startswith(wanted.day, autoescape=True))
    if wanted.text:
        chosen.append(films.c.name.icontains(wanted.text, autoescape=True))
    if wanted.batch:
        chosen.append(films.c.batch == wanted.batch)
    return chosen


def _with_all(connection: sa.Connection, rows: Sequence[Mapping[Any, Any]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [{**row, "results": [], "readings": []} for row in rows]
    by_id = {film["film_id"]: film for film in found}
    ids = list(by_id)
    for some in (ids[at : at + _ASKED_AT_ONCE] for at in range(0, len(ids), _ASKED_AT_ONCE)):
        for name, table, order in (
            ("results", results, results.c.made_at),
            ("readings", readings, readings.c.reading_id),
        ):
            for row in connection.execute(sa.select(table).where(table.c.film_id.in_(some)).order_by(order)):
                by_id[row.film_id][name].append(dict(row._mapping))
    return found


class Pair(NamedTuple):
    """What two models say of a film, and their confidences."""

    film_id: str
    name: str
    one: str
    other: str
    p: float
    q: float


def paired(connection: sa.Connection, one: str, other: str) -> list[Pair]:
    """The films that have results of both models."""
    a, b = results.alias("a"), results.alias("b")
    question = (
        sa.select(a.c.film_id, films.c.name, a.c.predicted, b.c.predicted, a.c.confidence, b.c.confidence)
        .join(b, b.c.film_id == a.c.film_id)
        .join(films, films.c.film_id == a.c.film_id)
        .where(a.c.model_id == one, b.c.model_id == other)
    )
    return [Pair(*row) for row in connection.execute(question)]


def last_readings(connection: sa.Connection) -> list[tuple[str, str, str]]:
    """(film_id, reader, finding): each reader's last reading of each film."""
    last = sa.select(sa.func.max(readings.c.reading_id)).group_by(readings.c.film_id, readings.c.reader)
    rows = connection.execute(
        sa.select(readings.c.film_id, readings.c.reader, readings.c.finding).where(readings.c.reading_id.in_(last))
    )
    return [(row[0], row[1], row[2]) for row in rows]


def predicted_by(connection: sa.Connection, model_id: str) -> dict[str, str]:
    """What a model predicted, by film."""
    question = sa.select(results.c.film_id, results.c.predicted).where(results.c.model_id == model_id)
    return {row[0]: row[1] for row in connection.execute(question)}
