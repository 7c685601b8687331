"""What must be seen: a map finds the finding that decides the class, and gives away a letter that does."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import hilum
from hilum.data.phantom import NORTH, Finding, Shortcut, collection, write
from hilum.explain.run import explain_part
from hilum.report.page import write_report

PATIENTS, SIDE = 160, 96
# Small, and with 12 x 12 places, so that one processor learns it in seconds and a letter has places of its own.
NETWORK = (
    f"prepare.side_px={SIDE}",
    "model.backbone=cnn",
    "model.weights=none",
    "model.cnn.channels=[16, 32, 32]",
    "model.cnn.pools=[2, 2, 2]",
    "stage.epochs=30",
    "stage.learning_rate=1e-2",
    "stage.batch_size=16",
    "training.workers=1",
    "evaluate.bootstrap=100",
    "predict.engine=torch",
)


def explained(
    folder: Path,
    class_: str,
    classes: Mapping[str, Sequence[Finding]],
    *,
    shortcuts: Sequence[Shortcut] = (),
    settings: Sequence[str] = (),
) -> dict[str, Any]:
    """The figures of Grad-CAM for one class, of a run in folder/run on films that differ in nothing else."""
    films = collection(
        PATIENTS, seed=5, side_px=SIDE, hospitals=(NORTH,), films_per_patient=(1, 1), test_share=0.25,
        classes=classes, shortcuts=shortcuts,
    )  # fmt: skip
    write(films, folder / "films", masks=not shortcuts)
    run = hilum.train(data=str(folder / "films" / "manifest.csv"), settings=[*NETWORK, *settings], out=folder / "run")
    assert run.metrics()["test"]["accuracy"]["value"] >= 0.9  # else it would be the map of a guess
    found = explain_part(run.path, class_=class_, workers=1)
    return found.summary["methods"]["grad-cam"]["figures"][class_]


@pytest.mark.slow
@pytest.mark.usefixtures("no_pages")
def test_grad_cam_points_at_the_effusion_that_decides_the_class(tmp_path: Path) -> None:
    # A fourth block, so that a place sees enough of the film to tell an effusion from the heart.
    deeper = ("model.cnn.channels=[16, 32, 32, 32]", "model.cnn.pools=[2, 2, 2, 1]")
    classes = {"pneumonia": (Finding("effusion", contrast=0.5, size=0.3),), "normal": ()}
    figures = explained(tmp_path, "pneumonia", classes, settings=deeper)
    assert figures["pointing"]["n"] >= 15
    assert figures["pointing"]["value"] >= 0.9
    assert figures["inside_finding"]["value"] > 3 * figures["finding_area"]["value"]


@pytest.mark.slow
@pytest.mark.usefixtures("no_pages")
def test_a_letter_in_the_corner_is_given_away_and_the_report_says_so(tmp_path: Path) -> None:
    marker = Shortcut("marker", 1.0, "covid-19")
    figures = explained(tmp_path, "covid-19", {"covid-19": (), "normal": ()}, shortcuts=[marker])
    assert figures["inside_lungs"]["n"] >= 15
    assert figures["inside_lungs"]["value"] < 0.5
    report = re.sub(r"\s+", " ", write_report(tmp_path / "run").read_text(encoding="utf-8"))
    assert "Where the model looks" in report
    assert "Over half of what speaks for the classes lies outside the lungs." in report
