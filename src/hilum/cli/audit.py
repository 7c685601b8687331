"""`hilum audit`: can the figures of these films, or of this run, be believed?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hilum.cli.console import terminal
from hilum.cli.run import DATA, RECIPE, SET, WHERE, need_torch, toml

if TYPE_CHECKING:
    import pandas as pd

    from hilum.audit.verdict import Check
    from hilum.recipe.schema import Recipe

_COLOURS = {"fail": "bold red", "warn": "yellow", "pass": "green", "not done": "dim"}


def audit(
    what: Annotated[
        Path | None, typer.Argument(metavar="[RUN|MANIFEST]", help="A run's folder, or a manifest (.parquet, .csv).")
    ] = None,
    other: Annotated[
        Path | None, typer.Argument(metavar="[RUN]", help="Another run: did its remedy help? Check by check.")
    ] = None,
    data: DATA = [],  # noqa: B006 - typer reads the default, nobody changes it
    recipe: RECIPE = [],  # noqa: B006
    setting: SET = [],  # noqa: B006
    where: WHERE = "",
    predictions: Annotated[
        Path | None,
        typer.Option(
            "--predictions", help="Judge this table of predictions (CSV), anybody's; RUN or MANIFEST knows its films."
        ),
    ] = None,
    model: Annotated[
        bool,
        typer.Option("--model", help="Ask the run's network too, of films with parts covered: minutes, needs torch."),
    ] = False,
    transfer: Annotated[
        bool,
        typer.Option(
            "--transfer", help="Learn from the films of each source, judge on each other: minutes, needs torch."
        ),
    ] = False,
    retrain: Annotated[
        bool,
        typer.Option(
            "--retrain",
            help="Train the run's recipe anew on borders, on films without lungs, on lungs alone: three trainings.",
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--out", help="Folder for audit.json and audit.html; default: the run's, else audits/DATE-TIME."
        ),
    ] = None,
) -> None:
    """Look for what makes figures too good: leaks, copies, and classes that are told without seeing a lung.

    For example: hilum audit --data cohen:cohen --data kermany:chest_xray -o audits/first
    Whether a remedy helped: hilum audit runs/before runs/after
    """
    from hilum.audit.run import save_checks
    from hilum.errors import RequestError
    from hilum.recipe.load import load_recipe
    from hilum.report.audit import write_audit

    if other is not None and what is not None:
        if data or recipe or setting or where or predictions or model or transfer or retrain:
            raise RequestError("two runs bring their own films", next_step="Write: hilum audit RUN RUN -o FOLDER")
        _compared(what, other, out or _new_folder())
        return
    if predictions is not None and (data or where):
        raise RequestError(
            "--data and --where are for films, and predictions were given",
            next_step="Write: hilum audit --predictions FILE.csv MANIFEST",
        )
    if predictions is None and (what is None) == (not data):
        raise RequestError(
            "an audit needs a run or a manifest, or films, or predictions"
            if what is None
            else "a run or manifest brings its own films",
            next_step="Write: hilum audit RUN, or: hilum audit --data READER:PATH",
        )
    given = [f"data.source={toml(data)}"] * bool(data) + [f"data.where={toml(where)}"] * bool(where)
    is_run = what is not None and (what / "recipe.toml").is_file()
    asked = load_recipe([*([str(what / "recipe.toml")] if what and is_run else []), *recipe], [*setting, *given])
    for word, given_too in (("--model", model), ("--retrain", retrain)):
        if given_too and (predictions is not None or not is_run):
            raise RequestError(f"{word} asks the network of a run", next_step=f"Write: hilum audit RUN {word}")
    if transfer and predictions is not None:
        raise RequestError("--transfer learns from films", next_step="Write: hilum audit --data SOURCE... --transfer")
    if predictions is not None:
        checks = _of_predictions(predictions, what, is_run, asked)
    else:
        checks = _of_films(what, is_run, asked, transfer=transfer)
    if model and what is not None:
        need_torch()
        from hilum.predict.probing import audit_model

        checks += audit_model(what, asked.audit, workers=asked.training.workers, progress=terminal.progress())
    if retrain and what is not None:
        need_torch()
        from hilum.evaluation.run_folder import RunFolder
        from hilum.predict.retrained import audit_retrained

        checks += audit_retrained(RunFolder(what), workers=asked.training.workers, progress=terminal.progress())
    folder = out or (what if what and is_run and predictions is None else _new_folder())
    written = save_checks(folder / "audit.json", checks)
    if folder == what:
        from hilum.report.page import write_report

        page = write_report(folder)
    else:
        page = folder / "audit.html"
        write_audit(written, page, asked=[str(each) for each in (predictions, what) if each] or data)
    show(written)
    terminal.say(f"{page}")
    terminal.say("Research use only: this is not a medical device.")
    terminal.answer({"audit": str(folder / "audit.json"), "page": str(page), "checks": written})


def _compared(first: Path, second: Path, folder: Path) -> None:
    """Both audits side by side; a run that has none yet is audited first."""
    from hilum.audit.remedy import changes, in_short
    from hilum.audit.run import audit_run, save_checks
    from hilum.evaluation.run_folder import RunFolder
    from hilum.files import write_json
    from hilum.report.audit import signed, write_changes
    from hilum.report.page import write_report

    audits = []
    for path in (first, second):
        run = RunFolder(path)
        checks = run.audit()
        if checks is None:
            terminal.say(f"{path} has no audit yet")
            checks = save_checks(path / "audit.json", audit_run(run, run.recipe().audit, progress=terminal.progress()))
            write_report(path)
        audits.append(checks)
    found = changes(*audits)
    write_json(folder / "changes.json", [change.as_json() for change in found])
    write_changes(found, folder / "changes.html", names=[first.name, second.name])
    for change in found:
        interval = "" if change.low is None else f" [{signed(change.low)}, {signed(change.high)}]"
        difference = "" if change.difference is None else f": {change.measure} {signed(change.difference)}{interval}"
        terminal.say(f"{change.outcome:<18} {change.title}{difference}")
    terminal.say(in_short(found))
    terminal.say(str(folder / "changes.html"))
    terminal.say("Research use only: this is not a medical device.")
    terminal.answer({"page": str(folder / "changes.html"), "changes": [change.as_json() for change in found]})


def show(checks: Sequence[Mapping[str, Any]]) -> None:
    """The checks for people, the worst first."""
    from rich.text import Text

    from hilum.report.audit import in_short, shown_value

    if terminal.quiet or terminal.json:
        return
    for check in checks:
        line = Text(f"{check['verdict'].upper():<9}", style=_COLOURS[check["verdict"]])
        terminal.out.print(line.append(f"{check['title']}: {shown_value(check)}", style="default not bold"))
        terminal.say(f"         {check['meaning']}")
        if check["advice"] and check["verdict"] != "pass":
            terminal.say(f"         -> {check['advice']}")
    changed = [check["title"] for check in checks if check["limit"]["changed"]]
    if changed:
        terminal.say(f"limits were changed in the recipe: {', '.join(changed)}")
    terminal.say(in_short(checks))


def _of_films(what: Path | None, is_run: bool, asked: Recipe, *, transfer: bool) -> list[Check]:
    """The checks of the films, of a run's predictions too, and of what each source teaches where that is asked for."""
    from hilum.audit.run import audit_data, audit_run
    from hilum.evaluation.run_folder import RunFolder
    from hilum.recipe.schema import Prepare

    workers, progress = asked.training.workers, terminal.progress()
    if what is not None and is_run:
        manifest = RunFolder(what).manifest()
        checks = audit_run(RunFolder(what), asked.audit, workers=workers, progress=progress)
    else:
        manifest = _films(what, asked)
        prepared = asked.prepare if asked.prepare != Prepare() else None
        checks = audit_data(manifest, asked.audit, prepared, workers=workers, progress=progress)
    if transfer:
        need_torch()
        from hilum.predict.transfer import audit_transfer

        checks += audit_transfer(manifest, asked, progress=progress)
    return checks


