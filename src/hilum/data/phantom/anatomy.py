"""Who stands before the detector: a made-up body, how it stands, and the outlines of what is inside.

Lengths are centimetres of an adult's chest; children keep the adult's size and differ in proportion, because a film
of a child is taken closer. x grows to the image's right, which is the patient's left; y grows downwards; (0, 0) is
on the midline, at the height of the lungs' tops.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

View = Literal["PA", "AP", "AP supine"]
Sex = Literal["F", "M"]
Curve = NDArray[np.float32]  # (n, 2): x and y in cm
Curves = NDArray[np.float32]  # (k, n, 2): k curves of n points

RIBS = 11
_ARC = np.linspace(0.0, np.deg2rad(148.0), 16, dtype=np.float32)  # 0 at the spine, 90 degrees at the side
LATERAL = slice(7, 13)  # the part of a rib that the beam meets along its length


@dataclass(frozen=True)
class Body:
    """What stays the same on every film of one patient."""

    age_years: float
    sex: Sex
    child: float  # 0 an adult, 1 an infant
    half_width: float  # of the rib cage, inside
    height: float  # of the lungs at full breath, top to costophrenic angle
    depth: float  # of the trunk, front to back
    fat: float  # soft tissue between ribs and skin
    breast: float  # thickness; 0 where there is none
    heart_share: float  # cardiothoracic ratio on a PA film
    knob: float  # width of the aortic arch beyond the spine
    rib_drop: float  # from the spine to the front end
    bone: float  # mineral, 1 for a young adult
    bend: float  # sideways curve of the spine
    clavicle_rise: float  # of the outer end, 0 to 1
    vessels: tuple[NDArray[np.float32], ...]  # per generation, from trunk to twig, (branches, 4, 2) in unit lungs
    crowding: float  # how strongly the vessels are filled


@dataclass(frozen=True)
class Pose:
    """What changes from film to film of one patient."""

    view: View
    breath: float  # 1 is full
    rotation: float  # cm that the front shifts against the back
    tilt_deg: float
    shift: tuple[float, float]  # of the body on the detector
    field: float  # cm across the longer side of the film
    arms: float  # 0 hanging, 1 held forward and away
    heart: float  # enlargement of the heart by its distance from the detector
    clavicle: float  # cm by which the clavicles stand higher than on a PA film
    scapula: float  # 0 rolled off the lungs, 1 over them


def draw_body(rng: np.random.Generator, age_years: float, sex: Sex) -> Body:
    """A body of this age and sex; everything else is drawn."""
    child = float(np.clip((15.0 - age_years) / 13.0, 0.0, 1.0))
    old = float(np.clip((age_years - 40.0) / 50.0, 0.0, 1.0))
    fat = float(np.clip(rng.normal(2.2 if age_years > 15 else 1.4, 0.8), 0.8, 4.5))
    woman = sex == "F" and age_years >= 13
    return Body(
        age_years=age_years,
        sex=sex,
        child=child,
        half_width=float(rng.normal(13.4 if sex == "M" else 12.8, 0.5)),
        height=float(rng.normal(26.0 if sex == "M" else 24.8, 1.2) - 4.2 * child),
        depth=float(rng.normal(20.0, 1.2) + 0.9 * (fat - 2.2) - 4.0 * child),
        fat=fat,
        breast=float(np.clip(rng.normal(2.4 + 0.5 * (fat - 2.0), 0.9), 0.8, 5.0)) if woman else 0.0,
        heart_share=float(np.clip(rng.normal(0.44 + 0.05 * old + 0.08 * child, 0.03), 0.36, 0.62)),
        knob=float(np.clip(rng.normal(3.3 + 0.9 * old - 0.8 * child, 0.3), 2.2, 5.0)),
        rib_drop=float(rng.normal(9.2 - 3.6 * child + 1.0 * old, 0.8)),
        bone=float(np.clip(rng.normal(1.0 - 0.3 * old - 0.1 * child, 0.08), 0.5, 1.3)),
        bend=float(rng.normal(0.0, 0.25 + 0.3 * old)),
        clavicle_rise=float(rng.uniform(-0.3, 1.2)),
        vessels=_branches(rng),
        crowding=float(rng.uniform(0.8, 1.2)),
    )


def draw_pose(rng: np.random.Generator, body: Body, view: View) -> Pose:
    """How the body stands or lies for a film of this view."""
    spread = {"PA": 0.6, "AP": 1.0, "AP supine": 1.6}[view]
    ap = view != "PA"
    return Pose(
        view=view,
        breath=float(np.clip(rng.normal({"PA": 0.97, "AP": 0.90, "AP supine": 0.82}[view], 0.045), 0.68, 1.04)),
        rotation=float(rng.normal(0.0, 0.35 * spread)),
        tilt_deg=float(rng.normal(0.0, 1.3 * spread)),
        shift=(float(rng.normal(0.0, 0.6 * spread)), float(rng.normal(0.0, 0.6 * spread))),
        field=float(rng.normal(33.0 + 0.9 * (body.fat - 2.0), 1.0) + 1.5 * ap),
        arms=float(np.clip(rng.normal(0.35 if ap else 0.75, 0.2) + 0.5 * body.child, 0.0, 1.0)),
        heart=1.14 if ap else 1.0,
        clavicle=float(rng.normal(2.3, 0.6)) if ap else float(rng.normal(0.0, 0.4)),
        scapula=float(np.clip(rng.normal(0.8 if ap else 0.2, 0.18), 0.0, 1.0)),
    )


def _branches(rng: np.random.Generator, generations: int = 5) -> tuple[NDArray[np.float32], ...]:
    """Vessels of both lungs as a tree: per generation, (branches, 4, 2) points in units of the lung's height.

    x is the distance from the hilum towards the side, y downwards; the first half of each array is the right lung.
    """
    start = np.zeros((14, 2))
    start[:, 1] = np.tile(np.linspace(-0.05, 0.05, 7), 2)
    angle = np.tile(np.deg2rad([-78, -45, -14, 14, 38, 58, 78]), 2) + rng.normal(0, 0.12, 14)
    length = rng.uniform(0.13, 0.19, 14) * np.tile([0.9, 1.0, 1.0, 1.0, 1.15, 1.35, 1.3], 2)
    levels = []
    for _ in range(generations):
        bend = rng.normal(0.0, 0.42, angle.size)
        steps = np.stack([angle - bend / 2, angle, angle + bend / 2], axis=1)
        moves = np.stack([np.cos(steps), np.sin(steps)], axis=2) * (length / 3)[:, None, None]
        points = np.concatenate([start[:, None], start[:, None] + np.cumsum(moves, axis=1)], axis=1)
        levels.append(points.astype(np.float32))
        fork = rng.uniform(0.12, 0.75, (angle.size, 2)) * np.array([-1.0, 1.0])
        angle = ((angle + bend / 2)[:, None] + fork).ravel()
        length = (length[:, None] * rng.uniform(0.6, 0.9, (length.size, 2))).ravel()
        start = np.repeat(points[:, -1], 2, axis=0)
    return tuple(levels)


def rib_cage(body: Body, y: NDArray[np.float32]) -> NDArray[np.float32]:
    """Half width of the rib cage at each height, cm."""
    widest = 0.78 * body.height
    up = np.clip(1.0 - (y + 0.6) / widest, 0.0, 1.0)
    top = 3.6 + 0.6 * body.child
    shape = np.sqrt(1.0 - up**2.3)
    down = 1.0 - 0.02 * np.clip((y - widest) / 6.0, 0.0, 1.0) + 0.05 * body.child * np.clip((y - widest) / 6.0, 0, 1)
    return ((top + (body.half_width - top) * shape) * down).astype(np.float32)


def dome(body: Body, pose: Pose, side: int) -> tuple[float, float]:
    """x and y of the top of a diaphragm dome; side -1 is the patient's right (the image's left)."""
    top = 0.80 * body.height * pose.breath + (1.3 if side > 0 else 0.0)
    return side * (0.50 if side < 0 else 0.54) * body.half_width + 0.4 * pose.rotation, top


def dome_height(body: Body, pose: Pose, side: int, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """y of the diaphragm at each x, cm."""
    centre, top = dome(body, pose, side)
    out = (x - centre) * side
    angle = 0.17 * body.height * (0.9 - 0.25 * body.child)  # depth of the costophrenic angle below the dome
    out *= np.float32(1 / (0.50 * body.half_width))
    lateral, medial = np.clip(out, 0.0, 1.15), np.clip(out, -1.3, 0.0)
    steep = lateral * lateral * np.sqrt(lateral)
    return np.float32(top) + np.float32(angle) * steep + np.float32(1.9) * medial * medial


def lung(body: Body, pose: Pose, side: int) -> Curve:
    """The outline of one lung as people draw it: with the part behind the heart, without the part below the dome."""
    reach = np.float32(side)
    edge = body.half_width * 0.985
    x_dome = reach * np.linspace(edge, 2.0, 28, dtype=np.float32)
    y_dome = dome_height(body, pose, side, x_dome)
    y_side = np.linspace(0.9, float(y_dome[0]) - 0.3, 34, dtype=np.float32)
    x_side = reach * (rib_cage(body, y_side) - 0.25)
    x_side += 0.25 * pose.rotation * side
    apex = np.array([[2.0, 3.4], [2.2, 2.0], [2.6, 1.0], [3.2, 0.35], [4.0, 0.1], [4.7, 0.4]], np.float32) * (
        reach,
        1.0,
    )
    y_mid = np.linspace(float(y_dome[-1]), 4.5, 12, dtype=np.float32)
    x_mid = reach * np.interp(y_mid, [0, 5, 10, 30], [2.1, 1.9, 1.6, 1.6])
    return np.concatenate(
        [apex, np.stack([x_side, y_side], 1), np.stack([x_dome, y_dome], 1), np.stack([x_mid, y_mid], 1)]
    ).astype(np.float32)


def ribs(body: Body, pose: Pose) -> tuple[Curves, Curves, Curves]:
    """Centre lines of the ribs: the posterior half, the lateral turn, the anterior half."""
    pitch = (body.height + 2.0) / 10.8
    number = np.arange(RIBS, dtype=np.float32)[:, None]
    drop = body.rib_drop * np.interp(number, [0, 1, 3, 8, 10], [0.50, 0.68, 0.95, 1.0, 0.62])
    if pose.view != "PA":
        drop *= 0.85  # the beam comes from the front and above: ribs look flatter
    root = -1.3 + pitch * number
    at_side = root + drop * 0.45
    wide = rib_cage(body, at_side.astype(np.float32)) + np.where(number == 0, -0.6, 0.15)
    x = 1.6 + (wide - 1.6) * np.sin(_ARC)
    # The first centimetres rise over the transverse process; the front end dips into its cartilage.
    y = root + drop * (1 - np.cos(_ARC)) / 2 - 0.55 * np.sin(2 * _ARC).clip(0) * (number > 1)
    y = y + 0.9 * np.clip(_ARC - np.deg2rad(120), 0, None)
    back = np.cos(_ARC)  # 1 at the back, -1 at the front
    both = np.stack([np.stack([side * x - 0.4 * pose.rotation * back, y], axis=2) for side in (-1, 1)])
    lines = both.astype(np.float32)  # (2, RIBS, points, 2)
    return (
        lines[:, :, :11].reshape(-1, 11, 2),
        lines[:, :, LATERAL].reshape(-1, LATERAL.stop - LATERAL.start, 2),
        lines[:, : RIBS - 1, 10:].reshape(-1, _ARC.size - 10, 2),
    )


@cache
def _spline(points: int, steps: int = 6) -> NDArray[np.float32]:
    """Matrix that turns a closed polygon's corners into a Catmull-Rom curve through them."""
    t = np.arange(steps) / steps
    weights = 0.5 * np.stack([-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3])
    matrix = np.zeros((points, steps, points), np.float32)
    for k in range(points):
        for j in range(4):
            matrix[k, :, (k + j - 1) % points] += weights[j]
    return matrix.reshape(points * steps, points)


