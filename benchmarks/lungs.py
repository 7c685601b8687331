"""The lung network: training of the one that ships, its file and card, and what it says of films and of other pictures.

    python benchmarks/lungs.py train --data ../shared/data -o runs/lungs-shipped [--resume] [--set section.key=value]
    python benchmarks/lungs.py ship runs/lungs-shipped
    python benchmarks/lungs.py sheets --data ../shared/data --run runs/lungs-shipped -o runs/sheets
    python benchmarks/lungs.py doubts --data ../shared/data [--network runs/lungs/weights.safetensors]
    python benchmarks/lungs.py speed --data ../shared/data
    python benchmarks/lungs.py people --data ../shared/data

`train` learns only from films whose licence allows a network made of them to be given away: Kermany's (CC BY 4.0), and
those of Cohen's with CC BY or CC0. All other marked films are its test part, so long as their patients are. `people`
says how well two drawings of one film agree, and of how many films one lung alone was drawn: no network can be expected
to agree better with such masks.
"""

from __future__ import annotations

import argparse
import platform
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from hilum.cli.console import terminal
from hilum.data import duplicates
from hilum.data.collect import with_facts
from hilum.data.marked import read_marked
from hilum.data.readers import cohen
from hilum.data.readers.common import files_below
from hilum.data.split import split
from hilum.errors import FilmError
from hilum.evaluation.run_folder import RunFolder
from hilum.evaluation.segmentation import dice, figures_of_parts, judge_films
from hilum.image import lungs
from hilum.image.decode import decode
from hilum.image.prepare import lungs_of, prepare

FREE = r"CC BY(?: \d\.\d)?|CC0.*"
CARD = Path(__file__).resolve().parents[1] / "docs" / "lungs-model-card.md"
CLASSES = {"kermany": "children (Kermany)", "cohen": "adults with COVID-19 (Cohen)"}


def train(data: Path, out: Path, settings: list[str], *, resume: bool) -> None:
    """A run of `hilum segment train` whose train and validation films are free."""
    from hilum.training import segment

    progress = terminal.progress()
    if resume:
        run = RunFolder(out)
    else:
        recipe = segment.recipe_of(data / "lung-masks", [*settings, "split.leaks=drop"])
        films, _ = with_facts(read_marked(data / "lung-masks"), progress=progress)
        run = segment.start(free_to_learn(split(films, recipe.split).manifest), recipe, out, progress=progress)
    segment.go_on(run, progress=progress)


def free_to_learn(films: pd.DataFrame) -> pd.DataFrame:
    """The films with free adults in train and validation, and the others' patients in test; children stay."""
    adult = films["source"] == cohen.NAME
    free = adult & films["license"].fillna("").str.fullmatch(FREE)
    films = films.assign(part=films["part"].mask(adult & ~free, "test").mask(free & (films["part"] == "test"), "train"))
    learned = set(films.loc[free, "patient_id"])
    return films[~(adult & ~free & films["patient_id"].isin(learned))].reset_index(drop=True)


def ship(run: RunFolder) -> None:
    """Write the shipped file in half precision, judge that file on the run's test films, and write its card."""
    network, films, recipe = lungs.LungNetwork(run.path / "weights.safetensors"), run.manifest(), run.recipe()
    licences = films.loc[films["part"] == "train", "license"].fillna("CC BY 4.0 (Kermany)").value_counts()
    facts = {**network.about["training"], "licences": {str(name): int(count) for name, count in licences.items()}}
    halves = {name: value.astype(np.float16) for name, value in network.weights.items()}
    most = network.about["most_strange"]
    shapes = lungs.ShapeModel(halves.pop("shape.mean"), halves.pop("shape.modes"))
    lungs.save(lungs.SHIPPED, halves, shapes, most_strange=most, preparation=network.preparation, facts=facts)
    shipped = lungs.LungNetwork(lungs.SHIPPED)
    judged = judge_films(films[films["part"] == "test"], shipped, progress=terminal.progress())
    figures = figures_of_parts(judged, recipe.evaluate, recipe.training.seed)["test"]
    text = CARD.read_text(encoding="utf-8")
    head, _, rest = text.partition("<!-- figures -->\n")
    _, _, tail = rest.partition("<!-- end of figures -->\n")
    made = [f"Fingerprint `{shipped.fingerprint}`, {lungs.SHIPPED.stat().st_size / 1e6:.1f} MB.", "", *_table(figures)]
    CARD.write_text(
        f"{head}<!-- figures -->\n" + "\n".join(made) + f"\n<!-- end of figures -->\n{tail}", encoding="utf-8"
    )
    terminal.say(f"{lungs.SHIPPED}: {shipped.fingerprint}; figures in {CARD}")


