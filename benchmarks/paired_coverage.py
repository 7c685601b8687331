"""How often the paired intervals of `hilum compare` hold the true difference, and how often its tests cry wolf.

    python benchmarks/paired_coverage.py [TEST_SETS]

Two made-up models give every class a Gaussian score, whose noise they share in part, with each other and between the
films of a patient. The true difference is theirs on 300,000 films, and 0 where the models are worth the same. Test
sets are drawn from them; the tables are those in docs/compare.md. About 3 minutes of one core for 500.
"""

from __future__ import annotations

import math
import platform
import sys
from dataclasses import dataclass

import numpy as np
from scipy import stats

from hilum.evaluation.comparison import names_of, patients_behind, terms
from hilum.evaluation.intervals import bootstrap_weights
from hilum.evaluation.paired import difference_interval, mcnemar, patient_sign_test

RESAMPLES = 200
SHARED_BY_MODELS = 0.6  # share of the noise's variance that both models have
COUNTED = ("accuracy", "balanced_accuracy", "macro_f1")
Said = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Design:
    """Patients per class, how far classes stand apart for each model, films per patient (1 to), what those share."""

    patients: tuple[int, ...]
    separation: tuple[float, float]
    most_films: int = 1
    shared: float = 0.0

    def draw(self, rng: np.random.Generator, times: int = 1) -> tuple[np.ndarray, np.ndarray, list[Said]]:
        """Labels (N,), patient numbers (N,), and (predicted, p) of both models."""
        of_patient = np.repeat(np.arange(len(self.patients)), np.array(self.patients) * times)
        patient = np.repeat(np.arange(len(of_patient)), rng.integers(1, self.most_films + 1, len(of_patient)))
        y = of_patient[patient]

        def noise() -> np.ndarray:
            size = len(self.patients)
            own = math.sqrt(1 - self.shared) * rng.normal(size=(len(y), size))
            return own + math.sqrt(self.shared) * rng.normal(size=(len(of_patient), size))[patient]

        both, said = noise(), []
        for separation in self.separation:
            z = math.sqrt(SHARED_BY_MODELS) * both + math.sqrt(1 - SHARED_BY_MODELS) * noise()
            z[np.arange(len(y)), y] += separation
            p = np.exp(separation * z) * np.array(self.patients)
            p /= p.sum(1, keepdims=True)
            said.append((p.argmax(1), p))
        return y, patient, said


DESIGNS = {
    "15 + 45 patients": Design((15, 45), (1.2, 1.2)),
    "30 + 30, 1 to 5 films each": Design((30, 30), (1.2, 1.2), 5, 0.5),
    "10 + 50 + 50": Design((10, 50, 50), (3.0, 3.0)),
    "10 + 50 + 50, 1 to 4 films each": Design((10, 50, 50), (3.0, 3.0), 4, 0.5),
    "100 + 300 + 300": Design((100, 300, 300), (3.0, 3.0)),
    "100 + 300 + 300, one better": Design((100, 300, 300), (3.0, 3.5)),
    "30 + 30, 1 to 5 films, one better": Design((30, 30), (1.2, 1.8), 5, 0.5),
}


def durkalski(gain: np.ndarray, patient: np.ndarray) -> float:
    """The p of McNemar's test for clustered pairs after Durkalski et al. 2003, Stat. Med. 22:2417."""
    films = np.bincount(patient)
    share = np.bincount(patient, weights=gain) / films
    return float(stats.chi2.sf(share.sum() ** 2 / (share**2).sum(), 1)) if share.any() else 1.0


def judge(design: Design, test_sets: int) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Share of test sets whose interval holds the truth (hilum's, percentiles), by figure; of p below 0.05, by test."""
    rng = np.random.default_rng(0)
    equal = design.separation[0] == design.separation[1]
    y, _, said = design.draw(rng, times=1 if equal else 300_000 // sum(design.patients))
    values = [terms(y, *each) for each in said]
    truth = {name: 0.0 if equal else float((values[1][name] - values[0][name]).mean()) for name in values[0]}
    held = {name: np.zeros(2) for name in truth}
    cried = {"by film": 0, "by patient": 0, "Durkalski": 0}
    for seed in range(test_sets):
        y, patient, said = design.draw(rng)
        values = [terms(y, *each) for each in said]
        weights = np.concatenate(list(bootstrap_weights(patient, y, RESAMPLES, seed)))
        drawn = [terms(y, *each, weights) for each in said]
        behind = patients_behind(y, patient, len(design.patients))
        for name in truth:
            value = float((values[1][name] - values[0][name]).mean())
            replicates = drawn[1][name] - drawn[0][name]
            counted = name in COUNTED or name.startswith("recall/")
            low, high = difference_interval(value, replicates, behind[name], counted=counted)
            first, last = np.nanquantile(replicates.mean(1), [0.025, 0.975])
            held[name] += (low <= truth[name] <= high, first <= truth[name] <= last)
        right = [(each[0] == y).astype(int) for each in said]
        gain = right[1] - right[0]
        cried["by film"] += mcnemar(int((gain < 0).sum()), int((gain > 0).sum())) < 0.05
        cried["by patient"] += patient_sign_test(gain, patient) < 0.05
        cried["Durkalski"] += durkalski(gain, patient) < 0.05
    return {name: each / test_sets for name, each in held.items()}, {k: n / test_sets for k, n in cried.items()}


def main() -> None:
    test_sets = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    print(f"{test_sets} test sets a column, {RESAMPLES} resamples; {platform.processor() or platform.machine()}\n")
    found = [judge(design, test_sets) for design in DESIGNS.values()]
    print("| difference of | " + " | ".join(DESIGNS) + " |\n| --- |" + " --- |" * len(DESIGNS))
    for name, key in zip(names_of("a"), terms(np.array([0, 1]), np.array([0, 1]), np.eye(2)), strict=False):
        print(f"| `{name}` | " + " | ".join(f"{held[key][0]:.2f} ({held[key][1]:.2f})" for held, _ in found) + " |")
    print("\n| p below 0.05 | " + " | ".join(DESIGNS) + " |\n| --- |" + " --- |" * len(DESIGNS))
    for name in found[0][1]:
        print(f"| {name} | " + " | ".join(f"{cried[name]:.2f}" for _, cried in found) + " |")


if __name__ == "__main__":
    main()
