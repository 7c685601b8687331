"""Heads that are trained at once end with the weights and figures of heads that are trained one after another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from hilum.errors import HilumError
from hilum.model.classifier import Classifier, build, new_head
from hilum.progress import SILENT
from hilum.recipe.load import load_recipe
from hilum.recipe.schema import Augment, Balance, Head, Model, Stage
from hilum.training import search as searching
from hilum.training import stacked
from hilum.training.features import Features, head_alone
from hilum.training.heads import alike, train_heads
from hilum.training.search import search
from hilum.training.stage import StageJob, train_stage

CLASSES, FILMS, VALIDATED, WIDTH = ("a", "b", "c"), 118, 50, 512
PRECISIONS = ["32-true", "bf16-mixed"]


def job(folder: Path, precision: str, stage: Stage, balance: Balance | None = None) -> StageJob:
    """Features of three classes that can be told apart, if not well; the last batch is not full."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, FILMS + VALIDATED)
    x = torch.from_numpy(rng.normal(size=(len(y), WIDTH)) + 0.1 * y[:, None] * rng.normal(size=WIDTH)).float()
    features: Any = (x.bfloat16().view(torch.uint16) if precision == "bf16-mixed" else x).numpy()
    parts = [slice(0, FILMS), slice(FILMS, None)]
    train, validation = (Features(y[p], np.array(["s"] * len(y[p]), dtype=object), (features[p],)) for p in parts)
    balance = balance or Balance()
    return StageJob(1, stage, CLASSES, train, validation, Augment(), balance, 5, precision, "cpu", folder)


def model(layers: int, activation: str, batch_norm: bool, dropout: float) -> Model:
    head = Head.model_validate(
        {"layers": layers, "units": 24, "activation": activation, "batch_norm": batch_norm, "dropout": dropout}
    )
    return Model(backbone="resnet10t", weights="none", dropout=dropout, head=head)


def classifier(of: Model) -> Classifier:
    return build(of, CLASSES, side_px=64, seed=3)


def stages(**more: Any) -> list[Stage]:
    """One of each optimiser, with rates and schedules of their own."""
    names = ["adam", "rmsprop", "adagrad", "adadelta", "adamax", "nadam", "sgd", "amsgrad", "adamw"]
    rates, schedules = [1e-2, 1e-3, 0.1], ["constant", "one_cycle", "plateau"]
    return [
        Stage.model_validate(
            {
                "unfreeze": "none",
                "epochs": 3,
                "optimiser": name,
                "learning_rate": rates[number % 3],
                "schedule": schedules[number // 3],
                "weight_decay": 0.01 * (number % 2),
                "monitor": "accuracy",
                **more,
            }
        )
        for number, name in enumerate(names)
    ]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(
    "head", [(0, "relu", False, 0.0), (1, "relu", True, 0.0), (2, "selu", False, 0.2), (2, "tanh", True, 0.3)]
)
def test_together_heads_get_the_weights_that_each_gets_alone(
    head: tuple[int, str, bool, float], precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stacked, "_AT_A_TIME", 5000)  # so that weights are moved in several pieces
    of, asked = model(*head), stages(label_smoothing=0.1)
    asked.insert(4, asked[4])  # two that learn alike are moved together
    heads = [new_head(classifier(of), of) for _ in asked]
    balance = Balance(how="weights")
    together = train_heads(heads, asked, job(tmp_path, precision, asked[0], balance))
    for number in (0, 5, 9):  # of each schedule one; all of them take long through Lightning
        alone = classifier(of)
        its_job = job(tmp_path / str(number), precision, asked[number], balance)
        history = train_stage(head_alone(alone), its_job, SILENT)
        found = together[number]
        assert isinstance(found, pd.DataFrame)
        pd.testing.assert_frame_equal(
            history.drop(columns="seconds"), found.drop(columns="seconds"), check_dtype=False, atol=1e-5, rtol=0
        )
        for name, tensor in alone.head.state_dict().items():
            torch.testing.assert_close(heads[number].state_dict()[name], tensor, atol=1e-4, rtol=0)


def test_a_head_that_gains_no_more_stops_and_the_others_go_on(tmp_path: Path) -> None:
    of = model(0, "relu", False, 0.0)
    still, learns = (
        Stage(unfreeze="none", epochs=6, optimiser="sgd", learning_rate=rate, patience=2, monitor="accuracy")
        for rate in (1e-12, 1e-2)
    )
    one, other = train_heads([new_head(classifier(of), of) for _ in "ab"], [still, learns], job(tmp_path, "32", still))
    assert isinstance(one, pd.DataFrame) and isinstance(other, pd.DataFrame)
    assert len(one) == 3 < len(other)  # its first epoch is its best, and two more bring no gain


def test_a_head_whose_loss_is_no_number_fails_alone(tmp_path: Path) -> None:
    of = model(2, "relu", False, 0.0)
    heads, (stage, *_) = [new_head(classifier(of), of) for _ in "ab"], stages()
    with torch.no_grad():
        heads[0][0].weight.fill_(float("nan"))
    one, other = train_heads(heads, [stage, stage], job(tmp_path, "32-true", stage))
    assert isinstance(one, HilumError) and "no number" in str(one)
    alone = train_heads([new_head(classifier(of), of)], [stage], job(tmp_path, "32-true", stage))[0]
    assert isinstance(other, pd.DataFrame) and isinstance(alone, pd.DataFrame)
    np.testing.assert_allclose(other.to_numpy(float), alone.to_numpy(float), atol=1e-6)


def test_a_new_head_is_the_one_that_the_whole_network_would_have() -> None:
    small, large = model(0, "relu", False, 0.0), model(2, "selu", False, 0.2)
    made, whole = new_head(classifier(small), large), classifier(large).head
    assert repr(made) == repr(whole)
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(made.state_dict()[name], tensor, atol=0, rtol=0)


def test_only_heads_of_the_same_layers_are_stacked() -> None:
    one, two = model(1, "relu", False, 0.0), model(1, "tanh", False, 0.0)
    assert alike([one, two, one, two, one], classifier(one)) == [[0, 2, 4], [1, 3]]
    assert isinstance(classifier(one).head[0], nn.Linear)


@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_a_search_of_heads_finds_together_what_it_finds_one_at_a_time(
    precision: str, phantoms: Path, small: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load_recipe(
        settings=[
            *small,
            f'data.source=["{phantoms}"]',
            "model.backbone=resnet10t",
            "stage.unfreeze=none",
            "stage.epochs=2",
            "split.validation=0.3",
            "search.method=one_at_a_time",
            f'training.precision="{precision}"',
            "search.space.model.head.activation=['relu', 'selu']",
            "search.space.model.head.layers=[0, 2]",
            "search.space.stage.optimiser=['adam', 'nadam', 'sgd']",
        ]
    )
    together = pd.read_csv(search(recipe, tmp_path / "together") / "trials.csv")
    monkeypatch.setattr(searching._Bench, "heads", None)
    alone = pd.read_csv(search(recipe, tmp_path / "alone") / "trials.csv")
    assert together["validation_loss"].nunique() >= 4
    pd.testing.assert_frame_equal(together.drop(columns="seconds"), alone.drop(columns="seconds"), atol=1e-6, rtol=0)
