"""`hilum export`: a run's network for other programs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hilum.cli.console import terminal
from hilum.cli.run import need_torch, stoppable


class Format(StrEnum):
    """What kind of file."""

    OPENVINO = "openvino"
    ONNX = "onnx"


class Precision(StrEnum):
    """In what numbers the file is stored and computed."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    INT8 = "int8"


def export(
    run: Annotated[Path, typer.Argument(help="A run, or a weights.safetensors.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The new folder of the exported network.")],
    runtime: Annotated[Format, typer.Option("--format", help="openvino for processors, onnx for other programs.")] = (
        Format.OPENVINO
    ),
    precision: Annotated[
        Precision,
        typer.Option(
            "--precision",
            help="bfloat16 and int8 are faster, for openvino only, and refused where they lose more than 0.005 of "
            "balanced accuracy on validation.",
        ),
    ] = Precision.FLOAT32,
) -> None:
    """Write a run's network for other programs, with all that is needed to use it, and compare it with the run.

    For example: hilum export runs/first -o exported/first && hilum predict exported/first films/
    """
    need_torch()
    from hilum.predict.export_run import export as export_run
    from hilum.predict.export_run import json_of

    with stoppable(None, ""):
        made = export_run(run, out, runtime=runtime.value, precision=precision.value, progress=terminal.progress())
    checked = made.checked
    terminal.say(
        f"compared on {checked.films} {checked.part} films: probabilities differ by {checked.largest_difference:.1g}"
    )
    if checked.balanced_accuracy is not None and checked.of_run is not None:
        terminal.say(
            f"balanced accuracy {checked.balanced_accuracy:.4f}, of the run in float32 {checked.of_run:.4f}, validation"
        )
    terminal.say(f"exported: {made.folder}")
    terminal.say("Research use only: this is not a medical device.")
    terminal.answer(json_of(made))
