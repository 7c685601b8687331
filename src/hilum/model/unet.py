"""The lung network in torch, for training; `hilum.image.lungs` computes it afterwards without."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from hilum.image.unet import PLAN, Step


class LungUNet(nn.Module):
    """Films (B, 1, S, S), float in [0, 1], to logits (B, 1, S / 2, S / 2) of being lung; it walks `image.unet.PLAN`."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({step.name: _layer(step) for step in PLAN})

    def forward(self, films: Tensor) -> Tensor:
        held = {"film": films}
        for step in PLAN:
            x: Tensor = self.layers[step.name](held[step.source])
            if step.doubled:
                x = F.interpolate(x, scale_factor=2.0, mode="nearest")
            if step.plus:
                x = x + held[step.plus]
            held[step.name] = F.relu(x) if step.relu else x
        return held[PLAN[-1].name]


def _layer(step: Step) -> nn.Sequential:
    """A convolution and its batch norm; the last one has a bias instead."""
    last = not step.relu
    convolution = nn.Conv2d(
        step.width_in, step.width_out, step.kernel, stride=step.stride, padding=step.kernel // 2, bias=last
    )
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    if last:
        return nn.Sequential(convolution)
    norm = nn.BatchNorm2d(step.width_out)
    if step.name.startswith(("deep", "flat")) and step.plus:
        # A residual block begins as the identity (Goyal et al. 2017, arXiv:1706.02677).
        nn.init.zeros_(norm.weight)
    return nn.Sequential(convolution, norm)


def build(seed: int) -> LungUNet:
    """An untrained network; the seed decides its weights, and torch's global generator stays as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LungUNet()


def folded(network: LungUNet) -> dict[str, NDArray[np.float32]]:
    """NAME.weight and NAME.bias of each step of a network in evaluation mode, batch norms folded into convolutions."""
    weights: dict[str, NDArray[np.float32]] = {}
    for name, layer in network.layers.items():
        assert isinstance(layer, nn.Sequential)
        fused: Any = fuse_conv_bn_eval(*layer) if len(layer) > 1 else layer[0]
        weights[f"{name}.weight"] = fused.weight.detach().float().cpu().numpy()
        weights[f"{name}.bias"] = fused.bias.detach().float().cpu().numpy()
    return weights
