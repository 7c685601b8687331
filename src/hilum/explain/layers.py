"""The layer whose maps say where a network's answer comes from: a table for the zoo, a rule for every other network.

It is the last one that still has places: after it comes pooling, which forgets where. Of a convolutional network that
is the last map after its activation, before a pool; of a transformer that answers from a token of its own, what enters
the last attention, because after that the answer no longer depends on the other tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isqrt
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from hilum.errors import RequestError
from hilum.explain.places import Axis, grid_of
from hilum.model.classifier import Classifier

# Architecture -> module of the backbone. `cnn` is not here: its last activation has a number of its own.
TABLE: Mapping[str, str] = {
    "vgg16": "features.29",
    "vgg19": "features.35",
    "resnet18": "layer4",
    "resnet34": "layer4",
    "resnet50": "layer4",
    "resnet101": "layer4",
    "seresnet50": "layer4",
    "inception_v3": "Mixed_7c",
    "legacy_xception": "act4",
    "inception_resnet_v2": "conv2d_7b",
    "nasnetalarge": "act",
    "efficientnet_b0": "bn2",
    "densenet121": "features.norm5",
    "mobilenetv1_100": "blocks.4",
    "mobilenetv2_100": "bn2",
    "covientist-cnn": "layers.act3",
    # Its last convolution has one map per class; the one before has the 256 that these are made of.
    "darkcovidnet": "layers.act16",
}
# Transformers of timm by the first part of the architecture's name; -1 is the last.
FAMILIES: Mapping[str, str] = {
    "vit": "blocks.-1.norm1",
    "deit": "blocks.-1.norm1",
    "deit3": "blocks.-1.norm1",
    "beit": "blocks.-1.norm1",
    "beitv2": "blocks.-1.norm1",
    "swin": "norm",
    "swinv2": "norm",
}


@dataclass(frozen=True)
class Layer:
    """A module of the classifier, and how its output becomes maps (B, C, h, w) with h and w above 1.

    name: as in `classifier.named_modules()`. places: (h, w) for the films that the classifier takes; grid: where on
    the film they are, down and across.
    """

    name: str
    module: nn.Module
    to_maps: Callable[[Tensor], Tensor]
    places: tuple[int, int]
    grid: tuple[Axis, Axis]


# A network's layer does not change, and finding it takes as long as its answer for a film.
_FOUND: WeakKeyDictionary[Classifier, Layer] = WeakKeyDictionary()


def layer_of(classifier: Classifier) -> Layer:
    """The layer for class activation maps: of [model.block], else of the table, else by the rule.

    The rule, for any other network of timm: where its features are tokens, the first normalisation of the last block;
    else the last module whose output is a map of more than one place. Refused with RequestError: a network that has
    neither, or so small a film that the layer's map has one place.
    """
    if classifier not in _FOUND:
        _FOUND[classifier] = _looked_for(classifier)
    return _FOUND[classifier]


def _looked_for(classifier: Classifier) -> Layer:
    architecture = classifier.architecture
    backbone = architecture.backbone.partition(".")[0]
    if architecture.block.layers:
        name = f"block.act{architecture.block.layers}"
    elif backbone == "cnn":
        name = [f"backbone.{each}" for each, _ in classifier.backbone.named_modules() if "layers.act" in each][-1]
    else:
        known = TABLE.get(backbone) or FAMILIES.get(backbone.partition("_")[0])
        name = f"backbone.{_settled(classifier.backbone, known)}" if known else _by_rule(classifier)
    module = classifier.get_submodule(name)
    output = _outputs(classifier, {name: module})[name]
    to_maps = _reshaping(output, classifier.backbone)
    places = tuple(to_maps(output).shape[2:]) if to_maps else ()
    if to_maps is None or len(places) != 2 or max(places) < 2:
        raise RequestError(
            f"{backbone} has no feature map at {architecture.side_px} px, so there are no class activation maps of it",
            where=name,
            next_step="Use --method occlusion or integrated-gradients, which need none.",
        )
    counted = (int(places[0]), int(places[1]))
    return Layer(name, module, to_maps, counted, grid_of(classifier, _black_film(classifier), module, counted))


def _settled(backbone: nn.Module, path: str) -> str:
    """The path with -1 as the number of the last block."""
    return path.replace("-1", str(len(backbone.blocks) - 1)) if "-1" in path else path  # type: ignore[arg-type]


def _by_rule(classifier: Classifier) -> str:
    modules = {name: module for name, module in classifier.named_modules() if name.startswith("backbone.")}
    outputs = _outputs(classifier, modules)
    blocks: Any = getattr(classifier.backbone, "blocks", None)
    if isinstance(blocks, nn.Sequential | nn.ModuleList) and hasattr(blocks[-1], "norm1"):
        name = f"backbone.blocks.{len(blocks) - 1}.norm1"
        if name in outputs and outputs[name].ndim == 3:
            return name
    with_places = [name for name, output in outputs.items() if output.ndim == 4 and min(_sides(output)) > 1]
    return with_places[-1] if with_places else "backbone"


def _outputs(classifier: Classifier, modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """What the modules give for a black film, in the order in which they are done; the last, where one is used twice.

    A module that gives no tensor is left out.
    """
    outputs: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, given: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                outputs.pop(name, None)
                outputs[name] = output

        return hook

    hooks = [module.register_forward_hook(keep(name)) for name, module in modules.items()]
    try:
        with torch.inference_mode():
            classifier(_black_film(classifier))
    finally:
        for each in hooks:
            each.remove()
    return outputs


def _black_film(classifier: Classifier) -> Tensor:
    side = classifier.architecture.side_px
    return torch.zeros(1, 1, side, side, device=next(classifier.parameters()).device)


def _sides(output: Tensor) -> tuple[int, int]:
    """Height and width of a map of a square film, whether its channels come before or after them.

    >>> _sides(torch.zeros(1, 512, 7, 7)), _sides(torch.zeros(1, 7, 7, 768))
    ((7, 7), (7, 7))
    """
    return (output.shape[1], output.shape[2]) if _channels_last(output) else (output.shape[2], output.shape[3])


def _channels_last(output: Tensor) -> bool:
    return output.shape[1] == output.shape[2] != output.shape[3]


def _reshaping(output: Tensor, backbone: nn.Module) -> Callable[[Tensor], Tensor] | None:
    """How an output like this one becomes (B, C, h, w); None where it has no places."""
    if output.ndim == 4:
        return _channels_first if _channels_last(output) else _as_it_is
    if output.ndim != 3:
        return None
    # XCiT counts a class token that joins only after the blocks.
    prefixes = (int(getattr(backbone, "num_prefix_tokens", 0)), 0)
    squares = (prefix for prefix in prefixes if isqrt(output.shape[1] - prefix) ** 2 == output.shape[1] - prefix)
    prefix = next(squares, None)
    return None if prefix is None else _Tokens(prefix)


def _as_it_is(output: Tensor) -> Tensor:
    return output


def _channels_first(output: Tensor) -> Tensor:
    return output.permute(0, 3, 1, 2)


@dataclass(frozen=True)
class _Tokens:
    """Tokens (B, prefix + h w, C) of a square film without their prefix (the class token, registers)."""

    prefix: int

    def __call__(self, output: Tensor) -> Tensor:
        places = output[:, self.prefix :]
        side = isqrt(places.shape[1])
        return places.transpose(1, 2).reshape(len(places), -1, side, side)
