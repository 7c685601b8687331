"""Where the lungs are on a film: the lung network computed by OpenCV, its mask, and whether the mask is to be believed.

No torch, so that a film is cut to its lungs in the same way wherever hilum runs. `hilum segment train` makes such
networks; docs/lungs-model-card.md tells of the one that ships.
"""

from __future__ import annotations

import hashlib
import json
import math
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydantic
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from hilum import __version__
from hilum.errors import WeightsError
from hilum.files import whole_file
from hilum.image.unet import PLAN, to_onnx
from hilum.recipe.films import Prepare

FORMAT = 1
FINGERPRINT_DIGITS = 12

# How far around the lungs' box a crop reaches, and around the lungs a mask does, as a share of the film's sides. An
# outline that is a little too tight would cut off the costophrenic angles or a consolidation at the edge.
CROP_MARGIN = 0.04
MASK_MARGIN = 0.015

# What a pair of lungs on a frontal film looks like, in shares of the film: a little wider than the 2008 masks of
# lung-masks, of which the smallest is 0.09 and the largest 0.63 of its film, and the smaller lung at least 0.61 of the
# larger one. docs/segment.md has what was measured on pictures that are no frontal film.
LEAST_SIDE_PX = 64
AREA = (0.08, 0.70)
LEAST_BOX = 0.30  # sides of the lungs' box, of the film's
LEAST_LUNG = 0.25  # area of the smaller lung, of the larger one's
LEAST_PAIR = 0.45  # width of both lungs' box as people draw it, of the film's: 0.53 and more on 2007 of the 2008 masks

# The lungs' box stretched to so many cells a side is their shape; so many principal components describe it.
SHAPE_SIDE = 24
SHAPE_MODES = 16
_ORANGE = (255, 149, 0)


@dataclass(frozen=True)
class ShapeModel:
    """Which shapes people drew: mean (576,) and principal components (k, 576) of their masks' boxes (`shape_of`).

    Cootes et al. 1995, Comput. Vis. Image Underst. 61:38, with cells instead of landmarks.
    """

    mean: NDArray[np.float32]
    modes: NDArray[np.float32]

    @classmethod
    def fit(cls, masks: Iterable[NDArray[np.bool_]]) -> ShapeModel:
        """The model of masks that people drew, and of their mirror images."""
        shapes = np.stack([shape_of(mask) for mask in masks])
        shapes = np.concatenate([shapes, shapes[:, :, ::-1]]).reshape(len(shapes) * 2, -1)
        mean = shapes.mean(axis=0)
        modes = np.linalg.svd(shapes - mean, full_matrices=False)[2][:SHAPE_MODES]
        return cls(mean, modes)

    def strangeness(self, mask: NDArray[np.bool_]) -> float:
        """Root mean square of what the components cannot explain of a mask's shape; 0 is a shape as people drew it."""
        off = shape_of(mask).ravel() - self.mean
        return float(np.sqrt(np.mean((off - self.modes.T @ (self.modes @ off)) ** 2)))


