"""Pooling of several levels of a network: what its finer maps say counts too, not only the last one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_LEVELS = 3
_SMALLEST = 1e-5  # of a variance, whose root has no slope at 0


def levels(network: nn.Module, x: Tensor) -> Tensor:
    """Mean and spread over the places of the last map and of the last maps of the two finer levels: (B, F).

    x: (B, 3, H, W), or (B, 1, H, W) where the first layer is folded. A level is what a network computes at one size of
    its maps; each of C channels gives C means and then C standard deviations, finest level first. Signs of pneumonia
    are textures more than things, and the last map of a network that was trained on photographs is about things.

    >>> import timm
    >>> network = timm.create_model("resnet18", num_classes=0).eval()
    >>> levels(network, torch.zeros(2, 3, 64, 64)).shape[1] == 2 * (128 + 256 + 512)
    True
    """
    maps = _maps(network, x)
    means = [m.mean(dim=(2, 3)) for m in maps]
    spreads = [(m.var(dim=(2, 3), correction=0) + _SMALLEST).sqrt() for m in maps]
    return torch.cat([each for pair in zip(means, spreads, strict=True) for each in pair], dim=1)


def has_levels(network: nn.Module, x: Tensor) -> bool:
    """Whether the network gives maps (B, C, h, w) of three levels, the finest first."""
    if not hasattr(network, "forward_intermediates"):
        return False
    last, maps = _computed(network, x)
    sizes = [m.shape[2] for m in maps]
    channels_first = last.shape[2:] == maps[-1].shape[2:]
    return channels_first and len(maps) == _LEVELS and sizes == sorted(set(sizes), reverse=True)


def _maps(network: nn.Module, x: Tensor) -> list[Tensor]:
    # The last map of all stands for the last level: some networks have a convolution behind it.
    last, maps = _computed(network, x)
    return [*maps[:-1], last]


def _computed(network: Any, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    last, maps = network.forward_intermediates(x, indices=_LEVELS)
    return last, maps
