"""Heads of the same layers as one network, whose weights are stacked: (heads, outputs, inputs)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

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

    The weights of the heads become windows into the stacked ones, so that whoever changes one changes the other. Those
    of a head lie one after another, and so do its biases and norms, as an optimiser takes as long for a small tensor as
    for a middling one; their gradients lie as they do.
    """

    def __init__(self, heads: Sequence[nn.Sequential]) -> None:
        super().__init__()
        rows = zip(*(list(head) for head in heads), strict=True)
        self.layers = nn.ModuleList([_stacked(row) for row in rows])
        parameters = [parameter for layer in self.layers for parameter in layer.parameters()]
        # Stacked they have a dimension more.
        weights, self._others = ([p for p in parameters if (p.ndim > 2) == weighs] for weighs in (True, False))
        self._values = _side_by_side(weights), _side_by_side(self._others)
        self._gradients = torch.zeros_like(self._values[0]), torch.zeros_like(self._values[1])
        for weight, gradient in zip(weights, _cut(self._gradients[0], weights), strict=True):
            weight.grad = gradient
        for layer in self.layers:
            if isinstance(layer, _Windows):
                layer.open()

    def forward(self, features: Tensor) -> Tensor:
        x = features.flatten(1)
        for layer in self.layers:
            x = layer(x)
        return x

    def gather(self) -> None:
        """Bring the gradients of biases and norms, after a backward pass, to where the optimisers find them."""
        torch.cat(
            [other.grad.flatten(1) for other in self._others if other.grad is not None], 1, out=self._gradients[1]
        )
        for other in self._others:
            other.grad = None

    def pieces(self, start: int, stop: int, *, gradients: bool = False) -> tuple[list[Tensor], list[Tensor]]:
        """The weights, and the biases and norms, of neighbouring heads, as windows of at most `_AT_A_TIME` numbers.

        gradients: theirs, in the same pieces.
        """
        parts = self._gradients if gradients else self._values
        weights, others = (list(part[start:stop].flatten().split(_AT_A_TIME)) for part in parts)
        return weights, others


def _side_by_side(parameters: list[nn.Parameter]) -> Tensor:
    """The values of stacked parameters in one tensor (H, numbers of a head), whose windows they become."""
    values = torch.cat([parameter.detach().flatten(1) for parameter in parameters], 1)
    for parameter, window in zip(parameters, _cut(values, parameters), strict=True):
        parameter.data = window
    return values


def _cut(values: Tensor, parameters: list[nn.Parameter]) -> list[Tensor]:
    """Windows into (H, numbers of a head), in the shapes of the stacked parameters."""
    parts = values.split([parameter[0].numel() for parameter in parameters], 1)
    return [part.view(parameter.shape) for part, parameter in zip(parts, parameters, strict=True)]


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
    """Layers whose tensors are stacked, and are windows into the stack once they are `open`."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.of = list(layers)  # a plain list, so that their parameters are not counted twice
        for name, _ in layers[0].named_parameters():
            stacked = torch.stack([getattr(layer, name).detach() for layer in layers])
            self.register_parameter(name, nn.Parameter(stacked))
        for name, _ in layers[0].named_buffers():
            self.register_buffer(name, torch.stack([getattr(layer, name) for layer in layers]))

    def open(self) -> None:
        for name, stacked in [*self.named_parameters(), *self.named_buffers()]:
            for layer, window in zip(self.of, stacked.detach(), strict=True):
                getattr(layer, name).data = window


class _Linears(_Windows):
    """Linear layers: (B, F) for all, or (H, B, F), to (H, B, O)."""

    weight: Tensor
    bias: Tensor

    def forward(self, x: Tensor) -> Tensor:
        device = x.device.type
        computed_in = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
        x = x.to(computed_in).expand(len(self.weight), -1, -1)
        made: Tensor = _Product.apply(x, self.weight, self.bias)
        return made


class _Product(torch.autograd.Function):
    """x (H, B, F), weight (H, O, F) and bias (H, O) to (H, B, O), in the precision of x.

    Autograd's own gradient of the weight is (H, F, O), and turning it round takes longer than the product; here it is
    written where the optimiser finds it.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.gradient = weight.grad
        weight, bias = weight.to(x.dtype), bias.to(x.dtype)
        ctx.save_for_backward(x, weight)
        return torch.baddbmm(bias[:, None], x, weight.transpose(1, 2))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, None, Tensor]:
        (dz,), (x, weight) = gradients, ctx.saved_tensors
        ctx.gradient.copy_(dz.transpose(1, 2).bmm(x))
        return dz.bmm(weight) if ctx.needs_input_grad[0] else None, None, dz.sum(1).float()


class _BatchNorms(_Windows):
    """Batch normalisations: (B, F) for all, or (H, B, F), to (H, B, F)."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def forward(self, x: Tensor) -> Tensor:
        first = self.of[0]
        assert isinstance(first, nn.BatchNorm1d) and first.momentum is not None
        momentum, eps = first.momentum, first.eps
        if self.training:
            self.num_batches_tracked.add_(1)

        def normalised(x: Tensor, mean: Tensor, variance: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
            return F.batch_norm(x, mean, variance, weight, bias, self.training, momentum, eps)

        tensors = (self.running_mean, self.running_var, self.weight, self.bias)
        if x.ndim == 2:  # of one head after another: laying what they see side by side takes longer
            return torch.stack([normalised(x, *of_head) for of_head in zip(*tensors, strict=True)])
        # Every head's channels are channels of one. The statistics are changed in place.
        mean, variance, weight, bias = tensors
        flat = x.transpose(0, 1).flatten(1)
        flat = normalised(flat, mean.view(-1), variance.view(-1), weight.flatten(), bias.flatten())
        return flat.view(x.shape[1], len(x), -1).transpose(0, 1)


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
