"""The recipes of the studies, held to a table written by hand from the five texts (and from Ozturk 2020)."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from hilum.data.sources import READERS
from hilum.recipe.load import load_recipe, shipped
from hilum.recipe.schema import Recipe

FABIANI_HEAD = {"layers": 1, "activation": "relu", "dropout": 0.5}
FABIANI_STAGE = {"unfreeze": "none", "epochs": 50, "optimiser": "amsgrad"}
KTH = {
    "needs": {"cohen", "figure1", "rsna"},
    "films": 15161,
    "data": {"draw": {"normal": 8851, "pneumonia": 6044, "covid-19": 266}},
    "split": {"scheme": "random", "validation": 0.18, "test": 0.1},
    "model": {"backbone": "VGG16", "weights": "pretrained"},
    "block": {"layers": 2},
    "balance": {"how": "share", "share": {"covid-19": 0.3}},
    # "ETA 0.001 with decay 0.001/10"
    "stages": [
        {
            "unfreeze": "none",
            "epochs": 50,
            "optimiser": "adam",
            "learning_rate": 0.001,
            "schedule": "inverse_time",
            "decay": 0.0001,
            "batch_size": 100,
        }
    ],
}
GRADIENTCRESCENT: dict[str, Any] = {
    "needs": {"cohen", "kermany"},
    "split": {"scheme": "random", "test_per_class": 9, "validation": 0.2},
    "prepare": {"side_px": 150},
    "augment": {
        "rotation_deg": 50,
        "shift": 0.2,
        "shear": 0.25,
        "zoom": 0.1,
        "channel_shift": 20,
        "flip_horizontal": True,
        "flip_vertical": True,
        "fill": "constant",
    },
    "model": {"backbone": "VGG16", "weights": "pretrained", "normalise": "zca", "pooling": "flatten"},
    "head": {"layers": 1, "units": 256, "activation": "relu", "dropout": 0.0},
    "balance": {"how": "none"},
}


def gradientcrescent(films: int, draw: dict[str, int], epochs: int, rate: float, accuracy: float) -> dict[str, Any]:
    stage = {"unfreeze": "none", "epochs": epochs, "optimiser": "adam", "learning_rate": rate, "batch_size": 10}
    stage["schedule"] = "constant"
    return {
        **GRADIENTCRESCENT,
        "films": films,
        "data": {"draw": draw},
        "stages": [stage],
        "published": {"validation accuracy": accuracy},
    }


def fabiani(draw: dict[str, int], stages: list[dict[str, Any]], published: dict[str, float]) -> dict[str, Any]:
    return {
        "needs": {"cohen", "kermany"},
        "films": 680,
        "data": {"draw": draw},
        "split": {"scheme": "random", "test": 0.2},
        "model": {"backbone": "InceptionResNetV2", "weights": "pretrained", "pooling": "avg"},
        "head": FABIANI_HEAD,
        "balance": {"how": "weights"},
        "stages": stages,
        "published": published,
    }


OTHER = {"covid-19": 140, "pneumonia/bacterial": 197, "pneumonia/viral": 143, "normal": 200}
STUDIES: dict[str, dict[str, Any]] = {
    "liverpool-2022": {
        "needs": {"kaggle-covid19-pneumonia"},
        "films": 3 * 460 + 1288,
        "data": {"task": "covid-3", "per_class": 460},
        "split": {"scheme": "published", "validation": 0.2},
        "prepare": {"side_px": 224},
        "augment": {"rotation_deg": 10, "shift": 0.1, "flip_horizontal": True, "flip_vertical": False, "zoom": 0.0},
        "model": {"backbone": "InceptionV3", "weights": "pretrained", "pooling": "avg"},
        "head": {"layers": 3, "units": 32, "activation": "selu", "batch_norm": False},
        "balance": {"how": "none"},
        "stages": [
            {"unfreeze": "none", "epochs": 5, "optimiser": "nadam", "learning_rate": 0.001, "batch_size": 32},
            {
                "unfreeze": "all",
                "optimiser": "nadam",
                "learning_rate": 0.001,
                "schedule": "exponential",
                "batch_size": 32,
                "patience": 5,
                "monitor": "accuracy",
            },
        ],
        "published": {"accuracy": 0.9270, "macro_precision": 0.9083, "macro_recall": 0.9155, "macro_f1": 0.9116},
        "others": {"ResNet50, untrained": 0.3374, "InceptionV3, untrained": 0.3297},
    },
    "covientist-2021": {
        "needs": {"kaggle-covid19-pneumonia"},
        "films": 6432,
        "data": {"task": "covid-3", "per_class": None, "draw": {}},
        "split": {"scheme": "random", "validation": 0.1, "test": 0.1},
        "prepare": {"side_px": 224},
        "augment": {"rotation_deg": 0.0, "blur": 0.0, "flip_horizontal": False, "resized_crop": 0.0},
        "model": {"backbone": "covientist-cnn", "weights": "none", "pooling": "flatten"},
        "head": {"layers": 1, "units": 256, "dropout": 0.5},
        "balance": {"how": "none"},
        "stages": [
            {
                "unfreeze": "all",
                "epochs": 100,
                "optimiser": "sgd",
                "learning_rate": 0.01,
                "schedule": "plateau",
                "lowest_learning_rate": 1e-5,
                "monitor": "loss",
            }
        ],
        "published": {"accuracy": 0.967442, "macro_precision": 0.96544, "macro_recall": 0.957881, "macro_f1": 0.961060},
        "others": {
            "VGG16": 0.92731,
            "VGG19": 0.933022,
            "ResNet18": 0.950338,
            "ResNet34": 0.953488,
            "ResNet50": 0.922481,
            "ResNet101": 0.934884,
            "InceptionV3": 0.965732,
            "EfficientNet-B0": 0.939252,
        },
    },
    "fabiani-2020-xception": {
        "needs": {"cohen"},
        "films": 347,
        "data": {"task": "covid-binary", "where": "", "draw": {"covid-19": 271, "other": 76}},
        "split": {"scheme": "random", "test": 0.2},
        "model": {"backbone": "Xception", "weights": "pretrained", "pooling": "avg"},
        "head": FABIANI_HEAD,
        "balance": {"how": "weights"},
        "stages": [{"unfreeze": "none", "epochs": 10}],
        "published": {"accuracy": 0.76, "recall/other": 0.27, "recall/covid-19": 0.89},
    },
    "fabiani-2020-four-class": {
        **fabiani(
            {"covid-19": 140, "bacterial": 197, "viral": 143, "normal": 200},
            [FABIANI_STAGE],
            {"accuracy": 0.80, "recall/covid-19": 1.0, "recall/viral": 0.45},
        ),
        "others": {"Xception": 0.86, "VGG16": 0.84, "NASNetLarge": 0.78},
    },
    "fabiani-2020-binary": fabiani(OTHER, [FABIANI_STAGE], {"accuracy": 0.99, "recall/covid-19": 0.93}),
    "fabiani-2020-fine-tuned": fabiani(
        OTHER, [FABIANI_STAGE, {"unfreeze": 2, "optimiser": "amsgrad"}], {"accuracy": 0.99, "recall/covid-19": 1.0}
    ),
    "kth-snn-2020-original": {
        **KTH,
        "prepare": {"equalise": "none", "lungs": "none"},
        "augment": {"rotation_deg": 0.0, "shift": 0.0, "zoom": 0.0},
        "published": {"accuracy": 0.91, "recall/covid-19": 0.65, "f2/covid-19": 0.69, "precision/normal": 0.91},
    },
    "kth-snn-2020-segmented": {
        **KTH,
        "prepare": {"equalise": "histogram", "lungs": "mask"},
        "augment": {"rotation_deg": 0.0, "shift": 0.0, "zoom": 0.0},
        "published": {"accuracy": 0.43, "recall/covid-19": 0.77, "f1/pneumonia": 0.57},
    },
    "kth-snn-2020-augmented": {
        **KTH,
        "prepare": {"equalise": "histogram", "lungs": "mask"},
        "augment": {"rotation_deg": 10, "shift": 0.1, "zoom": 0.15, "flip_horizontal": False, "flip_vertical": False},
        "published": {"accuracy": 0.49, "recall/covid-19": 0.88, "recall/pneumonia": 0.21},
    },
    "gradientcrescent-2020-binary": gradientcrescent(148, {"covid-19": 69, "normal": 79}, 20, 5e-4, 0.80),
    "gradientcrescent-2020-three": gradientcrescent(
        227, {"covid-19": 69, "normal": 79, "bacterial": 79}, 100, 5e-4, 0.80
    ),
    "gradientcrescent-2020-four": gradientcrescent(
        306, {"covid-19": 69, "normal": 79, "bacterial": 79, "viral": 79}, 100, 1e-4, 0.60
    ),
    "darkcovidnet-2020": {
        "needs": {"darkcovidnet"},
        "films": 1125,
        "split": {"scheme": "random", "folds": 5},
        "prepare": {"side_px": 256},
        "model": {"backbone": "darkcovidnet", "weights": "none"},
        "balance": {"how": "none"},
        "stages": [{"epochs": 100, "optimiser": "adam", "learning_rate": 3e-3, "batch_size": 32}],
        "published": {"accuracy": 0.8702},
    },
}


def part_of(recipe: Recipe, section: str, names: Any) -> dict[str, Any]:
    """The keys of a section that the table names."""
    found = recipe.model.head if section == "head" else recipe.model.block if section == "block" else None
    return {name: getattr(found or getattr(recipe, section), name) for name in names}


@pytest.mark.parametrize("name", STUDIES)
def test_a_recipe_is_its_study(name: str) -> None:
    recipe, study = load_recipe([name]), STUDIES[name]
    for section in ("data", "split", "prepare", "augment", "model", "head", "block", "balance"):
        asked = study.get(section, {})
        assert part_of(recipe, section, asked) == asked, section
    assert len(recipe.stage) == len(study["stages"])
    for stage, asked in zip(recipe.stage, study["stages"], strict=True):
        assert {key: getattr(stage, key) for key in asked} == asked


@pytest.mark.parametrize("name", STUDIES)
def test_a_recipe_tells_its_study(name: str) -> None:
    about, study = load_recipe([name]).about, STUDIES[name]
    assert about.title and about.summary
    assert "20" in about.citation  # its year
    assert about.films == study["films"]
    assert set(about.needs) == study["needs"] <= set(READERS)
    assert study["published"].items() <= about.published.items()
    accuracy = {
        other: figures.get("accuracy", figures.get("validation accuracy")) for other, figures in about.others.items()
    }
    assert accuracy == study.get("others", {})


@pytest.mark.parametrize("name", STUDIES)
def test_a_published_random_split_stays_random_and_its_leaks_are_allowed(name: str) -> None:
    split = load_recipe([name]).split
    assert split.leaks == "allow"
    assert split.scheme == ("published" if name == "liverpool-2022" else "random")


@pytest.mark.parametrize("name", sorted(shipped()))
def test_each_recipe_explains_itself(name: str) -> None:
    text = shipped()[name].read_text(encoding="utf-8")
    assert text.startswith("# ")
    for line in text.splitlines():
        assert len(line) <= 130 or not line.startswith("#")
    if name in STUDIES:
        written = tomllib.loads(text)
        assert sum(line.startswith("#") for line in text.splitlines()) >= 12
        assert not written["data"].get("source")


@pytest.mark.parametrize("training", ["better", "frozen"])
@pytest.mark.parametrize("name", STUDIES)
def test_better_leaves_nothing_of_a_studys_training_and_all_of_its_films(name: str, training: str) -> None:
    study, alone, better = load_recipe([name]), load_recipe([training]), load_recipe([name, training])
    for section in ("prepare", "augment", "model", "stage"):
        assert getattr(better, section) == getattr(alone, section), section
    assert (better.data, better.task, better.balance) == (study.data, study.task, study.balance)
    assert better.split == study.split.model_copy(update={"leaks": "drop"})
