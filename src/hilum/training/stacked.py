"""Heads of the same layers as one network, whose weights are stacked: (heads, outputs, inputs)."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Numbers that an optimiser changes at a time: with what it keeps of them they stay in the processor's cache.
_AT_A_TIME = 1 << 17


def drawn_from(device: torch.device) -> torch.Generator:
    """What dropout on this device draws from."""
    return torch.cuda.default_generators[device.index] if device.type == "cuda" else torch.default_generator


class Stack(nn.Module):
    """Heads of the same layers as one network: features (B, F) to the logits of each head (H, B, K).

    The weights of the heads become windows into the stacked ones, so that whoever changes one changes the other.
    """

    def __init__(self, heads: Sequence[nn.Sequential]) -> None:
        super().__init__()
        rows = zip(*(list(head) for head in heads), strict=True)
        self.layers = nn.ModuleList([_stacked(row) for row in rows])

    def forward(self, features: Tensor) -> Tensor:
        x = features.flatten(1)
        for layer in self.layers:
            x = layer(x)
        return x

    def pieces(self, start: int, stop: int, *, gradients: bool = False) -> tuple[list[Tensor], list[Tensor]]:
        """The weights, and the biases and norms, of neighbouring heads, as windows of at most `_AT_A_TIME` numbers.

        gradients: theirs, of the last backward pass, in the same pieces.
        """
        weights: list[Tensor] = []
        others: list[Tensor] = []
        for stacked in self.parameters():
            whole = stacked.grad if gradients else stacked.detach()
            assert whole is not None
            of = weights if stacked.ndim > 2 else others  # stacked they have a dimension more
            of.extend(whole[start:stop].flatten().split(_AT_A_TIME))
        return weights, others


def _stacked(layers: Sequence[nn.Module]) -> nn.Module:
    first = layers[0]
    if isinstance(first, nn.Linear):
        return _Linears(layers)
    if isinstance(first, nn.BatchNorm1d):
        return _BatchNorms(layers)
    if isinstance(first, nn.Dropout | nn.AlphaDropout):
        return _SameDropout(first)
    return copy.deepcopy(first)


class _Windows(nn.Module):
    """Layers whose tensors are stacked, and are windows into the stack from then on."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.of = list(layers)  # a plain list, so that their parameters are not counted twice
        for name, _ in layers[0].named_parameters():
            stacked = torch.stack([getattr(layer, name).detach() for layer in layers])
            self.register_parameter(name, nn.Parameter(stacked))
            for layer, window in zip(layers, stacked, strict=True):
                getattr(layer, name).data = window
        for name, buffer in layers[0].named_buffers():
            stacked = torch.stack([getattr(layer, name) for layer in layers])
            self.register_buffer(name, stacked)
            for layer, window in zip(layers, stacked, strict=True):
                setattr(layer, name, window if buffer.ndim else window.view(()))


class _Linears(_Windows):
    """Linear layers: (B, F) for all, or (H, B, F), to (H, B, O)."""

    weight: Tensor
    bias: Tensor

    def forward(self, x: Tensor) -> Tensor:
        heads, outputs, inputs = self.weight.shape
        if x.ndim == 2:  # of all heads in one product, which is what makes it fast
            z = F.linear(x, self.weight.view(heads * outputs, inputs), self.bias.view(-1))
            return z.view(len(x), heads, outputs).transpose(0, 1)
        return torch.baddbmm(self.bias[:, None], x, self.weight.transpose(1, 2))


class _BatchNorms(_Windows):
    """Batch normalisations: (B, F) for all, or (H, B, F), to (H, B, F); every head's channels are channels of one."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def forward(self, x: Tensor) -> Tensor:
        first = self.of[0]
        assert isinstance(first, nn.BatchNorm1d) and first.momentum is not None
        heads = len(self.weight)
        x = x.expand(heads, *x.shape) if x.ndim == 2 else x
        if self.training:
            self.num_batches_tracked.add_(1)
        flat = F.batch_norm(
            x.transpose(0, 1).reshape(x.shape[1], -1),
            self.running_mean.view(-1),
            self.running_var.view(-1),
            self.weight.view(-1),
            self.bias.view(-1),
            self.training,
            first.momentum,
            first.eps,
        )
        return flat.view(x.shape[1], heads, -1).transpose(0, 1)


class _SameDropout(nn.Module):
    """Dropout that leaves out of every head what it would leave out of one alone."""

    def __init__(self, layer: nn.Dropout | nn.AlphaDropout) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or x.ndim == 2:  # before the first layer, all heads see one thing
            dropped: Tensor = self.layer(x)
            return dropped
        draws = drawn_from(x.device)
        state, kept = draws.get_state(), []
        for one in x:
            draws.set_state(state)
            kept.append(self.layer(one))
        return torch.stack(kept)
