"""The five studies and DarkCovidNet, as published and improved, on real films: makes docs/studies.md.

    python benchmarks/studies.py --shared ../shared --runs runs/studies                  # runs what is missing, hours
    python benchmarks/studies.py --shared ../shared --runs runs/studies --only liverpool-better
    python benchmarks/studies.py --shared ../shared --runs runs/studies --table          # from finished runs, seconds

A run that was stopped goes on. What is not run is said. --whole leaves the runs as long as the studies had them (for an
accelerator), --hub takes the studies' own pretrained networks from the model hub. `studies_plan.py` has the runs.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from studies_plan import ALL_RUNS, PUZZLE, RESOLUTION, ROWS, Row, Run

from hilum.errors import HilumError
from hilum.evaluation.comparison import compare
from hilum.evaluation.contenders import read_contenders
from hilum.evaluation.evaluate import evaluate
from hilum.evaluation.predictions import from_probabilities
from hilum.evaluation.run_folder import RunFolder
from hilum.files import write_json, write_text
from hilum.recipe.load import load_recipe
from hilum.recipe.schema import Recipe

HERE = Path(__file__).resolve().parent
FIGURES = ("accuracy", "macro_precision", "macro_recall", "macro_f1", "recall/covid-19")
HEADS = ("accuracy", "macro precision", "macro sensitivity", "macro F1", "sensitivity of covid-19")
UNPREPARED = "unprepared.json"
INTRO = """\
# The studies, as published and improved

<!-- made by `python benchmarks/studies.py`; not to be edited -->

Test parts, each opened once; in brackets the 95 % interval, by patient where patients are known. *As published* is the
study's recipe on the films at hand; what had to be changed is said. *Improved* is trained otherwise and judged on the
study's test part, with its patients and duplicates left out of train. Several rows of one study share a run where one
network stands for theirs. LEAKS: patients or duplicates are in train and test, as in the study. Seconds are of
training alone, of all three networks where three are averaged; on the two-core machine most runs had another one beside
them, each on one core, and the puzzle's and the resolution's first were stopped for half an hour, which is in their
seconds. Those of frozen networks are the head's alone: what the backbone took is counted only since."""
THE_PUZZLE = """
## What equalisation and segmentation do, each alone

kth-snn-2020 trained on equalised and segmented films, validated on original ones, and fell from 0.91 to 0.43. Here one
training runs on films prepared in each way, in train, validation and test alike: five folds by patient. The difference
is to films as they are, paired by patient. *Accuracy on unprepared films* is their mistake: the same networks, asked
about films that were not prepared.
"""
THE_RESOLUTION = """
## What resolution costs and gains

`kermany-large`: 630 films of children, bacterial, viral, normal, longer side 448; the same training at three sides,
five folds by patient. The difference is to 224, paired by patient.
"""
_PLACES = ("data.source", "data.where", "model.weights", "prepare.lungs_network", "split.folds", "split.fold")


def main() -> None:
    arguments = _arguments()
    names = () if arguments.table else arguments.only or ALL_RUNS
    failed = [name for name in names if not _run(name, arguments)]
    write_text(arguments.out, page(arguments.runs))
    print(f"{arguments.out} is made" + (f"; failed: {', '.join(failed)}" if failed else ""))
    sys.exit(1 if failed else 0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, required=True, help="the folder with data/ and weights/")
    parser.add_argument("--runs", type=Path, required=True, help="where the runs lie, and are kept")
    parser.add_argument("--only", nargs="*", choices=ALL_RUNS, metavar="RUN", help=", ".join(ALL_RUNS))
    parser.add_argument("--table", action="store_true", help="run nothing, only make the page")
    parser.add_argument("--whole", action="store_true", help="as many epochs as the studies had")
    parser.add_argument("--hub", action="store_true", help="the studies' own pretrained networks")
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs" / "studies.md")
    return parser.parse_args()


def settings_of(run: Run, shared: str, *, whole: bool, hub: bool) -> list[str]:
    """What a run is set to."""
    settings = [*run.settings, *run.at_hand, *(() if hub else run.stand_in), *(() if whole else run.short)]
    return [setting.replace("SHARED", shared) for setting in settings]


