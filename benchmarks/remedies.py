"""What helps a model in a hospital that it has not seen? Each remedy of the audit, leaving one hospital out at a time.

    python benchmarks/remedies.py --shared ../shared            # minutes on 2 cores

A logistic regression learns from the features of MobileNetV2, as it was pretrained on photographs, of the films of all
hospitals but one, and is judged on that one. Copies of the films judged, and films of their patients, are not learned
from; kermany and kaggle-covid19-pneumonia, whose pneumonias are of one hospital, are left out together. A remedy is
chosen by nobody here: all stand in the table. Writes benchmarks/results/remedies.md and remedies.json.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from transfer import HERE, films_of_collections, processor

from hilum.audit.films import drawn, films_of
from hilum.audit.told import FEW_PATIENTS
from hilum.audit.transfer import learned_and_judged
from hilum.cli.console import terminal
from hilum.predict.transfer import features_of
from hilum.recipe.load import load_recipe

# Collections whose films of a class come from one hospital are one hospital here.
HOSPITAL = {
    "kermany": "Guangzhou",
    "kaggle": "Guangzhou",
    "darkcovidnet": "NIH",
    "cohen": "Cohen",
    "figure1": "Figure 1",
}
PAIRS = (("pneumonia", "normal"), ("covid-19", "pneumonia"), ("covid-19", "normal"))
# remedy -> settings of [prepare]; each is tried as it is, with the sources of a class counting alike, and with the
# features standardised in each collection by itself, which needs films of the new hospital, but no labels.
PREPARED = {
    "whole films": (),
    "letters and corners blanked": ('prepare.blank=["text","corners"]',),
    "CLAHE": ("prepare.equalise=clahe",),
    "histogram equalised": ("prepare.equalise=histogram",),
    "cut to the lungs": ("prepare.lungs=crop",),
    "lungs only": ("prepare.lungs=mask",),
    "lungs only, equalised": ("prepare.lungs=mask", "prepare.equalise=histogram"),
}


@dataclass(frozen=True)
class Row:
    """A remedy on a hospital left out: AUROC with its interval. learned: films learned from."""

    pair: str
    remedy: str
    hospital: str
    value: float
    low: float
    high: float
    films: int
    learned: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, required=True, help="the folder with data/ and weights/")
    parser.add_argument("--most", type=int, default=300, help="films of a class and collection, drawn at random")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "remedies.md")
    arguments = parser.parse_args()
    start = time.monotonic()
    manifest = films_of_collections(arguments.shared / "data", arguments.most)
    weights = arguments.shared / "weights" / "mobilenetv2_100.safetensors"
    rows: list[Row] = []
    for remedy, settings in PREPARED.items():
        recipe = load_recipe(settings=[f"model.weights={weights}", "audit.films=100000", *settings])
        films = films_of(manifest, recipe.audit)
        chosen = drawn(films)
        features = features_of(films, chosen, recipe, progress=terminal.progress())
        collections = films.manifest["collection"].to_numpy(str)[chosen]
        names, groups = np.asarray(films.classes)[films.y[chosen]], films.groups[chosen]
        rows += left_out(features, names, collections, groups, remedy, alike=False)
        rows += left_out(features, names, collections, groups, f"{remedy}; sources alike", alike=True)
        own = standardised(features, collections)
        rows += left_out(own, names, collections, groups, f"{remedy}; features standardised by source", alike=False)
    text = page(pd.DataFrame([asdict(row) for row in rows]), arguments.most, time.monotonic() - start)
    arguments.out.write_text(text, encoding="utf-8")
    arguments.out.with_suffix(".json").write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    print(text)


def left_out(
    features: NDArray[np.float64],
    names: NDArray[np.str_],
    collections: NDArray[np.str_],
    groups: NDArray[np.int64],
    remedy: str,
    *,
    alike: bool,
) -> list[Row]:
    """A row for each pair of classes and each hospital that has ten patients of both."""
    hospitals = np.array([HOSPITAL[each] for each in collections])
    rows = []
    for first, second in PAIRS:
        positive, asked = names == first, np.isin(names, (first, second))
        for hospital in dict.fromkeys(HOSPITAL.values()):
            judged = asked & (hospitals == hospital)
            learned = asked & (hospitals != hospital) & ~np.isin(groups, groups[judged])
            if min(patients_of(groups, positive, part) for part in (judged, learned)) < FEW_PATIENTS:
                continue
            weights = alike_weights(positive, collections, learned) if alike else None
            value, low, high = learned_and_judged(features, positive, groups, learned, judged, weights)
            pair = f"{first} against {second}"
            rows.append(Row(pair, remedy, hospital, value, low, high, int(judged.sum()), int(learned.sum())))
    return rows


def patients_of(groups: NDArray[np.int64], positive: NDArray[np.bool_], part: NDArray[np.bool_]) -> int:
    """Of the class of which there are fewer."""
    return min(len(np.unique(groups[part & (positive == side)])) for side in (True, False))


def alike_weights(
    positive: NDArray[np.bool_], collections: NDArray[np.str_], learned: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Within a class each source, and each class, counts alike; the weights' mean is 1."""
    cells = pd.Series([f"{side} {name}" for side, name in zip(positive, collections, strict=True)])
    counts = cells.where(learned).map(cells[learned].value_counts())
    sources = pd.Series(positive).map(lambda side: len(set(collections[learned & (positive == side)])))
    weights = np.where(learned, 1 / (counts * sources), 0.0)
    return np.asarray(weights / weights[learned].mean())


def standardised(features: NDArray[np.float64], collections: NDArray[np.str_]) -> NDArray[np.float64]:
    """Each feature with mean 0 and deviation 1 within each collection."""
    out = np.empty_like(features)
    for name in np.unique(collections):
        own = features[collections == name]
        out[collections == name] = (own - own.mean(axis=0)) / (own.std(axis=0) + 1e-6)
    return out


def page(rows: pd.DataFrame, most: int, seconds: float) -> str:
    lines = [
        "# What helps in a hospital that was left out",
        "",
        f"Made by `python benchmarks/remedies.py --shared ../shared --most {most}` in {seconds:.0f} s on",
        f"{processor()}, {os.cpu_count()} cores, shared with other work.",
        "",
        "AUROC, with its 95 % interval by patient, on the films of one hospital of what all others taught: a",
        "logistic regression on features of MobileNetV2 as pretrained on photographs. 0.5 is chance; below it, what",
        "the others teach is wrong there. “Standardised by source” uses the new films, without labels.",
        "All remedies stand here and none was chosen, so the best of a column is an optimistic figure.",
    ]
    for pair, of_pair in rows.groupby("pair", sort=False):
        hospitals = list(dict.fromkeys(of_pair["hospital"]))
        films = of_pair.drop_duplicates("hospital").set_index("hospital")["films"]
        lines += ["", f"## {pair}", ""]
        lines += ["| remedy | " + " | ".join(f"{each} left out, n = {films[each]}" for each in hospitals) + " | mean |"]
        lines += ["| --- |" + " --- |" * (len(hospitals) + 1)]
        for remedy, own in of_pair.groupby("remedy", sort=False):
            cells = [f"{row.value:.3f} [{row.low:.3f}, {row.high:.3f}]" for row in own.itertuples()]
            lines.append(f"| {remedy} | " + " | ".join(cells) + f" | {own['value'].mean():.3f} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
