"""Train here, test there: two findings over all collections of ../shared/data that have both, on frozen features.

    python benchmarks/transfer.py --shared ../shared            # minutes on 2 cores

Features are those of MobileNetV2 as it was pretrained on photographs; a logistic regression learns from the films of
one collection and is judged on those of another. Copies, and films of the same patient, in the collection judged are
not learned from. Writes benchmarks/results/transfer.md and transfer.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from hilum.audit.films import drawn, films_of
from hilum.audit.transfer import Cell, matrix
from hilum.cli.console import terminal
from hilum.data.collect import with_facts
from hilum.data.sources import read
from hilum.data.summary import main_labels
from hilum.predict.transfer import features_of
from hilum.recipe.load import load_recipe

HERE = Path(__file__).resolve().parent
COLLECTIONS = {
    "kermany": "kermany:kermany",
    "kaggle": "kaggle-covid19-pneumonia:kaggle-covid19-pneumonia",
    "darkcovidnet": "darkcovidnet:darkcovidnet",
    "cohen": "cohen:cohen",
    "figure1": "figure1:figure1",
}
PAIRS = (("pneumonia", "normal"), ("covid-19", "normal"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, required=True, help="the folder with data/ and weights/")
    parser.add_argument("--most", type=int, default=500, help="films of a class and collection, drawn at random")
    parser.add_argument("--lungs", choices=("none", "crop", "mask"), default="none", help="prepare.lungs")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "transfer.md")
    arguments = parser.parse_args()
    start = time.monotonic()
    manifest = films_of_collections(arguments.shared / "data", arguments.most)
    weights = arguments.shared / "weights" / "mobilenetv2_100.safetensors"
    settings = [f"model.weights={weights}", f"prepare.lungs={arguments.lungs}", "audit.films=100000"]
    recipe = load_recipe(settings=settings)
    films = films_of(manifest, recipe.audit)
    rows = drawn(films)
    features = features_of(films, rows, recipe, progress=terminal.progress())
    found = {}
    for pair in PAIRS:
        numbers = [films.classes.index(name) for name in pair]
        of_pair = np.isin(films.y[rows], numbers)
        y = (films.y[rows][of_pair] == numbers[1]).astype(np.int64)
        sources = [str(name) for name in films.manifest["collection"].to_numpy(object)[rows][of_pair]]
        found[" against ".join(pair)] = matrix(features[of_pair], y, list(pair), sources, films.groups[rows][of_pair])
    page = _page(found, arguments, time.monotonic() - start)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(page, encoding="utf-8")
    kept = {name: [asdict(cell) for cell in cells] for name, cells in found.items()}
    arguments.out.with_suffix(".json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    print(page)


def films_of_collections(data: Path, most: int) -> pd.DataFrame:
    """The films of the pairs' labels, at most so many of each collection and label, with their collection's name."""
    wanted = {label for pair in PAIRS for label in pair}
    chosen = []
    for name, source in COLLECTIONS.items():
        reader, folder = source.split(":")
        films = read(f"{reader}:{data / folder}")
        films["class"] = main_labels(films["label"])
        films = films[films["class"].isin(wanted)]
        if "modality" in films:
            films = films[films["modality"].fillna("X-ray") == "X-ray"]
        films = films[~films["view"].fillna("PA").str.startswith("L")]
        drawn_films = films.groupby("class", group_keys=False).sample(frac=1, random_state=0)
        chosen.append(drawn_films.groupby("class").head(most).assign(collection=name))
    manifest = pd.concat(chosen, ignore_index=True)
    manifest["image_id"] = manifest["collection"] + "/" + manifest["image_id"]
    # kaggle's sources are the collections that it was made of; here a collection is what somebody downloads.
    manifest["source"] = manifest["collection"]
    return with_facts(manifest, progress=terminal.progress())[0]


def _page(found: dict[str, list[Cell]], arguments: argparse.Namespace, seconds: float) -> str:
    lines = [
        "# Train here, test there",
        "",
        f"Made by `python benchmarks/transfer.py --shared ../shared --most {arguments.most} --lungs {arguments.lungs}`",
        f"in {seconds:.0f} s on {processor()}, {os.cpu_count()} cores, shared with other work.",
        "",
        "AUROC with its 95 % interval by patient; the diagonal is in five folds by patient. Lost: AUROC in the own",
        "collection less AUROC there. Learned from features of MobileNetV2 as pretrained on photographs. Films that",
        "stand in both collections, or whose patient does, were not learned from; collections with fewer than ten",
        "patients of either class have no row.",
    ]
    for name, cells in found.items():
        lines += [
            "",
            f"## {name}",
            "",
            "| learned from | judged on | AUROC | lost | films (patients) | left out of learning |",
        ]
        lines += ["| --- | --- | --- | --- | --- | --- |"]
        lines += [_line(cell) for cell in cells]
        if not cells:
            lines += ["| no collection has both | | | | | |"]
    return "\n".join([*lines, ""])


def _line(cell: Cell) -> str:
    lost = "" if cell.here == cell.there else f"{cell.drop:+.3f} [{cell.drop_low:+.3f}, {cell.drop_high:+.3f}]"
    return (
        f"| {cell.here} | {cell.there} | {cell.value:.3f} [{cell.low:.3f}, {cell.high:.3f}] | {lost} | "
        f"{cell.n} ({cell.patients}) | {cell.shared or ''} |"
    )


def processor() -> str:
    try:
        names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        return names[0].partition(":")[2].strip()
    except (OSError, IndexError):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
