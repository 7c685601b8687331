"""What kinds of patches a network tells apart, and which speak for a class: automated concept-based explanation.

After Ghorbani et al. 2019, NeurIPS, arXiv:1902.03129 (ACE): films are cut into patches of several sizes, each patch is
enlarged to the network's own size and passed through it, and the patches are clustered in the network's own features. A
cluster is a concept: nobody named it or asked for it.

Concepts are scored by hiding, not by TCAV as in the paper. TCAV counts the films on which a class's logit rises along
the concept's direction in the features. Where one linear layer follows the features, as in almost every network here,
that slope is the same for every film, so TCAV is 0 or 1 and its test has nothing to test. Instead each patch is made
grey on its own film, and the log odds that a class loses are compared with what it loses when other squares of the same
size on the same film are hidden: those are the random patches, and they share the film's class, source and quality.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from hilum.data.groups import drawn_order, quotas
from hilum.evaluation.intervals import patient_numbers
from hilum.evaluation.paired import holm

Films = NDArray[np.uint8]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# A film is cut into 2 x 2, 3 x 3 and 5 x 5 squares: a lung's half, a lobe, a marker in a corner.
CUTS = (2, 3, 5)
CONCEPTS = 20
FEW_PATIENTS = 10  # a concept seen in fewer is counted, not judged
CHANCE = 0.05
_STARTS = 4  # of k-means


@dataclass(frozen=True)
class Square:
    """A square of the network's film: rows and columns from `top` and `left`, and how many such fill a side."""

    top: int
    left: int
    bottom: int
    right: int
    cut: int


@dataclass(frozen=True)
class Patches:
    """The patches of films, in order of film, then of square.

    film, square: (P,) numbers. features (P, F) float32. lost (P, K): log odds that each class loses on the whole film
    when this square of it is hidden.
    """

    film: Ints
    square: Ints
    features: NDArray[np.float32]
    lost: Floats


@dataclass(frozen=True)
class Effect:
    """What a concept does to a class, as the mean over patients.

    lost: log odds that the class loses when a patch of it is hidden. beyond: the same, less what it loses by other
    squares of that size on that film, with its 95 % interval. p: that `beyond` is 0; raised: after Holm, for all
    concepts and classes.
    """

    lost: float
    beyond: float
    low: float
    high: float
    p: float
    raised: float

    @property
    def speaks(self) -> str:
        """for or against the class; "" where it is no more than chance, or hiding it does what any square does.

        >>> Effect(0.9, 0.8, 0.5, 1.1, 0.001, 0.01).speaks, Effect(-0.1, 0.8, 0.5, 1.1, 0.001, 0.01).speaks
        ('for', '')
        """
        if not self.raised <= CHANCE:
            return ""
        return "for" if min(self.lost, self.beyond) > 0 else "against" if max(self.lost, self.beyond) < 0 else ""


@dataclass(frozen=True)
class Concept:
    """Patches that the network holds for alike.

    patches: (n,) numbers of them, the most typical first. films, patients: that have one. where: (side, side), the
    share of its films in which a patch of it covers the place. effects: class -> what it does to that class.
    """

    patches: Ints
    films: Ints
    patients: int
    where: Floats
    effects: dict[str, Effect]

    @property
    def strength(self) -> float:
        """The largest effect that is beyond chance, in log odds; 0 where there is none."""
        return max((abs(effect.beyond) for effect in self.effects.values() if effect.speaks), default=0.0)