def smooth(corners: Curve) -> Curve:
    """A closed curve through the corners."""
    return _spline(len(corners)) @ np.asarray(corners, np.float32)


def mediastinum(body: Body, pose: Pose) -> Curve:
    """The outline of heart and great vessels: right atrium, vena cava, aortic arch, pulmonary trunk, left ventricle."""
    unit = body.height * pose.breath / 26.0
    wide = 2 * body.half_width * body.heart_share * pose.heart * (1.0 + 0.5 * (0.97 - pose.breath))
    right, left = 0.34 * wide, 0.66 * wide
    upper = 1.0 + 0.18 * (pose.view == "AP supine") + 0.35 * body.child
    top = 0.80 * body.height * pose.breath
    x = [
        -2.2, -2.3 * upper, -2.7 * upper, -2.9 * upper, -0.80 * right, -right, -0.96 * right, -0.72 * right, -1.0,
        0.55 * left, 0.93 * left, left, 0.90 * left, 0.70 * left, 0.56 * left, 3.1 * upper, body.knob + 0.2,
        0.92 * body.knob, 2.6, 2.2,
    ]  # fmt: skip
    y = [
        -9.0, 0.5, 4.0, 8.5, top - 8.5, top - 5.0, top - 1.8, top + 1.2, top + 4.5,
        top + 3.8, top + 2.0, top - 0.8, top - 4.2, top - 7.2, 10.6 * unit, 8.4 * unit, 6.4 * unit,
        4.4 * unit, 2.0 * unit, -9.0,
    ]  # fmt: skip
    corners = np.stack([np.array(x) + 0.8 * pose.rotation, np.array(y)], axis=1)
    corners[1:4, 1] *= unit
    return smooth(corners.astype(np.float32))


