"""How near a mask is to the one that a person drew: overlap, and distance between the outlines.

A mask is bool (H, W). Distances are in pixels of the arrays given; `figures_of_masks` gives them in per cent of the
film's longer side, so that films of different sizes can be put together.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hilum.data.manifest import PARTS
from hilum.errors import DataError
from hilum.evaluation.intervals import bootstrap_weights, patient_numbers, wilson_interval
from hilum.evaluation.metrics import Bools, Floats
from hilum.image.decode import decode
from hilum.image.lungs import LungNetwork
from hilum.image.prepare import lungs_of
from hilum.progress import SILENT, Progress
from hilum.recipe.schema import Evaluate

# Of a film: its columns in the table of `figures_of_masks`, whether higher is better, and its meaning.
MEASURES = {
    "dice": "Dice coefficient, 2 |A and B| / (|A| + |B|)",
    "iou": "intersection over union, |A and B| / |A or B|",
    "hd95_pct": "95 % Hausdorff distance of the outlines, in % of the film's longer side",
    "surface_pct": "mean distance of the outlines, in % of the film's longer side",
}


def dice(found: Bools, truth: Bools) -> float:
    """2 |A and B| / (|A| + |B|); NaN where both are empty. Dice 1945, Ecology 26:297.

    >>> dice(np.array([[True, True, False]]), np.array([[False, True, True]]))
    0.5
    """
    total = int(found.sum()) + int(truth.sum())
    return 2 * int((found & truth).sum()) / total if total else math.nan


def iou(found: Bools, truth: Bools) -> float:
    """|A and B| / |A or B|; NaN where both are empty. Jaccard 1912, New Phytol. 11:37.

    >>> round(iou(np.array([[True, True, False]]), np.array([[False, True, True]])), 3)
    0.333
    """
    either = int((found | truth).sum())
    return int((found & truth).sum()) / either if either else math.nan


def outline_distances(found: Bools, truth: Bools) -> tuple[float, float]:
    """95 % Hausdorff distance and mean surface distance of two masks, in pixels; NaN where either is empty.

    The outline is the mask's own pixels with a neighbour (of four) outside it, or at the film's edge. The first is the
    larger of both directions' 95th percentiles (Huttenlocher et al. 1993, IEEE TPAMI 15:850; as MONAI has it), the
    second the mean over both outlines' pixels (average symmetric surface distance, Heimann et al. 2009, IEEE TMI
    28:1251).

    >>> square = np.zeros((20, 20), bool)
    >>> square[5:10, 5:10] = True
    >>> outline_distances(square, np.roll(square, 3, axis=1))[0]
    3.0
    """
    if not found.any() or not truth.any():
        return math.nan, math.nan
    of_found, of_truth = _outline(found), _outline(truth)
    there, back = _distance_to(of_truth)[of_found], _distance_to(of_found)[of_truth]
    furthest = max(float(np.percentile(there, 95)), float(np.percentile(back, 95)))
    return furthest, float(np.concatenate([there, back]).mean())


def _outline(mask: Bools) -> Bools:
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    inner = cv2.erode(mask.astype(np.uint8), cross, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return mask & (inner == 0)


def _distance_to(outline: Bools) -> NDArray[np.float32]:
    return np.asarray(cv2.distanceTransform((~outline).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE))


def judge_mask(found: Bools, truth: Bools) -> dict[str, float]:
    """The `MEASURES` of one film. Masks of different shapes are refused with ValueError."""
    if found.shape != truth.shape:
        raise ValueError(f"masks of {found.shape} and {truth.shape} pixels are not of one film")
    hd95, surface = outline_distances(found, truth)
    share = 100.0 / max(truth.shape)
    return {
        "dice": dice(found, truth),
        "iou": iou(found, truth),
        "hd95_pct": hd95 * share,
        "surface_pct": surface * share,
    }


def figures_of_masks(
    films: pd.DataFrame, *, confidence: float = 0.95, resamples: int = 1000, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Figures of the films of one group: name -> {value, low, high, n, patients}.

    films: image_id, patient_id and a column of each of `MEASURES`. Names are `dice`, `iou`, `hd95_pct`, `surface_pct`
    for means, and `dice_p5` for the 5th percentile of Dice: one film in twenty is worse. Intervals are percentiles of
    resamples in which patients are drawn, with all their films (`intervals.bootstrap_weights`). A film without a value
    (an empty mask has no outline) is left out of that figure, as its n tells.
    """
    patients = patient_numbers(films["patient_id"], films["image_id"])
    weights = np.concatenate(list(bootstrap_weights(patients, np.zeros(len(films), np.int64), resamples, seed)))
    asked: list[tuple[str, str, Callable[[Floats, Floats], Floats]]] = [
        *((name, name, _means) for name in MEASURES),
        ("dice_p5", "dice", _fifth_percentiles),
    ]
    figures: dict[str, dict[str, Any]] = {}
    for name, column, summary in asked:
        values = films[column].to_numpy(float)
        known = np.isfinite(values)
        n = int(known.sum())
        if not n:
            figures[name] = {"value": None, "low": None, "high": None, "n": 0, "patients": 0}
            continue
        value = float(summary(values[known], np.ones((1, n)))[0])
        drawn = weights[:, known]
        drawn = drawn[drawn.sum(1) > 0]
        low, high = np.quantile(summary(values[known], drawn), [(1 - confidence) / 2, (1 + confidence) / 2])
        count = len(np.unique(patients[known]))
        figures[name] = {"value": value, "low": float(low), "high": float(high), "n": n, "patients": count}
    return figures