def sample(films: pd.DataFrame, count: int, classes: Sequence[str], *, seed: int) -> pd.DataFrame:
    """At most `count` films, each class with the same number where it has so many; drawn by a hash of image_id.

    films: columns image_id and label.

    >>> films = pd.DataFrame({"image_id": list("abcdef"), "label": ["ill"] + ["well"] * 5})
    >>> sample(films, 4, ["ill", "well"], seed=0)["label"].value_counts().to_dict()
    {'well': 3, 'ill': 1}
    """
    there = films["label"].value_counts().reindex(list(classes), fill_value=0).to_numpy(np.int64)
    wanted = np.zeros(len(there), np.int64)
    while (left := min(count, there.sum()) - wanted.sum()) > 0:  # what a small class cannot give, the others do
        able = there > wanted
        wanted += np.where(able, np.minimum(quotas(int(left), able / able.sum()), there - wanted), 0)
    drawn = []
    for name, number in zip(classes, wanted, strict=True):
        of_class = films[films["label"] == name]
        order = drawn_order(of_class["image_id"].astype(str).tolist(), seed=seed, draw="concepts")
        drawn.append(of_class.iloc[order[:number]])
    return pd.concat(drawn, ignore_index=True)


def squares(side: int, cuts: Sequence[int] = CUTS) -> list[Square]:
    """The squares into which a film of the network is cut, the largest first.

    >>> [(each.top, each.left, each.bottom, each.right) for each in squares(9, [2])]
    [(0, 0, 4, 4), (0, 4, 4, 9), (4, 0, 9, 4), (4, 4, 9, 9)]
    """
    found = []
    for cut in cuts:
        edges = [round(side * part / cut) for part in range(cut + 1)]
        ranges = list(pairwise(edges))
        found += [Square(top, left, bottom, right, cut) for top, bottom in ranges for left, right in ranges]
    return found


def enlarged(film: Films, cut: Sequence[Square]) -> Films:
    """Each square of a film (side, side) as a picture of the film's own size, (S, side, side)."""
    side = film.shape[0]
    parts = [np.ascontiguousarray(film[each.top : each.bottom, each.left : each.right]) for each in cut]
    return np.stack([cv2.resize(part, (side, side), interpolation=cv2.INTER_LINEAR) for part in parts])


def hidden(film: Films, cut: Sequence[Square]) -> Films:
    """The film, then the film once with each square made as grey as the film is on average, (1 + S, side, side)."""
    out = np.repeat(film[None], 1 + len(cut), axis=0)
    grey = np.uint8(round(float(film.mean())))
    for number, each in enumerate(cut, 1):
        out[number, each.top : each.bottom, each.left : each.right] = grey
    return out


def log_odds(z: NDArray[np.floating], temperature: float = 1.0) -> Floats:
    """Of each class, log(p / (1 - p)) of the calibrated probability, (N, K), from logits.

    Computed without p itself, which is 1 to the last digit where a network is sure.

    >>> log_odds(np.log(np.array([[0.8, 0.2]]))).round(3)            # log(0.8 / 0.2)
    array([[ 1.386, -1.386]])
    """
    scaled = np.asarray(z, np.float64) / temperature
    others = np.stack(
        [np.logaddexp.reduce(np.delete(scaled, each, axis=1), axis=1) for each in range(scaled.shape[1])], axis=1
    )
    return np.asarray(scaled - others)


def concepts(
    patches: Patches, films: pd.DataFrame, cut: Sequence[Square], classes: Sequence[str], *, count: int, seed: int
) -> tuple[list[Concept], int]:
    """The concepts of the patches, the strongest first, and how many were too rare to be judged.

    films: the patches' films, columns image_id and patient_id. The same seed gives the same concepts.
    """
    numbers, typical = clustered(patches.features, count, seed)
    patients = patient_numbers(films["patient_id"], films["image_id"])
    found, rare = [], 0
    for cluster in range(count):
        members = np.flatnonzero(numbers == cluster)
        here = np.unique(patches.film[members])
        of = len(np.unique(patients[here]))
        if of < FEW_PATIENTS:
            rare += bool(len(members))
            continue
        lost, beyond = _of_patients(patches, members, cut, patients)
        effects = {name: _effect(lost[:, place], beyond[:, place]) for place, name in enumerate(classes)}
        order = members[np.argsort(-typical[members], kind="stable")]
        found.append(Concept(order, here, of, _where(patches, members, cut), effects))
    raised = iter(holm([effect.p for each in found for effect in each.effects.values()]))
    judged = [
        Concept(
            **{
                **vars(each),
                "effects": {
                    name: Effect(**{**vars(effect), "raised": next(raised)}) for name, effect in each.effects.items()
                },
            }
        )
        for each in found
    ]
    return sorted(judged, key=lambda each: (-each.strength, -each.patients)), rare


