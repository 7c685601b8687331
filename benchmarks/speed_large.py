"""Large collections: seconds and memory of each step on a made-up manifest, and on phantoms prepared and read.

    python benchmarks/speed_large.py                              a million rows, no films
    python benchmarks/speed_large.py --rows 100000 --phantoms 50000

Each step is a process of its own. core seconds: what it and its workers took of the cores, for a machine with other
work on it. memory: the most that it had to itself, less what an empty one has after its imports (its workers, and pages
of the cache's file, which the system takes back when it needs them, do not count). A cache of 32 px is written for all
rows as a file with holes; phantoms are drawn, prepared, and read in random batches.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from hilum.data.manifest import read_manifest, write_manifest
from hilum.data.phantom import film
from hilum.data.split import split
from hilum.files import cores
from hilum.image.cache import PreparedCache
from hilum.image.fingerprint import fingerprint
from hilum.image.scan import scan
from hilum.image.workers import map_films
from hilum.recipe.schema import Prepare, Split

CLASSES = ("covid-19", "normal", "pneumonia")
HOW = Prepare(side_px=32)
GIB = 1024 * 1024  # of KiB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--phantoms", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where the files go; default: a temporary folder")
    parser.add_argument("--step", choices=list(STEPS), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.step:
        measured(asked.step, asked.folder, asked.phantoms if asked.step.startswith("phantoms") else asked.rows)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = asked.folder or Path(scratch)
        print(f"{asked.rows} rows, {asked.phantoms} phantoms, {cores()} cores\n")
        print("| step | seconds | core seconds | memory, GiB |\n| --- | --- | --- | --- |", flush=True)
        for step in STEPS:
            if asked.phantoms or not step.startswith("phantoms"):
                words = ["--rows", str(asked.rows), "--phantoms", str(asked.phantoms), "--folder", str(folder)]
                subprocess.run([sys.executable, __file__, "--step", step, *words], check=True)


def measured(step: str, folder: Path, count: int) -> None:
    before, most, done = own_memory(), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            most[0] = max(most[0], own_memory())

    watcher = threading.Thread(target=watch, daemon=True)  # a step that fails must not wait for it
    watcher.start()
    start, began = time.perf_counter(), core_seconds()
    STEPS[step](folder, count)
    seconds, worked = time.perf_counter() - start, core_seconds() - began
    done.set()
    watcher.join()
    print(f"| {step} | {seconds:.1f} | {worked:.1f} | {(most[0] - before) / GIB:.2f} |", flush=True)


def core_seconds() -> float:
    """What this process and its children that have ended took of the cores."""
    return sum(os.times()[:4])


def own_memory() -> int:
    """KiB of this process that are no file's (RssAnon of Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1])


def sha(number: int) -> str:
    return hashlib.sha256(number.to_bytes(8, "little")).hexdigest()