def _of_predictions(predictions: Path, what: Path | None, is_run: bool, asked: Recipe) -> list[Check]:
    """The checks of anybody's table; `what`, a run or a manifest, tells of its films."""
    from hilum.audit.brought import read_brought
    from hilum.audit.predictions import audit_predictions
    from hilum.data.manifest import read_manifest
    from hilum.evaluation.run_folder import RunFolder

    manifest = None
    if what is not None:
        manifest = RunFolder(what).manifest() if is_run else read_manifest(what)
    return audit_predictions(read_brought(predictions), manifest, asked.audit, where=str(predictions))


def _films(manifest_file: Path | None, asked: Recipe) -> pd.DataFrame:
    """The films to audit, of a manifest or of the sources asked for, with what their files are."""
    from hilum.data.collect import films_of_task, with_facts
    from hilum.data.manifest import read_manifest
    from hilum.data.sources import read
    from hilum.data.where import where as rows_where

    if manifest_file is None and asked.data.task != "labels":
        found = films_of_task(asked.data, asked.task, workers=asked.training.workers, progress=terminal.progress())
        for note in found.notes:
            terminal.say(f"note: {note}")
        return found.manifest
    manifest = read(*asked.data.source) if manifest_file is None else read_manifest(manifest_file)
    chosen = rows_where(manifest, asked.data.where)
    whole, unreadable = with_facts(chosen, workers=asked.training.workers, progress=terminal.progress())
    for row in unreadable.itertuples():
        terminal.say(f"cannot be read: {row.error}")
    return whole


def _new_folder() -> Path:
    import datetime

    return Path("audits") / datetime.datetime.now().strftime("%Y-%m-%d-%H%M%S")
