"""From outlines to what the beam meets: optical depth at every pixel, and the lungs' mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from hilum.data.phantom import anatomy
from hilum.data.phantom.anatomy import Body, Curve, Curves, Pose

Plane = NDArray[np.float32]  # (H, W)
Pixels = NDArray[np.bool_] | tuple[NDArray[np.intp], ...]  # a mask, or rows and columns

# Linear attenuation at 60 to 70 keV, per cm (NIST XCOM: water 0.20, cortical bone 0.55 over its own water).
WATER = 0.20
BONE = 0.36
LUNG_AIR = 0.76  # the share of an inflated lung that is air
SPARED_CM = 2.0  # of lung that no finding fills, so that it ends softly over heart and chest wall
SHIFT = 4  # bits behind the point in cv2's drawing
_HALF_PX = np.array([[0.0, 0.0, 0.5], [0.0, 0.0, 0.5]])  # a pixel's middle, in pixels half as fine


@dataclass(frozen=True)
class Grid:
    """The detector: its pixels, and where on the body each of them looks."""

    height: int
    width: int
    px_per_cm: float
    to_px: NDArray[np.float64]  # (2, 3), cm to pixels

    def points(self, curve: Curve) -> NDArray[np.int32]:
        """The curve in fixed-point pixels, as cv2 draws it."""
        px = curve @ self.to_px[:, :2].T + self.to_px[:, 2]
        return np.rint(px * (1 << SHIFT)).astype(np.int32)

    def coordinates(self) -> tuple[Plane, Plane]:
        """x and y in cm of each pixel."""
        back = self.to_px[:, :2].T / self.px_per_cm**2  # the inverse of a rotation and a scale
        origin = -back @ self.to_px[:, 2]
        column = np.arange(self.width, dtype=np.float32)
        row = np.arange(self.height, dtype=np.float32)[:, None]
        b = back.astype(np.float32)
        return (
            b[0, 0] * column + (b[0, 1] * row + np.float32(origin[0])),
            b[1, 0] * column + (b[1, 1] * row + np.float32(origin[1])),
        )

    def halved(self) -> Grid:
        """The same view with half as many pixels each way, for what is smooth."""
        return Grid(-(-self.height // 2), -(-self.width // 2), self.px_per_cm / 2, (self.to_px - _HALF_PX) / 2)

    def enlarged(self, plane: Plane) -> Plane:
        """A plane of the halved grid, at full size."""
        big = cv2.resize(plane, (plane.shape[1] * 2, plane.shape[0] * 2), interpolation=cv2.INTER_LINEAR)
        return big[: self.height, : self.width]

    def fill(self, curves: Sequence[Curve] | Curves, value: int = 255) -> NDArray[np.uint8]:
        """Closed curves, filled; soft at the edge by one pixel."""
        plane = np.zeros((self.height, self.width), np.uint8)
        for curve in curves:
            cv2.fillPoly(plane, [self.points(curve)], value, cv2.LINE_AA, SHIFT)
        return plane

    def strokes(self, plane: NDArray[np.uint8], curves: Curves, width_cm: float, value: int) -> None:
        """Lines of this width drawn over what is there; thinner than a pixel they get fainter instead."""
        width = width_cm * self.px_per_cm
        if width < 1.0:
            value = int(value * width)
        cv2.polylines(plane, list(self.points(curves)), False, value, max(1, round(width)), cv2.LINE_AA, SHIFT)

    def discs(self, plane: NDArray[np.uint8], centres: Curve, radius_cm: float, value: int) -> None:
        radius = round(radius_cm * self.px_per_cm * (1 << SHIFT))
        for x, y in self.points(centres):
            cv2.circle(plane, (int(x), int(y)), radius, value, -1, cv2.LINE_AA, SHIFT)

    def blur(self, plane: Plane | NDArray[np.uint8], sigma_cm: float) -> Plane:
        sigma = sigma_cm * self.px_per_cm
        plane = np.asarray(plane, np.float32)
        if sigma < 0.3:
            return plane
        side = 2 * round(2.5 * sigma) + 1
        return cv2.GaussianBlur(plane, (side, side), sigma)


@dataclass(frozen=True)
class Chest:
    """One pose of one body, as the beam meets it."""

    grid: Grid
    x: Plane  # cm
    y: Plane
    depth: Plane  # optical depth without a finding
    air: Plane  # cm of inflated lung in the beam
    lungs: NDArray[np.bool_]
    right: NDArray[np.bool_]  # the patient's right lung

    def filled(self, amount: float | Plane, opacity: Plane, where: Pixels) -> Plane:
        """Optical depth at some pixels when tissue takes the place of air there; no more than there is air to fill."""
        most = np.float32(WATER * LUNG_AIR) * (self.air[where] - np.float32(SPARED_CM))
        return self.depth[where] + np.minimum(np.asarray(amount, np.float32) * opacity[where], most)


def grid_for(pose: Pose, height: int, width: int) -> Grid:
    """A detector of this many pixels that the pose's field of view fills."""
    scale = max(height, width) / pose.field
    turn = np.deg2rad(pose.tilt_deg)
    rotate = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    centre = np.array([pose.shift[0], 11.6 + pose.shift[1]])
    offset = np.array([width / 2, height / 2]) - rotate @ centre
    return Grid(height, width, scale, np.column_stack([rotate, offset]))


