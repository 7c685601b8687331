"""`hilum export`: a run's network as a file for other programs, compared with the run before anybody gets it."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hilum import __version__
from hilum.data.phantom import film
from hilum.errors import DataError, HilumError, RequestError
from hilum.evaluation import metrics
from hilum.evaluation.run_folder import RunFolder
from hilum.files import write_json
from hilum.image.prepare import prepared, settled
from hilum.model import classifier as classifiers
from hilum.model.classifier import Classifier
from hilum.model.engine import TOLERANCE, Engine, largest_difference
from hilum.model.export import write_onnx, write_openvino
from hilum.model.exported import FILES, RECORD, Checked, Exported, Precision, Record
from hilum.model.inference import logits
from hilum.predict.members import members_of, sets_of
from hilum.progress import SILENT, Progress
from hilum.recipe.schema import Prepare
from hilum.training.checks import check_vacant
from hilum.training.environment import sha256_of
from hilum.training.prepared import Films, prepare_films

# A file that loses more balanced accuracy on the validation part than this is not handed over.
FALL = 0.005
# Of train, drawn alike from each class: what NNCF takes by default.
_CALIBRATED = 300
_SYNTHETIC = 16
# Float32 cannot lose accuracy: a few films tell whether the conversion is right.
_OF_FLOAT32 = 64
_SEED = 0


@dataclass(frozen=True)
class Export:
    """What was written. folder: with the files of `model.exported`."""

    folder: Path
    record: Record
    checked: Checked


def export(
    run: Path | str,
    out: Path | str,
    *,
    runtime: Literal["onnx", "openvino"] = "openvino",
    precision: Precision = "float32",
    progress: Progress = SILENT,
) -> Export:
    """Write the network of a run, or of a weights file, for other programs into the new folder `out`.

    float32 gives torch's probabilities to 1e-4, on the validation films or, where the run's films are not here, on
    synthetic ones. bfloat16 and int8 are for OpenVINO alone and need the run's films: int8 is calibrated on 300 of its
    train part, and both are judged on validation. Refused with RequestError: no single run, another precision of ONNX,
    a folder that is not empty; with HilumError: a file that does not do as well as the run (nothing is left of it).
    """
    out, members = Path(out), members_of(Path(run))
    if members.kind != "run":
        raise RequestError(
            "only a single network can be exported",
            where=str(run),
            next_step="Name one of the runs that it is made of.",
        )
    if runtime == "onnx" and precision != "float32":
        raise RequestError(
            f"ONNX is exported in float32, not in {precision}",
            where="--precision",
            next_step="Use --format openvino, or convert the float32 file with the tools of where it is to run.",
        )
    check_vacant(out)
    classifier, about = classifiers.load(members.weights[0])
    record = _record(members.weights[0], about, runtime, precision)
    films = _films(members.weights[0].parent, record, needed=precision != "float32", progress=progress)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        folder = Path(scratch) / "whole"
        folder.mkdir()
        with progress.task(f"writing {runtime}, {precision}", 1) as advance:
            if runtime == "onnx":
                write_onnx(classifier, record, folder / FILES[runtime])
            else:
                write_openvino(classifier, record, folder / FILES[runtime], films.calibration())
            advance(1)
        checked = _checked(classifier, Exported(folder / FILES[runtime]), films, progress)
        write_json(folder / RECORD, {**record.model_dump(mode="json"), "checked": checked.model_dump()})
        folder.replace(out)
    return Export(out, record, checked)


def _record(weights: Path, about: dict[str, Any], runtime: Literal["onnx", "openvino"], precision: Precision) -> Record:
    sets = sets_of(weights.parent, about["classes"]) if (weights.parent / "recipe.toml").is_file() else None
    return Record(
        version=__version__,
        runtime=runtime,
        precision=precision,
        backbone=about["architecture"]["backbone"],
        classes=tuple(about["classes"]),
        preparation=settled(Prepare.model_validate(about["preparation"])),
        temperature=float(about.get("temperature", 1.0)),
        flip=bool(about.get("flip", False)),
        zoom=float(about.get("zoom", 0.0)),
        sets=sets.as_json() if sets else None,
        notes=tuple(about.get("notes", ())),
        weights_sha256=sha256_of(weights),
        origin=about["origin"],
    )


@dataclass(frozen=True)
class _Films:
    """What a file is compared on: the run's films, or synthetic ones."""

    validation: Films | None
    train: Films | None
    synthetic: NDArray[np.uint8]

    def calibration(self) -> NDArray[np.uint8] | None:
        """Of train, as many of each class as of the others where there are enough, uint8 (N, side, side)."""
        if self.train is None:
            return None
        rng, y = np.random.default_rng(_SEED), self.train.y
        order = rng.permutation(len(y))
        turn = np.empty(len(y), dtype=np.int64)  # of each film, how many of its class come before it
        for k in np.unique(y):
            turn[order[y[order] == k]] = np.arange((y == k).sum())
        chosen = np.argsort(turn, kind="stable")[:_CALIBRATED]
        return self.train.cache.read(self.train.rows[np.sort(chosen)])


