"""A network that `hilum export` wrote for other programs, read again: what it tells of itself, and its logits.

    FOLDER/
      model.onnx, or model.xml and model.bin    takes films, uint8 (n, 1, side, side); gives logits, float32 (n, K)
      export.json                               the `Record`, which the network's file holds too, and `Checked`

The record in the network's file is the one that counts, so that file may go alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np
import pydantic
from numpy.typing import NDArray

from hilum.errors import RequestError, WeightsError
from hilum.evaluation.conformal import Conformal
from hilum.model.engine import Films, Logits, by_openvino, mean_of_views, openvino, requests_of
from hilum.recipe.schema import Prepare

FILES = {"onnx": "model.onnx", "openvino": "model.xml"}
RECORD = "export.json"
KEY = "hilum"

Precision = Literal["float32", "bfloat16", "int8"]


class Record(pydantic.BaseModel):
    """All that is needed to use the file and to know where it came from.

    classes: in the order of the logits. preparation: how a film becomes bytes. temperature: probabilities are
    softmax(logits / temperature). flip, zoom: the logits are the mean of two views, see `engine.views`. sets: from
    which probability on a class is possible, as `Conformal.as_json` has it.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    version: str
    runtime: Literal["onnx", "openvino"]
    precision: Precision
    backbone: str
    classes: tuple[str, ...]
    preparation: Prepare
    temperature: float
    flip: bool = False
    zoom: float = 0.0
    sets: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()
    weights_sha256: str
    origin: dict[str, Any] | None = None

    def conformal(self) -> Conformal | None:
        """The sets again, as the run fitted them."""
        if self.sets is None:
            return None
        thresholds, films = ([self.sets[key][name] for name in self.classes] for key in ("thresholds", "films"))
        return Conformal(
            self.classes, float(self.sets["coverage"]), tuple(thresholds), tuple(films), bool(self.sets["by_class"])
        )


class Checked(pydantic.BaseModel):
    """How the file was compared with the run's own network before it was handed over; it stands in export.json.

    part: of the run; "synthetic" where its films were not to be had. largest_difference: between the probabilities.
    balanced_accuracy, of_run: of the file, and of the run in float32, both on these films; missing for a float32 file.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    part: Literal["validation", "synthetic"]
    films: int
    largest_difference: float
    balanced_accuracy: float | None = None
    of_run: float | None = None


class Exported:
    """An exported network, asked for the logits of films as an `Engine` is. OpenVINO computes it, whichever its format.

    An int8 file computes in float32 what it does not compute in int8. Refused with WeightsError: a file that is broken
    or not hilum's.
    """

    note = ""
    used = "openvino"

    def __init__(self, path: Path) -> None:
        self.path = path
        model = _read(path)
        self.record = _record(model, path)
        side = self.record.preparation.side_px
        model.reshape([1, 1, side, side])
        self._requests = requests_of(model, "bf16" if self.record.precision == "bfloat16" else "f32")

    @property
    def classes(self) -> tuple[str, ...]:
        """What the network tells apart, in the order of the logits."""
        return self.record.classes

    @property
    def classifier(self) -> NoReturn:
        """There is none: maps and features need torch's network."""
        raise RequestError(
            "an exported network only predicts; it shows no maps and no features",
            where=str(self.path),
            next_step="Name the run that it was exported from.",
        )

    def __call__(self, films: Films) -> Logits:
        """Logits (N, K) of prepared films, uint8 (N, side, side)."""
        if not len(films):
            return np.zeros((0, len(self.classes)), dtype=np.float32)
        return mean_of_views(self.one_view, films, flip=self.record.flip, zoom=self.record.zoom)

    def one_view(self, films: NDArray[np.uint8]) -> Logits:
        """What the file itself says of films, uint8 (N, side, side), as they are."""
        return by_openvino(self._requests, films)


def exported_file(path: Path) -> Path | None:
    """The network's file of a folder of `hilum export`, or of a path to that file itself; None for other paths."""
    if path.suffix in (".onnx", ".xml") and path.is_file():
        return path
    return next((path / name for name in FILES.values() if (path / name).is_file()), None)


def _read(path: Path) -> Any:
    try:
        package = openvino()
    except ImportError:
        raise RequestError(
            "OpenVINO computes exported networks, and is not installed",
            where=str(path),
            next_step="Install it with: pip install openvino",
        ) from None
    try:
        return package.Core().read_model(path)
    except Exception as error:  # its own classes, one for each stage of reading
        raise WeightsError(
            f"this is no whole exported network: {(str(error).strip().splitlines() or ['?'])[-1]}",
            where=str(path),
            next_step="Copy it again, or export the run again.",
        ) from None


def _record(model: Any, path: Path) -> Record:
    place = ["framework", KEY] if path.suffix == ".onnx" else [KEY]
    if not model.has_rt_info(place):
        raise WeightsError(
            "this network was not exported by hilum: the file does not tell its classes and preparation",
            where=str(path),
            next_step="Export a run with: hilum export RUN -o FOLDER",
        )
    try:
        return Record.model_validate_json(model.get_rt_info(place).astype(str))
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        raise WeightsError(
            f"what the file tells of itself is damaged, or of a newer hilum: {first['loc']} {first['msg']}",
            where=str(path),
            next_step="Export the run again.",
        ) from None