# Ends, bends and middle of a clavicle, and how much of its height changes with the view at each.
_CLAVICLE_X = np.array([1.6, 2.7, 4.0, 5.6, 7.2, 8.8, 10.4, 11.9, 13.3, 14.6])
_CLAVICLE_Y = np.array([3.6, 3.5, 3.15, 2.65, 2.1, 1.6, 1.1, 0.65, 0.3, 0.1])
_CLAVICLE_LIFT = np.array([0.9, 0.97, 1.0, 0.93, 0.78, 0.6, 0.43, 0.3, 0.24, 0.2])


def clavicles(body: Body, pose: Pose) -> Curves:
    """Two S-shaped centre lines."""
    rise = body.clavicle_rise * 0.12 * _CLAVICLE_X
    y = _CLAVICLE_Y - rise - pose.clavicle * _CLAVICLE_LIFT - 0.8 * body.child
    lean = 0.9 * pose.rotation
    return np.stack([np.stack([side * _CLAVICLE_X + lean, y], axis=1) for side in (-1, 1)]).astype(np.float32)


def scapulae(body: Body, pose: Pose) -> Curves:
    """Two closed outlines; on an AP film they lie over the lungs."""
    corners = np.array(
        [
            [14.8, -0.6], [13.2, 1.0], [11.4, 2.2], [11.0, 6.0], [11.9, 12.5],
            [12.7, 14.6], [13.4, 13.6], [14.6, 7.0], [16.3, 2.4],
        ],
        np.float32,
    )  # fmt: skip
    out = np.array([3.2, 0.6], np.float32) * (1.0 - pose.scapula)
    return np.stack([smooth((corners + out) * np.array([side, 1.0], np.float32)) for side in (-1, 1)])


