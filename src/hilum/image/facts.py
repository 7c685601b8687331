"""What is known of one file, and a store that remembers it, so that a folder is read through once only."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path

from hilum.errors import FilmError
from hilum.files import cache_folder
from hilum.image.decode import decode, read_bytes
from hilum.image.fingerprint import fingerprint

# Raised whenever decoding or fingerprints give something else than before: facts are remembered under it.
FACTS_VERSION = 2
# Twice the side at which films are fingerprinted: a JPEG may be decoded so much smaller.
_LEAST_PX = 256
_TOGETHER = 500


@dataclass(frozen=True)
class Facts:
    """One file: its picture, the SHA-256 of its bytes, its fingerprint; or the error with which it was refused."""

    width: int | None = None
    height: int | None = None
    bits: int | None = None
    mode: str | None = None
    format: str | None = None
    sha256: str | None = None
    phash: str | None = None
    phash_sizes: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class FileKey:
    """A file as it is now; another size or time is another key."""

    path: str
    size: int
    mtime_ns: int


def key_of(path: Path) -> FileKey | None:
    """The key of a file, or None where there is none."""
    try:
        about = path.stat()
    except (OSError, ValueError):
        return None
    return FileKey(str(path.absolute()), about.st_size, about.st_mtime_ns)


def facts_of(path: Path) -> Facts:
    """Read one file through. Never raises: a file that is no film has its reason in `error`."""
    try:
        data = read_bytes(path)
    except FilmError as error:
        return Facts(error=reason(error))
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        film = decode(data, at_least_px=_LEAST_PX)
    except FilmError as error:
        return Facts(sha256=sha256, error=reason(error))
    found, seen = film.facts, fingerprint(film.pixels)
    return Facts(
        width=found.width,
        height=found.height,
        bits=found.bits,
        mode=found.mode,
        format=found.format,
        sha256=sha256,
        phash=seen.phash or None,
        phash_sizes=seen.sizes or None,
    )


def reason(error: FilmError) -> str:
    """An error's text without the file's name, for a table that has the name in another column."""
    return f"{error.what}. {error.next_step}".strip()


class FactsStore:
    """Facts by file, in one SQLite file that several processes may use at once. What goes wrong with it is forgotten:
    the store only saves time, so a broken one is made anew, and where none can be written nothing is remembered."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def remembered(self, keys: Iterable[FileKey]) -> dict[FileKey, Facts]:
        """The facts of those files that are known and have not changed since."""
        wanted = {key.path: key for key in keys}
        paths, known = list(wanted), {}
        for at in range(0, len(paths), _TOGETHER):
            some = paths[at : at + _TOGETHER]
            marks = ",".join("?" * len(some))
            with contextlib.suppress(sqlite3.Error, ValueError, TypeError):
                for path, size, mtime_ns, facts in self._connection.execute(
                    f"SELECT path, size, mtime_ns, facts FROM facts WHERE version = ? AND path IN ({marks})",
                    [FACTS_VERSION, *some],
                ):
                    if (key := wanted[path]) == FileKey(path, size, mtime_ns):
                        known[key] = Facts(*json.loads(facts))
        return known

    def remember(self, facts: dict[FileKey, Facts]) -> None:
        """Keep the facts of these files. Those that could not even be read (no hash) are not kept: it may pass."""
        rows = [
            (key.path, key.size, key.mtime_ns, FACTS_VERSION, json.dumps(astuple(found)))
            for key, found in facts.items()
            if found.sha256 is not None
        ]
        with contextlib.suppress(sqlite3.Error), self._connection:
            self._connection.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?, ?, ?, ?)", rows)


@contextmanager
def facts_store() -> Iterator[FactsStore]:
    """The store in the cache folder, open for the block."""
    connection = _opened(cache_folder() / "facts.sqlite")
    try:
        yield FactsStore(connection)
    finally:
        connection.close()


def _opened(file: Path) -> sqlite3.Connection:
    for _ in range(2):
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            return _connected(str(file))
        except sqlite3.OperationalError:  # locked for long, a read-only folder, a full disk
            break
        except sqlite3.DatabaseError:  # broken: made anew
            for part in (file, Path(f"{file}-wal"), Path(f"{file}-shm")):
                part.unlink(missing_ok=True)
        except OSError:
            break
    return _connected(":memory:")


def _connected(file: str) -> sqlite3.Connection:
    connection = sqlite3.connect(file, timeout=30.0)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        if connection.execute("PRAGMA quick_check").fetchone() != ("ok",):
            raise sqlite3.DatabaseError("quick_check failed")
        with connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS facts "
                "(path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, version INTEGER, facts TEXT) WITHOUT ROWID"
            )
    except sqlite3.Error:
        connection.close()
        raise
    return connection
