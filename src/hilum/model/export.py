"""A trained network as files that other programs compute: ONNX, and OpenVINO in float32, bfloat16 or int8."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hilum.errors import MissingExtraError, WeightsError
from hilum.model.classifier import Classifier
from hilum.model.engine import converted, openvino
from hilum.model.exported import KEY, Record

Films = NDArray[np.uint8]


class _FromBytes(nn.Module):
    """The network with its first step inside: films as they are in the cache, uint8, become numbers in [0, 1]."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, films: Tensor) -> Tensor:
        logits: Tensor = self.classifier(films.float() / 255.0)
        return logits


def write_onnx(classifier: Classifier, record: Record, path: Path) -> None:
    """Write one ONNX file, float32, of any number of films at once; the record is in its metadata under "hilum".

    Refused with MissingExtraError: onnxscript is not installed; with WeightsError: a network that torch cannot convert.
    """
    with needs_export():
        import onnxscript  # noqa: F401 - torch imports it too late to be refused in words
    side = record.preparation.side_px
    black = torch.zeros((2, 1, side, side), dtype=torch.uint8)  # two: torch takes one for a fixed number
    network = _FromBytes(copy.deepcopy(classifier).cpu().requires_grad_(False)).eval()
    with _converting(record.backbone), torch.no_grad():
        program = torch.onnx.export(
            network,
            (black,),
            input_names=["films"],
            output_names=["logits"],
            dynamo=True,
            dynamic_shapes={"films": {0: torch.export.Dim("n")}},
        )
        assert program is not None
        program.model.metadata_props[KEY] = record.model_dump_json()
        program.save(str(path), external_data=False)


def write_openvino(classifier: Classifier, record: Record, path: Path, calibration: Films | None = None) -> None:
    """Write OpenVINO's pair of files, path (.xml) and the same name with .bin, of any number of films at once.

    The record is in its rt_info under "hilum". float32 keeps every bit of the weights; bfloat16 stores them in 16 bits,
    and is computed so where INFERENCE_PRECISION_HINT says bf16. int8 needs calibration, films uint8 (N, side, side):
    NNCF's post-training quantization takes the ranges of the activations from them (Jacob et al. 2018, CVPR).
    """
    side = record.preparation.side_px
    with _converting(record.backbone):
        model = converted(copy.deepcopy(classifier).cpu(), (side, side), films=-1)
        model.input(0).get_tensor().set_names({"films"})
        model.output(0).get_tensor().set_names({"logits"})
        if record.precision == "int8":
            assert calibration is not None
            model = _quantized(model, calibration)
        model.set_rt_info(record.model_dump_json(), [KEY])
        openvino().save_model(model, path, compress_to_fp16=record.precision == "bfloat16")


def _quantized(model: object, films: Films) -> object:
    with needs_export():
        import nncf
    logging.getLogger("nncf").setLevel(logging.ERROR)
    batches = nncf.Dataset([film[None, None] for film in films])
    # Mixed: activations on both sides of 0, as of SiLU, keep their own zero.
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):  # its progress bars
        made: object = nncf.quantize(model, batches, preset=nncf.QuantizationPreset.MIXED, subset_size=len(films))
    return made


@contextlib.contextmanager
def needs_export() -> Iterator[None]:
    """Refuse with the command that installs what the block imports."""
    try:
        yield
    except ImportError:
        raise MissingExtraError("export") from None


@contextlib.contextmanager
def _converting(backbone: str) -> Iterator[None]:
    """Whatever a converter trips over, in a line; and without its talk."""
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    except (MissingExtraError, OSError):
        raise
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise WeightsError(
            f"{backbone} cannot be converted: {reason}", next_step="Try the other --format, or use the run itself."
        ) from None
