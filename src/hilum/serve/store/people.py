"""Who may do what: users with argon2 hashes, sessions of browsers, tokens of programs."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

import sqlalchemy as sa
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from hilum.errors import RequestError
from hilum.serve.store.tables import now, sessions, tokens, users

Role = Literal["reader", "admin"]
ROLES: tuple[Role, ...] = ("reader", "admin")
SESSION_HOURS = 12
LEAST_PASSWORD = 10
_HASHER = PasswordHasher()
# Verified where there is no such user, so that a wrong name takes as long as a wrong password.
_NOBODY = _HASHER.hash(secrets.token_hex(16))


@dataclass(frozen=True)
class Person:
    """Who asks. role: a reader predicts, reads and sees; an admin also deletes, chooses and sees the log."""

    name: str
    role: Role


# With an address that only this machine reaches and no users, whoever sits here may do everything.
LOCAL = Person("local", "admin")


def save_user(connection: sa.Connection, name: str, role: Role, password: str | None) -> None:
    """Make a user or change one. password None: a user of tokens only. RequestError for a name or password that is not
    good enough."""
    if not (name.isascii() and name.replace("-", "").replace("_", "").replace(".", "").isalnum() and len(name) <= 64):
        raise RequestError(f"{name!r} is no user name", next_step="Use up to 64 letters, digits, dots and hyphens.")
    if name == LOCAL.name:
        raise RequestError("'local' is whoever sits at a server without users", next_step="Choose another name.")
    if password is not None and len(password) < LEAST_PASSWORD:
        raise RequestError(f"the password has under {LEAST_PASSWORD} characters", next_step="Choose a longer one.")
    values = {"role": role, "password_hash": None if password is None else _HASHER.hash(password)}
    if connection.execute(sa.update(users).where(users.c.name == name).values(**values)).rowcount == 0:
        connection.execute(users.insert().values(name=name, made_at=now(), **values))
    connection.execute(sa.delete(sessions).where(sessions.c.user == name))


def remove_user(connection: sa.Connection, name: str) -> None:
    """Delete a user, with sessions and tokens. RequestError where there is none."""
    for table in (sessions, tokens):
        connection.execute(sa.delete(table).where(table.c.user == name))
    if connection.execute(sa.delete(users).where(users.c.name == name)).rowcount == 0:
        raise RequestError(f"there is no user {name!r}", next_step="See: hilum serve users list")


def has_users(connection: sa.Connection) -> bool:
    """Whether anybody can log in."""
    return connection.execute(sa.select(users.c.name).limit(1)).first() is not None


def with_password(connection: sa.Connection, name: str, password: str) -> Person | None:
    """The user of a name and password, or None."""
    row = connection.execute(sa.select(users).where(users.c.name == name)).first()
    try:
        _HASHER.verify(row.password_hash if row and row.password_hash else _NOBODY, password)
    except (VerificationError, InvalidHashError):
        return None
    return Person(row.name, row.role) if row and row.password_hash else None


def open_session(connection: sa.Connection, person: Person) -> str:
    """The secret that a browser then sends as its cookie."""
    secret = secrets.token_urlsafe(32)
    connection.execute(sa.delete(sessions).where(sessions.c.ends_at < now()))
    ends = (datetime.now(UTC) + timedelta(hours=SESSION_HOURS)).isoformat(timespec="microseconds")
    connection.execute(sessions.insert().values(sha256=_digest(secret), user=person.name, ends_at=ends))
    return secret


def end_session(connection: sa.Connection, secret: str) -> None:
    """Log out."""
    connection.execute(sa.delete(sessions).where(sessions.c.sha256 == _digest(secret)))


def make_token(connection: sa.Connection, user: str, title: str) -> str:
    """A secret that a program sends as `Authorization: Bearer`. RequestError: no such user, a title twice."""
    if connection.execute(sa.select(users.c.name).where(users.c.name == user)).first() is None:
        raise RequestError(f"there is no user {user!r}", next_step=f"Make one with: hilum serve users add {user}")
    taken = sa.select(tokens.c.title).where(tokens.c.user == user, tokens.c.title == title)
    if connection.execute(taken).first() is not None:
        raise RequestError(f"{user} has a token {title!r} already", next_step="Choose another title, or remove it.")
    secret = f"hilum_{secrets.token_urlsafe(32)}"
    connection.execute(tokens.insert().values(sha256=_digest(secret), user=user, title=title, made_at=now()))
    return secret


def remove_token(connection: sa.Connection, user: str, title: str) -> None:
    """Refuse a token from now on. RequestError where there is none."""
    gone = connection.execute(sa.delete(tokens).where(tokens.c.user == user, tokens.c.title == title)).rowcount
    if gone == 0:
        raise RequestError(f"{user} has no token {title!r}", next_step="See: hilum serve users list")


def of_session(connection: sa.Connection, secret: str) -> Person | None:
    """Whose browser this is, or None."""
    return _person(connection, sessions, (sessions.c.sha256 == _digest(secret)) & (sessions.c.ends_at > now()))


def of_token(connection: sa.Connection, secret: str) -> Person | None:
    """Whose program this is, or None."""
    return _person(connection, tokens, tokens.c.sha256 == _digest(secret))


def _person(connection: sa.Connection, table: sa.Table, which: sa.ColumnElement[bool]) -> Person | None:
    found = connection.execute(
        sa.select(users.c.name, users.c.role).join(table, table.c.user == users.c.name).where(which)
    )
    row = found.first()
    return Person(row.name, row.role) if row else None


def _digest(secret: str) -> str:
    # The secrets have 256 random bits, so that nobody can try them all, and a slow hash would only cost time.
    return hashlib.sha256(secret.encode()).hexdigest()