def _table(figures: dict[str, dict[str, float]]) -> list[str]:
    rows = ["| group | films, patients | Dice | 5th percentile | IoU | 95 % Hausdorff | mean distance | doubted |"]
    rows.append("| --- " * 8 + "|")
    for name, meaning in CLASSES.items():
        cells = [
            _cell(figures[f"{key}/{name}"]) for key in ("dice", "dice_p5", "iou", "hd95_pct", "surface_pct", "doubted")
        ]
        count = figures[f"dice/{name}"]
        rows.append(f"| {meaning} | {count['n']}, {count['patients']} | {' | '.join(cells)} |")
    return [*rows, "", "Distances in % of the film's longer side; brackets are 95 % intervals by patient."]


def _cell(figure: dict[str, float]) -> str:
    return f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"


def sheets(data: Path, run: RunFolder, out: Path, count: int = 12) -> None:
    """A contact sheet of each group's test films, evenly from worst to best Dice: found orange, truth green."""
    network = lungs.LungNetwork(run.path / "weights.safetensors")
    judged = pd.read_csv(run.path / "masks.csv")
    files = run.manifest().set_index("image_id")
    for name, films in judged[judged["part"] == "test"].groupby("class"):
        ranked = films.sort_values("dice")
        chosen = ranked.iloc[np.unique(np.linspace(0, len(ranked) - 1, count).round().astype(int))]
        tiles = [_tile(files.loc[row.image_id], row.dice, network) for row in chosen.itertuples()]
        tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % 4)
        picture = np.vstack([np.hstack(tiles[at : at + 4]) for at in range(0, len(tiles), 4)])
        out.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(out / f"{name}.png"), picture[:, :, ::-1])


