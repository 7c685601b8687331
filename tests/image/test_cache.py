"""Prepared films: built once, by one run at a time, never half, and read as they were prepared."""

from __future__ import annotations

import errno
import hashlib
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hilum.errors import DataError
from hilum.image import cache as cache_module
from hilum.image.cache import PreparedCache
from hilum.image.prepare import prepare
from hilum.progress import Progress
from hilum.recipe.schema import Prepare
from image.made_files import png

HOW = Prepare(side_px=16)
Films = list[tuple[Path, str]]


class Heard(Progress):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)


def picture(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (20, 24)).astype(np.uint8)


def write_films(folder: Path, count: int) -> Films:
    films = []
    for number in range(count):
        path = folder / f"{number:04d}.png"
        path.write_bytes(png(picture(number)))
        films.append((path, hashlib.sha256(path.read_bytes()).hexdigest()))
    return films


@pytest.fixture
def films(tmp_path: Path) -> Films:
    return write_films(tmp_path, 30)  # few enough to be done without starting processes


def expected(numbers: range) -> np.ndarray:
    return np.stack([prepare(picture(number), HOW) for number in numbers])


@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_read_is_what_prepare_gives(tmp_path: Path, workers: int) -> None:
    films, cache = write_films(tmp_path, 50), PreparedCache(HOW)
    ensured = cache.ensure(films, workers=workers)
    assert ensured.errors == {}
    assert sorted(ensured.rows) == list(range(50))
    np.testing.assert_array_equal(cache.read(ensured.rows), expected(range(50)))
    np.testing.assert_array_equal(cache.read(ensured.rows[[7, 7, 3]]), expected(range(50))[[7, 7, 3]])
    assert cache.read([]).shape == (0, 16, 16)


def test_the_size_is_said_before_and_only_new_films_are_prepared(films: Films) -> None:
    heard = Heard()
    cache = PreparedCache(HOW)
    first = cache.ensure(films[:20], progress=heard)
    assert heard.said == [f"prepared cache: 20 films, 0 MiB, at {cache.folder}"]
    assert cache.size_bytes(20) == 20 * 16 * 16 == (cache.folder / "films.u8").stat().st_size
    second = cache.ensure(films, progress=heard)
    assert heard.said[1:] == [f"prepared cache: 10 films, 0 MiB, at {cache.folder}"]
    np.testing.assert_array_equal(second.rows[:20], first.rows)
    cache.ensure(films, progress=heard)
    assert len(heard.said) == 2


def test_the_same_bytes_are_stored_once(films: Films, tmp_path: Path) -> None:
    copy = tmp_path / "copy.png"
    copy.write_bytes(films[0][0].read_bytes())
    ensured = PreparedCache(HOW).ensure([films[0], (copy, films[0][1]), films[1]])
    assert ensured.rows[0] == ensured.rows[1] != ensured.rows[2]
    assert ensured.rows.max() == 1


def test_a_film_that_fails_is_an_error_and_the_others_go_on(films: Films, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(films[0][0].read_bytes()[:-40])
    changed = (films[1][0], "0" * 64)
    digest = hashlib.sha256(broken.read_bytes()).hexdigest()
    cache = PreparedCache(HOW)
    ensured = cache.ensure([films[2], (broken, digest), changed, films[3]])
    assert ensured.rows.tolist()[1:3] == [-1, -1]
    assert set(ensured.errors) == {1, 2}
    assert "damaged" in ensured.errors[1]
    assert "has changed" in ensured.errors[2]
    np.testing.assert_array_equal(cache.read(ensured.rows[[0, 3]]), expected(range(2, 4)))
    with pytest.raises(ValueError, match="failed"):
        cache.read(ensured.rows)


def test_another_setting_is_another_store(films: Films) -> None:
    stores = {
        PreparedCache(Prepare(side_px=16, **change)).folder
        for change in ({}, {"keep_aspect": True}, {"centre_crop": 0.9}, {"lungs": "crop"}, {"lungs": "mask"})
    }
    assert len(stores) == 5


def test_a_store_may_be_sent_to_another_process(films: Films) -> None:
    cache = PreparedCache(HOW)
    rows = cache.ensure(films).rows
    cache.read(rows[:1])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(cache)).read(rows), expected(range(30)))
    assert len(pickle.dumps(cache)) < 2000


