"""What `hilum serve` loses when it, or its database, is killed while it works. Exits with 1 where it loses anything.

    python benchmarks/serve_soak.py RUN FILMS
    python benchmarks/serve_soak.py RUN FILMS --database URL --stop 'service postgresql stop' --start '... start'

RUN: a trained run. FILMS: a folder of real films. Without --database the server is killed (-9) while it works on
`--films` films that it has accepted, and started again on the same store. With it the database is stopped for
`--away` seconds while clients send films one by one and in batches, and started again; every answer is looked at.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2 as httpx

from hilum.serve.client import Client
from serve import unlike

HILUM = [sys.executable, "-m", "hilum.cli.app", "--json"]


@contextmanager
def served(asked: argparse.Namespace, store: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`hilum serve` in a process of its own, and its address."""
    command = [*HILUM, "serve", str(asked.run), "--store", str(store), "--port", "0"]
    more = ["--database", asked.database] if asked.database else []
    process = subprocess.Popen([*command, *more], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process, json.loads(process.stdout.readline())["address"]
    finally:
        process.terminate()
        process.wait(60)


def films_of(folder: Path, most: int) -> list[tuple[str, bytes]]:
    """Names and bytes of films, JPEGs first in the order of their names; enough copies, each unlike every other."""
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in (".jpg", ".jpeg"))
    if not files:
        raise SystemExit(f"{folder}: no JPEG lies here")
    picked = [files[number * len(files) // most] if len(files) > most else files[number % len(files)]
              for number in range(most)]  # fmt: skip
    return [(file.name, unlike(file.read_bytes(), number)) for number, file in enumerate(picked)]


def all_films(client: Client) -> list[dict[str, Any]]:
    """Every film of the store."""
    found: list[dict[str, Any]] = []
    while True:
        some = client.films(most=500, skip=len(found), order="oldest")
        found += some["films"]
        if len(found) >= some["total"]:
            return found


def judged(asked: argparse.Namespace, store: Path, client: Client, accepted: set[str]) -> dict[str, Any]:
    """What became of the films that were accepted, and whether the log is whole."""
    end = time.monotonic() + 300
    while client.health()["later"] and time.monotonic() < end:
        time.sleep(0.5)
    films = {film["film_id"]: film for film in all_films(client)}
    more = ["--database", asked.database] if asked.database else []
    log = subprocess.run(
        [*HILUM, "serve", "verify-log", "--store", str(store), *more], capture_output=True, text=True, check=False
    )
    return {
        "accepted": len(accepted),
        "lost": len(accepted - set(films)),
        "without_one_result": sum(len(films[each]["results"]) != 1 for each in accepted & set(films)),
        "twice": len(films) - len({film["sha256"] for film in films.values()}),
        "log_whole": log.returncode == 0,
    }


def killed(asked: argparse.Namespace, store: Path) -> dict[str, Any]:
    """Kill -9 in the middle of the work, and start again."""
    films = films_of(asked.folder, asked.films)
    with served(asked, store) as (process, address), Client(address) as client:
        batch = client.send(films)
        accepted = {each["film_id"] for each in batch["accepted"]}
        while (done := client.batch(batch["batch"])["done"]) < asked.films // 10:
            time.sleep(0.01)
        process.kill()
        process.wait(10)
    with served(asked, store) as (_, address), Client(address) as client:
        return {"sent": len(films), "done_when_killed": done} | judged(asked, store, client, accepted)


def without_database(asked: argparse.Namespace, store: Path) -> dict[str, Any]:
    """Stop the database under load, and start it again."""
    films = iter(films_of(asked.folder, 20 * asked.films))
    lock, over = threading.Lock(), threading.Event()
    answers: Counter[str] = Counter()
    accepted: set[str] = set()

    def ask(http: httpx.Client, many: bool) -> None:
        with lock:
            some = [next(films) for _ in range(8 if many else 1)]
        try:
            if many:
                answer = http.post("/api/v1/films", files=[("films", film) for film in some])
            else:
                answer = http.post("/api/v1/predict", content=some[0][1])
        except httpx.HTTPError as error:
            with lock:
                answers[f"no answer: {type(error).__name__}"] += 1
            return
        told = answer.json()
        kinds = (
            [told["error"]["kind"]] if answer.is_error else [each["error"]["kind"] for each in told.get("refused", [])]
        )
        with lock:
            answers[" ".join([str(answer.status_code), *sorted(kinds)])] += 1
            if answer.is_success:
                accepted.update(each["film_id"] for each in told["accepted"]) if many else accepted.add(told["film_id"])

    def client(many: bool) -> None:
        with httpx.Client(base_url=address, timeout=120) as http:
            while not over.is_set():
                ask(http, many)

    with served(asked, store) as (_, address):
        threads = [threading.Thread(target=client, args=(number % 2 == 0,)) for number in range(6)]
        for thread in threads:
            thread.start()
        time.sleep(8)
        subprocess.run(asked.stop, shell=True, check=True)
        away = time.monotonic()
        while time.monotonic() - away < asked.away:
            time.sleep(0.5)
        subprocess.run(asked.start, shell=True, check=True)
        time.sleep(8)
        over.set()
        for thread in threads:
            thread.join()
        with Client(address) as asking:
            return {"answers": dict(answers)} | judged(asked, store, asking, accepted)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("folder", metavar="FILMS", type=Path)
    parser.add_argument("--films", type=int, default=200)
    parser.add_argument("--database", default="")
    parser.add_argument("--stop", default="")
    parser.add_argument("--start", default="")
    parser.add_argument("--away", type=float, default=12.0, help="seconds for which the database is stopped")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = without_database if asked.database else killed
        found = work(asked, Path(folder) / "store")
    print(json.dumps(found, indent=2))
    clear = all(answer.startswith(("200", "202", "503")) for answer in found.get("answers", {}))
    if found["lost"] or found["without_one_result"] or found["twice"] or not found["log_whole"] or not clear:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