def _tile(film: pd.Series, dice: float, network: lungs.LungNetwork, side: int = 360) -> np.ndarray:
    pixels, truth = decode(Path(film["path"])).pixels, decode(Path(film["mask"])).pixels > 127
    found = lungs_of(pixels, network)
    scale = side / max(pixels.shape)
    size = (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale))
    drawn = lungs.overlay(cv2.resize(pixels, size), found.mask(size[1], size[0]))
    outlines, _ = cv2.findContours(cv2.resize(truth.astype(np.uint8), size), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(drawn, outlines, -1, (0, 220, 120), 1)
    tile = np.zeros((side + 22, side, 3), np.uint8)
    tile[22 : 22 + size[1], : size[0]] = drawn
    words = f"{dice:.3f}{'  DOUBTED: ' + found.doubt[:34] if found.doubt else ''}"
    cv2.putText(tile, words, (4, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1, cv2.LINE_AA)
    return tile


def doubts(data: Path, network: lungs.LungNetwork) -> None:
    """How many of each kind of picture are doubted: frontal films should not be, all else should."""
    table = cohen.read(data / "cohen")
    frontal, xray = table["view"].isin(["PA", "AP", "AP supine"]), table["modality"] == "X-ray"
    kinds = {
        "Cohen, frontal films": table[frontal & xray]["path"],
        "Cohen, lateral films": table[(table["view"] == "lateral") & xray]["path"],
        "Cohen, CT slices, axial": table[(table["view"] == "axial") & ~xray]["path"],
        "Cohen, CT slices, coronal": table[(table["view"] == "coronal") & ~xray]["path"],
        "Kermany, frontal films of children": _some(data / "kermany"),
        "NIH, frontal films of adults": _some(data / "darkcovidnet" / "No_findings"),
        "Kermany, upside down": _some(data / "kermany"),
        "Kermany, on their side": _some(data / "kermany"),
        "DICOM, all ten": [data / "dicom" / name for name in files_below(data / "dicom")[0]],
    }
    turns = {"Kermany, upside down": 2, "Kermany, on their side": 1}
    terminal.say(f"network {network.fingerprint}\n\n| pictures | n | doubted | share |\n| --- | --- | --- | --- |")
    for kind, paths in kinds.items():
        said = [_doubt(Path(path), network, turns.get(kind, 0)) for path in paths]
        said = [doubt for doubt in said if doubt is not None]
        doubted = sum(map(bool, said))
        terminal.say(f"| {kind} | {len(said)} | {doubted} | {doubted / max(len(said), 1):.3f} |")


def _some(folder: Path, count: int = 300) -> list[Path]:
    names = files_below(folder)[0]
    return [folder / name for name in names[:: max(1, len(names) // count)]]


def _doubt(path: Path, network: lungs.LungNetwork, turns: int) -> str | None:
    try:
        return lungs_of(np.ascontiguousarray(np.rot90(decode(path).pixels, turns)), network).doubt
    except FilmError:
        return None


def speed(data: Path, network: lungs.LungNetwork) -> None:
    """Milliseconds a film, on one thread: the network alone, and a mask of the film's own size."""
    cv2.setNumThreads(1)
    films = [decode(path).pixels for path in _some(data / "kermany-large", 50)]
    squares = [prepare(film, network.preparation) for film in films]
    began = time.perf_counter()
    for square in squares:
        network.logits(square)
    middle = time.perf_counter()
    for film in films:
        lungs_of(film, network).mask(*film.shape)
    ended = time.perf_counter()
    terminal.say(f"{platform.platform()}, OpenCV {cv2.__version__}, one thread, {len(films)} films")
    terminal.say(f"network with mirror image: {(middle - began) / len(films) * 1e3:.1f} ms a film")
    terminal.say(f"prepare, network, mask:    {(ended - middle) / len(films) * 1e3:.1f} ms a film")


def people(data: Path) -> None:
    """Dice of the masks of films that stand twice in the collection, and how many films have only one lung drawn."""
    films, _ = with_facts(read_marked(data / "lung-masks"), progress=terminal.progress())
    masks = {row.image_id: decode(Path(row.mask)).pixels > 127 for row in films.itertuples()}
    found = duplicates.find(films)
    terminal.say("| film | the same film | Dice of the two drawings |\n| --- | --- | --- |")
    agreed = []
    for pair in found[found["kind"].isin(["exact", "near"])].itertuples():
        first, second = masks[pair.image_id_a], masks[pair.image_id_b]
        second = cv2.resize(second.astype(np.uint8), first.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
        agreed.append(dice(first, second))
        terminal.say(f"| {pair.image_id_a} | {pair.image_id_b} | {agreed[-1]:.3f} |")
    terminal.say(f"\n{len(agreed)} films drawn twice: mean Dice {np.mean(agreed):.3f}, median {np.median(agreed):.3f}")
    one = [name for name, mask in masks.items() if lungs.one_lung_alone(mask)]
    terminal.say(f"{len(one)} of {len(masks)} films with one lung drawn: {', '.join(one)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "ship", "sheets", "doubts", "speed", "people"))
    parser.add_argument("ship_run", nargs="?", type=Path, help="of ship: the run folder")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--run", type=Path)
    parser.add_argument("--network", type=Path)
    parser.add_argument("-o", "--out", type=Path, default=Path("runs/lungs-shipped"))
    parser.add_argument("--set", dest="settings", action="append", default=[])
    parser.add_argument("--resume", action="store_true")
    asked = parser.parse_args()
    match asked.what:
        case "train":
            train(asked.data, asked.out, asked.settings, resume=asked.resume)
        case "ship":
            ship(RunFolder(asked.ship_run))
        case "sheets":
            sheets(asked.data, RunFolder(asked.run), asked.out)
        case "doubts":
            doubts(asked.data, lungs.network_of(asked.network))
        case "speed":
            speed(asked.data, lungs.network_of(asked.network))
        case "people":
            people(asked.data)


if __name__ == "__main__":
    main()
