"""Prepared films on disk: decoded once, read at the speed of memory.

    CACHE/prepared/KEY/
      about.json      the settings behind KEY
      films.u8        records of side x side bytes, one after the other
      index.sqlite    which film (by the SHA-256 of its file) is which record, and why its lungs were not believed
      lock            held by the one run that writes

A record is on the disk before the index names it, so a run that is killed leaves nothing half-written to be read: what
lies behind the last record of the index is overwritten by the next run.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from hilum.errors import DataError, FilmError
from hilum.files import cache_folder, write_json
from hilum.image.decode import read_bytes
from hilum.image.facts import reason
from hilum.image.prepare import PREPARE_VERSION, Prepared, prepared_file, settled
from hilum.image.workers import map_films
from hilum.progress import SILENT, Progress
from hilum.recipe.films import Prepare

_COMMITTED_TOGETHER = 256
_TOGETHER = 500
# Left free on the disk, for the index and for whatever else the run writes.
_SPARE_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Ensured:
    """rows: int64 (N,), the record of each film asked for, -1 where it failed; errors: position -> why.

    doubts: position -> why a film stands there whole although the settings asked for its lungs.
    """

    rows: np.ndarray
    errors: dict[int, str]
    doubts: dict[int, str]


class PreparedCache:
    """The prepared films of one setting. May be sent to other processes; each maps the file by itself.

    how: settings; another setting is another store. folder: where `prepared/` lies, if not in the cache folder.
    """

    def __init__(self, how: Prepare, folder: Path | None = None) -> None:
        self.how = settled(how)
        self.folder = (folder or cache_folder()) / "prepared" / key_of(self.how)
        self._films: np.ndarray | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_films": None}

    def size_bytes(self, n: int) -> int:
        """Bytes that n prepared films take."""
        return n * self.how.side_px * self.how.side_px

    def ensure(
        self, films: Sequence[tuple[Path, str]], *, workers: int | None = None, progress: Progress = SILENT
    ) -> Ensured:
        """See that each film, given as (file, SHA-256 of its bytes), is prepared; those that are not yet, are now.

        A film that cannot be read, or whose bytes are no longer those of its SHA-256, is an entry of `errors`, and the
        others go on. The same bytes are stored once. Where another run writes, it is waited for, and what it has
        prepared is not prepared again. DataError where the disk has no room; what was prepared before stays.
        """
        wanted = {sha256: path for path, sha256 in reversed(films)}
        known, errors = self._known(wanted), dict[str, str]()
        if len(known) < len(wanted):
            with _held(self.folder, progress):
                errors = self._build(wanted, workers, progress)
            known = self._known(wanted)
        found = [known.get(sha256, (-1, "")) for _, sha256 in films]
        return Ensured(
            rows=np.array([row for row, _ in found], dtype=np.int64),
            errors={at: errors[sha256] for at, (_, sha256) in enumerate(films) if sha256 in errors},
            doubts={at: doubt for at, (_, doubt) in enumerate(found) if doubt},
        )

    def read(self, rows: np.ndarray | Sequence[int]) -> np.ndarray:
        """uint8 (n, side, side) of records, as `ensure` numbered them; a negative number is refused with ValueError.

        DataError where the file has become shorter than that.
        """
        rows = np.asarray(rows, dtype=np.int64)
        if rows.size == 0:
            return np.empty((0, self.how.side_px, self.how.side_px), np.uint8)
        if rows.min() < 0:
            raise ValueError("a film that failed has no record; leave out rows below 0")
        if self._films is None or rows.max() >= len(self._films):
            self._films = self._mapped()
        if rows.max() >= len(self._films):
            raise DataError("prepared films are missing", where=str(self._file), next_step="Run the same again.")
        return self._films[rows]

    @property
    def _file(self) -> Path:
        return self.folder / "films.u8"

    @property
    def _index(self) -> Path:
        return self.folder / "index.sqlite"

    def _records(self) -> int:
        """Whole records in the file."""
        try:
            return self._file.stat().st_size // self.size_bytes(1)
        except OSError:
            return 0

    def _mapped(self) -> np.ndarray:
        side, count = self.how.side_px, self._records()
        if count == 0:
            return np.empty((0, side, side), np.uint8)
        # As a plain array: every index into a np.memmap costs the bookkeeping of that class.
        return np.asarray(np.memmap(self._file, np.uint8, mode="r", shape=(count, side, side)))

    def _known(self, wanted: dict[str, Path]) -> dict[str, tuple[int, str]]:
        """SHA-256 -> record and doubt of the wanted films that are there; none where the index is absent or broken."""
        if not self._index.is_file():
            return {}
        known: dict[str, tuple[int, str]] = {}
        names, whole = list(wanted), self._records()
        try:
            with closing(sqlite3.connect(self._index, timeout=30.0)) as index:
                for at in range(0, len(names), _TOGETHER):
                    some = names[at : at + _TOGETHER]
                    marks = ",".join("?" * len(some))
                    found = index.execute(f"SELECT sha256, row, doubt FROM films WHERE sha256 IN ({marks})", some)
                    known.update((sha256, (row, doubt)) for sha256, row, doubt in found if row < whole)
        except sqlite3.DatabaseError:
            return {}
        return known

    def _build(self, wanted: dict[str, Path], workers: int | None, progress: Progress) -> dict[str, str]:
        """Prepare what is missing; the lock is held. Returns SHA-256 -> error of the films that failed."""
        with closing(self._writable_index(progress)) as index:
            known = self._known(wanted)  # another run may have prepared them while this one waited
            missing = [(path, sha256, self.how) for sha256, path in wanted.items() if sha256 not in known]
            if not missing:
                return {}
            self._announce(len(missing), progress)
            errors: dict[str, str] = {}
            with (
                _disk_full_as_data_error(self.folder),
                _unbuffered(self._file) as file,
                _Writer(file, index, self.size_bytes(1)) as writer,
                progress.task("preparing films", total=len(missing)) as advance,
            ):
                for at, film in map_films(_prepared, missing, workers=workers):
                    if isinstance(film, FilmError):
                        errors[missing[at][1]] = reason(film)
                    else:
                        writer.add(missing[at][1], film)
                    advance(1)
            return errors

    def _announce(self, films: int, progress: Progress) -> None:
        size, free = self.size_bytes(films), shutil.disk_usage(self.folder).free
        progress.say(f"prepared cache: {films} films, {size / 2**20:.0f} MiB, at {self.folder}")
        if size + _SPARE_BYTES > free:
            raise DataError(
                f"{films} prepared films need {size / 2**20:.0f} MiB, and {free / 2**20:.0f} MiB are free",
                where=str(self.folder),
                next_step="Free some space, or set HILUM_CACHE to a folder on a larger disk.",
            )
        write_json(self.folder / "about.json", {"prepare": self.how.model_dump(), "version": PREPARE_VERSION})

    def _writable_index(self, progress: Progress) -> sqlite3.Connection:
        """The index, made anew where it is broken, and without the films whose records the file has lost."""
        try:
            index = _connected(self._index)
        except sqlite3.DatabaseError:
            progress.say(f"prepared cache: the index at {self._index} is broken and is made anew")
            for part in (self._index, Path(f"{self._index}-journal"), self._file):
                part.unlink(missing_ok=True)
            index = _connected(self._index)
        with index:
            lost = index.execute("DELETE FROM films WHERE row >= ?", [self._records()]).rowcount
        if lost:
            progress.say(f"prepared cache: {lost} films are missing from {self._file} and are prepared again")
        return index


def key_of(how: Prepare) -> str:
    """The name of the store of these settings."""
    text = json.dumps({"prepare": how.model_dump(), "version": PREPARE_VERSION}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _prepared(item: tuple[Path, str, Prepare]) -> Prepared:
    path, sha256, how = item
    data = read_bytes(path)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise FilmError("the file has changed since its SHA-256 was taken", next_step="Build the manifest again.")
    return prepared_file(data, how)


class _Writer:
    """Appends records and names them in the index, many at a time: first the records, on the disk, then the names."""

    def __init__(self, file: BinaryIO, index: sqlite3.Connection, record_bytes: int) -> None:
        self._file, self._index, self._record_bytes = file, index, record_bytes
        (self._row,) = index.execute("SELECT COALESCE(MAX(row) + 1, 0) FROM films").fetchone()
        self._pending: list[tuple[str, int, str]] = []

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._commit()  # after a full disk and Ctrl-C, too: the pending records are whole

    def add(self, sha256: str, film: Prepared) -> None:
        self._file.seek(self._row * self._record_bytes)
        _write_all(self._file, film.pixels.tobytes())
        self._pending.append((sha256, self._row, film.doubt))
        self._row += 1
        if len(self._pending) >= _COMMITTED_TOGETHER:
            self._commit()

    def _commit(self) -> None:
        if self._pending:
            os.fsync(self._file.fileno())
            with self._index:
                self._index.executemany("INSERT OR REPLACE INTO films VALUES (?, ?, ?)", self._pending)
            self._pending = []


def _write_all(file: BinaryIO, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def _connected(file: Path) -> sqlite3.Connection:
    index = sqlite3.connect(file, timeout=30.0)
    try:
        if index.execute("PRAGMA quick_check").fetchone() != ("ok",):
            raise sqlite3.DatabaseError("quick_check failed")
        with index:
            index.execute("CREATE TABLE IF NOT EXISTS films (sha256 TEXT PRIMARY KEY, row INTEGER UNIQUE, doubt TEXT)")
    except sqlite3.Error:
        index.close()
        raise
    return index


@contextmanager
def _unbuffered(path: Path) -> Iterator[BinaryIO]:
    path.touch()
    with path.open("r+b", buffering=0) as file:
        yield file


@contextmanager
def _held(folder: Path, progress: Progress) -> Iterator[None]:
    """The writer's lock of a store; who waits for it says so."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"the prepared cache cannot be made: {error.strerror}",
            where=str(folder),
            next_step="Set HILUM_CACHE to a folder that can be written.",
        ) from None
    from filelock import FileLock, Timeout  # it imports asyncio, which the processes that decode films never need

    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress.say(f"prepared cache: another run is writing to {folder}; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _disk_full_as_data_error(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
    except sqlite3.OperationalError as error:
        if "full" not in str(error):
            raise
    else:
        return
    raise DataError(
        "the disk is full; the films prepared so far are kept",
        where=str(folder),
        next_step="Free some space, or set HILUM_CACHE to a folder on a larger disk, and run the same again.",
    )
