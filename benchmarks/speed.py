"""hilum beside the scripts that people write, on the same films: the table of docs/speed.md.

    python benchmarks/speed.py --shared ../shared                       every row, about an hour and a half on two cores
    python benchmarks/speed.py --shared ../shared --only films-png cache
    python benchmarks/speed.py --shared ../shared --short               each row in a small form, to see that it works

Rows are kept in benchmarks/results/speed.json as they are done, and the page is written from all of them, so that
rows may be timed one at a time. The peers are in benchmarks/peers; Keras runs in an environment of its own, which is
made on first use (600 MB from PyPI; HILUM_BENCHMARKS names its folder). Networks have random weights on all sides: the
time does not depend on them.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import hashlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from speed_pipeline import epoch_rate

from hilum.files import cores, write_json, write_text
from hilum.image.cache import PreparedCache
from hilum.recipe.load import load_recipe
from hilum.recipe.schema import Prepare

HERE = Path(__file__).resolve().parent
PEERS, RESULTS, PAGE = HERE / "peers", HERE / "results" / "speed.json", HERE.parent / "docs" / "speed.md"
TENSORFLOW = "tensorflow==2.21.0"
HOW = Prepare(side_px=224)
# Of the Keras script's first measurement: train and validation films.
TRAIN, VALIDATION = 900, 224


@dataclass(frozen=True)
class Result:
    """One figure. better: whether more or less of the unit is better."""

    what: str
    who: str
    value: float
    unit: str
    better: str = "more"
    goal: str = ""


@dataclass(frozen=True)
class Bench:
    """The films of all rows, and how long a row may take."""

    shared: Path
    scratch: Path
    short: bool
    films: Path

    def few(self, count: int) -> int:
        return max(48, count // 16) if self.short else count

    @cached_property
    def kaggle(self) -> list[tuple[Path, str, str]]:
        """(path, class, part) of films in an order drawn once: the first of them learn, then come those that judge."""
        root = self.shared / "data" / "kaggle-covid19-pneumonia" / "Data" / "train"
        films = [(path, path.parent.name) for path in sorted(root.rglob("*")) if path.is_file()]
        order = np.random.default_rng(0).permutation(len(films))
        learn = self.few(TRAIN)
        chosen = [films[place] for place in order[: learn + self.few(VALIDATION)]]
        return [(path, name, "train" if at < learn else "validation") for at, (path, name) in enumerate(chosen)]

    @cached_property
    def png(self) -> Path:
        """The same films as PNG of 1024 x 1024, as collections have them: FILMS.csv with path, class, part."""
        folder = self.films / ("png-short" if self.short else "png")
        rows = []
        for number, (path, name, part) in enumerate(self.kaggle):
            made = folder / name / f"{number}.png"
            if not made.is_file():
                made.parent.mkdir(parents=True, exist_ok=True)
                film = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
                cv2.imwrite(str(made), cv2.resize(film, (1024, 1024), interpolation=cv2.INTER_CUBIC))
            rows.append((made, name, part))
        return self.table("png", rows)

    @cached_property
    def cohen(self) -> Path:
        films = sorted((self.shared / "data" / "cohen" / "images").iterdir())[: self.few(720)]
        return self.table("cohen", [(film, "one", "train") for film in films])

    def table(self, name: str, rows: list[tuple[Path, str, str]]) -> Path:
        path = self.scratch / f"{name}.csv"
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "class", "part"])
            writer.writerows(rows)
        return path

    def manifest(self, table: Path) -> Path:
        """The same films as a manifest that hilum reads, with their parts."""
        films = pd.read_csv(table)
        made = films.rename(columns={"class": "label", "part": "split"}).assign(
            image_id=[str(number) for number in range(len(films))], source="made", patient_id=None
        )
        made["label"] = made["label"].str.lower().replace({"covid19": "covid-19"})
        path = table.with_name(f"{table.stem}-manifest.csv")
        made.to_csv(path, index=False)
        return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, required=True, help="the folder with data/")
    parser.add_argument("--only", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--short", action="store_true", help="small forms, whose figures are not kept")
    parser.add_argument("--films", type=Path, help="where made PNGs stay; default: made for each row")
    asked = parser.parse_args()
    for name in asked.only:
        with tempfile.TemporaryDirectory() as scratch:
            os.environ["HILUM_CACHE"] = f"{scratch}/cache"
            start = time.perf_counter()
            films = (asked.films or Path(scratch)).resolve()
            found = ROWS[name](Bench(asked.shared.resolve(), Path(scratch), asked.short, films))
        seconds = round(time.perf_counter() - start)
        for result in found:
            print(f"{name}: {result.what}: {result.who}: {result.value:.1f} {result.unit}", flush=True)
        if not asked.short:
            _keep(name, found, seconds)


def films_of(table: Callable[[Bench], Path], what: str) -> Callable[[Bench], list[Result]]:
    def row(bench: Bench) -> list[Result]:
        films = pd.read_csv(table(bench))["path"].tolist()
        pairs = [(Path(film), hashlib.sha256(Path(film).read_bytes()).hexdigest()) for film in films]
        start = time.perf_counter()
        PreparedCache(HOW).ensure(pairs)
        ours = len(films) / (time.perf_counter() - start)
        made = [Result(what, "hilum", ours, "films/s", goal="1.8 times the torchvision script")]
        return made + _torch(table(bench), "decode", what)

    return row


def cache(bench: Bench) -> list[Result]:
    films = np.random.default_rng(0).integers(0, 256, (bench.few(6000), 224, 224), dtype=np.uint8)
    store = PreparedCache(HOW)
    store.folder.mkdir(parents=True)
    films.tofile(store.folder / "films.u8")
    order, best = np.random.default_rng(0).permutation(len(films)), 0.0
    for _ in range(5):
        start = time.perf_counter()
        for first in range(0, len(order), 64):
            store.read(order[first : first + 64])
        best = max(best, len(order) / (time.perf_counter() - start))
    return [Result("224 px from the cache, random batches of 64", "hilum", best, "films/s", goal="20,000 a second")]


def frozen(bench: Bench) -> list[Result]:
    """Liverpool's first stage: InceptionV3 that does not learn, 5 epochs, augmented, films of 1024 x 1024 PNG.

    Of Keras two epochs are timed: the first, and the second four times, as the others take as long.
    """
    what, epochs = "InceptionV3 frozen, augmented: a stage of 5 epochs", 2 if bench.short else 5
    seconds = _search(bench, ["search.trials=1", f"stage.epochs={epochs}"], method="one_at_a_time")
    made = [Result(what, "hilum, from files", seconds, "s", "less", "10 times as fast as the Keras script")]
    for settings in ("usual", "recommended"):
        first, second = _keras(bench.png, "frozen", 2, settings)["seconds"]
        made.append(Result(what, f"Keras, {settings}", first + (epochs - 1) * second, "s", "less"))
    return made


def search(bench: Bench) -> list[Result]:
    """The 24 values, on films whose features are there already."""
    settings = ["stage.epochs=1"] if bench.short else []
    _search(bench, [*settings, "search.trials=1"], method="one_at_a_time")
    seconds = _search(bench, settings, method="one_at_a_time")
    return [Result("Liverpool's search of 24 values, after features", "hilum", seconds, "s", "less", "under 60 s")]


def grid(bench: Bench) -> list[Result]:
    settings = ["stage.epochs=1", "search.trials=48"] if bench.short else []
    _search(bench, [*settings[:1], "search.trials=1"], method="one_at_a_time")
    seconds = _search(bench, settings, method="grid")
    what = "Liverpool's grid of 2,400 combinations, 5 epochs each, after features"
    return [Result(what, "hilum", seconds, "s", "less", "under 600 s")]


def fine_tune(bench: Bench) -> list[Result]:
    what = "MobileNetV2, all layers, 224 px, batch 32"
    table = _some(bench, "small", bench.kaggle)
    made = [Result(what, "hilum", _trained(bench, "mobilenetv2", table), "films/s", goal="2 times the float32 script")]
    return made + _torch(table, "fine-tune", what)


def pipeline(bench: Bench) -> list[Result]:
    what = "MobileNetV2, all layers, 224 px, batch 32: the best of 3 epochs"
    run = _run(bench, "mobilenetv2", _some(bench, "small", bench.kaggle), epochs=0)
    cached, held = (epoch_rate(run, bench.scratch / name, in_memory=name == "held") for name in ("cached", "held"))
    return [
        Result(what, "hilum", cached, "films/s", goal="95 % of that from memory"),
        Result(what, "hilum, films in memory", held, "films/s"),
    ]


def unfrozen(bench: Bench) -> list[Result]:
    what = "InceptionV3, all layers, augmented, 1024 x 1024 PNG"
    table = _some(bench, "some-png", [(Path(path), name, part) for path, name, part in _rows(bench.png)])
    made = [Result(what, "hilum", _trained(bench, "InceptionV3", table), "films/s", goal="3 times the Keras script")]
    for settings in ("usual", "recommended"):
        said = _keras(table, "unfrozen", 2, settings)
        made.append(Result(what, f"Keras, {settings}", said["films"] / said["seconds"][-1], "films/s"))
    return made


def predict(bench: Bench) -> list[Result]:
    from hilum.predict.predictor import load

    what = "MobileNetV2, from files of 1024 x 1024 PNG to a table"
    films = pd.read_csv(bench.png)["path"].tolist()
    predictor = load(_run(bench, "mobilenetv2", _some(bench, "small", bench.kaggle), epochs=0))
    predictor.predict(films[:40], gate=False)  # converts the network
    made = []
    for gate, goal in ((False, "4 times the float32 script; 90 % of decoding alone"), (True, "")):
        start = time.perf_counter()
        predictor.predict(films, gate=gate)
        who = "hilum, with the gate" if gate else "hilum"
        made.append(Result(what, who, len(films) / (time.perf_counter() - start), "films/s", goal=goal))
    pairs = [(Path(film), hashlib.sha256(Path(film).read_bytes()).hexdigest()) for film in films]
    store = PreparedCache(HOW, bench.scratch / "decoding")
    start = time.perf_counter()
    store.ensure(pairs)
    made.append(Result(what, "hilum, decoding alone", len(films) / (time.perf_counter() - start), "films/s"))
    return made + _torch(bench.png, "predict", what)


ROWS: dict[str, Callable[[Bench], list[Result]]] = {
    "films-cohen": films_of(lambda bench: bench.cohen, "cohen, film to 224 px"),
    "films-png": films_of(lambda bench: bench.png, "PNG of 1024 x 1024, film to 224 px"),
    "cache": cache,
    "frozen": frozen,
    "search": search,
    "grid": grid,
    "fine-tune": fine_tune,
    "pipeline": pipeline,
    "unfrozen": unfrozen,
    "predict": predict,
}


def _rows(table: Path) -> list[tuple[str, str, str]]:
    return list(pd.read_csv(table).itertuples(index=False, name=None))


def _some(bench: Bench, name: str, films: list[tuple[Path, str, str]]) -> Path:
    """Every fourth film: what is asked for is films a second, and an epoch of all takes minutes."""
    return bench.table(name, films if bench.short else films[::4])


def _trained(bench: Bench, backbone: str, table: Path) -> float:
    """Films that an epoch of `hilum train` learns from and judges, a second; the second epoch."""
    run = _run(bench, backbone, table, epochs=2)
    return len(pd.read_csv(table)) / float(pd.read_csv(run / "history.csv")["seconds"].iloc[-1])


def _run(bench: Bench, backbone: str, table: Path, *, epochs: int) -> Path:
    from hilum.training.train import train

    settings = [*_of(bench, table), f"model.backbone={backbone}", f"stage.epochs={epochs}", "evaluate.bootstrap=100"]
    if backbone == "InceptionV3":
        settings += ["augment.rotation_deg=10", "augment.shift=0.1", "augment.flip_horizontal=true"]
    return train(load_recipe([], settings), bench.scratch / f"run-{backbone}").path


def _of(bench: Bench, table: Path) -> list[str]:
    return [
        f'data.source=["{bench.manifest(table)}"]',
        "data.task=covid-3",
        "split.scheme=published",
        "split.test=0",
        "split.leaks=allow",
        "model.weights=none",
    ]


def _search(bench: Bench, settings: list[str], *, method: str) -> float:
    """Seconds of `hilum search` with Liverpool's recipes, from the films to search.html."""
    from hilum.training.search import search as run_search

    asked = [*_of(bench, bench.png), "data.per_class=", f"search.method={method}", *settings]
    recipe = load_recipe(["liverpool-2022", "liverpool-2022-search"], asked)
    out = bench.scratch / f"search-{time.monotonic_ns()}"
    start = time.perf_counter()
    run_search(recipe, out)
    return time.perf_counter() - start


