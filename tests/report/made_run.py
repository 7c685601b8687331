"""A run folder without a training: films of random pixels or real ones, plausible predictions, every file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from hilum.data.manifest import conform, write_manifest
from hilum.evaluation.evaluate import evaluate
from hilum.recipe.load import to_toml
from hilum.recipe.schema import About, Data, Evaluate, Model, Recipe, Stage

CLASSES = ("covid-19", "pneumonia", "normal")


def made_films(folder: Path, classes: Sequence[str] = CLASSES, *, each: int = 40, seed: int = 0) -> pd.DataFrame:
    """A manifest of `each` films per class in two hospitals, a third of them of unknown age; PNGs of 48 x 60 pixels."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(each * len(classes)):
        place = number % len(classes)
        path = folder / f"film-{number}.png"
        Image.fromarray(random.integers(0, 255, (60, 48), dtype=np.uint8)).save(path)
        rows.append(
            {
                "image_id": f"made/{path.name}",
                "path": str(path),
                "label": classes[place],
                "class": classes[place],
                "patient_id": f"made/p{number // 2}",
                "source": "hospital-a" if number % 4 else "hospital-b",
                "view": random.choice(["PA", "AP"]),
                "sex": random.choice(["F", "M"]),
                "age_years": pd.NA if number % 3 == 0 else float(random.integers(20, 90)),
                "part": "train" if number // 2 % 10 < 6 else "validation" if number // 2 % 10 < 8 else "test",
            }
        )
    return conform(pd.DataFrame(rows))


def made_predictions(
    manifest: pd.DataFrame, classes: Sequence[str], *, skill: float = 3.0, seed: int = 0
) -> pd.DataFrame:
    """Probabilities that know the class more or less: softmax of noise with `skill` added to the true class."""
    random = np.random.default_rng(seed)
    y = manifest["class"].map({name: place for place, name in enumerate(classes)}).to_numpy(int)
    z = random.normal(0, 1.4, (len(y), len(classes))) + skill * np.eye(len(classes))[y]
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    frame = manifest[["image_id", "patient_id", "source", "part"]].copy()
    frame["fold"] = pd.NA
    frame["label"] = manifest["class"]
    frame["predicted"] = np.array(classes)[p.argmax(1)]
    return pd.concat([frame, pd.DataFrame(p, columns=[f"p_{name}" for name in classes])], axis=1)


def made_run(
    folder: Path,
    manifest: pd.DataFrame,
    classes: Sequence[str] = CLASSES,
    *,
    skill: float = 3.0,
    notes: Sequence[str] = (),
    title: str = "Covid-19, pneumonia or normal",
    bootstrap: int = 100,
) -> Path:
    """Write a whole run folder for these films."""
    folder.mkdir(parents=True, exist_ok=True)
    recipe = Recipe(
        about=About(title=title, published={"accuracy": 0.967}),
        data=Data(source=["folder:films"], task="labels"),
        model=Model(backbone="mobilenetv2_100"),
        stage=[Stage(unfreeze="none", epochs=2), Stage(unfreeze="all", epochs=6, schedule="one_cycle")],
        evaluate=Evaluate(bootstrap=bootstrap),
    )
    (folder / "recipe.toml").write_text(to_toml(recipe), encoding="utf-8")
    (folder / "environment.json").write_text(
        json.dumps(
            {
                "hilum": "0.1.0",
                "python": "3.11.7",
                "packages": {"torch": "2.15.0", "timm": "1.0.31"},
                "processor": "a made processor",
                "cores": 2,
                "accelerator": None,
                "command": "hilum train --data folder:films -o runs/made",
                "weights": {"name": "mobilenetv2_100", "sha256": "0" * 64},
                "seed": 0,
                "notes": list(notes),
            }
        ),
        encoding="utf-8",
    )
    write_manifest(manifest, folder / "manifest.parquet")
    made_history().to_csv(folder / "history.csv", index=False)
    predictions = made_predictions(manifest, classes, skill=skill)
    predictions.to_csv(folder / "predictions.csv", index=False)
    (folder / "metrics.json").write_text(json.dumps(evaluate(predictions, recipe.evaluate)), encoding="utf-8")
    return folder


def made_history() -> pd.DataFrame:
    epochs = np.arange(1, 9)
    return pd.DataFrame(
        {
            "stage": [1, 1, 2, 2, 2, 2, 2, 2],
            "epoch": [1, 2, 1, 2, 3, 4, 5, 6],
            "train_loss": 1.1 * np.exp(-epochs / 3),
            "validation_loss": 1.0 * np.exp(-epochs / 4) + 0.01 * epochs,
            "validation_accuracy": 1 - 0.5 * np.exp(-epochs / 3),
            "validation_balanced_accuracy": 1 - 0.55 * np.exp(-epochs / 3),
            "validation_macro_f1": 1 - 0.6 * np.exp(-epochs / 3),
            "validation_macro_auroc": 1 - 0.3 * np.exp(-epochs / 2),
            "learning_rate": [1e-3] * 2 + [2e-4, 6e-4, 1e-3, 7e-4, 3e-4, 1e-5],
            "seconds": [21.0, 20.4, 61.2, 60.9, 60.0, 61.0, 60.5, 60.2],
        }
    )