def clustered(features: NDArray[np.floating], count: int, seed: int) -> tuple[Ints, Floats]:
    """Number of each patch's cluster, and how typical of it the patch is (cosine with its centre); both (P,).

    k-means (Lloyd) on features of length 1, so that near means a small angle and a bright patch is no kind of its own.
    """
    from sklearn.cluster import KMeans

    length = np.linalg.norm(features, axis=1, keepdims=True)
    unit = np.divide(features, length, out=np.zeros_like(features), where=length > 0)
    fitted = KMeans(min(count, len(unit)), n_init=_STARTS, random_state=seed).fit(unit)
    numbers = fitted.labels_.astype(np.int64)
    centres = fitted.cluster_centers_
    centres = centres / np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return numbers, np.asarray((unit * centres[numbers]).sum(1), np.float64)


def _of_patients(patches: Patches, members: Ints, cut: Sequence[Square], patients: Ints) -> tuple[Floats, Floats]:
    """What each class loses by a patch of the concept, and what beyond other squares: the mean of each patient (n, K).

    A film whose every square of that size is of the concept has no other to compare with, and is left out.
    """
    size = np.array([each.cut for each in cut])[patches.square]
    inside = np.zeros(len(patches.film), bool)
    inside[members] = True
    cell = patches.film * (max(CUTS) + 1) + size  # a film and a size
    cells, numbers = np.unique(cell, return_inverse=True)
    own, others = (_means(patches.lost[which], numbers[which], len(cells)) for which in (inside, ~inside))
    compared = np.isfinite(own).all(1) & np.isfinite(others).all(1)
    whose = patients[cells[compared] // (max(CUTS) + 1)]
    of = np.unique(whose, return_inverse=True)[1]
    count = int(of.max()) + 1 if len(of) else 0
    return _means(own[compared], of, count), _means((own - others)[compared], of, count)


def _means(values: Floats, numbers: Ints, count: int) -> Floats:
    """The mean of the rows of each number (count, K), NaN where there is none."""
    total = np.zeros((count, values.shape[1]))
    np.add.at(total, numbers, values)
    n = np.bincount(numbers, minlength=count)[:, None]
    return np.divide(total, n, out=np.full_like(total, np.nan), where=n > 0)


def _effect(lost: Floats, beyond: Floats) -> Effect:
    """Student's t over patients."""
    n = len(beyond)
    if n < 2:
        return Effect(float("nan"), float("nan"), float("nan"), float("nan"), 1.0, 1.0)
    mean, error = float(beyond.mean()), float(beyond.std(ddof=1) / np.sqrt(n))
    reach = float(stats.t.ppf(0.975, n - 1)) * error
    p = float(2 * stats.t.sf(abs(mean) / error, n - 1)) if error > 0 else float(mean == 0)
    return Effect(float(lost.mean()), mean, mean - reach, mean + reach, p, p)


def _where(patches: Patches, members: Ints, cut: Sequence[Square]) -> Floats:
    """Share of the concept's films in which a patch of it covers each place, (side, side)."""
    side = max(each.bottom for each in cut)
    total, films = np.zeros((side, side)), np.unique(patches.film[members])
    for film in films:
        covered = np.zeros((side, side), bool)
        for number in patches.square[members[patches.film[members] == film]]:
            each = cut[number]
            covered[each.top : each.bottom, each.left : each.right] = True
        total += covered
    return total / len(films)