def words(run: Run, shared: str, runs: str, *, whole: bool = False, hub: bool = False) -> list[str]:
    """The command of a run, without its folder."""
    if run.members:
        return ["hilum", "ensemble", *(f"{runs}/{name}" for name in run.members)]
    out = ["hilum", "crossval" if run.folds else "train"]
    for recipe in run.recipes:
        out += ["--recipe", recipe]
    for source in run.sources:
        out += ["--data", source.replace("SHARED", shared)]
    for setting in settings_of(run, shared, whole=whole, hub=hub):
        out += ["--set", setting]
    return out + (["--folds", "5"] if run.folds else [])


def _command(name: str, runs: Path) -> str:
    """The command that a run was made with, told by its recipe; of one that is not run, the one that would run."""
    run, folder = ALL_RUNS[name], runs / name
    if run.members:
        return f"`{shlex.join([*words(run, '../shared', 'RUNS'), '-o', f'RUNS/{name}'])}`"
    variants = [(whole, hub) for whole in (False, True) for hub in (False, True)]
    if (folder / "recipe.toml").is_file():
        done = RunFolder(folder).recipe()
        asked = {each: load_recipe(run.recipes, settings_of(run, "", whole=each[0], hub=each[1])) for each in variants}
        variants = [
            each
            for each, recipe in asked.items()
            if (recipe.stage, recipe.model.backbone) == (done.stage, done.model.backbone)
        ]
    if not variants:
        return "made with other settings than the plan has now: see its recipe.toml"
    whole, hub = variants[0]
    return f"`{shlex.join([*words(run, '../shared', 'RUNS', whole=whole, hub=hub), '-o', f'RUNS/{name}'])}`"


def _run(name: str, arguments: argparse.Namespace) -> bool:
    """Run or go on, unless it is finished; whether it then is."""
    folder, run = arguments.runs / name, ALL_RUNS[name]
    if not all(_run(member, arguments) for member in run.members):
        return False
    if not (folder / "report.html").is_file():
        command = words(run, str(arguments.shared), str(arguments.runs), whole=arguments.whole, hub=arguments.hub)
        if (folder / "recipe.toml").is_file() and not run.members:
            command = [*command[:2], "--resume"]
        command += ["-o", str(folder)]
        print(f"== {name}: {shlex.join(command)}", flush=True)
        if subprocess.run([sys.executable, "-m", "hilum.cli.app", *command[1:]], check=False).returncode:
            return False
    if name in _mismatched() and not (folder / UNPREPARED).is_file():
        write_json(folder / UNPREPARED, unprepared(RunFolder(folder)))
    return True


def _mismatched() -> list[str]:
    return [name for how, (name, _) in PUZZLE.items() if how != ("none", "none")]


def unprepared(whole: RunFolder) -> dict[str, Any]:
    """The figures of a cross-validation whose films are tested as they are, though its networks learned prepared ones.

    That is what kth-snn-2020 did, and what hilum's own commands cannot do.
    """
    from hilum.predict.predictor import load
    from hilum.progress import SILENT
    from hilum.training.prepared import prepare_films

    tables = []
    for run in whole.folds:
        (network,) = load(run.path).networks
        films = run.manifest().query("part == 'test'")
        plain = network.preparation.model_copy(update={"equalise": "none", "lungs": "none", "lungs_network": ""})
        prepared = prepare_films(films, network.classes, plain, workers=None, progress=SILENT)
        p = np.concatenate([network.probabilities(batch) for batch in prepared.batches()])
        tables.append(from_probabilities(films, p, list(network.classes)))
    pooled = pd.concat(tables, ignore_index=True)
    found: dict[str, Any] = evaluate(pooled, whole.recipe().evaluate, operating_points={})["test"]
    return found


def page(runs: Path) -> str:
    """docs/studies.md, from the runs that are finished."""
    machines: list[str] = []
    lines = [INTRO]
    for study in dict.fromkeys(row.study for row in ROWS):
        lines += ["", f"## {study}", "", *_study([row for row in ROWS if row.study == study], runs, machines)]
    lines += _peer(runs) + _puzzle(runs, machines) + _resolution(runs, machines)
    lines += ["", "## Machines and commands", ""]
    lines += [*(f"{number}. {machine}" for number, machine in enumerate(machines, 1)), *[""] * bool(machines)]
    lines += [f"- {name}: {_command(name, runs)}" for name in ALL_RUNS]
    return "\n".join([*lines, ""])


