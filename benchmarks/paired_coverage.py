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
from hilum.evaluation.intervals import bootstrap_weights, gap_interval
from hilum.evaluation.metrics import calibration_gaps
from hilum.evaluation.paired import difference_interval, mcnemar, patient_sign_test, unpaired_interval

RESAMPLES = 200
SHARED_BY_MODELS = 0.6  # share of the noise's variance that both models have
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


def values_of(y: np.ndarray, said: Said, classes: str, weights: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """The terms that are paired, and the gaps of the calibration error, which are not."""
    return terms(y, *said, classes, weights) | {"calibration_error": calibration_gaps(y, said[1], weights)}


def value(name: str, one: np.ndarray) -> np.ndarray:
    return np.abs(one).sum(-1) if name == "calibration_error" else one.mean(-1)


def judge(design: Design, test_sets: int) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Share of test sets whose interval holds the truth (hilum's, percentiles), by figure; of p below 0.05, by test."""
    rng, classes = np.random.default_rng(0), "abc"[: len(design.patients)]
    equal = design.separation[0] == design.separation[1]
    y, _, said = design.draw(rng, times=1 if equal else 300_000 // sum(design.patients))
    first, second = (terms(y, *each, classes) for each in said)
    truth = {name: 0.0 if equal else float(value(name, second[name]) - value(name, first[name])) for name in first}
    truth["calibration_error"] = 0.0  # both are calibrated by construction
    held = {name: np.zeros(2) for name in truth}
    cried = {"by film": 0, "by patient": 0, "Durkalski": 0}
    for seed in range(test_sets):
        y, patient, said = design.draw(rng)
        weights = np.concatenate(list(bootstrap_weights(patient, y, RESAMPLES, seed)))
        values = [values_of(y, each, classes) for each in said]
        drawn = [values_of(y, each, classes, weights) for each in said]
        behind = patients_behind(y, patient, classes)
        for name in truth:
            first, second = (float(value(name, each[name])) for each in values)
            replicates = drawn[1][name] - drawn[0][name]
            if name == "calibration_error":
                gaps = [
                    gap_interval(each[name], draws[name], patients=int(patient.max()) + 1)
                    for each, draws in zip(values, drawn, strict=True)
                ]
                figures = [
                    {"value": each, "low": low, "high": high}
                    for each, (low, high) in zip((first, second), gaps, strict=True)
                ]
                low, high = unpaired_interval(*figures)
            else:
                counted = name.split("/")[0] in ("accuracy", "balanced_accuracy", "macro_f1", "recall")
                low, high = difference_interval(second - first, replicates, behind[name], counted=counted)
            percentiles = np.nanquantile(value(name, drawn[1][name]) - value(name, drawn[0][name]), [0.025, 0.975])
            held[name] += (low <= truth[name] <= high, percentiles[0] <= truth[name] <= percentiles[1])
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
    head = " | ".join(DESIGNS) + " |\n| --- |" + " --- |" * len(DESIGNS)
    print("| difference of | " + head)
    for name in names_of("a"):
        print(f"| `{name}` | " + " | ".join(f"{held[name][0]:.2f} ({held[name][1]:.2f})" for held, _ in found) + " |")
    print("\n| p below 0.05 | " + head)
    for name in found[0][1]:
        print(f"| {name} | " + " | ".join(f"{cried[name]:.2f}" for _, cried in found) + " |")


if __name__ == "__main__":
    main()
