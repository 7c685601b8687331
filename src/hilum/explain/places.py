"""Where on the film the places of a feature map are: at the middles of what they see.

A map is usually drawn as if it divided the film evenly. But a convolution of 3 x 3 and stride 2, padded by 1, sees
pixels 2i - 1 to 2i + 1 at place i, whose middle is 2i and not 2i + 0.5. Five of these, as in most networks, and the map
drawn so lies 15.5 pixels too far to the right and too low. Araujo, Norris & Sim 2019, Distill,
doi:10.23915/distill.00021.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_PASSES = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d, nn.ZeroPad2d)


@dataclass(frozen=True)
class Axis:
    """The places of a map along one side of the film. first: middle of the first; step: to the next one; in px."""

    first: float
    step: float


@dataclass(frozen=True)
class _Pass:
    """A module that films went through; sizes of what it was given and gave, (height, width)."""

    module: nn.Module
    given: tuple[int, int]
    gave: tuple[int, int]


def grid_of(classifier: nn.Module, film: Tensor, layer: nn.Module, places: tuple[int, int]) -> tuple[Axis, Axis]:
    """Down and across: where the (h, w) `places` of what `layer` gives of a film (1, 1, H, W) lie on it.

    Followed from module to module. Where that does not lead to so many places, as in a Swin, which takes its tokens
    together without a convolution, they divide the film evenly.
    """
    passed: list[_Pass] = []
    there = False

    def keep(module: nn.Module, given: tuple[Any, ...], output: Any) -> None:
        if not there and isinstance(output, Tensor) and output.ndim == 4:
            (height, width), (high, wide) = given[0].shape[2:], output.shape[2:]
            passed.append(_Pass(module, (height, width), (high, wide)))

    def arrive(module: nn.Module, given: Any, output: Any) -> None:
        nonlocal there
        there = True

    hooks = [each.register_forward_hook(keep) for each in classifier.modules() if isinstance(each, _PASSES)]
    hooks.append(layer.register_forward_hook(arrive))
    try:
        with torch.inference_mode():
            classifier(film)
    finally:
        for hook in hooks:
            hook.remove()
    down, across = (_followed(passed, axis, int(film.shape[2 + axis]), places[axis]) for axis in (0, 1))
    return down, across


def _followed(passed: Sequence[_Pass], axis: int, side: int, places: int) -> Axis:
    """Of branches that make the same step side by side, the first counts."""
    size, first, step = side, 0.0, 1.0
    for each in passed:
        if each.given[axis] == size and each.gave[axis] != size:
            kernel, stride, before = _geometry(each, axis)
            first += step * ((kernel - 1) / 2 - before)
            step *= stride
            size = each.gave[axis]
    return Axis(first, step) if size == places else even(side, places)


def _geometry(each: _Pass, axis: int) -> tuple[int, int, int]:
    """(side of the kernel, stride, padding before the film) of a module."""
    module: Any = each.module
    if isinstance(module, nn.ZeroPad2d):
        return 1, 1, int(module.padding[2 * (1 - axis)])
    kernel, stride, dilation = (_of(module, name, axis) for name in ("kernel_size", "stride", "dilation"))
    kernel = dilation * (kernel - 1) + 1
    before = 0 if isinstance(module.padding, str) else _of(module, "padding", axis)
    given, gave = each.given[axis], each.gave[axis]
    if not getattr(module, "ceil_mode", False) and (given + 2 * before - kernel) // stride + 1 != gave:
        # TensorFlow's "same", which timm's modules pad by themselves: the odd pixel comes after the film.
        before = max((gave - 1) * stride + kernel - given, 0) // 2
    return kernel, stride, before


def _of(module: nn.Module, name: str, axis: int) -> int:
    value = getattr(module, name, 1)
    return int(value[axis] if isinstance(value, tuple) else value)


def even(side: int, places: int) -> Axis:
    """Places that divide a side into equal parts.

    >>> even(224, 7)
    Axis(first=15.5, step=32.0)
    """
    return Axis((side / places - 1) / 2, side / places)


def on_film(values: Tensor, grid: tuple[Axis, Axis], side: int) -> Tensor:
    """Maps (N, h, w) as (N, side, side): bilinear between the places' middles, and beyond the outermost their value.

    >>> on_film(torch.tensor([[[0.0, 2.0]]]), (Axis(0.0, 4.0), Axis(1.0, 2.0)), 4)[0, 0]
    tensor([0., 0., 1., 2.])
    """
    y, x = (_between(axis, count, side) for axis, count in zip(grid, values.shape[1:], strict=True))
    at = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1).to(values)
    where = at.expand(len(values), -1, -1, -1)
    return F.grid_sample(values[:, None], where, mode="bilinear", padding_mode="border", align_corners=True)[:, 0]


def _between(axis: Axis, count: int, side: int) -> Tensor:
    """For each pixel its position among the places, -1 at the first and 1 at the last."""
    at = (torch.arange(side, dtype=torch.float64) - axis.first) / axis.step
    return at * 2 / max(count - 1, 1) - 1
