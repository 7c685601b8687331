"""`hilum concepts`: which kinds of patches speak for a class."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hilum.cli.console import terminal
from hilum.cli.run import need_torch, stoppable

if TYPE_CHECKING:
    import pandas as pd

RUN = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder with weights.")]
PART = Annotated[str, typer.Option("--part", help="train, validation or test.")]


def concepts(
    run: RUN,
    part: PART = "test",
    films: Annotated[int, typer.Option("--films", help="Films looked at, the classes alike.")] = 200,
    count: Annotated[int, typer.Option("--concepts", help="Kinds of patches that are told apart.")] = 20,
    seed: Annotated[int, typer.Option("--seed", help="Of the films drawn and of the clusters.")] = 0,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Folder for concepts.html and concepts.csv; default: the run's.")
    ] = None,
) -> None:
    """Show which kinds of patches the network tells apart, and which of them speak for or against a class.

    For example: hilum concepts runs/first --part test
    """
    need_torch()
    from hilum.explain.concept_run import explain_concepts

    with stoppable(None, ""):
        found = explain_concepts(run, out, part=part, films=films, count=count, seed=seed, progress=terminal.progress())
    for line in _lines(found.table):
        terminal.say(line)
    terminal.say(f"concepts: {found.page}")
    terminal.say("Research use only: this is not a medical device.")
    terminal.answer(
        {"page": str(found.page), "table": str(found.csv), "part": part, "films": len(found.films)}
        | {"concepts": found.table.astype(object).where(found.table.notna(), None).to_dict("records")}
    )


def _lines(table: pd.DataFrame) -> list[str]:
    """What speaks for or against a class, the strongest first."""
    from hilum.explain.concept_run import factor

    speaking = table[table["speaks"] != ""]
    if speaking.empty:
        return ["no kind of patch speaks for or against a class more than chance would have it"]
    return [
        f"concept {row['concept']} speaks {row['speaks']} {row['class']}: its odds "
        f"{factor(row['log_odds_lost_beyond_others'], row['low'], row['high'])} when a patch is hidden, beside other "
        f"squares of the film, n = {row['films']} films"
        for row in speaking.to_dict("records")
    ]


def mistakes(
    run: RUN,
    part: PART = "test",
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Folder for mistakes.html and mistakes.csv; default: the run's.")
    ] = None,
) -> None:
    """Show every misclassified film: where the network looks, and the training films nearest to it.

    For example: hilum mistakes runs/first --part test
    """
    need_torch()
    from hilum.explain.mistake_run import explain_mistakes

    with stoppable(None, ""):
        found = explain_mistakes(run, out, part=part, progress=terminal.progress())
    terminal.say(found.in_short)
    terminal.say(f"mistakes: {found.page}")
    terminal.say("Research use only: this is not a medical device.")
    terminal.answer(
        {"page": str(found.page), "table": str(found.csv), "part": part, "films": found.films}
        | {"mistakes": found.table.astype(object).where(found.table.notna(), None).to_dict("records")}
    )
