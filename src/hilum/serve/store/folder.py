"""The store's folder: the films' files under names that the server made, and the key that only the server knows.

films/3f/3f...e2     a film's bytes; the name is its film_id and nothing that a client sent
key                  32 random bytes, for keyed hashes and the log's marks
store.sqlite         the database, unless another one is named
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import filelock

from hilum.errors import RequestError

_ID = re.compile(r"[0-9a-f]{32}")


def new_id() -> str:
    """A name for a film or a batch: 128 random bits, 32 hexadecimal digits."""
    return secrets.token_hex(16)


@dataclass(frozen=True)
class StoreFolder:
    """A folder that only its owner may read. One server at a time: `lock`."""

    path: Path
    key: bytes

    @classmethod
    def open(cls, path: Path) -> StoreFolder:
        """The folder, made where it is absent. RequestError where it cannot be."""
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            (path / "films").mkdir(mode=0o700, exist_ok=True)
            return cls(path, _key(path / "key"))
        except OSError as error:
            raise RequestError(
                f"the store cannot be kept here: {error.strerror}",
                where=str(path),
                next_step="Name another folder with --store.",
            ) from None

    @property
    def database_url(self) -> str:
        """The SQLite database of this folder."""
        return f"sqlite:///{(self.path / 'store.sqlite').absolute()}"

    def lock(self) -> filelock.FileLock:
        """Held while a server runs. RequestError where another one holds it."""
        lock = filelock.FileLock(self.path / "lock")
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            raise RequestError(
                "another server keeps its films here",
                where=str(self.path),
                next_step="Stop it, or name another folder with --store.",
            ) from None
        return lock

    def film(self, film_id: str) -> Path:
        """Where a film's bytes lie. ValueError for anything but an id that this server made."""
        if not _ID.fullmatch(film_id):
            raise ValueError("this is no id of a film")
        return self.path / "films" / film_id[:2] / film_id

    def write(self, film_id: str, data: bytes) -> None:
        """Keep a film's bytes: whole or not at all, on disk when this returns, readable by the owner only."""
        path = self.film(film_id)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        part = path.with_suffix(".part")
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)

    def rename(self, film_id: str, other: str) -> None:
        """Let a film's bytes be those of another film's id, which had none."""
        path = self.film(other)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        self.film(film_id).replace(path)

    def delete(self, film_id: str) -> None:
        """Delete a film's bytes, if they are there."""
        self.film(film_id).unlink(missing_ok=True)

    def clear_parts(self) -> None:
        """Delete what a write left that did not end."""
        for part in self.path.glob("films/??/*.part"):
            part.unlink()

    def lying(self) -> list[str]:
        """The ids of all films whose bytes lie here."""
        return sorted(file.name for file in self.path.glob("films/??/*") if _ID.fullmatch(file.name))

    def keyed(self, text: str) -> str:
        """A name or number that nobody can take back without the key, 16 hexadecimal digits; the same for the same."""
        return hmac.new(self.key, text.encode(), hashlib.sha256).hexdigest()[:16]


def _key(path: Path) -> bytes:
    if not path.exists():
        part = path.with_name(f"key.{secrets.token_hex(4)}")
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(32))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            path.hardlink_to(part)  # not over a key that another process made meanwhile
        part.unlink()
    return path.read_bytes()