def shape_of(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The mask's box, stretched to a square, float32 (24, 24): how much of each cell is lung.

    >>> shape_of(np.eye(96, dtype=bool)).sum().round()      # a line from corner to corner: a quarter of 24 cells
    np.float32(6.0)
    """
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float32)
    return np.asarray(cv2.resize(box, (SHAPE_SIDE, SHAPE_SIDE), interpolation=cv2.INTER_AREA), np.float32)


class LungNetwork:
    """A lung network read from its file: weights with their preparation, computed by OpenCV.

    Refused with WeightsError: a file that is absent, broken, or holds another network.
    """

    def __init__(self, path: Path) -> None:
        data = _bytes(path)
        self.fingerprint = hashlib.sha256(data).hexdigest()[:FINGERPRINT_DIGITS]
        self.about, self.weights = _unpacked(data, path)
        self.shapes = ShapeModel(self.weights["shape.mean"], self.weights["shape.modes"])
        self.preparation = Prepare.model_validate(self.about["preparation"])
        layers = {name: value for name, value in self.weights.items() if not name.startswith("shape.")}
        model = to_onnx(layers, self.preparation.side_px)
        self._network = cv2.dnn.readNetFromONNX(np.frombuffer(model, np.uint8))
        self._lock = threading.Lock()  # OpenCV's networks hold the film that they work on

    def logits(self, square: NDArray[np.uint8], *, mirrored: bool = True) -> NDArray[np.float32]:
        """Logits (side / 2, side / 2) of being lung, of a film as `self.preparation` makes it, uint8 (side, side).

        mirrored: the film and its mirror image are both looked at, and the answers averaged, in twice the time.
        """
        z = self._computed(square)
        return np.asarray((z + self._computed(square[:, ::-1])[:, ::-1]) / 2, np.float32) if mirrored else z

    def doubt(self, z: NDArray[np.float32], shape: tuple[int, ...]) -> str:
        """Why the lungs of logits `z` on a film of `shape` are not believable, or "" where they look like lungs do."""
        if min(shape) < LEAST_SIDE_PX:
            return f"the film has {shape[1]} x {shape[0]} pixels; lungs are looked for from {LEAST_SIDE_PX} on"
        mask = mask_of(z, z.shape)
        area = float(mask.mean())
        if not AREA[0] <= area <= AREA[1]:
            return f"the lungs would be {area:.0%} of the film"
        rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
        tall, wide = ((span[-1] - span[0] + 1) / side for span, side in zip((rows, columns), mask.shape, strict=True))
        if min(tall, wide) < LEAST_BOX:
            return f"the lungs would be {wide:.0%} of the film's width and {tall:.0%} of its height"
        smaller = _share_of_smaller_lung(mask)
        if smaller < LEAST_LUNG:
            return f"only one lung is seen: the other would have {smaller:.0%} of its area"
        strange, most = self.shapes.strangeness(mask), float(self.about["most_strange"])
        if strange > most:
            return (
                f"the lungs would have a shape unlike those that people drew ({strange:.2f}; believable to {most:.2f})"
            )
        return ""

    def _computed(self, square: NDArray[np.uint8]) -> NDArray[np.float32]:
        film = (np.ascontiguousarray(square, np.float32) / 255.0)[None, None]
        with self._lock:
            self._network.setInput(film)
            answer: NDArray[np.float32] = self._network.forward()
        return answer[0, 0].copy()


SHIPPED = Path(str(files("hilum.image") / "shipped" / "lungs.safetensors"))


@lru_cache(maxsize=2)
def network_of(path: Path | None = None) -> LungNetwork:
    """The lung network of a file, or the one that comes with hilum; read once."""
    return LungNetwork(path or SHIPPED)


@dataclass(frozen=True)
class Lungs:
    """What the network says of one film: `z` are logits (h, w) over the whole film, whatever the film's size.

    doubt: why the mask is not to be believed, or "".
    """

    z: NDArray[np.float32]
    doubt: str

    @cached_property
    def own_mask(self) -> NDArray[np.bool_]:
        """The mask at the network's own resolution."""
        return mask_of(self.z, self.z.shape)

    def mask(self, height: int, width: int) -> NDArray[np.bool_]:
        """The lungs on a film of this size, bool (height, width)."""
        return mask_of(self.z, (height, width))

    def mask_with_margin(self, height: int, width: int) -> NDArray[np.bool_]:
        """The same, grown by `MASK_MARGIN` of each side."""
        reach_y, reach_x = (max(1, round(MASK_MARGIN * side)) for side in (height, width))
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach_x + 1, 2 * reach_y + 1))
        return np.asarray(cv2.dilate(self.mask(height, width).astype(np.uint8), disc), bool)

    def box_with_margin(self, height: int, width: int) -> tuple[slice, slice]:
        """Rows and columns of the lungs' box, grown by `CROP_MARGIN` of each side and kept on the film."""
        spans = []
        for axis, side in ((1, height), (0, width)):
            there = np.flatnonzero(self.own_mask.any(axis=axis)) / self.own_mask.shape[1 - axis]
            step = 1 / self.own_mask.shape[1 - axis]
            low = max(0.0, there[0] - CROP_MARGIN)
            high = min(1.0, there[-1] + step + CROP_MARGIN)
            spans.append(slice(math.floor(low * side), math.ceil(high * side)))
        return spans[0], spans[1]


