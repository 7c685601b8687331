"""What is wrong in the lungs: findings of a chosen size and contrast, with the mask that says where."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from hilum.data.phantom import anatomy
from hilum.data.phantom.anatomy import Body, Pose
from hilum.data.phantom.tissue import SPARED_CM, Chest, Grid, Plane
from hilum.errors import RequestError

Kind = Literal["consolidation", "ground-glass", "interstitial", "effusion", "nodule"]
Where = Literal["right", "left", "both"]

# kind: (contrast, size), as most such films have it.
USUAL: Mapping[str, tuple[float, float]] = {
    "consolidation": (0.20, 0.14),
    "ground-glass": (0.11, 0.26),
    "interstitial": (0.09, 0.50),
    "effusion": (0.25, 0.12),
    "nodule": (0.14, 0.008),
}


@dataclass(frozen=True)
class Finding:
    """One finding to put into a film.

    contrast: mean rise of the grey level inside the mask, as a share of the whole scale (0.1 is 25 of 255), before
    noise and sharpening. size: the mask's share of the area of both lungs. where: as the patient has it; drawn when
    missing. A missing contrast or size is the usual one of the kind. Refused with RequestError: another kind, a
    contrast outside 0 to 0.6, a size outside 0 to 0.9.

    >>> Finding("nodule").contrast
    0.14
    >>> Finding("nodule", size=2.0)
    Traceback (most recent call last):
    hilum.errors.RequestError: finding 'nodule': size 2.0 is not above 0 and at most 0.9...
    """

    kind: Kind
    contrast: float = 0.0
    size: float = 0.0
    where: Where | None = None

    def __post_init__(self) -> None:
        place = f"finding {self.kind!r}"
        if self.kind not in USUAL:
            raise RequestError("there is no such finding", where=place, next_step=f"It is one of: {', '.join(USUAL)}.")
        if self.where not in (None, "right", "left", "both"):
            raise RequestError(f"where {self.where!r} is not right, left or both", where=place)
        for name, usual, most in zip(("contrast", "size"), USUAL[self.kind], (0.6, 0.9), strict=True):
            value = getattr(self, name) or usual
            if not 0 < value <= most:
                raise RequestError(f"{name} {value} is not above 0 and at most {most}", where=place)
            object.__setattr__(self, name, float(value))


@dataclass(frozen=True)
class Placed:
    """A finding in one chest."""

    mask: NDArray[np.bool_]
    opacity: Plane  # how the added optical depth is spread; 0 outside the mask
    where: Where


def place(rng: np.random.Generator, finding: Finding, chest: Chest, body: Body, pose: Pose) -> Placed:
    """Choose where the finding lies: the part of the lungs, of the size asked, where its shape is strongest."""
    both = finding.kind in ("ground-glass", "interstitial")
    where: Where = finding.where or ("both" if both else ("right", "left")[int(rng.random() < 0.45)])
    sides = {"right": (-1,), "left": (1,), "both": (-1, 1)}[where]
    place_ = _Lung(chest, body, pose, sides, *chest.grid.halved().coordinates())
    shape = chest.grid.enlarged(_SHAPES[finding.kind](rng, place_))
    if finding.kind != "effusion":
        shape += np.minimum(chest.air, np.float32(8.0)) * np.float32(1 / 12)  # seek lung with much air
    room = chest.lungs & (chest.air > SPARED_CM)
    if where != "both":
        room &= chest.right if where == "right" else ~chest.right
    values = shape[room]
    wanted = min(max(12, round(finding.size * int(chest.lungs.sum()))), values.size)
    ranks = (values.size - wanted, values.size - (wanted + 1) // 2)
    threshold, core = np.partition(values, ranks)[list(ranks)]
    mask = room & (shape >= threshold)
    rise = np.clip((shape - threshold) / max(float(core - threshold), 1e-6), 0.0, 1.0)
    texture = _TEXTURES[finding.kind](rng, place_, rise)
    # It takes the place of air, so that it is weak where there is little: over the heart, at the chest wall.
    opacity = np.maximum(texture, 0.02) * np.clip((chest.air - SPARED_CM) * np.float32(1 / 9), 0.0, 1.0)
    return Placed(mask, (opacity * mask).astype(np.float32, copy=False), where)


@dataclass(frozen=True)
class _Lung:
    """What a shape needs to know."""

    chest: Chest
    body: Body
    pose: Pose
    sides: tuple[int, ...]
    x: Plane  # cm, on the halved grid, as all shapes are
    y: Plane

    @property
    def height(self) -> float:
        return 0.95 * self.body.height * self.pose.breath

    def blob(self, x: float, y: float, wide: float, tall: float) -> Plane:
        """1 at the middle, 0 one radius away, negative beyond."""
        u, v = (self.x - np.float32(x)) / np.float32(wide), (self.y - np.float32(y)) / np.float32(tall)
        return 1.0 - np.sqrt(u * u + v * v)

    def noise(self, rng: np.random.Generator, cell_cm: float, grid: Grid | None = None) -> Plane:
        """Smooth noise of unit spread whose lumps are about this wide; on the halved grid, where none is named."""
        grid = grid or self.chest.grid.halved()
        rows = max(3, round(grid.height / grid.px_per_cm / cell_cm))
        columns = max(3, round(grid.width / grid.px_per_cm / cell_cm))
        values = rng.standard_normal((rows, columns), dtype=np.float32)
        return cv2.resize(values, (grid.width, grid.height), interpolation=cv2.INTER_CUBIC) * np.float32(1.3)


def _consolidation(rng: np.random.Generator, lung: _Lung) -> Plane:
    """One lobe's worth; upper lobe of the right lung often ends at the fissure."""
    shape = np.full_like(lung.x, -9.0)
    for side in lung.sides:
        zone = rng.choice([0.24, 0.52, 0.76], p=[0.25, 0.25, 0.5])
        x = side * lung.body.half_width * rng.uniform(0.48, 0.68)
        shape = np.maximum(shape, lung.blob(x, lung.height * zone, rng.uniform(4.5, 6.5), rng.uniform(3.5, 5.5)))
        if zone < 0.3 and side < 0:
            shape -= 2.0 * np.clip(lung.y - 0.42 * lung.height, 0.0, 1.0)
    return shape + 0.16 * lung.noise(rng, 2.2)