def _torch(table: Path, work: str, what: str) -> list[Result]:
    made = []
    for settings in ("usual", "recommended"):
        said = _said([sys.executable, str(PEERS / "torch_script.py"), str(table), work, settings])
        made.append(Result(what, f"torchvision script, {settings}", said["films_per_second"], "films/s"))
    return made


def _keras(table: Path, stage: str, epochs: int, settings: str) -> dict[str, Any]:
    folder = Path(os.environ.get("HILUM_BENCHMARKS") or Path.home() / ".cache" / "hilum-benchmarks") / "keras"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        print(f"making an environment for Keras in {folder}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", TENSORFLOW, "pandas", "pillow", "scipy"], check=True)
        (folder / "ready").touch()
    return _said([str(python), str(PEERS / "keras_script.py"), str(table), stage, str(epochs), settings])


def _said(command: list[str]) -> dict[str, Any]:
    """The last line of a peer, JSON."""
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def _keep(name: str, found: list[Result], seconds: int) -> None:
    kept = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    about = {"machine": _machine(), "date": datetime.date.today().isoformat(), "seconds": seconds}
    kept[name] = {**about, "results": [asdict(result) for result in found]}
    write_json(RESULTS, {row: kept[row] for row in ROWS if row in kept})
    write_text(PAGE, page(kept))