def skin(body: Body, pose: Pose) -> Curve:
    """The outline of neck, shoulders and trunk."""
    side = body.half_width + 0.9 + body.fat
    neck = 5.0 + 0.25 * body.fat + 0.6 * body.child
    raised = 2.4 * pose.arms * body.child
    half = np.array(
        [
            [neck, -14], [neck, -7.2], [neck + 1.6, -5.2], [neck + 5.5, -4.2],  # neck
            [15.2, -3.6 - raised], [18.2, -2.0 - raised], [20.6, 1.0 - raised],  # shoulder
            [24.0, 7.0 - 2 * raised], [29.0, 17 - 3 * raised], [31.0, 26 - 3 * raised],  # outside of the arm
            [side + 8.5, 25 - 3 * raised], [side + 4.2, 16.0 - raised], [side + 1.0, 9.5],  # inside, to the armpit
            [side + 0.1, 14.0], [side, 19.0], [side - 0.2, 25.0], [side + 0.1, 32.0], [side + 0.4, 44.0],  # flank
        ],
        np.float32,
    )  # fmt: skip
    half[6:11, 0] -= 3.2 * (1.0 - pose.arms)
    half[11, 1] += 3.0 * (1.0 - pose.arms) * (1 - body.child)
    return smooth(np.concatenate([half, half[::-1] * (-1.0, 1.0)]).astype(np.float32))


