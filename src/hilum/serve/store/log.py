"""Who saw what, when, with which model: records that can be added and not changed, each chained to the one before.

A record's mark is an HMAC-SHA256, under the store's own key, of the mark before it and of the record. Who changes,
drops or slips in a record without the key breaks every mark after it. That the newest records were cut off shows only
against a mark that was noted elsewhere: `verify-log --expect`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass

import sqlalchemy as sa

from hilum.serve.store.tables import events, now

_FIRST = "0" * 64
_LAST = sa.select(events.c.number, events.c.mark).order_by(events.c.number.desc()).limit(1)


@dataclass(frozen=True)
class Verified:
    """What came of going through the log. broken_at: the number of the first record that does not fit, or None."""

    records: int
    last_mark: str
    broken_at: int | None


def add(
    connection: sa.Connection,
    key: bytes,
    who: str,
    what: str,
    *,
    film_id: str | None = None,
    model_id: str | None = None,
    about: str = "",
) -> None:
    """Add a record; only the store's writer may, because the chain has one end."""
    last = connection.execute(_LAST).first()
    number, mark = (last.number + 1, last.mark) if last else (1, _FIRST)
    record = {
        "number": number,
        "at": now(),
        "who": who.replace("\x00", "")[:64],
        "what": what,
        "film_id": film_id,
        "model_id": model_id,
        "about": about,
    }
    connection.execute(events.insert(), record | {"mark": mark_of(key, mark, record)})


def mark_of(key: bytes, before: str, record: dict[str, object]) -> str:
    """The mark of a record after the mark before it, 64 hexadecimal digits."""
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hmac.new(key, f"{before}\n{text}".encode(), hashlib.sha256).hexdigest()


def verify(connection: sa.Connection, key: bytes, *, expect: str = "") -> Verified:
    """Go through the whole log. expect: a mark noted earlier, which must be there."""
    mark, number, seen = _FIRST, 0, not expect
    columns = [column for column in events.c if column.name != "mark"]
    question = sa.select(*columns, events.c.mark).order_by(events.c.number)
    for row in connection.execute(question.execution_options(yield_per=1000)):
        *values, told = row
        record = {column.name: value for column, value in zip(columns, values, strict=True)}
        mark = mark_of(key, mark, record)
        number += 1
        if record["number"] != number or not hmac.compare_digest(mark, told):
            return Verified(number - 1, told, number)
        seen = seen or mark == expect
    return Verified(number, mark, None if seen else number + 1)
