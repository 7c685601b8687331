"""`hilum train`, `evaluate`, `predict`, `demo` and `doctor`: the commands about one run."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hilum.cli.console import terminal
from hilum.errors import MissingExtraError

if TYPE_CHECKING:
    import pandas as pd

RECIPE = Annotated[
    list[str], typer.Option("--recipe", help="A recipe's name or file; several are laid over each other.")
]
SET = Annotated[list[str], typer.Option("--set", help="section.key=value, as in prepare.side_px=160; may be repeated.")]
DATA = Annotated[list[str], typer.Option("--data", help="READER:PATH or a path; several are merged.")]
WHERE = Annotated[str, typer.Option("--where", help='Keep the films for which this holds, as: view == "PA".')]

CLUSTER = Annotated[
    str, typer.Option("--cluster", help="Spread the work over a Ray cluster: HOST:PORT, or local for this machine.")
]


class EngineName(StrEnum):
    """What computes the network."""

    AUTO = "auto"
    TORCH = "torch"
    OPENVINO = "openvino"


def demo(
    out: Annotated[Path, typer.Option("-o", "--out", help="The run folder; the films lie beside it.")] = Path(
        "runs/demo"
    ),
) -> None:
    """Make synthetic films, train on them, audit the run and write the report: no download, under three minutes.

    A demo that was stopped goes on; a finished one is shown again.
    """
    need_torch()
    from hilum.audit.run import audit_run, save_checks
    from hilum.data.phantom import demo_collection
    from hilum.recipe.load import load_recipe
    from hilum.report.audit import in_short
    from hilum.report.page import write_report
    from hilum.training.train import train as train_run

    films = out.with_name(out.name + "-films")
    with stoppable(out, f"hilum demo -o {quote(str(out))}"):
        demo_collection(films, progress=terminal.progress())
        asked = load_recipe(["demo"], [f"data.source={toml([str(films / 'manifest.csv')])}"])
        run = train_run(asked, out, resume=(out / "recipe.toml").is_file(), progress=terminal.progress())
        if run.audit() is None:
            save_checks(out / "audit.json", audit_run(run, asked.audit, progress=terminal.progress()))
            write_report(out)
    terminal.say(f"audit: {in_short(run.audit() or [])}")
    terminal.say("The films are synthetic: the figures show how hilum works and say nothing about patients.")
    tell(run.metrics(), run.path, run.environment().get("notes", []))


def train(
    data: DATA = [],  # noqa: B006 - typer reads the default, nobody changes it
    recipe: RECIPE = [],  # noqa: B006
    setting: SET = [],  # noqa: B006
    where: WHERE = "",
    out: Annotated[Path | None, typer.Option("-o", "--out", help="The run folder; default runs/DATE-TIME.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the interrupted run in --out.")] = False,
    cluster: CLUSTER = "",
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", min=1, help="With --cluster: how many train together; default as many as there is room for."
        ),
    ] = None,
) -> None:
    """Train a classifier on films, and write weights, predictions, figures and a report.

    For example: hilum train --data kermany:chest_xray --set data.task=pneumonia-3 -o runs/first
    """
    from hilum.errors import RequestError
    from hilum.recipe.load import load_recipe

    given = [("data.source", data), ("data.where", where)]
    asked = load_recipe(recipe, [*setting, *(f"{key}={toml(value)}" for key, value in given if value)])
    if resume and out is None:
        raise RequestError("--resume needs the run's folder", next_step="Name it with -o.")
    if workers and not cluster:
        raise RequestError(
            "--workers are those of a cluster",
            next_step="Add --cluster local for this machine, or --cluster HOST:PORT.",
        )
    out = out or new_folder()
    need_torch()
    from hilum.training.train import train as train_run

    with stoppable(out, f"hilum train --resume -o {quote(str(out))}"), on_cluster(cluster):
        if cluster:
            from hilum.scale.parallel import train as train_together

            run = train_together(asked, out, workers=workers, resume=resume, progress=terminal.progress())
        else:
            run = train_run(asked, out, resume=resume, progress=terminal.progress())
    tell(run.metrics(), run.path, run.environment().get("notes", []))


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run, a cross-validation or an ensemble.")],
    data: Annotated[list[str], typer.Option("--data", help="READER:PATH or a path; several are merged.")],
    setting: SET = [],  # noqa: B006
    where: WHERE = "",
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Folder for predictions.csv and metrics.json.")
    ] = None,
) -> None:
    """Judge a run on other films than its own, with its own preparation, temperature and operating points.

    For example: hilum evaluate runs/first --data cohen:cohen
    """
    need_torch()
    from hilum.evaluation.elsewhere import sentences
    from hilum.predict.external import evaluate as evaluate_run

    settings = [*setting, *([f"data.where={toml(where)}"] if where else [])]
    with stoppable(None, ""):
        result = evaluate_run(run, data, settings, out=out, progress=terminal.progress())
    tell(result.metrics, result.path, result.notes, more=sentences(result.metrics))


def predict(
    run: Annotated[Path, typer.Argument(help="A run, a cross-validation, an ensemble, or a weights.safetensors.")],
    paths: Annotated[list[Path], typer.Argument(help="Films and folders of films: PNG, JPEG, DICOM.")],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="The table, CSV; default: printed.")] = None,
    engine: Annotated[
        EngineName, typer.Option("--engine", help="auto: OpenVINO on a processor, where it is installed, else torch.")
    ] = EngineName.AUTO,
    gate: Annotated[
        bool, typer.Option(help="Look whether each film is a whole frontal film of a chest, and warn where it is not.")
    ] = True,
    cluster: CLUSTER = "",
) -> None:
    """Predict films. A file that cannot be read is a row with its error, and the others go on.

    For example: hilum predict runs/first films/ -o predictions.csv
    """
    need_torch()
    from hilum.files import need_place
    from hilum.predict.predictor import load

    if out is not None:
        need_place(out, "-o out.csv")
    predictor = load(run, engine=engine.value)
    for note in predictor.notes:
        terminal.say(f"note: {note}")
    with stoppable(None, ""), on_cluster(cluster):
        if cluster:
            from hilum.scale.films import predict as predict_there

            table = predict_there(run, paths, engine=engine.value, gate=gate, progress=terminal.progress())
        else:
            table = predictor.predict(paths, gate=gate, progress=terminal.progress())
    if out is not None:
        from hilum.files import whole_file

        with whole_file(out) as part:
            table.to_csv(part, index=False)
    failed = int(table["error"].notna().sum())
    warned = int(table["warnings"].notna().sum())
    terminal.answer({"films": len(table), "failed": failed, "warned": warned, "rows": _records(table)})
    if out is None:
        _show_predictions(table)
    terminal.say(
        f"{len(table) - failed} of {len(table)} films predicted" + (f" into {out}" if out else "") + _failures(failed)
    )
    if warned:
        films = "1 film" if warned == 1 else f"{warned} films"
        terminal.say(f"{films} should not be predicted, see the column warnings")
    terminal.say("Research use only: this is not a medical device.")
    if failed == len(table):
        raise typer.Exit(1)


def doctor() -> None:
    """Say what hilum finds on this machine: versions, processor, accelerator, cache."""
    import importlib.metadata
    import platform

    from hilum import __version__
    from hilum.files import cache_folder, cores

    facts: dict[str, Any] = {"hilum": __version__, "python": platform.python_version(), "cores": cores()}
    facts["cache"] = str(cache_folder())
    for package in ("torch", "timm", "lightning", "openvino", "numpy", "pandas", "pydicom"):
        try:
            facts[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            facts[package] = "not installed"
    if facts["torch"] != "not installed":
        from hilum.model import machine

        kind = machine.accelerator("auto")
        facts["device"], facts["precision"] = kind, machine.precision("auto", kind)
    for name, value in facts.items():
        terminal.say(f"{name:10} {value}")
    terminal.answer(facts)


@contextmanager
def stoppable(out: Path | None, go_on: str) -> Iterator[None]:
    """Ctrl-C ends the work with the command that goes on with it."""
    from hilum.errors import StoppedError

    try:
        yield
    except KeyboardInterrupt:
        next_step = (
            f"Go on with: {go_on}" if out and (out / "recipe.toml").is_file() else "Give the same command again."
        )
        raise StoppedError("stopped; what was finished is kept", next_step=next_step) from None


@contextmanager
def on_cluster(address: str) -> Iterator[None]:
    """Connected to the cluster where one is named."""
    if not address:
        yield
        return
    from hilum.scale.connect import connected

    with connected(address):
        yield


def need_torch() -> None:
    """Refuse with the command that installs what training needs."""
    import importlib.util

    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("timm") is None:
        raise MissingExtraError("train")


def toml(value: str | Sequence[str]) -> str:
    """A value as --set takes it."""
    import json

    return json.dumps(value)


def new_folder() -> Path:
    """Where a run goes that was given no folder."""
    import datetime

    return Path("runs") / datetime.datetime.now().strftime("%Y-%m-%d-%H%M%S")


def tell(metrics: dict[str, Any], path: Path, notes: list[str], more: Sequence[str] = ()) -> None:
    """The figures that matter most, with n and interval, `more` lines about them, and where the rest is."""
    from hilum.evaluation.evaluate import sentence

    part = next(name for name in ("test", "validation", "train") if name in metrics)
    for note in notes:
        terminal.say(f"note: {note}")
    classes = metrics["_about"]["classes"]
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "macro_auroc", *(f"recall/{name}" for name in classes)):
        terminal.say(sentence(name, metrics[part][name], part))
    for line in more:
        terminal.say(line)
    report = path / "report.html"
    terminal.say(f"report: {report}" if report.is_file() else f"figures: {path / 'metrics.json'}")
    terminal.say("Research use only: this is not a medical device.")
    folds = {"folds": metrics["_folds"]} if "_folds" in metrics else {}
    beside = {name[1:]: metrics[name] for name in ("_called", "_pairs", "_sets", "_drop") if name in metrics}
    terminal.answer({"run": str(path), "part": part, "metrics": metrics[part], "notes": notes, **folds, **beside})


def _records(table: pd.DataFrame) -> list[dict[Hashable, Any]]:
    return table.astype(object).where(table.notna(), None).to_dict("records")


def _show_predictions(table: pd.DataFrame, most: int = 200) -> None:
    from rich.table import Column, Table

    shown = Table(Column("film", overflow="fold"), *table.columns[1:])
    for row in _records(table.head(most)):
        shown.add_row(*("" if value is None else _cell(value) for value in row.values()))
    terminal.show(shown)
    if len(table) > most:
        terminal.say(f"{len(table) - most} more rows; write them all with -o FILE.csv")


def _cell(value: Any) -> str:
    from rich.markup import escape

    return f"{value:.3f}" if isinstance(value, float) else escape(str(value))


def _failures(failed: int) -> str:
    return f"; {failed} could not be, see the column error" if failed else ""
