"""Frozen batch norms computed inside the convolutions before them, while the rest of the network trains.

A frozen batch norm is an affine map of each channel, which a convolution can do at no cost (Jacob et al. 2018, CVPR,
section 3.2). Left alone it reads and writes every activation again: with the first 20 layers of MobileNetV2 frozen, a
training step at 224 px takes an eighth longer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from hilum.model.classifier import Classifier


@contextmanager
def folded(classifier: Classifier) -> Iterator[int]:
    """Within it, each frozen convolution does the work of the frozen batch norm that follows it; gives how many.

    Weights, their names and the results (to rounding) stay as they are.
    """
    pairs = _pairs(classifier)
    for convolution, norm in pairs:
        vars(convolution)["forward"], vars(norm)["forward"] = _convolve(convolution, norm), _activate(norm)
    try:
        yield len(pairs)
    finally:
        for module in (module for pair in pairs for module in pair):
            del vars(module)["forward"]


def _pairs(classifier: Classifier) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Convolutions whose output goes into a batch norm, both frozen, found by passing one black film through."""
    convolution_of: dict[int, nn.Conv2d] = {}
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []
    kept: list[Tensor] = []  # so that no two tensors have the same id

    def after(module: nn.Module, _: Any, output: Tensor) -> None:
        kept.append(output)
        convolution_of[id(output)] = module  # type: ignore[assignment]

    def before(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if convolution := convolution_of.pop(id(inputs[0]), None):
            pairs.append((convolution, module))  # type: ignore[arg-type]

    handles = []
    for module in _frozen(classifier):
        if type(module) is nn.Conv2d and module.padding_mode == "zeros":
            handles.append(module.register_forward_hook(after))
        elif isinstance(module, nn.BatchNorm2d) and not module.training:
            handles.append(module.register_forward_pre_hook(before))
    if not handles:  # a head alone, or nothing is frozen
        return []
    was_training, side = classifier.training, classifier.architecture.side_px
    try:
        with torch.inference_mode():
            classifier.eval()(next(classifier.parameters()).new_zeros(1, 1, side, side))
    finally:
        classifier.train(was_training)
        for handle in handles:
            handle.remove()
    # A layer that is used twice would need two foldings.
    used = [module for pair in pairs for module in pair]
    return [pair for pair in pairs if all(used.count(module) == 1 for module in pair)]


def _frozen(classifier: Classifier) -> list[nn.Module]:
    return [
        module
        for module in classifier.backbone.modules()
        if not module.training and not any(weight.requires_grad for weight in module.parameters(recurse=False))
    ]


def _convolve(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> Callable[[Tensor], Tensor]:
    assert norm.running_mean is not None and norm.running_var is not None
    with torch.no_grad():
        fused = fuse_conv_bn_weights(
            convolution.weight,
            convolution.bias,
            norm.running_mean,
            norm.running_var,
            norm.eps,
            norm.weight,
            norm.bias,
        )
    weight, bias = fused[0].detach().contiguous(memory_format=torch.channels_last), fused[1].detach()
    stride, padding, dilation, groups = (
        convolution.stride,
        convolution.padding,
        convolution.dilation,
        convolution.groups,
    )
    # Lightning moves the network to its device after this; the folded weights follow the films.
    return lambda x: F.conv2d(x, weight.to(x.device), bias.to(x.device), stride, padding, dilation, groups)


def _activate(norm: nn.BatchNorm2d) -> Callable[[Tensor], Tensor]:
    """What a batch norm of timm does after normalising; a plain one does nothing more."""
    drop, act = getattr(norm, "drop", None), getattr(norm, "act", None)

    def forward(x: Tensor) -> Tensor:
        x = drop(x) if drop is not None else x
        return act(x) if act is not None else x

    return forward