def test_a_disk_that_fills_up_keeps_what_is_whole(films: Films, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, written, real = PreparedCache(HOW), [], cache_module._write_all

    def full_after_twenty(file: Any, data: bytes) -> None:
        if len(written) == 20:
            file.write(data[:100])
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(data)
        real(file, data)

    monkeypatch.setattr(cache_module, "_write_all", full_after_twenty)
    with pytest.raises(DataError, match="the disk is full; the films prepared so far are kept"):
        cache.ensure(films, workers=1)
    monkeypatch.setattr(cache_module, "_write_all", real)
    heard = Heard()
    ensured = cache.ensure(films, progress=heard)
    assert heard.said == [f"prepared cache: 10 films, 0 MiB, at {cache.folder}"]
    np.testing.assert_array_equal(cache.read(ensured.rows), expected(range(30)))


def test_too_little_room_is_told_before_anything_is_written(films: Films, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(cache_module.shutil, "disk_usage", lambda _: usage(10**9, 10**9, 2**20))
    cache = PreparedCache(Prepare(side_px=2048))
    with pytest.raises(DataError, match=r"30 prepared films need 120 MiB, and 1 MiB are free.*HILUM_CACHE"):
        cache.ensure(films)
    assert not (cache.folder / "films.u8").exists()


def test_films_that_the_file_has_lost_are_prepared_again(films: Films) -> None:
    rows = PreparedCache(HOW).ensure(films).rows
    cache, heard = PreparedCache(HOW), Heard()
    os.truncate(cache.folder / "films.u8", 20 * 256 + 100)
    with pytest.raises(DataError, match="prepared films are missing"):
        cache.read(rows)
    ensured = cache.ensure(films, progress=heard)
    assert "10 films are missing" in heard.said[0]
    np.testing.assert_array_equal(cache.read(ensured.rows), expected(range(30)))


@pytest.mark.parametrize("damage", [b"no database at all" * 99, b""])
def test_a_broken_index_is_made_anew(films: Films, damage: bytes) -> None:
    PreparedCache(HOW).ensure(films)
    cache = PreparedCache(HOW)
    (cache.folder / "index.sqlite").write_bytes(damage)
    ensured = cache.ensure(films)
    np.testing.assert_array_equal(cache.read(ensured.rows), expected(range(30)))


BUILD = """
import sys
from pathlib import Path
from hilum.image import cache as cache_module
from hilum.image.cache import PreparedCache
from hilum.progress import Progress
from hilum.recipe.schema import Prepare
class Loud(Progress):
    def say(self, message):
        print(message, flush=True)
cache_module._COMMITTED_TOGETHER = 8
films = [tuple(line.split()) for line in Path(sys.argv[1]).read_text().splitlines()]
ensured = PreparedCache(Prepare(side_px=16)).ensure(
    [(Path(path), sha256) for path, sha256 in films], workers=int(sys.argv[2]), progress=Loud())
print(len(set(ensured.rows.tolist())), ensured.errors, flush=True)
"""


def start_build(films: Films, folder: Path, workers: int) -> subprocess.Popen[str]:
    listing = folder / "films.txt"
    listing.write_text("\n".join(f"{path} {sha256}" for path, sha256 in films))
    command = [sys.executable, "-c", BUILD, str(listing), str(workers)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ)


def test_two_runs_at_once_prepare_each_film_once(tmp_path: Path) -> None:
    films = write_films(tmp_path, 160)
    both = [start_build(films, tmp_path, 2) for _ in range(2)]
    said = [process.communicate(timeout=60)[0] for process in both]
    assert all(text.endswith("160 {}\n") for text in said)
    cache = PreparedCache(HOW)
    assert (cache.folder / "films.u8").stat().st_size == cache.size_bytes(160)
    assert "".join(said).count("prepared cache: 160 films") == 1
    np.testing.assert_array_equal(cache.read(cache.ensure(films).rows), expected(range(160)))


@pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
def test_a_killed_run_leaves_nothing_half_and_the_next_one_goes_on(tmp_path: Path) -> None:
    films = write_films(tmp_path, 600)
    cache = PreparedCache(HOW)
    process = start_build(films, tmp_path, 1)
    for _ in range(2000):
        if _named(cache) >= 40:
            break
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=20)
    named = _named(cache)
    assert 40 <= named < 600  # killed at work
    with sqlite3.connect(cache.folder / "index.sqlite") as index:
        kept = dict(index.execute("SELECT sha256, row FROM films"))
    whole = expected(range(600))
    for number, (_, sha256) in enumerate(films):
        if sha256 in kept:
            np.testing.assert_array_equal(cache.read([kept[sha256]])[0], whole[number])
    heard = Heard()
    ensured = cache.ensure(films, progress=heard)
    assert heard.said == [f"prepared cache: {600 - named} films, 0 MiB, at {cache.folder}"]
    np.testing.assert_array_equal(cache.read(ensured.rows), whole)


def _named(cache: PreparedCache) -> int:
    try:
        with sqlite3.connect(f"file:{cache.folder / 'index.sqlite'}?mode=ro", uri=True) as index:
            return int(index.execute("SELECT COUNT(*) FROM films").fetchone()[0])
    except sqlite3.Error:
        return 0


def test_who_waits_for_another_run_says_so(films: Films) -> None:
    cache, heard = PreparedCache(HOW), Heard()
    cache.folder.mkdir(parents=True)
    code = (
        "import sys, time; from filelock import FileLock; lock = FileLock(sys.argv[1]); lock.acquire();"
        "print('held', flush=True); time.sleep(1)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(cache.folder / "lock")], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    assert cache.ensure(films, progress=heard).errors == {}
    assert heard.said[0] == f"prepared cache: another run is writing to {cache.folder}; waiting for it"
    holder.communicate(timeout=20)