def mask_of(z: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The two largest regions of positive logits, without holes, on a film of `shape`, bool (height, width)."""
    height, width = shape
    positive = cv2.resize(z, (width, height), interpolation=cv2.INTER_LINEAR) > 0
    mask = np.zeros((height, width), np.uint8)
    cv2.drawContours(mask, _two_largest(positive), -1, 1, thickness=cv2.FILLED)
    return mask.astype(bool)


def _two_largest(positive: NDArray[np.bool_]) -> list[NDArray[np.int32]]:
    outlines, _ = cv2.findContours(positive.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return sorted(outlines, key=cv2.contourArea)[-2:]


def _share_of_smaller_lung(mask: NDArray[np.bool_]) -> float:
    """The smaller lung's area as a share of the larger one's. Lungs that touch are told apart by the box's middle."""
    columns = np.flatnonzero(mask.any(axis=0))
    middle = (columns[0] + columns[-1] + 1) // 2
    areas = [float(mask[:, :middle].sum()), float(mask[:, middle:].sum())]
    return min(areas) / max(areas)


def one_lung_alone(mask: NDArray[np.bool_]) -> bool:
    """Whether a drawn mask, bool (H, W), shows one lung alone: a single region that is too narrow for two.

    >>> mask = np.zeros((10, 10), bool)
    >>> mask[2:8, 1:4] = True
    >>> one_lung_alone(mask), one_lung_alone(mask | mask[:, ::-1])
    (True, False)
    """
    columns = np.flatnonzero(mask.any(axis=0))
    return len(columns) > 0 and bool(len(columns) == np.ptp(columns) + 1 < LEAST_PAIR * mask.shape[1])


def overlay(pixels: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The film, RGB uint8 (H, W, 3), with the mask's outline drawn on it."""
    drawn = np.repeat(pixels[:, :, None], 3, axis=2)
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(drawn, outlines, -1, _ORANGE, thickness=max(1, round(max(pixels.shape) / 400)))
    return drawn


def save(
    path: Path,
    weights: Mapping[str, NDArray[np.floating]],
    shapes: ShapeModel,
    *,
    most_strange: float,
    preparation: Prepare,
    facts: Mapping[str, Any],
) -> None:
    """Write a lung network with all that is needed to use it.

    weights: folded, as `image.unet.to_onnx` takes them. most_strange: the `strangeness` up to which a mask is
    believable. facts: how the network was made.
    """
    about = {
        "format": FORMAT,
        "network": "lungs",
        "version": __version__,
        "preparation": preparation.model_dump(mode="json"),
        "most_strange": most_strange,
        "training": dict(facts),
    }
    tensors = {**weights, "shape.mean": shapes.mean, "shape.modes": shapes.modes}
    with whole_file(path) as part:
        safetensors.numpy.save_file(
            {name: np.ascontiguousarray(value) for name, value in tensors.items()},
            part,
            metadata={"hilum": json.dumps(about, allow_nan=False)},
        )


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise WeightsError(
            f"the lung network cannot be read: {error.strerror}",
            where=str(path),
            next_step="Make one with: hilum segment train DATA -o RUN",
        ) from None


def _unpacked(data: bytes, path: Path) -> tuple[dict[str, Any], dict[str, NDArray[np.float32]]]:
    """What `save` wrote: facts, and weights as float32."""
    try:
        weights = safetensors.numpy.load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        about = json.loads(header.get("__metadata__", {}).get("hilum", "{}"))
    except (safetensors.SafetensorError, ValueError) as error:
        raise WeightsError(
            f"this is no whole safetensors file: {error}", where=str(path), next_step="Copy it again."
        ) from None
    if about.get("network") != "lungs" or about.get("format") != FORMAT:
        raise WeightsError(
            "this is no lung network that this version of hilum knows",
            where=str(path),
            next_step="Make one with: hilum segment train DATA -o RUN",
        )
    shapes: dict[str, tuple[int, ...]]
    shapes = {f"{step.name}.weight": (step.width_out, step.width_in, step.kernel, step.kernel) for step in PLAN}
    shapes |= {f"{step.name}.bias": (step.width_out,) for step in PLAN}
    shapes |= {"shape.mean": (SHAPE_SIDE**2,), "shape.modes": (-1, SHAPE_SIDE**2)}
    for name, shape in shapes.items():
        found = weights[name].shape if name in weights else None
        if (
            found is None
            or len(found) != len(shape)
            or any(size not in (-1, there) for size, there in zip(shape, found, strict=True))
        ):
            there = "is missing" if found is None else f"is {found}, not {shape}"
            raise WeightsError(f"the tensors do not fit: {name} {there}", where=str(path))
    try:
        Prepare.model_validate(about["preparation"])
        float(about["most_strange"])
    except (pydantic.ValidationError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"the metadata are damaged: {error}", where=str(path)) from None
    return about, {name: value.astype(np.float32) for name, value in weights.items()}
