"""Networks of hilum's own, layer by layer: a plain CNN as it is described, the Covientist CNN, DarkCovidNet.

They are built for three channels, as their authors fed them, and then folded like timm's: a film has one channel, so
the first layer ends with one, and gives for the film what the three-channel layer gives for the film repeated. Weights
start as torch draws them (He et al. 2015 with a = sqrt(5)), which is what the authors had.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping

from timm.layers import SelectAdaptivePool2d
from torch import Tensor, nn

from hilum.model.head import ACTIVATIONS
from hilum.model.zoo import Backbone
from hilum.recipe import schema

Layers = OrderedDict[str, nn.Module]

# The study covientist-2021, section 2.2, at 224 px: 128 x 56 x 56, 128 x 28 x 28, 256 x 14 x 14. Its two linear layers,
# 50176 -> 256 -> 3 with dropout 0.5 between, are a head: pooling = "flatten", head = { layers = 1, units = 256,
# activation = "linear", dropout = 0.5 }.
COVIENTIST = schema.CNN(
    channels=[128, 128, 256],
    pools=[4, 2, 2],
    convolutions=1,
    kernel=3,
    normalisation="batch",
    pooling="max",
    activation="relu",
)


class Network(nn.Module):
    """Layers in a row that give a feature map; what timm's networks offer, as far as a classifier asks for it."""

    def __init__(self, layers: Layers) -> None:
        super().__init__()
        self.layers = nn.Sequential(layers)
        self.reset_classifier(0)

    def forward_features(self, x: Tensor) -> Tensor:
        """The last feature map (B, C, h, w) of films (B, 3, H, W)."""
        feature_map: Tensor = self.layers(x)
        return feature_map

    def reset_classifier(self, num_classes: int, global_pool: str = "avg") -> None:
        """Pool by avg, max or avgmax, or with "" not at all. There is no classifier, whatever num_classes."""
        self.global_pool = SelectAdaptivePool2d(pool_type=global_pool, flatten=bool(global_pool))

    def forward(self, x: Tensor) -> Tensor:
        pooled: Tensor = self.global_pool(self.forward_features(x))
        return pooled


def build(backbone: Backbone, cnn: schema.CNN, classes: int) -> Network:
    """The network of a name of `zoo.OWN`; cnn describes "cnn", and DarkCovidNet ends in a map per class."""
    match backbone.timm:
        case "cnn":
            return plain_cnn(cnn)
        case "covientist-cnn":
            return plain_cnn(COVIENTIST)
        case "darkcovidnet":
            return darkcovidnet(classes)
    raise ValueError(f"{backbone.timm} is no network of hilum's own")


def plain_cnn(how: schema.CNN) -> Network:
    """Blocks of convolutions, each convolution with its normalisation and activation, and a pool after each block.

    >>> plain_cnn(schema.CNN(channels=[8, 16], pools=[4], normalisation="none")).layers
    Sequential(
      (conv1): Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
      (act1): ReLU()
      (pool1): MaxPool2d(kernel_size=4, stride=4, padding=0, dilation=1, ceil_mode=False)
      (conv2): Conv2d(8, 16, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
      (act2): ReLU()
      (pool2): MaxPool2d(kernel_size=4, stride=4, padding=0, dilation=1, ceil_mode=False)
    )
    """
    pool = {"max": nn.MaxPool2d, "avg": nn.AvgPool2d}[how.pooling]
    layers: Layers = OrderedDict()
    width, number = 3, 0
    for block, channels in enumerate(how.channels, 1):
        for _ in range(how.convolutions):
            number += 1
            layers.update(_convolution(number, width, channels, how))
            width = channels
        side = how.pools[min(block, len(how.pools)) - 1]
        if side > 1:
            layers[f"pool{block}"] = pool(side)
    return Network(layers)


def stacked_block(width: int, how: schema.Block, pooling: str) -> nn.Sequential:
    """[model.block]: conv1, conv2, ... on a map of `width` channels, a max pool, and the pooling of the last map.

    The study kth-snn-2020 calls these convolutions block6_conv1 and block6_conv2. Their weights start as those of the
    head's dense layers do, by their activation.
    """
    _, init = ACTIVATIONS[how.activation]
    layers: Layers = OrderedDict()
    for number in range(1, how.layers + 1):
        layers.update(_convolution(number, width, how.channels, how))
        convolution = layers[f"conv{number}"]
        assert isinstance(convolution, nn.Conv2d) and convolution.bias is not None
        init(convolution.weight)
        nn.init.zeros_(convolution.bias)
        width = how.channels
    if how.pool > 1:
        layers["pool"] = nn.MaxPool2d(how.pool)
    layers["global_pool"] = SelectAdaptivePool2d(pool_type="" if pooling == "flatten" else pooling)
    return nn.Sequential(layers)


def darkcovidnet(classes: int) -> Network:
    """DarkCovidNet: 17 convolutions after DarkNet-19, the last with a map per class, which a linear layer takes flat.

    Ozturk et al. 2020, Comput. Biol. Med. 121:103792, figure 3 and table 2; what those leave open is as in the authors'
    notebook (muhammedtalo/COVID-19), where it can be checked by its counts: 13 x 13 x 2 = 338 inputs of the linear
    layer and 1,164,434 parameters in all for two classes, at 256 px with three channels. So the 1 x 1 convolutions are
    padded by 1, and their maps grow by 2 (64 -> 66 -> 33 -> 35 -> 17 -> 19 -> 9 -> 11 -> 13); the convolutions have no
    bias; and the last one is followed by ReLU and then batch norm, as fastai's `conv_layer` had it, the others by batch
    norm and leaky ReLU of slope 0.1. Use it with pooling = "flatten" and no layers in the head.
    """
    layers: Layers = OrderedDict()
    width, number = 3, 0
    widths_of_stages = ([8], [16], [32, 16, 32], [64, 32, 64], [128, 64, 128], [256, 128, 256, 128, 256])
    for stage, widths in enumerate(widths_of_stages, 1):
        for position, channels in enumerate(widths):
            number += 1
            kernel = 1 if position % 2 else 3  # in a triple the middle one squeezes
            layers[f"conv{number}"] = nn.Conv2d(width, channels, kernel, padding=1, bias=False)
            layers[f"norm{number}"] = nn.BatchNorm2d(channels)
            layers[f"act{number}"] = nn.LeakyReLU(0.1)
            width = channels
        if stage < len(widths_of_stages):
            layers[f"pool{stage}"] = nn.MaxPool2d(2)
    layers["conv17"] = nn.Conv2d(width, classes, 3, padding=1, bias=False)
    layers["act17"] = nn.ReLU()
    layers["norm17"] = nn.BatchNorm2d(classes)
    return Network(layers)


def _convolution(number: int, inputs: int, outputs: int, how: schema.CNN | schema.Block) -> Mapping[str, nn.Module]:
    """A convolution that keeps the map's side, its normalisation and its activation, by their names."""
    layers: Layers = OrderedDict()
    layers[f"conv{number}"] = nn.Conv2d(inputs, outputs, how.kernel, padding=how.kernel // 2)
    if how.normalisation == "batch":
        layers[f"norm{number}"] = nn.BatchNorm2d(outputs)
    elif how.normalisation == "group":
        # 32 groups, as Wu & He 2018 (ECCV) found best, or as many of them as divide the channels.
        layers[f"norm{number}"] = nn.GroupNorm(math.gcd(32, outputs), outputs)
    layers[f"act{number}"] = ACTIVATIONS[how.activation][0]()
    return layers
