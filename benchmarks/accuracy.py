"""What `hilum train` reaches on the real collections, each with one command, beside a plain fine-tuning script.

    python benchmarks/accuracy.py --shared ../shared                  # all four, 30 to 40 minutes on 2 cores
    python benchmarks/accuracy.py --shared ../shared --only kaggle --peer

Keeps each collection's rows in benchmarks/results/accuracy.json, and makes accuracy.md of all that are there, with the
machine, the versions and the command of each. The plain script (`plain_script.py`) trains on the same train part and is
tested on the same test part.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
# name: (sources below shared/data, settings)
COLLECTIONS = {
    "kaggle": (["kaggle-covid19-pneumonia:kaggle-covid19-pneumonia"], ["data.task=covid-3", "split.leaks=drop"]),
    "kermany": (["kermany:kermany"], ["data.task=pneumonia-3"]),
    "cohen+kermany": (
        ["cohen:cohen", "kermany:kermany-large"],
        ["data.task=covid-4", 'data.where=(modality == "X-ray" and view == "PA") or source == "kermany"'],
    ),
    "darkcovidnet": (["darkcovidnet:darkcovidnet"], ["data.task=covid-3"]),
}
FIGURES = ("accuracy", "balanced_accuracy", "macro_f1", "macro_auroc")


def main() -> None:
    arguments = _arguments()
    kept = arguments.out.with_suffix(".json")
    rows = json.loads(kept.read_text()) if kept.is_file() else {}
    for name in arguments.only or COLLECTIONS:
        with tempfile.TemporaryDirectory() as folder:
            rows[name] = _row(name, arguments, Path(folder))
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        arguments.out.write_text(_page(rows), encoding="utf-8")
    print(_page(rows))


def _page(rows: dict[str, dict[str, Any]]) -> str:
    lines = [
        "# hilum train on the real collections",
        "",
        "Made by `python benchmarks/accuracy.py`. Test part, opened once; 95 % intervals; from films to report,",
        "with an empty cache.",
        "",
        "| collection | films (patients) tested | " + " | ".join(FIGURES) + " | seconds |",
        "| --- " * (3 + len(FIGURES)) + "|",
        *(line for row in rows.values() for line in row["lines"]),
        "",
        *(f"- {name}: `{row['command']}`; {row['machine']}" for name, row in rows.items()),
        "",
    ]
    return "\n".join(lines)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, required=True, help="the folder with data/ and weights/")
    parser.add_argument("--only", nargs="*", choices=COLLECTIONS, help="these only")
    parser.add_argument("--peer", action="store_true", help="run the plain script on the same parts too")
    parser.add_argument("--recipe", default="fine-tune")
    parser.add_argument("--keep", type=Path, help="keep the runs in this folder")
    parser.add_argument("--note", default="", help="said of these runs, as: other work ran beside it")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "accuracy.md")
    return parser.parse_args()


def _row(name: str, arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    sources, settings = COLLECTIONS[name]
    run = (arguments.keep or folder) / name
    weights = arguments.shared / "weights" / "mobilenetv2_100.safetensors"
    words = ["hilum", "train", "--recipe", arguments.recipe]
    for source in sources:
        reader, path = source.split(":")
        words += ["--data", f"{reader}:{arguments.shared / 'data' / path}"]
    for setting in [*settings, f"model.weights={weights}"]:
        words += ["--set", setting]
    words += ["-o", str(run)]
    start = time.monotonic()
    command = [sys.executable, "-m", "hilum.cli.app", *words[1:]]
    subprocess.run(command, check=True, env=_environment(folder / f"cache-{name}"))
    seconds = time.monotonic() - start
    test = json.loads((run / "metrics.json").read_text())["test"]
    about = json.loads((run / "environment.json").read_text())
    lines = [_line(name, test, seconds)]
    if arguments.peer:
        lines.append(_peer(name, run, weights))
    packages = ", ".join(f"{name} {about['packages'][name]}" for name in ("torch", "timm", "lightning"))
    machine = (
        f"{about['processor']}, {about['cores']} cores, {about['memory_gib']} GiB; hilum {about['hilum']}, {packages}"
        + (f"; {arguments.note}" if arguments.note else "")
    )
    return {"lines": lines, "command": shlex.join([*words[:-1], f"runs/{name}"]), "machine": machine}


def _peer(name: str, run: Path, weights: Path) -> str:
    """The plain script's row; it is given the run's own parts."""
    start = time.monotonic()
    words = [sys.executable, str(HERE / "plain_script.py"), str(run / "manifest.parquet"), str(weights)]
    found = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    return _line(f"{name}, plain script", found, time.monotonic() - start)


def _line(name: str, test: dict[str, dict[str, float]], seconds: float) -> str:
    cells = [_cell(test[figure]) if figure in test else "" for figure in FIGURES]
    size = f"{test['accuracy']['n']} ({test['accuracy']['patients'] or 'unknown'})"
    return f"| {name} | {size} | " + " | ".join(cells) + f" | {seconds:.0f} |"


def _cell(figure: dict[str, float]) -> str:
    return f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"


def _environment(cache: Path) -> dict[str, str]:
    return {**os.environ, "HILUM_CACHE": str(cache)}


if __name__ == "__main__":
    main()