def _films(folder: Path, record: Record, *, needed: bool, progress: Progress) -> _Films:
    try:
        run = RunFolder(folder)
        manifest = run.manifest()
        manifest = manifest[manifest["part"].isin(["train", "validation"] if needed else ["validation"])]
        films = prepare_films(manifest, record.classes, record.preparation, workers=None, progress=progress)
    except HilumError as error:
        if needed:
            raise DataError(
                f"{record.precision} is judged on the run's films, which are not here: {error}",
                next_step="Bring them back, or use --precision float32.",
            ) from None
        progress.say("the run's films are not here: compared on synthetic films")
        side = record.preparation.side_px
        drawn = [film(_SEED, patient=number, side_px=max(side, 96)).pixels for number in range(_SYNTHETIC)]
        return _Films(None, None, np.stack([prepared(pixels, record.preparation).pixels for pixels in drawn]))
    part = manifest["part"].to_numpy(object)
    validation = films.where(part == "validation")
    if not len(validation):
        raise DataError("the run has no validation film to judge the file on", where=str(folder))
    train = films.where(part == "train") if record.precision == "int8" else None
    return _Films(validation, train, np.zeros((0, 1, 1), dtype=np.uint8))


def _checked(classifier: Classifier, exported: Exported, films: _Films, progress: Progress) -> Checked:
    """Compare the file with the run's network. HilumError where it is not as good."""
    record = exported.record
    # Float32 is held to torch itself; the others to whatever computes float32 fastest.
    engine = Engine(
        classifier, "torch" if record.precision == "float32" else "auto", flip=record.flip, zoom=record.zoom
    )
    some = films.validation
    if some is not None and record.precision == "float32":
        some = some.where(np.arange(len(some)) < _OF_FLOAT32)
    count = len(some) if some is not None else len(films.synthetic)
    with progress.task("comparing with the run", 2 * count) as advance:
        z, asked = (
            logits(each, some.batches() if some is not None else [films.synthetic], advance)
            for each in (exported, engine)
        )
    differ = largest_difference(z, asked)
    if record.precision == "float32" and not differ <= TOLERANCE:  # nor where it is no number
        raise HilumError(
            f"the exported network gives probabilities that differ from torch's by {differ:.1g}, and {TOLERANCE:g} is "
            "allowed; nothing was written",
            next_step="Try the other --format.",
        )
    part: Literal["validation", "synthetic"] = "synthetic" if some is None else "validation"
    if some is None or record.precision == "float32":
        return Checked(part=part, films=count, largest_difference=differ)
    here, of_run = (_balanced_accuracy(some.y, each) for each in (z, asked))
    if not of_run - here <= FALL:  # nor where a class has no film, so that it is undefined
        raise HilumError(
            f"{record.precision} loses too much: balanced accuracy on validation {here:.4f}, in float32 {of_run:.4f}, "
            f"n = {count} films; a fall of {FALL} is allowed; nothing was written",
            next_step="Use --precision bfloat16 or float32."
            if record.precision == "int8"
            else "Use --precision float32.",
        )
    return Checked(part=part, films=count, largest_difference=differ, balanced_accuracy=here, of_run=of_run)


def _balanced_accuracy(y: NDArray[np.int64], z: NDArray[np.float32]) -> float:
    return float(metrics.macro(metrics.recall(metrics.confusion(y, z.argmax(axis=1), z.shape[1]))))


def json_of(made: Export) -> dict[str, Any]:
    """What export.json says, with the folder."""
    said: dict[str, Any] = json.loads((made.folder / RECORD).read_text(encoding="utf-8"))
    return {"folder": str(made.folder), **said}
