"""What helps a trained model in a hospital that it has not seen? The audit's remedies, one hospital left out at a time.

    python benchmarks/remedies_trained.py --shared ../shared              # hours on 2 cores; goes on where it stopped
    python benchmarks/remedies_trained.py --shared ../shared --only "whole films" "cut to the lungs"

The fine-tuning recipe learns three classes from the films of all hospitals but one and is judged on that one, as
`hilum crossval --set split.scheme=source` does; copies of the films judged, and films of their patients, are not
learned from. The first row is what most would do: kaggle-covid19-pneumonia alone, and no remedy. A remedy is chosen by
nobody here: all stand in the table. Runs are kept in --runs; writes benchmarks/results/remedies_trained.md and .json.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from remedies import HOSPITAL, PAIRS
from transfer import HERE, films_of_collections, processor

from hilum.evaluation.intervals import bootstrap_weights, bounded_interval, patient_numbers, wilson_interval
from hilum.evaluation.metrics import auroc
from hilum.evaluation.paired import difference_interval

ALONE, WHOLE = "kaggle-covid19-pneumonia alone", "whole films"
BLANK, BALANCED = 'prepare.blank=["text","corners"]', ("balance.how=weights", "balance.by_source=true")
REMEDIES = {
    ALONE: (),
    WHOLE: (),
    "sources balanced within classes": BALANCED,
    "letters and corners blanked": (BLANK,),
    "letters and corners blanked, sources balanced": (BLANK, *BALANCED),
    "cut to the lungs": ("prepare.lungs=crop",),
    "cut to the lungs, sources balanced": ("prepare.lungs=crop", *BALANCED),
    "lungs only, equalised": ("prepare.lungs=mask", "prepare.equalise=histogram"),
    "matched by view": ('data.match=["view"]',),
}
HOSPITALS = ("Guangzhou", "NIH", "Cohen")
FEWEST = 10  # patients of a class, below which a pair is not judged
RESAMPLES = 1000


@dataclass(frozen=True)
class Row:
    """A remedy on a hospital left out. gain: AUROC above that of whole films, of the same films, with its interval."""

    pair: str
    remedy: str
    hospital: str
    value: float
    low: float
    high: float
    gain: float
    gain_low: float
    gain_high: float
    films: int
    patients: int


@dataclass(frozen=True)
class Called:
    """Share of a hospital's films without COVID-19 that the model calls COVID-19."""

    remedy: str
    hospital: str
    value: float
    low: float
    high: float
    films: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, required=True, help="the folder with data/ and weights/")
    parser.add_argument("--most", type=int, default=200, help="films of a class and collection, drawn at random")
    parser.add_argument("--epochs", type=int, default=4, help="of the one stage of the recipe fine-tune")
    parser.add_argument("--only", nargs="*", choices=REMEDIES, default=list(REMEDIES), help="these only")
    parser.add_argument("--runs", type=Path, default=Path("runs/remedies"), help="where the runs are kept")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "remedies_trained.md")
    arguments = parser.parse_args()
    arguments.runs.mkdir(parents=True, exist_ok=True)
    manifest = _manifest(arguments)
    predicted: dict[str, pd.DataFrame] = {}
    refused: dict[str, str] = {}
    for remedy in arguments.only:
        try:
            predicted[remedy] = _predictions(remedy, manifest, arguments)
        except subprocess.CalledProcessError as error:
            refused[remedy] = error.stderr.strip().splitlines()[-1]
    rows = [row for remedy in predicted for row in rows_of(remedy, predicted)]
    called = [each for remedy, films in predicted.items() for each in called_covid(remedy, films)]
    kept = {"rows": [asdict(row) for row in rows], "called": [asdict(each) for each in called], "refused": refused}
    arguments.out.with_suffix(".json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    text = page(rows, called, refused, arguments)
    arguments.out.write_text(text, encoding="utf-8")
    print(text)


def _manifest(arguments: argparse.Namespace) -> Path:
    """Films of all collections, whose source is their hospital."""
    path: Path = arguments.runs / f"films-{arguments.most}.csv"
    if not path.is_file():
        films = films_of_collections(arguments.shared.resolve() / "data", arguments.most)
        films["source"] = films["collection"].map(HOSPITAL)
        films["label"] = films["class"]
        films = films[films["source"].isin(HOSPITALS)]
        films.drop(columns=["class", "split"], errors="ignore").to_csv(path, index=False)
    return path


def _predictions(remedy: str, manifest: Path, arguments: argparse.Namespace) -> pd.DataFrame:
    """What the models say of films of a hospital that they have not seen: image_id, y, patient, hospital, p_*."""
    run = arguments.runs / remedy.replace(" ", "-").replace(",", "")
    weights = arguments.shared.resolve() / "weights" / "mobilenetv2_100.safetensors"
    settings = [
        "data.task=covid-3",
        f"model.weights={weights}",
        "split.leaks=drop",
        f"stage.epochs={arguments.epochs}",
        *REMEDIES[remedy],
    ]
    words = ["--data", str(manifest), "--recipe", "fine-tune"]
    if remedy == ALONE:
        where = 'collection == "kaggle"'
        _hilum("train", run, [*words, "--where", where], [*settings, "split.scheme=patient", "split.test=0"])
        judged = run / "elsewhere"
        if not (judged / "predictions.csv").is_file():
            elsewhere = 'source == "NIH" or source == "Cohen"'
            _run(["evaluate", str(run), "--data", str(manifest), "--where", elsewhere, "-o", str(judged)])
        films = pd.read_parquet(judged / "manifest.parquet")
        said = pd.read_csv(judged / "predictions.csv")
    else:
        _hilum("crossval", run, words, [*settings, "split.scheme=source"])
        films, said = pd.read_parquet(run / "manifest.parquet"), pd.read_csv(run / "predictions.csv")
    said = said[said["part"] == "test"] if "part" in said else said
    chances = [column for column in said if column.startswith("p_")]
    known = films[["image_id", "class", "patient_id", "source"]]
    return said[["image_id", *chances]].merge(known, on="image_id", validate="one_to_one")


def _hilum(command: str, run: Path, words: list[str], settings: list[str]) -> None:
    """Train, or go on where an earlier call of this script was stopped."""
    if (run / "report.html").is_file():
        return
    if (run / "recipe.toml").is_file():
        _run([command, "--resume", "-o", str(run)])
        return
    _run([command, *words, *(word for setting in settings for word in ("--set", setting)), "-o", str(run)])


def _run(words: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", "hilum.cli.app", *words], stderr=subprocess.PIPE, text=True)
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        raise subprocess.CalledProcessError(done.returncode, words, stderr=done.stderr)


def rows_of(remedy: str, predicted: dict[str, pd.DataFrame]) -> Iterator[Row]:
    """A row for each pair of classes and each hospital that has ten patients of both."""
    films = predicted[remedy]
    whole = predicted.get(WHOLE)
    if whole is not None:
        before = whole.set_index("image_id").add_prefix("before_")
        films = films.join(before, on="image_id", how="left")
    for first, second in PAIRS:
        for hospital in HOSPITALS:
            own = films[(films["source"] == hospital) & films["class"].isin((first, second))]
            positive = (own["class"] == first).to_numpy()
            fewer = min(_patients(own[positive == side]) for side in (True, False))
            if fewer < FEWEST:
                continue
            patients = patient_numbers(own["patient_id"], own["image_id"])
            score = _score(own, first, second)
            value, replicates = _auroc(positive, score, patients)
            low, high = bounded_interval(value, replicates, films=math.inf, patients=fewer)
            gain = gain_low = gain_high = math.nan
            if whole is not None and remedy != WHOLE and own[f"before_p_{first}"].notna().all():
                old, old_replicates = _auroc(positive, _score(own, first, second, "before_"), patients)
                gain = value - old
                gain_low, gain_high = difference_interval(
                    gain, (replicates - old_replicates)[:, None], np.array([fewer]), counted=False
                )
            pair, counts = f"{first} against {second}", (len(own), _patients(own))
            yield Row(pair, remedy, hospital, value, low, high, gain, gain_low, gain_high, *counts)


def _score(films: pd.DataFrame, first: str, second: str, prefix: str = "") -> NDArray[np.float64]:
    """Probability of the first class, were there these two only."""
    chance, other = films[f"{prefix}p_{first}"].to_numpy(float), films[f"{prefix}p_{second}"].to_numpy(float)
    return np.asarray(np.log(np.maximum(chance, 1e-12)) - np.log(np.maximum(other, 1e-12)))


def _auroc(
    positive: NDArray[np.bool_], score: NDArray[np.float64], patients: NDArray[np.int64]
) -> tuple[float, NDArray[np.float64]]:
    blocks = bootstrap_weights(patients, positive.astype(np.int64), RESAMPLES, 0)
    return float(auroc(positive, score)), np.concatenate([auroc(positive, score, block) for block in blocks])


def _patients(films: pd.DataFrame) -> int:
    return len(np.unique(patient_numbers(films["patient_id"], films["image_id"]))) if len(films) else 0


def called_covid(remedy: str, films: pd.DataFrame) -> Iterator[Called]:
    chances = films.filter(regex="^p_").rename(columns=lambda name: name.removeprefix("p_"))
    named = chances.idxmax(axis=1)
    for hospital in HOSPITALS:
        without = (films["source"] == hospital) & (films["class"] != "covid-19")
        count = int(without.sum())
        if count:
            hits = int((named[without] == "covid-19").sum())
            yield Called(remedy, hospital, hits / count, *wilson_interval(hits, count), count)


def page(rows: list[Row], called: list[Called], refused: dict[str, str], arguments: argparse.Namespace) -> str:
    lines = [
        "# What helps a trained model in a hospital that was left out",
        "",
        f"Made by `python benchmarks/remedies_trained.py --shared ../shared --most {arguments.most} "
        f"--epochs {arguments.epochs}` on",
        f"{processor()}, {os.cpu_count()} cores. MobileNetV2, recipe `fine-tune`, three classes.",
        "",
        "AUROC, with its 95 % interval by patient, on the films of one hospital of a model that learned from all",
        "others; below it what is gained over whole films, with its interval. 0.5 is chance. All remedies stand here",
        "and none was chosen, so the best of a column is an optimistic figure.",
    ]
    for pair in dict.fromkeys(row.pair for row in rows):
        own = [row for row in rows if row.pair == pair]
        hospitals = [name for name in HOSPITALS if any(row.hospital == name for row in own)]
        counts = {name: max(row.films for row in own if row.hospital == name) for name in hospitals}
        lines += ["", f"## {pair}", ""]
        lines += [
            "| remedy | " + " | ".join(f"{name} left out, n = {counts[name]}" for name in hospitals) + " | mean |"
        ]
        lines += ["| --- |" + " --- |" * (len(hospitals) + 1)]
        for remedy in dict.fromkeys(row.remedy for row in own):
            cells = {row.hospital: row for row in own if row.remedy == remedy}
            mean = f"{np.mean([row.value for row in cells.values()]):.3f}" if len(cells) == len(hospitals) else ""
            shown = [_cell(cells[name]) if name in cells else "" for name in hospitals]
            lines.append(f"| {remedy} | " + " | ".join(shown) + f" | {mean} |")
    lines += ["", "## Films without COVID-19 that are called COVID-19", ""]
    hospitals = [name for name in HOSPITALS if any(each.hospital == name for each in called)]
    lines += ["| remedy | " + " | ".join(f"{name} left out" for name in hospitals) + " |"]
    lines += ["| --- |" + " --- |" * len(hospitals)]
    for remedy in dict.fromkeys(each.remedy for each in called):
        shares = {each.hospital: each for each in called if each.remedy == remedy}
        shown = [
            f"{one.value:.3f} [{one.low:.3f}, {one.high:.3f}], n = {one.films}" if (one := shares.get(name)) else ""
            for name in hospitals
        ]
        lines.append(f"| {remedy} | " + " | ".join(shown) + " |")
    lines += [f"\nRefused: {remedy}: {why}" for remedy, why in refused.items()]
    return "\n".join([*lines, ""])


def _cell(row: Row) -> str:
    gain = "" if math.isnan(row.gain) else f"<br>{row.gain:+.3f} [{row.gain_low:+.3f}, {row.gain_high:+.3f}]"
    return f"{row.value:.3f} [{row.low:.3f}, {row.high:.3f}]{gain}"


if __name__ == "__main__":
    main()
