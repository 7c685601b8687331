"""hilum serve beside a plain FastAPI + torch script: requests a second, p50, p95, p99 and memory, on loopback.

    python benchmarks/serve.py RUN FILMS [--clients 32] [--requests 20000] [--out results.json]

RUN: a trained run. FILMS: a folder of films; each request sends one, made about `--kilobytes` large as JPEG and made
unlike every other by a comment in its file, so that none is answered from the store. The two servers run one after the
other, each warmed up, with the same network and films, and all answers are counted and compared.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import httpx2 as httpx
import numpy as np
import psutil
from safetensors import safe_open
from safetensors.numpy import save_file

PLAIN = """
import io, sys
import torch, uvicorn
from fastapi import FastAPI, UploadFile
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor
from hilum.model import classifier as classifiers

network, about = classifiers.load(sys.argv[1] + "/weights.safetensors")
network.eval()
side = about["preparation"]["side_px"]
app = FastAPI()

@app.post("/predict")
def predict(film: UploadFile):
    picture = Image.open(io.BytesIO(film.file.read())).convert("L").resize((side, side), Image.Resampling.BILINEAR)
    with torch.inference_mode():
        p = torch.softmax(network(pil_to_tensor(picture)[None].float() / 255), 1)[0]
    return dict(zip(network.architecture.classes, p.tolist()))

uvicorn.run(app, port=int(sys.argv[2]), log_level="error")
"""


def jpegs(folder: Path, kilobytes: int, most: int = 100) -> list[bytes]:
    """Films as JPEGs of about so many kilobytes: reduced or enlarged so that quality 90 gives that."""
    made = []
    for path in sorted(file for file in folder.rglob("*") if file.suffix.lower() in (".jpg", ".jpeg", ".png"))[:most]:
        film = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if film is None:
            continue
        for factor in np.arange(0.2, 12.0, 0.1):
            how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
            large = cv2.resize(film, None, fx=factor, fy=factor, interpolation=how)
            data = cv2.imencode(".jpg", large, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
            if len(data) >= 1000 * kilobytes:
                break
        made.append(data)
    return made


def unlike(data: bytes, number: int) -> bytes:
    """The same picture in another file: with a JPEG comment (ITU-T T.81, B.2.4.5)."""
    comment = f"{number}".encode()
    return data[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + data[2:]


def one_view(run: Path, folder: Path) -> Path:
    """The run, which shows its network one view of a film as the plain script does, and not the mean of two."""
    made = folder / run.name
    shutil.copytree(run, made)
    with safe_open(run / "weights.safetensors", "np") as file:
        about = json.loads(file.metadata()["hilum"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
    about |= {"flip": False, "zoom": 0.0}
    save_file(tensors, made / "weights.safetensors", {"hilum": json.dumps(about)})
    return made


@contextmanager
def running(command: list[str], health: str) -> Iterator[psutil.Process]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=dict(os.environ))
    try:
        for _ in range(600):
            try:
                httpx.get(health, timeout=2)
                break
            except httpx.TransportError:
                time.sleep(0.2)
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(30)


async def load(url: str, films: list[bytes], requests: int, clients: int, first: int) -> tuple[list[float], list[Any]]:
    """Seconds of each request, and every answer, with `clients` asking at once, each on a connection of its own."""
    at = urlsplit(url)
    numbers = iter(range(first, first + requests))
    seconds: list[float] = []
    answers: list[Any] = []

    async def client() -> None:
        reader, writer = await asyncio.open_connection(at.hostname, at.port)
        for number in numbers:
            asked = request(at.path, unlike(films[number % len(films)], number))
            while True:
                start = time.perf_counter()
                writer.write(asked)
                await writer.drain()
                status, headers, body = await answer(reader)
                if status != 503:
                    break
                await asyncio.sleep(float(headers.get("retry-after", 1)))
            seconds.append(time.perf_counter() - start)
            answers.append((number, status, json.loads(body)))
        writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return seconds, answers


def request(path: str, film: bytes) -> bytes:
    """A request that sends a film as a form; in bytes, so that the clients take little of the servers' cores."""
    named = b'Content-Disposition: form-data; name="film"; filename="film.jpg"\r\nContent-Type: image/jpeg'
    body = b"--film\r\n" + named + b"\r\n\r\n" + film + b"\r\n--film--\r\n"
    about = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=film\r\n"
    return about.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of an answer, which both servers send with its length."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    return int(head[0].split()[1]), headers, await reader.readexactly(int(headers["content-length"]))


