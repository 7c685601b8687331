"""Maps: what they cost, and whether they find what decides the class on films of which that is known.

    python benchmarks/maps.py cost [--backbone mobilenetv2_100 ...] [--side 224] [--films 32]
    python benchmarks/maps.py phantoms -o runs/maps [--patients 400] [--backbone mobilenetv2_100] [--side 224]
        [--weights FILE] [--epochs 20]

`cost` times a method on untrained weights, in forward passes of the same films by torch, one thread, and fails where
Grad-CAM costs three or more. `phantoms` trains on two synthetic collections of one hospital: in one a finding decides
the class, in the other a letter planted in a corner; and explains the test films of both.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

import hilum
from hilum.cli.console import terminal
from hilum.data.phantom import NORTH, Collection, Finding, Shortcut, collection, write
from hilum.explain.maps import METHODS, maps
from hilum.explain.run import explain_part
from hilum.model import classifier as classifiers
from hilum.recipe import schema
from hilum.report.maps import ALL, FIGURES
from hilum.report.tables import shown

MOST_PASSES = 3.0
CHEAP = ("grad-cam", "grad-cam++", "eigen-cam")


def cost(backbones: list[str], side: int, films: int) -> bool:
    """Prints a table; whether Grad-CAM keeps below `MOST_PASSES` on every backbone."""
    torch.set_num_threads(1)
    terminal.say(
        f"{platform.platform()}, torch {torch.__version__}, one thread, {films} films of {side} px, median of 5\n"
    )
    terminal.say(f"| backbone | forward pass, ms a film | {' | '.join(METHODS[name].title for name in CHEAP)} |")
    terminal.say("| --- | --- |" + " --- |" * len(CHEAP))
    pictures = np.random.default_rng(0).integers(0, 255, (films, side, side), dtype=np.uint8)
    kept = True
    for backbone in backbones:
        model = schema.Model(backbone=backbone, weights="none")
        network = classifiers.build(model, ("ill", "well", "other"), side_px=side, seed=0)
        pass_ = seconds(partial(forward, network, pictures))
        none = np.zeros(films, np.int64)
        passes = {name: seconds(partial(maps, network, pictures, none, name)) / pass_ for name in CHEAP}
        kept &= passes["grad-cam"] < MOST_PASSES
        each = " | ".join(f"{passes[name]:.2f} passes" for name in CHEAP)
        terminal.say(f"| {backbone} | {1e3 * pass_ / films:.1f} | {each} |")
    return kept


def forward(network: classifiers.Classifier, films: np.ndarray) -> None:
    with torch.inference_mode():
        network(torch.from_numpy(films)[:, None].float() / 255)


def seconds(work: Callable[[], object], times: int = 5) -> float:
    """Median wall time, after one run that does not count."""
    work()
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def of_finding(patients: int, side: int) -> Collection:
    """Films of one hospital, of which only a consolidation tells the class."""
    classes = {"pneumonia": (Finding("consolidation", contrast=0.3, size=0.2),), "normal": ()}
    return collection(
        patients, seed=5, side_px=side, hospitals=(NORTH,), films_per_patient=(1, 1), test_share=0.25, classes=classes
    )


def of_marker(patients: int, side: int) -> Collection:
    """Films of one hospital without any finding, of which only a letter in the corner tells the class."""
    return collection(
        patients, seed=5, side_px=side, hospitals=(NORTH,), films_per_patient=(1, 1), test_share=0.25,
        classes={"covid-19": (), "normal": ()}, shortcuts=[Shortcut("marker", 1.0, "covid-19")],
    )  # fmt: skip


def phantoms(out: Path, patients: int, settings: list[str], side: int) -> None:
    for name, films, class_ in (
        ("finding", of_finding(patients, side), "pneumonia"),
        ("marker", of_marker(patients, side), "covid-19"),
    ):
        write(films, out / f"{name}-films", progress=terminal.progress())
        source, folder = str(out / f"{name}-films" / "manifest.csv"), out / name
        if not (folder / "report.html").is_file():
            hilum.train(data=source, settings=settings, out=folder, progress=terminal.progress())
        found = explain_part(folder, class_=class_, progress=terminal.progress())
        figures = found.summary["methods"]["grad-cam"]["figures"]
        terminal.say(f"\n{name}: maps of {class_}, {found.path / 'maps.html'}")
        for group in (class_, ALL):
            for key in (key for key in FIGURES if key in figures.get(group, {})):
                terminal.say(f"  {group}: {FIGURES[key]} {shown(figures[group][key]).line}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("cost", "phantoms"))
    parser.add_argument("--backbone", action="append", default=[])
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--films", type=int, default=32)
    parser.add_argument("--patients", type=int, default=400)
    parser.add_argument("--weights", default="pretrained", help="as model.weights: a file where there is no hub")
    parser.add_argument("--epochs", type=int, default=20, help="of the one stage of the recipe fine-tune")
    parser.add_argument("-o", "--out", type=Path, default=Path("runs/maps"))
    asked = parser.parse_args()
    if asked.what == "cost":
        backbones = asked.backbone or ["mobilenetv2_100", "resnet50", "densenet121", "vgg16", "vit_small_patch16_224"]
        sys.exit(0 if cost(backbones, asked.side, asked.films) else 1)
    settings = [f"prepare.side_px={asked.side}", f"stage.epochs={asked.epochs}", f"model.weights={asked.weights}"]
    settings += [f"model.backbone={each}" for each in asked.backbone[:1]]
    phantoms(asked.out, asked.patients, [*settings, "predict.engine=torch"], asked.side)


if __name__ == "__main__":
    main()