def chest(rng: np.random.Generator, body: Body, pose: Pose, height: int, width: int) -> Chest:
    """Optical depth of the whole chest, and where its lungs are."""
    grid = grid_for(pose, height, width)
    x, y = grid.coordinates()
    outlines = [anatomy.lung(body, pose, side) for side in (-1, 1)]
    right, left = (grid.fill([outline]) for outline in outlines)
    lungs = cv2.max(right, left)
    air = _air(grid, body, pose, x, y, [_to_costophrenic(outline) for outline in outlines])
    mass = _soft(rng, grid, body, pose)
    mass += _gut(rng, grid, body, pose, y)
    mass += _vessel_mass(grid, body, pose) * np.clip(air / 7.0, 0, 1)
    mass -= _airway_mass(grid, body, pose)
    mass -= LUNG_AIR * air * _parenchyma(rng, grid)
    bone = _bone(grid, body, pose, air)
    depth = WATER * mass + BONE * body.bone * bone
    return Chest(grid, x, y, np.maximum(depth, 0.0), air, lungs > 127, right > 127)


def _air(grid: Grid, body: Body, pose: Pose, x: Plane, y: Plane, outlines: list[Curve]) -> Plane:
    """cm of inflated lung along the beam: an ellipse's chord, less what heart and diaphragm take of it."""
    line = np.linspace(-2.0, 40.0, 400, dtype=np.float32)
    half = np.interp(y[:, :: max(1, grid.width - 1)].mean(1), line, anatomy.rib_cage(body, line)).astype(np.float32)
    inside = grid.blur(grid.fill(outlines), 0.06) / 255
    chord = np.sqrt(np.clip(1.04 - (x / half[:, None]) ** 2, 0.0, 1.0))
    deepest = 0.80 * body.depth * np.clip(0.40 + (y + 1.0) / 14.0, 0.3, 1.0)
    air = deepest * chord * inside * np.minimum(0.62 + np.abs(x) / 14.0, 1.0)
    air -= _mediastinum_mass(grid, body, pose)
    for side in (-1, 1):
        top = anatomy.dome(body, pose, side)[1]
        rows = slice(int(np.searchsorted(y.max(axis=1), top)), None)
        here = x[rows] * side > 0
        ball = np.clip((y[rows] - anatomy.dome_height(body, pose, side, x[rows])) * np.float32(0.2), 0.0, 1.0)
        air[rows] -= here * (np.float32(body.depth) * np.sqrt(ball * (2 - ball)))
    return np.maximum(air, 0.0)


def _to_costophrenic(lung: Curve) -> Curve:
    """A lung's outline with its part behind the dome."""
    outline = lung.copy()
    outline[lung[:, 1] > lung[:, 1].max() - 5.0, 1] += 4.0
    return outline


def _mediastinum_mass(grid: Grid, body: Body, pose: Pose) -> Plane:
    """cm of heart and great vessels; round at the edge, so that a border is sharp and the middle flat."""
    inside = (grid.fill([anatomy.mediastinum(body, pose)]) > 127).view(np.uint8)
    far = cv2.distanceTransform(inside, cv2.DIST_L2, 3) * np.float32(0.2 / grid.px_per_cm)
    ball = np.minimum(far, 1.0)
    return grid.blur(15.5 * np.sqrt(ball * (2 - ball)) + np.float32(1.5) * inside, 0.09)


