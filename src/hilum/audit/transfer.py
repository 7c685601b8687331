"""Train here, test there: what is learned from the films of one source, judged on the films of every other."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hilum.audit.films import Films
from hilum.audit.limits import Limit
from hilum.audit.told import FEW_PATIENTS, Floats, Ints, tell
from hilum.audit.verdict import Check, not_done, verdict_of
from hilum.evaluation.intervals import bootstrap_weights, bounded_interval
from hilum.evaluation.metrics import Bools, auroc
from hilum.evaluation.paired import unpaired_interval

NAME = "train-here-test-there"
_RESAMPLES = 500


@dataclass(frozen=True)
class Cell:
    """A class against the rest, learned from the films of one source and judged on another's, or on its own in folds.

    value, low, high: AUROC. drop: what is lost from the own source to here, with its interval; 0 in the own. n films of
    the source judged; shared: films that were not learned from because they, or their patient, are there too.
    """

    label: str
    here: str
    there: str
    value: float
    low: float
    high: float
    drop: float
    drop_low: float
    drop_high: float
    n: int
    patients: int
    shared: int


def matrix(features: Floats, y: Ints, classes: Sequence[str], sources: Sequence[str], groups: Ints) -> list[Cell]:
    """Each class against the rest, from each source that has ten patients of both to each other one, and to itself.

    features (N, D) of a network that has seen none of the films; y (N,) class numbers; groups (N,) numbers, the same
    for the films of a patient and for copies, in whatever source. Learned by logistic regression; on the own source in
    five folds by group. Of two classes the first says it all.
    """
    names = np.asarray(sources, object)
    cells = []
    for k in range(1 if len(classes) == 2 else len(classes)):
        positive = y == k
        usable = [
            source
            for source in sorted(set(sources))
            if min(len(np.unique(groups[(names == source) & (positive == side)])) for side in (True, False))
            >= FEW_PATIENTS
        ]
        for here in usable:
            cells += _row(classes[k], here, usable, features, positive, names, groups)
    return cells


def _row(
    label: str, here: str, usable: Sequence[str], features: Floats, positive: Bools, names: np.ndarray, groups: Ints
) -> list[Cell]:
    at_home = names == here
    told = tell(features[at_home], (~positive[at_home]).astype(np.int64), [label, "rest"], groups[at_home])
    if told is None:
        return []
    own = {"value": told.value, "low": told.low, "high": told.high}
    row = [Cell(label, here, here, told.value, told.low, told.high, 0.0, 0.0, 0.0, told.n, told.groups, 0)]
    for there in usable:
        if there == here:
            continue
        judged = names == there
        learned = at_home & ~np.isin(groups, groups[judged])
        shared = int(at_home.sum() - learned.sum())
        if min(len(np.unique(groups[learned & (positive == side)])) for side in (True, False)) < FEW_PATIENTS:
            continue
        value, low, high = learned_and_judged(features, positive, groups, learned, judged)
        drop_low, drop_high = unpaired_interval({"value": value, "low": low, "high": high}, own)
        patients = len(np.unique(groups[judged]))
        drop = told.value - value
        row.append(
            Cell(label, here, there, value, low, high, drop, drop_low, drop_high, int(judged.sum()), patients, shared)
        )
    return row


def learned_and_judged(
    features: Floats, positive: Bools, groups: Ints, learned: Bools, judged: Bools, weights: Floats | None = None
) -> tuple[float, float, float]:
    """AUROC on the films `judged` of what the films `learned` taught, and its 95 % interval by group.

    features (N, D), positive, groups, learned, judged (N,); weights (N,): how much a film counts in learning, each
    alike where none are given.
    """
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        counted = None if weights is None else weights[learned]
        model.fit(features[learned], positive[learned], logisticregression__sample_weight=counted)
    score, truth = model.decision_function(features[judged]), positive[judged]
    numbers = np.unique(groups[judged], return_inverse=True)[1].astype(np.int64)
    value = float(auroc(truth, score))
    blocks = bootstrap_weights(numbers, truth.astype(np.int64), _RESAMPLES, 0)
    replicates = np.concatenate([auroc(truth, score, block) for block in blocks])
    fewer = min(len(np.unique(numbers[truth == side])) for side in (True, False))
    return value, *bounded_interval(value, replicates, films=math.inf, patients=fewer)


def transfer(features: Floats, films: Films, rows: Ints, limits: Mapping[str, Limit]) -> Check:
    """The check: the largest drop, and the whole matrix in its details. features: of the films in `rows`."""
    sources = films.manifest["source"].astype("string").fillna("unknown").to_numpy(object)[rows]
    cells = matrix(features, films.y[rows], films.classes, [str(each) for each in sources], films.groups[rows])
    elsewhere = [cell for cell in cells if cell.here != cell.there]
    if not elsewhere:
        reason = f"no two sources have {FEW_PATIENTS} patients of a class and {FEW_PATIENTS} of another"
        advice = "Add a source that has the same classes."
        return not_done(NAME, reason, limits, advice=advice, n=len(rows))
    worst = max(elsewhere, key=lambda cell: (cell.drop_low > 0, cell.drop))
    verdict = verdict_of(worst.drop, limits[NAME], beyond_chance=worst.drop_low > 0)
    return Check(
        NAME,
        verdict,
        f"What tells {worst.label} from the rest on films of {worst.here} (AUROC {worst.value + worst.drop:.3f}) tells "
        f"it on films of {worst.there} with AUROC {worst.value:.3f}"
        + (": it was the look of the place." if verdict == "fail" else "."),
        limits[NAME],
        advice="" if verdict == "pass" else "Judge on sources left out (--set split.scheme=source), and believe that.",
        value=worst.drop,
        low=worst.drop_low,
        high=worst.drop_high,
        n=worst.n,
        patients=worst.patients,
        details=tuple(_line(cell) for cell in cells),
    )


def _line(cell: Cell) -> str:
    what = f"{cell.label}, {cell.here} to {cell.there if cell.there != cell.here else 'itself'}"
    drop = "" if cell.here == cell.there else f", lost {cell.drop:.3f} [{cell.drop_low:.3f}, {cell.drop_high:.3f}]"
    shared = f"; {cell.shared} films left out as they are there too" if cell.shared else ""
    return f"{what}: AUROC {cell.value:.3f} [{cell.low:.3f}, {cell.high:.3f}]{drop}, n = {cell.n} films{shared}"
