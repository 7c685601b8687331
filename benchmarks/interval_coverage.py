"""How often the 95 % intervals of `hilum.evaluation` hold the truth, against plain bootstrap percentiles.

    python benchmarks/interval_coverage.py [TEST_SETS]

A made-up model gives every class a Gaussian score, calibrated by construction; the truth is its figure on 600,000
films. Test sets are drawn from it and judged with `evaluate`; the table is the one in docs/figures.md. 2 minutes of one
core.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np
import pandas as pd

from hilum.evaluation import metrics
from hilum.evaluation.evaluate import evaluate
from hilum.evaluation.intervals import bootstrap_weights
from hilum.recipe.schema import Evaluate

HOW = Evaluate(bootstrap=200)
NAMES = ["accuracy", "recall/a", "precision/a", "f1/a", "auroc/a", "average_precision/a"]
NAMES += ["macro_recall", "macro_f1", "kappa", "brier", "log_loss", "calibration_error"]


@dataclass(frozen=True)
class Design:
    """Patients per class, how far the classes stand apart, films per patient (1 to), what films of one share."""

    patients: tuple[int, ...]
    separation: float
    most_films: int = 1
    shared: float = 0.0

    def draw(self, rng: np.random.Generator, times: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Labels (N,), probabilities (N, K) and patient numbers (N,)."""
        of_patient = np.repeat(np.arange(len(self.patients)), np.array(self.patients) * times)
        patient = np.repeat(np.arange(len(of_patient)), rng.integers(1, self.most_films + 1, len(of_patient)))
        y = of_patient[patient]
        z = np.sqrt(1 - self.shared) * rng.normal(size=(len(y), len(self.patients)))
        z += np.sqrt(self.shared) * rng.normal(size=(len(of_patient), len(self.patients)))[patient]
        z[np.arange(len(y)), y] += self.separation
        # By Bayes' theorem with the classes as frequent as they are.
        p = np.exp(self.separation * z) * np.array(self.patients)
        return y, p / p.sum(1, keepdims=True), patient


DESIGNS = {
    "15 + 45 patients": Design((15, 45), 1.2),
    "30 + 30, 1 to 5 films each": Design((30, 30), 1.2, 5, 0.5),
    "10 + 50 + 50": Design((10, 50, 50), 3.0),
    "10 + 50 + 50, 1 to 4 films each": Design((10, 50, 50), 3.0, 4, 0.5),
    "100 + 300 + 300": Design((100, 300, 300), 3.0),
}


def values(y: np.ndarray, p: np.ndarray, weights: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """The figures of NAMES, for the truth and for the percentiles."""
    counts = metrics.confusion(y, p.argmax(1), p.shape[1], weights)
    found = [
        metrics.accuracy(counts),
        metrics.recall(counts)[..., 0],
        metrics.precision(counts)[..., 0],
        metrics.f_beta(counts, 1.0)[..., 0],
        metrics.auroc(y == 0, p[:, 0], weights),
        metrics.average_precision(y == 0, p[:, 0], weights),
        metrics.macro(metrics.recall(counts)),
        metrics.macro(metrics.f_beta(counts, 1.0)),
        metrics.kappa(counts),
        metrics.brier(y, p, weights),
        metrics.log_loss(y, p, weights),
        metrics.calibration_error(y, p, weights),
    ]
    return dict(zip(NAMES, found, strict=True))


def coverage(design: Design, test_sets: int) -> pd.DataFrame:
    """Share of test sets whose interval holds the truth: hilum's, and the percentiles'."""
    rng = np.random.default_rng(0)
    y, p, _ = design.draw(rng, times=600_000 // sum(design.patients))
    truth = values(y, p) | {"calibration_error": np.array(0.0)}
    held = {name: np.zeros(2) for name in NAMES}
    judged = dict.fromkeys(NAMES, 0)
    for seed in range(test_sets):
        y, p, patient = design.draw(rng)
        table = pd.DataFrame(p, columns=[f"p_{'abc'[k]}" for k in range(p.shape[1])])
        table = table.assign(image_id=np.arange(len(y)).astype(str), patient_id=patient.astype(str))
        table["label"] = np.array(list("abc"))[y]
        found = evaluate(table, HOW, seed=seed)["test"]
        draws = values(y, p, np.concatenate(list(bootstrap_weights(patient, y, HOW.bootstrap, seed))))
        for name in NAMES:
            figure = found[name]
            if figure["value"] is None:
                continue
            percentiles = np.nanquantile(draws[name], [0.025, 0.975])
            judged[name] += 1
            held[name] += (
                figure["low"] <= truth[name] <= figure["high"],
                percentiles[0] <= truth[name] <= percentiles[1],
            )
    return pd.DataFrame({name: held[name] / judged[name] for name in NAMES}, index=["hilum", "percentiles"]).T


def main() -> None:
    test_sets = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    print("| figure | " + " | ".join(DESIGNS) + " |\n| --- |" + " --- |" * len(DESIGNS))
    tables = [coverage(design, test_sets) for design in DESIGNS.values()]
    for name in NAMES:
        cells = [f"{table.loc[name, 'hilum']:.2f} ({table.loc[name, 'percentiles']:.2f})" for table in tables]
        print(f"| `{name}` | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