def _soft(rng: np.random.Generator, grid: Grid, body: Body, pose: Pose) -> Plane:
    """cm of soft tissue in the beam, the lungs taken for solid; smooth, so drawn at half the size."""
    half = grid.halved()
    pad = 20  # beyond the film's edge the body goes on
    mask = np.zeros((half.height + 2 * pad, half.width + 2 * pad), np.uint8)
    cv2.fillPoly(mask, [half.points(anatomy.skin(body, pose)) + (pad << SHIFT)], 255, cv2.LINE_8, SHIFT)
    far = cv2.distanceTransform(mask, cv2.DIST_L2, 5)[pad:-pad, pad:-pad] / half.px_per_cm
    ball = np.minimum(far / (body.half_width * 0.62), 1.0)
    lumps = cv2.resize(rng.standard_normal((7, 7), dtype=np.float32), ball.shape[::-1], interpolation=cv2.INTER_CUBIC)
    mass = body.depth * np.sqrt(ball * (2 - ball)) + 0.35 * lumps * (far > 0)
    x, y = half.coordinates()
    mass *= np.interp(y[:, 0], [-8, 3, 16], [0.72, 0.84, 1.0]).astype(np.float32)[:, None]
    return grid.enlarged(half.blur(mass + _breast(body, pose, x, y), 0.12))


def _breast(body: Body, pose: Pose, x: Plane, y: Plane) -> Plane:
    low = 15.5 + 1.1 * body.breast - (1.5 if pose.view == "AP supine" else 0.0)
    mass = np.zeros_like(x)
    if body.breast == 0:
        return mass
    for side in (-1, 1):
        u, v = (x * side - 8.6) / 6.2, (y - low) / (3.6 + 0.7 * body.breast)
        v = np.where(v > 0, v * 1.5, v * 0.6)
        mass += body.breast * np.clip(1 - u * u - v * v, 0, 1)
    return mass


def _gut(rng: np.random.Generator, grid: Grid, body: Body, pose: Pose, y: Plane) -> Plane | float:
    """Air in the stomach under the left dome (a level when upright), and now and then in the bowel; negative cm."""
    x0, top = anatomy.dome(body, pose, 1)
    wide, tall = rng.uniform(2.0, 4.0), rng.uniform(1.2, 2.4)
    centre = np.array([x0 + rng.uniform(-1.5, 1.5), top + 1.0 + tall])
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    ring = np.stack([np.cos(angle) * wide, np.sin(angle) * tall], 1) * (1 + 0.035 * rng.normal(size=24))[:, None]
    mask = grid.blur(grid.fill([anatomy.smooth((centre + ring).astype(np.float32))]), 0.25) / 255
    if pose.view != "AP supine":
        mask *= y < centre[1] + 0.3 * tall
    bowel = rng.random() < 0.35
    amount = rng.uniform(0.4, 3.6) * (rng.random() < 0.8)
    if bowel:
        spots = np.stack([rng.uniform(-4, 9, 6), top + rng.uniform(5, 10, 6)], 1).astype(np.float32)
        loops = np.zeros((grid.height, grid.width), np.uint8)
        grid.discs(loops, spots, 1.3, 160)
        mask += grid.blur(loops, 0.45) / 255
    return (-amount * mask).astype(np.float32)


def _vessel_mass(grid: Grid, body: Body, pose: Pose) -> Plane:
    """cm of blood in the lungs' vessels and bronchial walls."""
    plane = np.zeros((grid.height, grid.width), np.uint8)
    widths = (0.62, 0.40, 0.25, 0.16, 0.10)
    # From twig to trunk, so that the thick ones lie on top.
    for level, width in reversed(list(zip(anatomy.vessels(body, pose), widths, strict=True))):
        if width * grid.px_per_cm < 0.8:
            continue  # too thin to be seen
        grid.strokes(plane, level, width, int(255 * min(1.0, 0.16 + 1.35 * width)))
    hila = np.array([[side * 3.6 + 0.3 * pose.rotation, y] for side in (-1, 1) for y in (8.2, 9.6, 11.0)], np.float32)
    hila[:, 1] *= body.height * pose.breath / 26.0
    hilum = np.zeros_like(plane)
    grid.discs(hilum, hila, 1.5, 150)
    return grid.blur(hilum, 0.8) * np.float32(2.6 / 255) + grid.blur(plane, 0.05) * (1.5 * body.crowding / 255)


