"""Whether a map may be shown, and what it says: how much of it lies inside the lungs, and whether it finds the finding.

A map is float (H, W), a mask bool (H, W) of the same place. What speaks for the class is positive; only that is shown
and judged. A figure that is undefined, as of a map that is nowhere positive, is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.floating]
Mask = NDArray[np.bool_]

# Zhang et al. 2018 count a hit within 15 pixels of the object on pictures whose longer side is mostly 500 pixels.
POINTING_TOLERANCE = 0.03
# A map whose likeness to that of a network with random weights reaches this is refused: it shows the film, or the
# network's build, and not what was learned. Adebayo et al. 2018 set no limit. Maps of the film's edges have 1; those of
# one method on other films have 0.2 to 0.7 (docs/explain.md), and what survives is more alike than those.
MOST_ALIKE = 0.5
# Wang et al. 2004, section III-C: the window's spread in pixels, and the constants for a range of 1.
_SSIM_SIGMA, _SSIM_WINDOW = 1.5, 11
_SSIM_C1, _SSIM_C2 = 0.01**2, 0.03**2
_SSIM_SIDE = 64  # maps are compared at this side: their details are those of a few dozen places


def mass_inside(values: Floats, mask: Mask) -> float:
    """Share of the map's positive values that lie inside the mask; NaN where the map is nowhere positive.

    By its area alone a mask would hold `mask.mean()` of it. Refused with ValueError: another shape.

    >>> mass_inside(np.array([[3.0, 1.0, -9.0]]), np.array([[True, False, True]]))
    0.75
    """
    _need_same_shape(values, mask)
    positive = np.maximum(values, 0.0)
    total = float(positive.sum(dtype=np.float64))
    return float(positive[mask].sum(dtype=np.float64)) / total if total > 0 else math.nan


def points_inside(values: Floats, mask: Mask, tolerance: float = POINTING_TOLERANCE) -> bool | None:
    """The pointing game: whether the map's highest place lies in the mask, or within `tolerance` of the longer side.

    None where there is no mask or the map is nowhere positive. Of several highest places the middle one counts.
    Zhang et al. 2018, Int. J. Comput. Vis. 126:1084. Refused with ValueError: another shape.

    >>> mask = np.zeros((1, 100), bool)
    >>> mask[0, 50:] = True
    >>> [points_inside(np.eye(1, 100, place), mask) for place in (60, 47, 46)]      # up to 3 of 100 places beside it
    [True, True, False]
    """
    _need_same_shape(values, mask)
    if not mask.any() or not values.max() > 0:
        return None
    rows, columns = np.nonzero(values == values.max())
    middle = len(rows) // 2
    away = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return bool(away[rows[middle], columns[middle]] <= tolerance * max(mask.shape))


def spearman(one: Floats, other: Floats) -> float:
    """Rank correlation of two maps, negative values and all; 0 where one of them is the same everywhere.

    >>> spearman(np.array([[1.0, 2.0, 9.0]]), np.array([[0.1, 0.2, 0.3]]))
    1.0
    >>> spearman(np.array([[1.0, 1.0, 1.0]]), np.array([[0.1, 0.2, 0.3]]))      # nothing in common
    0.0
    """
    _need_same_shape(one, other)
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return float(stats.spearmanr(one.ravel(), other.ravel()).statistic)


def ssim(one: Floats, other: Floats) -> float:
    """Structural similarity of what two maps show, each stretched to [0, 1]; 0 where one of them shows nothing.

    Wang et al. 2004, IEEE Trans. Image Process. 13:600, with their Gaussian window of 11 pixels, at a side of 64.

    >>> values = np.random.default_rng(0).random((64, 64))
    >>> round(ssim(values, 5 * values), 6)
    1.0
    """
    _need_same_shape(one, other)
    if not one.max() > 0 or not other.max() > 0:
        return 0.0
    x, y = (_stretched(values) for values in (one, other))
    mean_x, mean_y = _blurred(x), _blurred(y)
    spread_x, spread_y = _blurred(x * x) - mean_x**2, _blurred(y * y) - mean_y**2
    together = _blurred(x * y) - mean_x * mean_y
    above = (2 * mean_x * mean_y + _SSIM_C1) * (2 * together + _SSIM_C2)
    return float((above / ((mean_x**2 + mean_y**2 + _SSIM_C1) * (spread_x + spread_y + _SSIM_C2))).mean())


@dataclass(frozen=True)
class Likeness:
    """How much the maps of a trained network are like those of random weights: means over draws of n films' medians.

    A draw's sign is that of its last weights, so that a map's likeness to one draw says little, and to several all.
    Adebayo et al. 2018, NeurIPS, arXiv:1810.03292.
    """

    spearman: float
    ssim: float
    n: int
    draws: int

    @property
    def survives(self) -> bool:
        """Whether the maps outlive the loss of all that was learned, so that they may not be shown as explanations."""
        return self.spearman >= MOST_ALIKE or self.ssim >= MOST_ALIKE


def likeness(trained: Floats, at_random: Sequence[Floats]) -> Likeness:
    """Of maps (n, H, W) of the trained network, and those of each draw. Refused with ValueError: none, another shape.

    >>> maps = np.random.default_rng(0).random((3, 64, 64))
    >>> likeness(maps, [maps, 2 * maps]).survives, likeness(maps, [maps[::-1, ::-1]]).survives
    (True, False)
    """
    if not len(trained) or not len(at_random):
        raise ValueError("there is no map to compare")
    pairs = [list(zip(trained, drawn, strict=True)) for drawn in at_random]
    ranks, structures = (
        float(np.mean([np.median([measure(*pair) for pair in of_draw]) for of_draw in pairs]))
        for measure in (spearman, ssim)
    )
    return Likeness(ranks, structures, len(trained), len(at_random))


def _stretched(values: Floats) -> NDArray[np.float32]:
    small = np.maximum(values, 0.0).astype(np.float32)
    if max(values.shape) > _SSIM_SIDE:
        small = cv2.resize(small, (_SSIM_SIDE, _SSIM_SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(small / small.max(), np.float32)


def _blurred(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(values, (_SSIM_WINDOW, _SSIM_WINDOW), _SSIM_SIGMA), np.float32)


def _need_same_shape(one: NDArray[np.generic], other: NDArray[np.generic]) -> None:
    if one.shape != other.shape or one.ndim != 2:
        raise ValueError(f"a map of {one.shape} and one of {other.shape} are not of the same place")