def _head(names: Sequence[str]) -> list[str]:
    return ["| " + " | ".join(names) + " |", "| --- " * len(names) + "|"]


def _study(rows: Sequence[Row], runs: Path, machines: list[str]) -> list[str]:
    """A study's models with their published figures, each followed by the runs that stand for it and no later one."""
    lines = _head(("model", "whose", *HEADS, "tested", "seconds", "machine", "remarks"))
    for number, row in enumerate(rows):
        about = load_recipe([row.recipe]).about
        published = about.others[row.other] if row.other else about.published
        cells = [f"{published[name]:.3f}" if name in published else "" for name in FIGURES]
        also = [f"{name} {value:.3f}" for name, value in published.items() if " " in name]
        tested = f"{about.films} films in all" if about.films else ""
        lines.append(f"| {row.model} | published | {' | '.join(cells)} | {tested} | | | {'; '.join(also)} |")
        later = {name for other in rows[number + 1 :] for name in other.runs.values()}
        for whose, name in row.runs.items():
            if name not in later:
                cells = _cells(name, runs, machines, validated=any("validation" in name for name in published))
                lines.append(f"| | ours, {whose}: {name} | {' | '.join(cells)} |")
    return lines


def _cells(name: str, runs: Path, machines: list[str], *, validated: bool) -> list[str]:
    """Figures, films tested, seconds, machine and remarks of a run; "not run" where it is not finished."""
    if not (runs / name / "metrics.json").is_file():
        return [_absent(runs / name), *[""] * (len(FIGURES) + 3)]
    run, plan = RunFolder(runs / name), ALL_RUNS[name]
    metrics, about = run.metrics(), run.environment()
    remarks = [] if plan.members else changes(load_recipe(plan.recipes, plan.settings), run.recipe())
    remarks += ["LEAKS"] if any("leaks were allowed" in note for note in about["notes"]) else []
    remarks += ["split by film"] if about["scheme"] == "random" else []
    if validated and "validation" in metrics:
        remarks.append(f"validation accuracy {_figure(metrics['validation']['accuracy'])}")
    test = metrics["test"]
    shown = [_figure(test.get(figure)) for figure in FIGURES]
    seconds = f"{about['training_seconds']:.0f}"
    return [*shown, _tested(test["accuracy"]), seconds, str(_machine(about, machines)), "; ".join(remarks)]


def _absent(folder: Path) -> str:
    return "not finished" if folder.exists() else "not run"


def changes(asked: Recipe, done: Recipe) -> list[str]:
    """What a run changed of the recipe that it is called by, but for where films and weights lie.

    >>> changes(load_recipe(["liverpool-2022"]), load_recipe(["liverpool-2022"], ["model.backbone=resnet18"]))
    ['model.backbone resnet18, not InceptionV3']
    """
    before, after = _keys(asked.model_dump()), _keys(done.model_dump())
    return [
        f"{key} {after.get(key, 'none')}, not {before.get(key, 'none')}"
        for key in dict.fromkeys([*before, *after])
        if before.get(key) != after.get(key) and key not in _PLACES and not key.startswith(("about", "training"))
    ]


def _keys(tree: Any, name: str = "") -> dict[str, Any]:
    """Every key of a recipe by its full name.

    >>> _keys({"stage": [{"epochs": 5}], "data": {"draw": {"normal": 9}}})
    {'stage.1.epochs': 5, 'data.draw.normal': 9}
    """
    if isinstance(tree, list) and tree and isinstance(tree[0], dict):
        tree = {str(number): inner for number, inner in enumerate(tree, 1)}
    if not isinstance(tree, dict):
        return {name: tree}
    found: dict[str, Any] = {}
    for word, inner in tree.items():
        found |= _keys(inner, f"{name}.{word}" if name else word)
    return found


