"""Logits that show a pair of lungs, or what is none; and a network file that needs no training."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from hilum.image.lungs import ShapeModel, save
from hilum.image.unet import PLAN
from hilum.recipe.schema import Prepare


def ellipses(*lungs: tuple[int, int, int, int], side: int = 64) -> np.ndarray:
    """Logits (side, side): 5 inside ellipses of (centre x, centre y, half width, half height), -5 outside."""
    picture = np.zeros((side, side), np.uint8)
    for x, y, wide, tall in lungs:
        cv2.ellipse(picture, (x, y), (wide, tall), 0, 0, 360, 1, cv2.FILLED)
    return np.where(picture > 0, 5.0, -5.0).astype(np.float32)


PAIR = ellipses((18, 32, 9, 20), (46, 32, 9, 20))


def shapes_of_pairs() -> ShapeModel:
    """The shapes of pairs of ellipses of many sizes."""
    rng = np.random.default_rng(0)
    pairs = []
    for _ in range(200):
        left, right = rng.integers(-2, 3, (2, 4))
        pairs.append(
            ellipses(
                (18 + left[0], 32 + left[1], 9 + left[2], 20 + left[3]),
                (46 + right[0], 32 + right[1], 9 + right[2], 20 + right[3]),
            )
            > 0
        )
    return ShapeModel.fit(pairs)


def untrained(path: Path, *, most_strange: float = 0.2, seed: int = 0) -> Path:
    """A network file whose weights are drawn at random."""
    rng = np.random.default_rng(seed)
    weights = {}
    for step in PLAN:
        fan = step.width_in * step.kernel**2
        shape = (step.width_out, step.width_in, step.kernel, step.kernel)
        weights[f"{step.name}.weight"] = (rng.normal(size=shape) / np.sqrt(fan)).astype(np.float32)
        weights[f"{step.name}.bias"] = rng.normal(size=step.width_out).astype(np.float32)
    save(path, weights, shapes_of_pairs(), most_strange=most_strange, preparation=Prepare(side_px=64), facts={})
    return path
