"""Training anew on films of which little is left: what a run's own recipe learns where there is no lung to be seen.

Frozen features (`probing_features`) say in minutes what can be learned; this says what is, and takes three trainings.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from hilum.audit.films import Films, films_of
from hilum.audit.verdict import Check, not_done, verdict_of
from hilum.data.manifest import write_manifest
from hilum.data.words import count_of
from hilum.errors import FilmError
from hilum.evaluation.paired import unpaired_interval
from hilum.evaluation.run_folder import RunFolder
from hilum.files import whole_file
from hilum.image.workers import map_films
from hilum.predict.altered import left_over
from hilum.predict.probing import FEW, auroc_by_patient
from hilum.progress import SILENT, Progress
from hilum.recipe.schema import Data, Prepare, Recipe, Split
from hilum.training.train import train

FOLDER = "retrained"  # in the run
Area = tuple[float, float, float]  # AUROC and its interval


@dataclass(frozen=True)
class Left:
    """What is left of a film: `name` of its check, its name in `altered.covered`, and in words."""

    name: str
    kind: str
    words: str


LEFT = (
    Left("retrained-border", "border-only", "the outermost tenth of the films"),
    Left("retrained-without-lungs", "lungs", "films with both lungs covered"),
    Left("retrained-from-lungs", "outside", "the lungs alone"),
)


def audit_retrained(run: RunFolder, *, workers: int | None = None, progress: Progress = SILENT) -> list[Check]:
    """Train the run's recipe three times, each on one of `LEFT` of the same films in the same parts, and compare.

    The trainings stay in RUN/retrained, and one that was stopped goes on. Refused as by `hilum.training.train.train`.
    """
    recipe, manifest = run.recipe(), run.manifest()
    test = films_of(manifest[manifest["part"] == "test"], recipe.audit)
    whole = _areas(run, test)
    checks = []
    for left in LEFT:
        folder = run.path / FOLDER / left.kind
        why = _trained(left, recipe, manifest, folder, workers=workers, progress=progress)
        if why:
            checks.append(not_done(left.name, why, test.limits, n=len(manifest)))
        else:
            checks.append(_judged(left, _areas(RunFolder(folder / "run"), test), whole, test))
    return checks


def _trained(
    left: Left, recipe: Recipe, manifest: pd.DataFrame, folder: Path, *, workers: int | None, progress: Progress
) -> str:
    """Make the films and train on them, as far as that is not done; why it cannot be, or ""."""
    out = folder / "run"
    if (out / "report.html").is_file():
        return ""
    films = _films(left, recipe.prepare, manifest, folder / "films", workers=workers, progress=progress)
    there = set(zip(films["class"], films["part"], strict=True))
    if any((name, part) not in there for name in manifest["class"].unique() for part in ("train", "test")):
        return f"of some class {left.words} cannot be made"
    write_manifest(films, folder / "films.parquet")
    asked = recipe.model_copy(
        update={
            "data": Data(source=[str(folder / "films.parquet")], task=recipe.data.task),
            "split": Split(leaks="allow"),  # the run's own parts; borders of two films may look like one film twice
            "prepare": Prepare(side_px=recipe.prepare.side_px),
        }
    )
    progress.say(f"training on {left.words}")
    train(asked, out, resume=(out / "recipe.toml").is_file(), progress=progress)
    shutil.rmtree(folder / "films")
    return ""


def _films(
    left: Left, how: Prepare, manifest: pd.DataFrame, folder: Path, *, workers: int | None, progress: Progress
) -> pd.DataFrame:
    """The rows whose films could be made, with the paths of what was made."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = manifest.reset_index(drop=True)
    items = [(Path(path), folder / f"{number:07d}.png") for number, path in enumerate(rows["path"])]
    made = np.zeros(len(rows), bool)
    with progress.task(f"covering films: {left.words}", len(rows)) as advance:
        for index, done in map_films(partial(_written, how=how, kind=left.kind), items, workers=workers):
            made[index] = done is True
            advance(1)
    chosen = rows[made].copy()
    chosen["path"] = [str(target.resolve()) for (_, target), there in zip(items, made, strict=True) if there]
    # What a film's file says holds no longer.
    return chosen.drop(columns=[c for c in ("sha256", "phash", "phash_sizes", "lungs_doubt") if c in chosen])


def _written(item: tuple[Path, Path], how: Prepare, kind: str) -> bool:
    path, target = item
    if target.is_file():
        return True
    square = left_over(path, how).get(kind)
    if square is None:
        return False
    done, data = cv2.imencode(".png", square)
    if not done:
        raise FilmError("the covered film cannot be written", where=str(path))
    with whole_file(target) as part:
        part.write_bytes(data.tobytes())
    return True


def _areas(run: RunFolder, test: Films) -> dict[str, Area]:
    """AUROC of each class against the rest on the run's test part, of those with ten patients on both sides."""
    predictions = run.predictions()
    predictions = predictions[predictions["part"] == "test"].set_index("image_id")
    here = test.manifest["image_id"].isin(predictions.index).to_numpy() & (test.y >= 0)
    of_film = predictions.loc[test.manifest["image_id"][here]]
    found = {}
    for k, label in enumerate(test.classes):
        score = of_film[f"p_{label}"].to_numpy(np.float64)
        area = auroc_by_patient(test.y[here] == k, score, test.groups[here], test.how.seed)
        if area is not None:
            found[label] = area
    return found


def _judged(left: Left, areas: dict[str, Area], whole: dict[str, Area], test: Films) -> Check:
    known = [label for label in areas if label in whole]
    if not known:
        return not_done(left.name, f"no class has {FEW} test patients", test.limits, n=len(test.y))
    limit = test.limits[left.name]
    if left.kind == "outside":
        label = max(known, key=lambda each: whole[each][0] - areas[each][0])
        value = whole[label][0] - areas[label][0]
        low, high = unpaired_interval(_named(areas[label]), _named(whole[label]))
        verdict = verdict_of(value, limit, beyond_chance=low > 0)
    else:
        label = max(known, key=lambda each: areas[each][0])
        value, low, high = areas[label]
        verdict = verdict_of(value, limit, beyond_chance=low > 0.5)
    return Check(
        left.name,
        verdict,
        f"Trained on {left.words}, the same recipe tells {label} from the rest with AUROC {areas[label][0]:.3f}, on "
        f"whole films with {whole[label][0]:.3f}" + (": it needs no lung." if _needless(left, verdict) else "."),
        limit,
        advice="" if verdict == "pass" else _ADVICE[left.kind],
        value=value,
        low=low,
        high=high,
        n=len(test.y),
        patients=test.patients(),
        details=_lines(known, areas, whole),
    )


_ADVICE = {
    "border-only": "Cut films to the lungs (--set prepare.lungs=crop), train, and audit again.",
    "lungs": "Cut films to the lungs (--set prepare.lungs=crop), train, and audit again.",
    "outside": "Take the figure of the lungs alone for what the disease gives.",
}


def _needless(left: Left, verdict: str) -> bool:
    return left.kind != "outside" and verdict in ("warn", "fail")


def _named(area: Area) -> dict[str, float | None]:
    return dict(zip(("value", "low", "high"), area, strict=True))


def _lines(labels: Sequence[str], areas: dict[str, Area], whole: dict[str, Area]) -> tuple[str, ...]:
    each = [
        f"{label}: AUROC {areas[label][0]:.3f} [{areas[label][1]:.3f}, {areas[label][2]:.3f}], on whole films "
        f"{whole[label][0]:.3f}"
        for label in labels
    ]
    return (*each, f"{count_of(len(labels), 'class')} of ten test patients or more")
