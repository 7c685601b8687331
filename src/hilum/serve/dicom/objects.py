"""What came over DICOM and what goes out: the tables' questions and changes, and the folders of the bytes.

dicom/received/  objects that are not answered yet, as they came
dicom/answers/   reports and captures that did not reach every node yet; with DICOMweb, those of films that are kept
"""

from __future__ import annotations

import hashlib
import hmac
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import sqlalchemy as sa

from hilum.serve.dicom import index
from hilum.serve.dicom.index import Answer
from hilum.serve.store.folder import StoreFolder
from hilum.serve.store.tables import dicom_objects, dicom_outbox, films, now

State = Literal["received", "asked", "answered", "not-applicable", "failed"]
STATES: tuple[State, ...] = ("received", "asked", "answered", "not-applicable", "failed")
_OPEN = ("received", "asked")


@dataclass(frozen=True)
class Received:
    """An object that was taken in. caller: the AE title that sent it."""

    object_id: str
    caller: str
    film_id: str | None = None


@dataclass(frozen=True)
class Due:
    """An answer that a node should get. tries: how often the node refused it."""

    instance_uid: str
    tries: int


def object_id_of(key: bytes, instance_uid: str) -> str:
    """An object's name here: a keyed hash of its UID, 32 hexadecimal digits, so that the database holds no UID.

    >>> object_id_of(b"key", "1.2.3") == object_id_of(b"key", "1.2.3") != object_id_of(b"other", "1.2.3")
    True
    """
    return hmac.new(key, instance_uid.encode(), hashlib.sha256).hexdigest()[:32]


def answer_name(instance_uid: str) -> str:
    """The name of an answer's file, 32 hexadecimal digits: its UID is 2.25 and a UUID (PS3.5 B.2).

    >>> answer_name("2.25.255")
    '000000000000000000000000000000ff'
    """
    return uuid.UUID(int=int(instance_uid.removeprefix("2.25."))).hex


def subfolder(folder: StoreFolder, name: str) -> StoreFolder:
    """A folder of the store's, for bytes that are kept just as films are."""
    path = folder.path / "dicom" / name
    for each in (path.parent, path, path / "films"):
        each.mkdir(mode=0o700, exist_ok=True)
    return StoreFolder(Path(path), folder.key)


def take(connection: sa.Connection, object_id: str, sha256: str, size: int, caller: str) -> None:
    """Save that an object was received. One that failed before is tried again."""
    connection.execute(sa.delete(dicom_objects).where(dicom_objects.c.object_id == object_id))
    connection.execute(
        dicom_objects.insert().values(
            object_id=object_id, sha256=sha256, bytes=size, caller=caller, state="received", received_at=now()
        )
    )


def known(connection: sa.Connection, object_id: str) -> str | None:
    """The SHA-256 of the object that was received before under this name and has not failed, or None."""
    question = sa.select(dicom_objects.c.sha256).where(
        dicom_objects.c.object_id == object_id, dicom_objects.c.state != "failed"
    )
    found: str | None = connection.scalar(question)
    return found


def counts(connection: sa.Connection) -> dict[str, int]:
    """How many objects are in each state."""
    question = sa.select(dicom_objects.c.state, sa.func.count()).group_by(dicom_objects.c.state)
    found: dict[str, int] = {row[0]: row[1] for row in connection.execute(question)}
    return {state: found.get(state, 0) for state in STATES}


def open_count(connection: sa.Connection) -> int:
    """How many objects are neither answered nor refused."""
    question = sa.select(sa.func.count()).select_from(dicom_objects).where(dicom_objects.c.state.in_(_OPEN))
    return connection.scalar(question) or 0


def ungated(connection: sa.Connection, *, most: int, but: Sequence[str]) -> list[Received]:
    """The objects received longest ago that nobody looked at, but those named."""
    question = sa.select(dicom_objects).where(
        dicom_objects.c.state == "received", dicom_objects.c.object_id.not_in(but)
    )
    rows = connection.execute(question.order_by(dicom_objects.c.received_at).limit(most))
    return [Received(row.object_id, row.caller) for row in rows]


def unanswered(connection: sa.Connection, *, most: int) -> list[Received]:
    """The objects whose film is done with, or failed."""
    question = (
        sa.select(dicom_objects)
        .join(films, films.c.film_id == dicom_objects.c.film_id)
        .where(dicom_objects.c.state == "asked", films.c.state != "waiting")
        .order_by(dicom_objects.c.received_at)
    )
    rows = connection.execute(question.limit(most))
    return [Received(row.object_id, row.caller, row.film_id) for row in rows]


