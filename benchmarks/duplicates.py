"""How well duplicates are found on made pairs of real films, and how long it takes for 100,000 films.

    python benchmarks/duplicates.py --data ../shared/data

Originals: Kermany's films and the NIH films of darkcovidnet, each file once; each kind of change is made to 500. A
found pair is right when both films come from one original. --films and --time make it smaller.
"""

from __future__ import annotations

import argparse
import platform
import resource
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import scipy
from scipy.stats import binomtest, norm

from hilum.data.crops import crops_among
from hilum.data.duplicates import find
from hilum.data.near import near_pairs
from hilum.files import cores
from hilum.image.decode import decode
from hilum.image.fingerprint import BITS, fingerprint, frequencies, unpack

Pixels = np.ndarray
PER_KIND = 500


def resized(film: Pixels, rng: np.random.Generator) -> Pixels:
    """Another size, 96 to 640 px, aspect kept."""
    scale = rng.integers(96, 641) / max(film.shape)
    return cv2.resize(film, None, fx=scale, fy=scale, interpolation=int(rng.choice([cv2.INTER_AREA, cv2.INTER_CUBIC])))


def squashed(film: Pixels, rng: np.random.Generator) -> Pixels:
    """Another aspect, by up to 2 : 1."""
    width, height = rng.integers(128, 257, 2)
    return cv2.resize(film, (int(width), int(height)), interpolation=cv2.INTER_LINEAR)


def encoded(film: Pixels, rng: np.random.Generator) -> Pixels:
    """JPEG of quality 20 to 70."""
    _, data = cv2.imencode(".jpg", film, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 71))])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE))


def brightened(film: Pixels, rng: np.random.Generator) -> Pixels:
    """Grey values x 0.7 to 1.3 and -25 to 25, clipped."""
    return np.clip(film * rng.uniform(0.7, 1.3) + rng.uniform(-25, 25), 0, 255).astype(np.uint8)


def toned(film: Pixels, rng: np.random.Generator) -> Pixels:
    """Gamma 0.6 to 1.6."""
    return (255 * (film / 255) ** rng.uniform(0.6, 1.6)).astype(np.uint8)


def everything(film: Pixels, rng: np.random.Generator) -> Pixels:
    """All of the above, one after the other."""
    for change in (toned, brightened, resized, squashed, encoded):
        film = change(film, rng)
    return film


def turned(film: Pixels, rng: np.random.Generator) -> Pixels:
    """The mirror image, encoded anew."""
    return encoded(film[:, ::-1], rng)


def cropped(share: float) -> Callable[[Pixels, np.random.Generator], Pixels]:
    """Up to `share` of the side cut off at each of the four edges."""

    def crop(film: Pixels, rng: np.random.Generator) -> Pixels:
        top, bottom, left, right = (rng.uniform(0, share, 4) * np.repeat(film.shape, 2)).astype(int)
        return film[top : film.shape[0] - bottom, left : film.shape[1] - right]

    return crop


def cropped_and_changed(film: Pixels, rng: np.random.Generator) -> Pixels:
    """Cropped by up to 5 % at each edge, and all of the above."""
    return everything(cropped(0.05)(film, rng), rng)


CHANGES: dict[str, Callable[[Pixels, np.random.Generator], Pixels]] = {
    "resized": resized,
    "squashed": squashed,
    "re-encoded": encoded,
    "brightness": brightened,
    "gamma": toned,
    "all of these": everything,
    **{f"cropped by up to {share:.0%} at each edge": cropped(share) for share in (0.01, 0.02, 0.03, 0.05)},
    "cropped by 5 %, and all of these": cropped_and_changed,
    "mirrored": turned,
}


def share(hits: int, n: int) -> str:
    """A proportion with its 95 % Wilson interval."""
    if not n:
        return "none, n = 0"
    interval = binomtest(hits, n).proportion_ci(method="wilson")
    return f"{hits / n:.4f} [{interval.low:.4f}, {interval.high:.4f}], n = {n}"


def originals(data: Path) -> list[Pixels]:
    """The films, each file's bytes once."""
    folders = [data / "kermany", data / "darkcovidnet" / "No_findings", data / "darkcovidnet" / "Pneumonia"]
    files = [path for folder in folders for path in sorted(folder.rglob("*.jp*g"))]
    once = {path.read_bytes(): path for path in files}
    return [decode(path).pixels for path in once.values()]


def made_pairs(films: list[Pixels]) -> pd.DataFrame:
    """The originals and their copies: image_id, kind of change, fingerprint."""
    rng = np.random.default_rng(0)
    seen = [(f"{number:06d}", "original", fingerprint(film)) for number, film in enumerate(films)]
    for kind, change in CHANGES.items():
        chosen = rng.choice(len(films), min(PER_KIND, len(films)), replace=False)
        seen += [(f"{n:06d}/{kind}", kind, fingerprint(np.ascontiguousarray(change(films[n], rng)))) for n in chosen]
    rows = [(name, kind, one.phash, one.sizes) for name, kind, one in seen]
    return pd.DataFrame(rows, columns=["image_id", "kind", "phash", "phash_sizes"]).assign(sha256=pd.NA)


