"""The dense layers on top of a backbone, each with the initialisation that fits its activation.

A layer is [batch norm,] linear, activation[, dropout]: batch norm stands before the dense layer and normalises its
inputs, as in the study liverpool-2022. A SELU layer has none, because it normalises itself (Klambauer et al. 2017,
NeurIPS), and its dropout is the alpha dropout that keeps it so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from hilum.recipe import schema

Init = Callable[[Tensor], Tensor]


def _he(weight: Tensor) -> Tensor:
    """He et al. 2015 (ICCV): variance 2 / fan-in, for the ReLU and its kin."""
    return nn.init.kaiming_normal_(weight, nonlinearity="relu")


def _lecun(weight: Tensor) -> Tensor:
    """LeCun et al. 1998: variance 1 / fan-in, which SELU needs."""
    return nn.init.kaiming_normal_(weight, nonlinearity="linear")


_glorot: Init = nn.init.xavier_uniform_  # Glorot & Bengio 2010 (AISTATS): variance 2 / (fan-in + fan-out)

ACTIVATIONS: Mapping[str, tuple[type[nn.Module], Init]] = {
    "relu": (nn.ReLU, _he),
    "elu": (nn.ELU, _he),
    "leaky_relu": (nn.LeakyReLU, _he),
    "gelu": (nn.GELU, _he),
    "silu": (nn.SiLU, _he),
    "selu": (nn.SELU, _lecun),
    "tanh": (nn.Tanh, _glorot),
    "sigmoid": (nn.Sigmoid, _glorot),
    "linear": (nn.Identity, _glorot),
}


def build_head(features: int, classes: int, head: schema.Head, *, dropout: float = 0.0) -> nn.Sequential:
    """From pooled features (B, features) to logits (B, classes); dropout is before the last layer.

    >>> build_head(4, 3, schema.Head(layers=1, units=2, activation="selu", batch_norm=True, dropout=0.1))
    Sequential(
      (0): Linear(in_features=4, out_features=2, bias=True)
      (1): SELU()
      (2): AlphaDropout(p=0.1, inplace=False)
      (3): Linear(in_features=2, out_features=3, bias=True)
    )
    """
    activation, init = ACTIVATIONS[head.activation]
    selu = head.activation == "selu"
    drop = nn.AlphaDropout if selu and head.layers else nn.Dropout
    layers: list[nn.Module] = []
    width = features
    for _ in range(head.layers):
        if head.batch_norm and not selu:
            layers.append(nn.BatchNorm1d(width))
        layers += [_linear(width, head.units, init), activation()]
        if head.dropout:
            layers.append(drop(head.dropout))
        width = head.units
    if dropout:
        layers.append(drop(dropout))
    return nn.Sequential(*layers, _linear(width, classes, _glorot))


def _linear(inputs: int, outputs: int, init: Init) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    init(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