def _means(values: Floats, weights: Floats) -> Floats:
    """Means (B,) of values (N,) under weights (B, N)."""
    means: Floats = weights @ values / weights.sum(1)
    return means


def _fifth_percentiles(values: Floats, weights: Floats) -> Floats:
    """Weighted 5th percentiles (B,): the smallest value that at least one film in twenty does not exceed.

    >>> _fifth_percentiles(np.arange(1.0, 101.0), np.ones((1, 100)))
    array([5.])
    """
    order = np.argsort(values, kind="stable")
    counted = weights[:, order].cumsum(1)
    reached = counted >= 0.05 * counted[:, -1:] - 1e-9
    found: Floats = values[order][reached.argmax(1)]
    return found


# The table of judged films --------------------------------------------------------------------------------------------

KEPT = ("image_id", "patient_id", "source", "label", "class", "part")


def judge_films(films: pd.DataFrame, network: LungNetwork, *, progress: Progress = SILENT) -> pd.DataFrame:
    """A row per marked film: `KEPT`, the `MEASURES` at the film's own size, and `doubt`, why its mask is not believed.

    films: with `path` and `mask`. A film whose mask is doubted is judged like the others, so that figures stay whole.
    Refused with FilmError: a film or mask that cannot be read. Refused with DataError: a mask of another size.
    """
    judged = []
    with progress.task("judging masks", len(films)) as advance:
        for path, mask in zip(films["path"], films["mask"], strict=True):
            pixels, truth = decode(Path(path)).pixels, decode(Path(mask)).pixels > 127
            if pixels.shape != truth.shape:
                raise DataError(f"the mask has {truth.shape} pixels and its film {pixels.shape}", where=str(mask))
            found = lungs_of(pixels, network)
            judged.append({**judge_mask(found.mask(*pixels.shape), truth), "doubt": found.doubt})
            advance(1)
    return pd.concat([films[list(KEPT)].reset_index(drop=True), pd.DataFrame(judged)], axis=1)


def figures_of_parts(judged: pd.DataFrame, how: Evaluate, seed: int) -> dict[str, Any]:
    """metrics[part][name] of `judge_films`' table, as metrics.json has them: names are `dice/CLASS` and so on.

    Besides those of `figures_of_masks` there is `doubted/CLASS`, the share of films whose mask was not believed.
    """
    metrics: dict[str, Any] = {"_about": {"interval": how.interval, "bootstrap": how.bootstrap, "seed": seed}}
    for part in (part for part in PARTS if (judged["part"] == part).any()):
        metrics[part] = {}
        for name, films in judged[judged["part"] == part].groupby("class", sort=True):
            figures = figures_of_masks(films, confidence=how.interval, resamples=how.bootstrap, seed=seed)
            figures["doubted"] = _share_of_doubted(films, how.interval)
            metrics[part] |= {f"{figure}/{name}": value for figure, value in figures.items()}
    return metrics


def _share_of_doubted(films: pd.DataFrame, confidence: float) -> dict[str, Any]:
    doubted = films["doubt"] != ""
    patients = patient_numbers(films["patient_id"], films["image_id"])
    count = len(np.unique(patients))
    low, high = wilson_interval(float(doubted.mean()) * count, count, confidence)
    return {"value": float(doubted.mean()), "low": low, "high": high, "n": len(films), "patients": count}