def asked(connection: sa.Connection, object_id: str, film_id: str) -> None:
    """Save that an object's film was given to the models."""
    change = sa.update(dicom_objects).where(dicom_objects.c.object_id == object_id)
    connection.execute(change.values(state="asked", film_id=film_id))


def end(connection: sa.Connection, object_id: str, state: State, reason: str | None = None) -> None:
    """Save what became of an object."""
    change = sa.update(dicom_objects).where(dicom_objects.c.object_id == object_id)
    connection.execute(change.values(state=state, reason=reason, done_at=now()))


def post(connection: sa.Connection, object_id: str, answers: Sequence[Answer], targets: Sequence[str]) -> None:
    """Save that an object is answered, and that the answers are due at every node."""
    end(connection, object_id, "answered")
    index.add_answers(connection, object_id, answers)
    rows = [
        {
            "instance_uid": answer.instance_uid,
            "target": target,
            "object_id": object_id,
            "state": "due",
            "tries": 0,
            "due_at": now(),
        }
        for answer in answers
        for target in targets
    ]
    if rows:
        connection.execute(dicom_outbox.insert(), rows)


def due(connection: sa.Connection, target: str, *, most: int) -> list[Due]:
    """The answers that a node should get now, the oldest first."""
    question = (
        sa.select(dicom_outbox)
        .where(dicom_outbox.c.state == "due", dicom_outbox.c.target == target, dicom_outbox.c.due_at <= now())
        .order_by(dicom_outbox.c.due_at)
    )
    return [Due(row.instance_uid, row.tries) for row in connection.execute(question.limit(most))]


def sent(connection: sa.Connection, instance_uid: str, target: str) -> bool:
    """Save that a node has an answer; True where no other waits for it."""
    _mark(connection, instance_uid, target, state="sent", error=None, done_at=now())
    question = sa.select(sa.func.count()).where(
        dicom_outbox.c.instance_uid == instance_uid, dicom_outbox.c.state != "sent"
    )
    return not connection.scalar(question)


def refused(
    connection: sa.Connection, instance_uid: str, target: str, *, why: str, tries: int, again_at: str | None
) -> None:
    """Save that a node refused an answer. again_at: when to try again, or None for not by itself."""
    if again_at is None:
        _mark(connection, instance_uid, target, state="refused", error=why, tries=tries, done_at=now())
    else:
        _mark(connection, instance_uid, target, due_at=again_at, error=why, tries=tries)


def _mark(connection: sa.Connection, instance_uid: str, target: str, **values: object) -> None:
    connection.execute(
        sa.update(dicom_outbox)
        .where(dicom_outbox.c.instance_uid == instance_uid, dicom_outbox.c.target == target)
        .values(**values)
    )


def retry(connection: sa.Connection) -> int:
    """Have what was refused sent again; how many."""
    change = sa.update(dicom_outbox).where(dicom_outbox.c.state == "refused")
    return connection.execute(change.values(state="due", tries=0, due_at=now(), done_at=None)).rowcount


def outbox_counts(connection: sa.Connection) -> dict[str, dict[str, int]]:
    """How many answers are due, sent and refused, by node."""
    question = sa.select(dicom_outbox.c.target, dicom_outbox.c.state, sa.func.count()).group_by(
        dicom_outbox.c.target, dicom_outbox.c.state
    )
    found: dict[str, dict[str, int]] = {}
    for target, state, count in connection.execute(question):
        found.setdefault(target, {"due": 0, "sent": 0, "refused": 0})[state] = count
    return found


def needed_objects(connection: sa.Connection) -> set[str]:
    """The objects whose bytes are needed still."""
    return set(connection.scalars(sa.select(dicom_objects.c.object_id).where(dicom_objects.c.state.in_(_OPEN))))


def needed_answers(connection: sa.Connection) -> set[str]:
    """The names of the answers whose bytes are needed still: to be sent, or for as long as their film is kept."""
    found = connection.scalars(sa.select(dicom_outbox.c.instance_uid).where(dicom_outbox.c.state != "sent").distinct())
    return {answer_name(uid) for uid in {*found, *index.kept_answers(connection)}}
