"""The dense layers on top."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hilum.model.head import ACTIVATIONS, build_head
from hilum.recipe.schema import Head


def kinds(head: nn.Sequential) -> list[str]:
    return [type(layer).__name__ for layer in head]


def test_no_layers_is_one_linear_layer() -> None:
    assert kinds(build_head(8, 3, Head())) == ["Linear"]
    assert kinds(build_head(8, 3, Head(), dropout=0.5)) == ["Dropout", "Linear"]


def test_batch_norm_stands_before_each_dense_layer_and_normalises_what_comes_in() -> None:
    head = build_head(8, 3, Head(layers=2, units=4, batch_norm=True, dropout=0.2), dropout=0.5)
    layer = ["Linear", "ReLU", "Dropout"]
    assert kinds(head) == ["BatchNorm1d", *layer, "BatchNorm1d", *layer, "Dropout", "Linear"]
    assert [norm.num_features for norm in head if isinstance(norm, nn.BatchNorm1d)] == [8, 4]


def test_selu_has_no_batch_norm_and_alpha_dropout() -> None:
    head = build_head(8, 3, Head(layers=1, units=4, activation="selu", batch_norm=True, dropout=0.2), dropout=0.5)
    assert kinds(head) == ["Linear", "SELU", "AlphaDropout", "AlphaDropout", "Linear"]


@pytest.mark.parametrize(
    ("activation", "variance"),
    [
        *[(name, 2 / 600) for name in ("relu", "elu", "leaky_relu", "gelu", "silu")],  # He: 2 / fan-in
        *[(name, 2 / (600 + 200)) for name in ("tanh", "sigmoid", "linear")],  # Glorot: 2 / (fan-in + fan-out)
        ("selu", 1 / 600),  # LeCun: 1 / fan-in
    ],
)
def test_the_initialisation_fits_the_activation(activation: str, variance: float) -> None:
    torch.manual_seed(0)
    layer = build_head(600, 3, Head(layers=1, units=200, activation=activation))[0]  # type: ignore[arg-type]
    assert isinstance(layer, nn.Linear)
    # The variance of 120000 draws has a relative error of about 0.4 %.
    assert float(layer.weight.detach().var()) == pytest.approx(variance, rel=0.03)
    assert float(layer.weight.detach().mean()) == pytest.approx(0.0, abs=1e-3)
    assert layer.bias.detach().abs().max() == 0


def test_every_activation_of_the_recipe_has_its_layer() -> None:
    assert set(Head.model_fields["activation"].annotation.__args__) == set(ACTIVATIONS)  # type: ignore[union-attr]


@pytest.mark.parametrize("layers", range(5))
def test_the_head_has_as_many_dense_layers_as_asked_for_and_one_logit_a_class(layers: int) -> None:
    head = build_head(8, 3, Head(layers=layers, units=4))
    assert sum(isinstance(layer, nn.Linear) for layer in head) == layers + 1
    assert head(torch.zeros(2, 8)).shape == (2, 3)


def test_selu_layers_keep_mean_0_and_variance_1() -> None:
    # Klambauer et al. 2017: with LeCun initialisation the activations stay near mean 0 and variance 1 through layers.
    torch.manual_seed(0)
    head = build_head(512, 3, Head(layers=4, units=512, activation="selu"))
    x = torch.randn(2000, 512)
    with torch.inference_mode():
        for layer in head[:-1]:
            x = layer(x)
    assert float(x.mean()) == pytest.approx(0.0, abs=0.05)
    assert float(x.var()) == pytest.approx(1.0, abs=0.15)