def page(kept: dict[str, Any]) -> str:
    """docs/speed.md."""
    lines = [
        _HEAD,
        "| what | who | figure | hilum is | goal | machine, date |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in ROWS:
        row = kept.get(name)
        if row is None:
            lines.append(f"| {name} | | not measured yet | | | |")
            continue
        for result in row["results"]:
            of_hilum = [r for r in row["results"] if r["what"] == result["what"] and r["who"].startswith("hilum")]
            ratio = ""
            if not result["who"].startswith("hilum") and of_hilum:
                ours, theirs = of_hilum[0]["value"], result["value"]
                ratio = f"{ours / theirs if result['better'] == 'more' else theirs / ours:.1f} times as fast"
            figure = f"{result['value']:.0f} {result['unit']}"
            where = f"{row['machine']}, {row['date']}"
            lines.append(f"| {result['what']} | {result['who']} | {figure} | {ratio} | {result['goal']} | {where} |")
    return "\n".join([*lines, "", _TAIL])


_HEAD = """# Speed

Made by `python benchmarks/speed.py --shared ../shared`, hilum and its peers in one go on the same films. *usual* is
the script as the studies or the tutorials have it; *recommended* has the settings that its makers advise instead
(`benchmarks/peers/`). Networks have random weights: the time does not depend on them.
"""

_TAIL = (HERE / "speed_notes.md").read_text(encoding="utf-8") if (HERE / "speed_notes.md").is_file() else ""


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "processor")
    versions = ", ".join(f"{package} {importlib.metadata.version(package)}" for package in ("torch", "openvino"))
    return f"{name}, {cores()} cores, {versions}"


if __name__ == "__main__":
    main()
