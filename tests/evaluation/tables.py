"""Made-up predictions of a known kind; no expected value is taken from here."""

from __future__ import annotations

import numpy as np
import pandas as pd

CLASSES = ["covid-19", "pneumonia", "normal"]


def predictions(
    films: int = 120,
    *,
    part: str = "test",
    films_per_patient: int = 1,
    separation: float = 1.5,
    classes: list[str] = CLASSES,
    seed: int = 0,
) -> pd.DataFrame:
    """Films whose patients share a class, with softmax probabilities around the truth; every class is there."""
    rng = np.random.default_rng(seed)
    patients = np.arange(films) // films_per_patient
    y = patients % len(classes)
    z = rng.normal(size=(films, len(classes)))
    z[np.arange(films), y] += separation
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    table = pd.DataFrame({"image_id": [f"made-up/{part}-{i}.png" for i in range(films)]})
    table["patient_id"] = [f"made-up/{part}-{patient}" for patient in patients]
    table["source"], table["part"] = "made-up", part
    table["label"] = np.array(classes)[y]
    for number, name in enumerate(classes):
        table[f"p_{name}"] = p[:, number]
    return table