def measured(
    name: str, process: psutil.Process, url: str, films: list[bytes], *, requests: int, clients: int
) -> tuple[dict[str, Any], dict[int, Any]]:
    """What the table says of a server, and its answers by number."""
    asyncio.run(load(url, films, 4 * clients, clients, 10**7))
    start, before = time.perf_counter(), _cpu_seconds(process)
    seconds, answers = asyncio.run(load(url, films, requests, clients, 0))
    wall, cpu = time.perf_counter() - start, _cpu_seconds(process) - before
    memory = sum(each.memory_info().rss for each in [process, *process.children(recursive=True)])
    p50, p95, p99 = np.percentile(seconds, [50, 95, 99])
    row = {
        "server": name,
        "requests": len(answers),
        "failed": sum(status != 200 for _, status, _ in answers),
        "per_second": round(len(answers) / wall, 1),
        "p50_ms": round(1000 * p50, 1),
        "p95_ms": round(1000 * p95, 1),
        "p99_ms": round(1000 * p99, 1),
        "cpu_ms_a_request": round(1000 * cpu / len(answers), 1),
        "memory_mib": round(memory / 2**20),
    }
    print(json.dumps(row), flush=True)
    return row, {number: answer for number, _, answer in answers}


def _cpu_seconds(process: psutil.Process) -> float:
    """What a server and its processes computed so far, which a busy machine does not change."""
    times = [each.cpu_times() for each in [process, *process.children(recursive=True)]]
    return sum(each.user + each.system for each in times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("films", type=Path)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--plain-requests", type=int, default=2000, help="to the plain script, which is slower")
    parser.add_argument("--kilobytes", type=int, default=200)
    parser.add_argument("--lungs", action="store_true", help="with the input gate's look for the lungs")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    films = jpegs(asked.films, asked.kilobytes)
    print(f"{len(films)} films of {np.mean([len(film) for film in films]) / 1000:.0f} kB on average", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        run = one_view(asked.run, Path(folder))
        script = Path(folder) / "plain.py"
        script.write_text(PLAIN)
        plain = [sys.executable, str(script), str(run), "8311"]
        with running(plain, "http://127.0.0.1:8311/openapi.json") as process:
            theirs, said = measured(
                "plain",
                process,
                "http://127.0.0.1:8311/predict",
                films,
                requests=asked.plain_requests,
                clients=asked.clients,
            )
        command = [sys.executable, "-m", "hilum.cli.app", "serve", str(run), "--store", f"{folder}/store"]
        ours_command = [*command, "--port", "8312", "--lungs" if asked.lungs else "--no-lungs"]
        with running(ours_command, "http://127.0.0.1:8312/api/v1/health") as process:
            ours, found = measured(
                "hilum",
                process,
                "http://127.0.0.1:8312/api/v1/predict",
                films,
                requests=asked.requests,
                clients=asked.clients,
            )
            stored = httpx.get("http://127.0.0.1:8312/api/v1/films?most=1").json()["total"]
    alike = np.mean([max(said[n], key=said[n].get) == found[n]["results"][0]["predicted"] for n in said])
    result = {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "clients": asked.clients,
        "lungs": asked.lungs,
        "servers": [theirs, ours],
        "times": round(ours["per_second"] / theirs["per_second"], 2),
        "p99_below_their_p50": bool(ours["p99_ms"] < theirs["p50_ms"]),
        "answered_once": len({each["film_id"] for each in found.values()}) == asked.requests,
        "stored": stored - 4 * asked.clients,
        "same_class": round(float(alike), 4),
    }
    print(json.dumps(result, indent=2))
    if asked.out:
        asked.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
