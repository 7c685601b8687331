"""Films a second: decoding and preparing beside the plain Pillow line that most would write; and reading the cache.

python benchmarks/films.py --data ../shared/data
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from hilum.files import cores
from hilum.image.cache import PreparedCache
from hilum.image.prepare import prepare_file
from hilum.recipe.schema import Prepare

HOW = Prepare(side_px=224)
RUNS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    data = parser.parse_args().data
    print(f"{platform.processor() or platform.machine()}, {cores()} cores, Python {platform.python_version()}")
    print("| films | hilum, a second and core | Pillow | ratio |\n| --- | --- | --- | --- |")
    cohen = sorted((data / "cohen" / "images").iterdir())
    with tempfile.TemporaryDirectory() as folder:
        for name, films in {
            "cohen, JPEG": [film for film in cohen if film.suffix.lower() in (".jpg", ".jpeg")],
            "cohen, PNG": [film for film in cohen if film.suffix.lower() == ".png"],
            "JPEG of 4 megapixels": enlarged(cohen[:20], Path(folder), "jpg"),
            "PNG of 1024 x 1024": enlarged(cohen[:20], Path(folder), "png"),
        }.items():
            ours, theirs = rate(films, ours_of), rate(films, pillow)
            print(f"| {name} | {ours:.0f} | {theirs:.0f} | {ours / theirs:.1f} |")
        read_cache(data, Path(folder))


def ours_of(film: Path) -> np.ndarray:
    return prepare_file(film, HOW)


def pillow(film: Path) -> np.ndarray:
    return np.asarray(Image.open(film).convert("L").resize((224, 224)))


def rate(films: list[Path], job: Callable[[Path], np.ndarray]) -> float:
    """Films a second of processor time, the best of a few rounds."""
    best = 0.0
    for _ in range(RUNS):
        start = time.process_time()
        for film in films:
            job(film)
        best = max(best, len(films) / (time.process_time() - start))
    return best


def enlarged(films: list[Path], folder: Path, suffix: str) -> list[Path]:
    side = 2048 if suffix == "jpg" else 1024
    made = []
    for number, film in enumerate(films):
        path = folder / f"{number}.{suffix}"
        Image.open(film).convert("L").resize((side, side)).save(path)
        made.append(path)
    return made


def read_cache(data: Path, folder: Path) -> None:
    films = sorted(path for path in (data / "kaggle-covid19-pneumonia").rglob("*") if path.is_file())
    pairs = [(film, hashlib.sha256(film.read_bytes()).hexdigest()) for film in films]
    cache = PreparedCache(HOW, folder)
    start = time.perf_counter()
    rows = cache.ensure(pairs).rows
    built = len(films) / (time.perf_counter() - start)
    order = np.random.default_rng(0).permutation(rows)
    best = 0.0
    for _ in range(RUNS):
        start = time.perf_counter()
        for first in range(0, len(order), 64):
            cache.read(order[first : first + 64])
        best = max(best, len(order) / (time.perf_counter() - start))
    print(f"\ncache of {len(films)} films at 224 px: built at {built:.0f} films a second on {cores()} cores,")
    print(f"read in random batches of 64 at {best:.0f} films a second")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