def _ground_glass(rng: np.random.Generator, lung: _Lung) -> Plane:
    """Hazy patches near the pleura, more below than above, on both sides (Wong et al. 2020, Radiology 296:E72)."""
    shape = np.full_like(lung.x, -9.0)
    for side in lung.sides:
        for y in lung.height * rng.triangular(0.25, 0.75, 0.98, rng.integers(2, 5)):
            edge = float(anatomy.rib_cage(lung.body, np.array([y], np.float32))[0])
            x = side * edge * rng.uniform(0.66, 0.92)
            shape = np.maximum(shape, lung.blob(x, y, rng.uniform(2.4, 4.0), rng.uniform(2.6, 4.6)))
    return shape + 0.2 * lung.noise(rng, 1.8)


def _interstitial(rng: np.random.Generator, lung: _Lung) -> Plane:
    """Around the hila and downwards, diffuse."""
    shape = np.full_like(lung.x, -9.0)
    for side in lung.sides:
        x, y = side * rng.uniform(5.5, 7.5), lung.height * rng.uniform(0.45, 0.62)
        shape = np.maximum(shape, lung.blob(x, y, 8.0, 10.0))
    return shape + 0.22 * lung.noise(rng, 2.5)


def _effusion(rng: np.random.Generator, lung: _Lung) -> Plane:
    """Fluid that stands in the costophrenic angle and climbs along the chest wall."""
    climb = rng.uniform(4.0, 6.0)
    u = lung.x / np.float32(lung.body.half_width)
    return (lung.y + climb * u * u * u * u) / lung.height


def _nodule(rng: np.random.Generator, lung: _Lung) -> Plane:
    shape = np.full_like(lung.x, -9.0)
    for side in lung.sides:
        x = side * lung.body.half_width * rng.uniform(0.45, 0.75)
        shape = np.maximum(shape, lung.blob(x, lung.height * rng.uniform(0.2, 0.72), 3.0, 3.0))
    return shape


def _dense(rng: np.random.Generator, lung: _Lung, rise: Plane) -> Plane:
    """Filled air spaces, with bronchi that stay dark in them."""
    grid = lung.chest.grid
    bronchi = np.zeros(rise.shape, np.uint8)
    for lines in anatomy.vessels(lung.body, lung.pose)[1:3]:
        grid.strokes(bronchi, lines + np.array([0.4, 0.5], np.float32), 0.3, 255)
    return np.sqrt(rise) * (1.0 + 0.10 * lung.noise(rng, 1.0, grid)) - rise * bronchi * np.float32(0.18 / 255)


def _hazy(rng: np.random.Generator, lung: _Lung, rise: Plane) -> Plane:
    grid = lung.chest.grid
    return (0.12 + rise) * (1.0 + 0.22 * lung.noise(rng, 1.1, grid) + 0.12 * lung.noise(rng, 0.45, grid))


def _reticular(rng: np.random.Generator, lung: _Lung, rise: Plane) -> Plane:
    """A net, broken and uneven: the lines along which smooth noise crosses zero, in some haze."""
    grid = lung.chest.grid
    fine, coarse, uneven = (lung.noise(rng, cell, grid) for cell in (0.38, 0.65, 1.1))
    net = np.exp(fine * fine * np.float32(-1.5)) + np.float32(0.8) * np.exp(coarse * coarse * np.float32(-4.0))
    net *= np.clip(np.float32(0.9) + np.float32(0.35) * uneven, 0.2, 1.6)
    return (np.float32(0.2) + rise) * (np.float32(0.7) + net)


def _fluid(rng: np.random.Generator, lung: _Lung, rise: Plane) -> Plane:
    return 0.25 + 0.75 * rise


def _round(rng: np.random.Generator, lung: _Lung, rise: Plane) -> Plane:
    return np.sqrt(rise) + np.float32(0.15)


_SHAPES: Mapping[str, Callable[[np.random.Generator, _Lung], Plane]] = {
    "consolidation": _consolidation,
    "ground-glass": _ground_glass,
    "interstitial": _interstitial,
    "effusion": _effusion,
    "nodule": _nodule,
}
_TEXTURES: Mapping[str, Callable[[np.random.Generator, _Lung, Plane], Plane]] = {
    "consolidation": _dense,
    "ground-glass": _hazy,
    "interstitial": _reticular,
    "effusion": _fluid,
    "nodule": _round,
}