def made_up(folder: Path, rows: int) -> None:
    """Four films a patient, twelve hospitals, three classes; hashes that no two films share."""
    numbers = np.arange(rows)
    rng = np.random.default_rng(0)
    films = pd.DataFrame(
        {
            "image_id": [f"made/{n:07}.png" for n in numbers],
            "path": [f"films/{n % 1000:03}/{n:07}.png" for n in numbers],
            "label": np.array(CLASSES, dtype=object)[numbers // 4 % 3],
            "patient_id": [f"made/{n // 4:06}" for n in numbers],
            "source": [f"hospital-{n // 4 % 12}" for n in numbers],
            "view": "PA",
            "age_years": rng.uniform(20, 90, rows).round(),
            "width": 1024,
            "height": 1024,
            "sha256": [sha(int(n)) for n in numbers],
            "phash": [hashlib.shake_256(sha(int(n)).encode()).hexdigest(128) for n in numbers],
        }
    )
    write_manifest(films, folder / "manifest.parquet")


def read(folder: Path, rows: int) -> None:
    assert len(read_manifest(folder / "manifest.parquet")) == rows


def split_them(folder: Path, rows: int) -> None:
    films = read_manifest(folder / "manifest.parquet")
    films["class"] = films["label"]
    split(films, Split(scheme="patient"))


def with_sizes(folder: Path, rows: int) -> None:
    """The same manifest, each size of a frequency that of one of 32 phantoms."""
    sizes = [fingerprint(film(0, patient=patient, side_px=96).pixels).sizes for patient in range(32)]
    known = np.frombuffer("".join(sizes).encode(), np.uint8).reshape(32, -1)
    rng, places = np.random.default_rng(0), np.arange(known.shape[1])
    made = pq.ParquetFile(folder / "manifest.parquet")
    column = made.schema_arrow.get_field_index("phash_sizes")
    with pq.ParquetWriter(folder / "with-sizes.parquet", made.schema_arrow) as out:
        for batch in made.iter_batches(1 << 16):
            drawn = known[rng.integers(0, 32, (len(batch), len(places)), dtype=np.uint8), places]
            texts = pa.array([row.tobytes().decode() for row in drawn], made.schema_arrow.field(column).type)
            out.write_table(pa.Table.from_batches([batch]).set_column(column, made.schema_arrow.field(column), texts))


def split_with_crops(folder: Path, rows: int) -> None:
    films = read_manifest(folder / "with-sizes.parquet")
    films["class"] = films["label"]
    split(films, Split(scheme="patient"))


def fill(folder: Path, rows: int) -> None:
    """An index of all rows and a file with holes, as if they had been prepared."""
    import sqlite3
    from contextlib import closing

    cache = PreparedCache(HOW, folder)
    cache.folder.mkdir(parents=True)
    with (cache.folder / "films.u8").open("wb") as file:
        file.truncate(cache.size_bytes(rows))
    with closing(sqlite3.connect(cache.folder / "index.sqlite")) as index, index:
        index.execute("CREATE TABLE films (sha256 TEXT PRIMARY KEY, row INTEGER UNIQUE, doubt TEXT)")
        index.executemany("INSERT INTO films VALUES (?, ?, '')", ((sha(n), n) for n in range(rows)))


def look_up(folder: Path, rows: int) -> None:
    films = read_manifest(folder / "manifest.parquet")
    pairs = [(Path(path), str(sha256)) for path, sha256 in zip(films["path"], films["sha256"], strict=True)]
    assert (PreparedCache(HOW, folder).ensure(pairs).rows >= 0).all()


def read_cache(folder: Path, rows: int) -> None:
    cache, order = PreparedCache(HOW, folder), np.random.default_rng(0).permutation(rows)
    for start in range(0, rows, 64):
        cache.read(order[start : start + 64])


def draw(item: tuple[Path, int]) -> None:
    import cv2

    path, number = item
    cv2.imwrite(str(path), film(0, patient=number, side_px=96).pixels)


def phantoms(folder: Path, count: int) -> None:
    (folder / "films").mkdir()
    films = [(folder / "films" / f"{number:06}.png", number) for number in range(count)]
    for _ in map_films(draw, films, workers=1):  # a function of a script is not found by workers
        pass


def phantoms_prepare(folder: Path, count: int) -> None:
    films = [folder / "films" / f"{number:06}.png" for number in range(count)]
    pairs = [(path, hashlib.sha256(path.read_bytes()).hexdigest()) for path in films]
    assert not PreparedCache(HOW, folder / "phantoms").ensure(pairs).errors


def phantoms_scan(folder: Path, count: int) -> None:
    os.environ["HILUM_CACHE"] = str(folder)
    facts = scan([folder / "films" / f"{number:06}.png" for number in range(count)])
    assert facts["error"].isna().all()
    films = facts.assign(
        image_id=[f"phantoms/{number:06}" for number in range(count)],
        patient_id=[f"phantoms/{number:06}" for number in range(count)],
        label=np.array(CLASSES, dtype=object)[np.arange(count) % 3],
        source="phantoms",
    )
    write_manifest(films.drop(columns="error"), folder / "phantoms.parquet")


def phantoms_split(folder: Path, count: int) -> None:
    films = read_manifest(folder / "phantoms.parquet")
    films["class"] = films["label"]
    split(films, Split(scheme="patient"))


def phantoms_read(folder: Path, count: int) -> None:
    read_cache(folder / "phantoms", count)


STEPS: dict[str, Callable[[Path, int], None]] = {
    "make and write the manifest": made_up,
    "read the manifest": read,
    "an index of as many films": fill,
    "look all films up in the cache": look_up,
    "read all films from the cache": read_cache,
    "read and split it by patient": split_them,
    "the manifest with sizes of frequencies": with_sizes,
    "it read and split, looking for crops too": split_with_crops,
    "phantoms drawn": phantoms,
    "phantoms prepared": phantoms_prepare,
    "phantoms read": phantoms_read,
    "phantoms scanned, their manifest written": phantoms_scan,
    "it read and split by patient": phantoms_split,
}

if __name__ == "__main__":
    main()