def _airway_mass(grid: Grid, body: Body, pose: Pose) -> Plane:
    plane = np.zeros((grid.height, grid.width), np.uint8)
    trachea, bronchi = anatomy.airway(body, pose)
    grid.strokes(plane, bronchi, 1.0, 80)
    grid.strokes(plane, trachea[None], 1.6 - 0.5 * body.child, 255)
    return grid.blur(plane, 0.22) * (1.4 / 255)


def _parenchyma(rng: np.random.Generator, grid: Grid) -> Plane:
    """Unevenness of inflated lung, 1 on average, at the scale of a lobule and of an acinus."""
    size = (grid.width, grid.height)
    fine = 1.0 + max(size) / 2.2
    out = np.ones((grid.height, grid.width), np.float32)
    for cells, amount in ((22, 0.03), (fine, 0.022)):
        shape = (max(3, round(cells * grid.height / max(size))), max(3, round(cells * grid.width / max(size))))
        noise = rng.standard_normal(shape, dtype=np.float32)
        out += amount * cv2.resize(noise, size, interpolation=cv2.INTER_CUBIC)
    return out


def _bone(grid: Grid, body: Body, pose: Pose, air: Plane) -> Plane:
    """cm of mineral: ribs as tubes with a bright cortex, spine, clavicles, scapulae, upper arms."""
    posterior, lateral, anterior = anatomy.ribs(body, pose)
    wide = (1.2 - 0.12 * body.child) * (body.height + 2) / 28
    total = _tubes(grid, posterior, wide, 1.05)
    total += _tubes(grid, anterior, wide * 1.12, 0.6)
    total += _tubes(grid, lateral, wide * 0.62, 0.5)
    # Through heart and abdomen little is seen of a rib: most of what gets there is scattered.
    total *= np.clip(0.4 + air / 8.0, 0.0, 1.0)
    rest = np.zeros((grid.height, grid.width), np.uint8)
    _draw_shoulders(rest, grid, body, pose)
    _draw_spine(rest, grid, body, pose)
    clavicles = anatomy.clavicles(body, pose)
    grid.strokes(rest, clavicles, 1.05, 128)
    grid.strokes(rest, clavicles, 0.65, 82)
    total += rest * np.float32(1.7 / 255)
    return grid.blur(total, 0.085)


def _tubes(grid: Grid, lines: Curves, width: float, amount: float) -> Plane:
    """Bones as hollow tubes: more mineral along both edges than in the middle."""
    plane = np.zeros((grid.height, grid.width), np.uint8)
    grid.strokes(plane, lines, width, 255)
    grid.strokes(plane, lines, width * 0.62, 160)
    return plane * np.float32(amount / 255)


def _draw_spine(plane: NDArray[np.uint8], grid: Grid, body: Body, pose: Pose) -> None:
    bodies, plates, pedicles = anatomy.vertebrae(body, pose)
    cv2.fillPoly(plane, list(grid.points(bodies)), 70, cv2.LINE_AA, SHIFT)
    grid.strokes(plane, plates, 0.26, 100)
    grid.discs(plane, pedicles, 0.36, 106)
    processes = pedicles.reshape(2, -1, 2).mean(axis=0) + np.array([0.0, 0.8], np.float32)
    grid.discs(plane, processes, 0.3, 112)


def _draw_shoulders(plane: NDArray[np.uint8], grid: Grid, body: Body, pose: Pose) -> None:
    shafts, heads = anatomy.humeri(body, pose)
    grid.strokes(plane, shafts, 2.3, 210)
    grid.strokes(plane, shafts, 1.3, 120)
    grid.discs(plane, heads, 2.3, 190)
    grid.discs(plane, heads, 2.0, 140)
    blades = anatomy.scapulae(body, pose)
    np.maximum(plane, grid.fill(blades, 45), out=plane)
    grid.strokes(plane, np.concatenate([blades, blades[:, :1]], axis=1), 0.35, 150)