def _figure(figure: Mapping[str, Any] | None) -> str:
    """
    >>> _figure({"value": 0.9, "low": 0.6, "high": 0.98}), _figure({"value": None})
    ('0.900 [0.600, 0.980]', '–')
    """
    if figure is None:
        return ""
    if figure["value"] is None:
        return "–"
    interval = "" if figure["low"] is None else f" [{figure['low']:.3f}, {figure['high']:.3f}]"
    return f"{figure['value']:.3f}{interval}"


def _tested(figure: Mapping[str, Any]) -> str:
    patients = f" of {figure['patients']} patients" if figure["patients"] else ""
    return f"{figure['n']} films{patients}"


def _machine(about: Mapping[str, Any], machines: list[str]) -> int:
    """The number under which a machine stands at the end of the page."""
    packages = ", ".join(f"{name} {about['packages'][name]}" for name in ("torch", "timm"))
    kind = (
        about["accelerator"] if about.get("device", "cpu") != "cpu" else f"{about['processor']}, {about['cores']} cores"
    )
    machine = f"{kind}, {about['memory_gib']} GiB; hilum {about['hilum']}, {packages}"
    if machine not in machines:
        machines.append(machine)
    return machines.index(machine) + 1


def _difference(runs: Path, name: str, reference: str, figure: str = "accuracy") -> str:
    """The paired difference of a run from a reference, its interval and the p of a patient sign test; "" if not run."""
    folders = [runs / reference, runs / name]
    if name == reference or not all((folder / "metrics.json").is_file() for folder in folders):
        return ""
    try:
        found = compare(read_contenders(folders))
    except HilumError as error:
        return f"cannot be compared: {error.what}"
    other = found.contenders[1].name
    apart = found.differences[other][figure]
    return (
        f"{apart['value']:+.3f} [{apart['low']:+.3f}, {apart['high']:+.3f}], p {found.tests[other]['p_patients']:.2g}"
    )


def _peer(runs: Path) -> list[str]:
    apart = _difference(runs, "darkcovidnet-together", "darkcovidnet")
    told = f"accuracy of ours less that of DarkCovidNet: {apart}" if apart else "not run"
    return ["", f"On the same five folds by patient: {told}."]


def _puzzle(runs: Path, machines: list[str]) -> list[str]:
    """What each preparation does alone, when train, validation and test are prepared alike, and when they are not."""
    heads = ("equalise", "lungs", "accuracy", "macro F1", "difference in accuracy", "accuracy on unprepared films")
    lines = [THE_PUZZLE, *_head((*heads, "tested", "seconds", "machine"))]
    reference = PUZZLE["none", "none"][0]
    for (equalise, lungs), (name, _) in PUZZLE.items():
        found = _brief(runs / name, machines)
        otherwise = runs / name / UNPREPARED
        mistaken = _figure(json.loads(otherwise.read_text())["accuracy"]) if otherwise.is_file() else ""
        cells = [*found[:2], _difference(runs, name, reference), mistaken, *found[2:]]
        lines.append(f"| {equalise} | {lungs} | {' | '.join(cells)} |")
    return lines


def _resolution(runs: Path, machines: list[str]) -> list[str]:
    """What more pixels cost and gain."""
    heads = ("side_px", "accuracy", "macro F1", "difference in accuracy", "tested", "seconds", "machine")
    lines = [THE_RESOLUTION, *_head(heads)]
    for side, (name, _) in RESOLUTION.items():
        found = _brief(runs / name, machines)
        cells = [*found[:2], _difference(runs, name, RESOLUTION[224][0]), *found[2:]]
        lines.append(f"| {side} | {' | '.join(cells)} |")
    return lines


def _brief(folder: Path, machines: list[str]) -> list[str]:
    """Accuracy, macro F1, films tested, seconds, machine."""
    if not (folder / "metrics.json").is_file():
        return [_absent(folder), "", "", "", ""]
    run = RunFolder(folder)
    test, about = run.metrics()["test"], run.environment()
    figures = [_figure(test["accuracy"]), _figure(test["macro_f1"])]
    return [*figures, _tested(test["accuracy"]), f"{about['training_seconds']:.0f}", str(_machine(about, machines))]


if __name__ == "__main__":
    main()
