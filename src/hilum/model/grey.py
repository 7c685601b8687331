"""Films have one channel, the backbones were trained on three: fold the first layer so that nothing changes.

The three-channel network is fed the film x repeated, each copy normalised on its own: (x - mean_c) / std_c. With one
mean m and one spread s for all, z = (x - m) / s, copy c is a_c z + b_c, where a_c = s / std_c and
b_c = (m - mean_c) / std_c. A convolution is linear, so its answer is conv(z; sum_c a_c w_c) + conv(1; sum_c b_c w_c).
The second term is not a bias: the image of ones is padded with zeros, as the copies are, so it falls off towards the
border. Hence the folded layer takes two channels, z and ones; where all channels are normalised alike (b_c = 0), it
takes z alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from timm.layers import Conv2dSame
from torch import Tensor, nn

Triple = tuple[float, float, float]


class GreyInput(nn.Module):
    """From films (B, 1, H, W) in [0, 1] to what the first layer takes: z, z and ones, or three normalised copies."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Triple, std: Triple, channels: int) -> None:
        super().__init__()
        self.channels = channels
        centre, spread = (mean, std) if channels == 3 else _common(mean, std)
        # Not saved with the weights: they follow from the architecture, which is.
        self.register_buffer("mean", torch.tensor(centre).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spread).view(1, -1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        z = (x - self.mean) / self.std
        return torch.cat((z, torch.ones_like(z)), dim=1) if self.channels == 2 else z

    def extra_repr(self) -> str:
        return f"channels={self.channels}"


def fold(network: nn.Module, first_conv: str | Sequence[str] | None, mean: Triple, std: Triple) -> GreyInput:
    """Fold the network's first layer in place, and return the module that must stand before the network.

    first_conv: the layer's name, as timm's `pretrained_cfg` has it. What is no plain convolution of three channels
    (standardised weights, two stems side by side, pixels shuffled before) stays as it is and is fed three copies.
    """
    conv = network.get_submodule(first_conv) if isinstance(first_conv, str) else None
    # Exact types: a subclass may treat its weight as it likes.
    if type(conv) not in (nn.Conv2d, Conv2dSame) or not isinstance(conv, nn.Conv2d):
        return GreyInput(mean, std, 3)
    if conv.in_channels != 3 or conv.groups != 1 or conv.padding_mode != "zeros":
        return GreyInput(mean, std, 3)
    (m,), (s,) = _common(mean, std)
    a = torch.tensor([s / std_c for std_c in std], dtype=torch.float64)
    b = torch.tensor([(m - mean_c) / std_c for mean_c, std_c in zip(mean, std, strict=True)], dtype=torch.float64)
    channels = 1 if b.abs().max() < 1e-12 else 2
    mix = torch.stack((a, b)[:channels])  # (channels, 3)
    folded = torch.einsum("oihw,ki->okhw", conv.weight.detach().double(), mix)
    conv.weight = nn.Parameter(folded.to(conv.weight.dtype))
    conv.in_channels = channels
    return GreyInput(mean, std, channels)


def _common(mean: Triple, std: Triple) -> tuple[tuple[float], tuple[float]]:
    """One mean and one spread for all channels."""
    return (sum(mean) / 3,), (sum(std) / 3,)
