"""`hilum paperwork`: a model card and reporting checklists of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hilum.cli.console import terminal


def paperwork(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run, a cross-validation or an ensemble.")],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Folder; default: RUN/paperwork.")] = None,
) -> None:
    """Write a model card, TRIPOD+AI and CLAIM, filled in as far as the run knows, the rest marked open.

    For example: hilum paperwork runs/first
    """
    from hilum.report.paperwork import write_paperwork

    papers = write_paperwork(run, out)
    folder = out or run / "paperwork"
    for name, paper in papers.items():
        terminal.say(f"{folder / name}.md and .html: {paper.in_short}")
    terminal.say("Research use only: this is not a medical device.")
    terminal.answer(
        {
            "folder": str(folder),
            "forms": {
                name: {
                    "source": paper.form.source,
                    **paper.counted,
                    "open_items": [answer.item.number for answer in paper.answers if answer.open],
                }
                for name, paper in papers.items()
            },
        }
    )