def humeri(body: Body, pose: Pose) -> tuple[Curves, Curve]:
    """Centre lines of the shafts, and the centres of the heads."""
    raised = 2.4 * pose.arms * body.child
    out = 7.0 * pose.arms + 1.2
    head = np.array([17.4 + 0.6 * (1 - pose.scapula), 0.9 - raised])
    shaft = head + np.array([[0.0, 0.5], [0.5 * out, 7.0], [out, 16.0 - 4 * raised]])
    mirror = np.array([[-1.0, 1.0], [1.0, 1.0]])
    return (shaft * mirror[:, None]).astype(np.float32), (head * mirror).astype(np.float32)


def spine(body: Body, pose: Pose, y: NDArray[np.float32]) -> NDArray[np.float32]:
    """x of the middle of the spine at each height."""
    return (body.bend * np.sin(y / 9.0) - 0.4 * pose.rotation).astype(np.float32)


def vertebrae(body: Body, pose: Pose) -> tuple[Curves, Curves, Curve]:
    """Bodies (closed), end plates (open), and the centres of the pedicles, right ones first."""
    pitch = (body.height + 2.0) / 10.8
    middle = np.arange(-4, 16, dtype=np.float32) * pitch - 0.4
    half = np.interp(middle, [-6, 0, 25], [1.3, 1.55, 2.0])
    centre = spine(body, pose, middle)
    tall = 0.40 * pitch
    corner = np.array([[-1, -1], [0, -0.9], [1, -1], [0.88, 0], [1, 1], [0, 0.9], [-1, 1], [-0.88, 0]])
    bodies = np.stack([centre[:, None] + half[:, None] * corner[:, 0], middle[:, None] + tall * corner[:, 1]], axis=2)
    plates = np.concatenate([bodies[:, :3], bodies[:, 4:7]])
    pedicles = np.concatenate([np.stack([centre + s * 0.62 * half, middle - 0.1 * tall], axis=1) for s in (-1, 1)])
    return bodies.astype(np.float32), plates.astype(np.float32), pedicles.astype(np.float32)


def airway(body: Body, pose: Pose) -> tuple[Curve, Curves]:
    """Centre lines of the trachea and of the two main bronchi."""
    unit = body.height * pose.breath / 26.0
    x0 = 0.3 * pose.rotation
    trachea = np.array([[x0, -14], [x0, 0], [x0 - 0.25, 5.0 * unit], [x0 - 0.35, 8.0 * unit]], np.float32)
    right = np.array([trachea[-1], [x0 - 1.8, 10.0 * unit], [x0 - 3.2, 12.0 * unit]], np.float32)
    left = np.array([trachea[-1], [x0 + 1.9, 9.8 * unit], [x0 + 4.2, 11.2 * unit]], np.float32)
    return trachea, np.stack([right, left])


def vessels(body: Body, pose: Pose) -> list[Curves]:
    """Vessels as lines, an array per generation from trunk to twig."""
    unit = np.float32(body.height * pose.breath)
    levels = []
    for points in body.vessels:
        side = np.repeat(np.array([-1.0, 1.0], np.float32), len(points) // 2)[:, None]
        x = side * (3.3 + points[..., 0] * unit * 0.93) + 0.3 * pose.rotation
        y = 0.40 * unit + points[..., 1] * unit - 0.6 * (side > 0)
        levels.append(np.stack([x, y], axis=2).astype(np.float32))
    return levels