def report_pairs(table: pd.DataFrame) -> None:
    """Print recall by kind of change, and precision by how the pair was found."""
    start = time.perf_counter()
    pairs = find(table)
    print(f"\n{len(table)} films, looked through in {time.perf_counter() - start:.1f} s")
    right = pairs["image_id_a"].str[:6] == pairs["image_id_b"].str[:6]
    found = set(pairs.loc[right & (pairs["image_id_a"].str.len() == 6), "image_id_b"])
    print(f"  precision          {share(int(right.sum()), len(pairs))} pairs found")
    for kind, of in right.groupby(pairs["kind"]):
        print(f"  precision, {kind:<16} {share(int(of.sum()), len(of))}")
    copies = table[table["kind"] != "original"]
    print(f"  recall, all        {share(int(copies['image_id'].isin(found).sum()), len(copies))} made pairs")
    for kind in CHANGES:
        these = copies.loc[copies["kind"] == kind, "image_id"]
        print(f"  recall, {kind:<34} {share(int(these.isin(found).sum()), len(these))}")
    named = pairs[right & pairs["image_id_b"].str.endswith("mirrored") & (pairs["image_id_a"].str.len() == 6)]
    print(f"  mirrored ones that are named so  {share(int((named['kind'] == 'mirrored').sum()), len(named))}")


def made_up(hashes: list[str], count: int) -> np.ndarray:
    """Fingerprints, uint64 (count, 16): signs of a Gaussian, with the means and correlations of real ones' bits."""
    real = np.unpackbits(unpack(hashes).view(np.uint8), axis=1).astype(np.float64)
    mean = real.mean(axis=0).clip(1e-4, 1 - 1e-4)
    sign = 2 * real - 1
    sign -= sign.mean(axis=0)
    sign /= sign.std(axis=0) + 1e-9
    # A correlation r of signs is one of sin(pi r / 2) before the sign is taken (Sheppard 1899).
    values, vectors = np.linalg.eigh(np.sin(np.pi / 2 * (sign.T @ sign / len(sign))))
    root = (vectors * np.sqrt(values.clip(0))).astype(np.float32)
    root /= np.linalg.norm(root, axis=1, keepdims=True) + 1e-9
    limit = -norm.ppf(mean).astype(np.float32)
    rng = np.random.default_rng(1)
    bits = [rng.standard_normal((10_000, BITS), dtype=np.float32) @ root.T > limit for _ in range(count // 10_000)]
    return np.packbits(np.concatenate(bits), axis=1).view(np.uint64)


def report_time(hashes: list[str], sizes: list[str], count: int, copies: int = 5_000) -> None:
    """Print the seconds that `count` films take, some of them copies that differ in 0 to 14 % of their bits."""
    bits = made_up(hashes, count)
    rng = np.random.default_rng(2)
    flips = rng.random((copies, BITS)) < rng.uniform(0, 0.14, (copies, 1))
    bits[-copies:] = bits[:copies] ^ np.packbits(flips, axis=1).view(np.uint64)
    start = time.perf_counter()
    (pairs, _), _ = near_pairs(bits)
    seconds = time.perf_counter() - start
    hits = int(((pairs[:, 1] - pairs[:, 0]) == count - copies).sum())
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"\n{count} made-up fingerprints, {copies} of them copies: {seconds:.1f} s, peak memory {memory:.1f} GiB")
    print(f"  copies found       {share(hits, copies)}")
    print(f"  other pairs found  {len(pairs) - hits}")
    drawn = rng.integers(0, len(sizes), count)

    def of(rows: np.ndarray) -> np.ndarray:
        return frequencies([row.tobytes().hex() for row in bits[rows]], [sizes[number] for number in drawn[rows]])

    start = time.perf_counter()
    found, _ = crops_among(of, count)
    print(f"  crops of them looked for in {time.perf_counter() - start:.1f} s, {len(found)} pairs found")


def main() -> None:
    """Run all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, default=Path("../shared/data"), help="folder with kermany and darkcovidnet"
    )
    parser.add_argument("--films", type=int, help="of the originals, evenly drawn; default: all")
    parser.add_argument("--time", type=int, default=100_000, help="made-up fingerprints; 0: no timing")
    asked = parser.parse_args()
    versions = f"Python {platform.python_version()}, numpy {np.__version__}, scipy {scipy.__version__}"
    print(f"{platform.node()}: {platform.machine()}, {cores()} cores, {versions}, OpenCV {cv2.__version__}")
    start = time.perf_counter()
    films = originals(asked.data)
    films = films[:: max(1, len(films) // asked.films)] if asked.films else films
    print(f"{len(films)} originals decoded in {time.perf_counter() - start:.1f} s")
    start = time.perf_counter()
    table = made_pairs(films)
    print(f"{len(table)} films changed and fingerprinted in {time.perf_counter() - start:.1f} s")
    report_pairs(table)
    if asked.time:
        known = table[table["kind"] == "original"]
        report_time(known["phash"].tolist(), known["phash_sizes"].tolist(), asked.time)


if __name__ == "__main__":
    main()
