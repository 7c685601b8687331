"""A film through the folded first layer gives what the three-channel network gives."""

from __future__ import annotations

import pytest
import timm
import torch
from timm.layers import Conv2dSame
from torch import Tensor, nn

from hilum.model.grey import GreyInput, fold
from hilum.model.hub import published
from hilum.model.weights import bare_network
from hilum.model.zoo import BACKBONES, find

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
# The smallest film on which something is left of the last map.
SIDE_PX = {"inceptionv3": 75, "inceptionresnetv2": 75}


def three_channels(film: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """As torchvision's Normalize does it."""
    return (film.repeat(1, 3, 1, 1) - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


def difference(network: nn.Module, first_conv: str, film: Tensor, mean: tuple, std: tuple) -> tuple[float, GreyInput]:
    """Largest difference between the network before and after folding, as a share of the largest value."""
    network.eval()
    with torch.inference_mode():
        expected = network.forward_features(three_channels(film, mean, std))  # type: ignore[operator]
        grey = fold(network, first_conv, mean, std)
        found = network.forward_features(grey(film))  # type: ignore[operator]
    return float((found - expected).abs().max() / expected.abs().max()), grey


@pytest.mark.parametrize("key", BACKBONES)
def test_a_film_gives_what_the_three_channel_backbone_gives(key: str) -> None:
    torch.manual_seed(0)
    backbone = BACKBONES[key]
    side = SIDE_PX.get(key, 40)
    film = torch.rand(1, 1, side, side)
    network = bare_network(backbone)
    # Channels that are normalised apart are the harder case, whatever this backbone's weights were trained with.
    share, grey = difference(network, published(backbone).first_conv, film, *IMAGENET)
    assert share < 2e-5
    assert grey.channels == 2


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("vit_tiny_patch16_224", 2),
        ("convnext_atto", 2),
        ("tf_efficientnet_b0", 2),  # pads as TensorFlow does: more on one side
        ("swin_tiny_patch4_window7_224", 2),
        ("nf_regnet_b0", 3),  # standardises its weights
        ("repvgg_a0", 3),  # two stems
        ("mobilevitv2_050", 2),
    ],
)
def test_other_networks_of_timm_are_folded_or_fed_three_copies(name: str, channels: int) -> None:
    torch.manual_seed(0)
    backbone = find(name)
    side = 224 if "224" in name else 64
    share, grey = difference(
        bare_network(backbone), published(backbone).first_conv, torch.rand(1, 1, side, side), *IMAGENET
    )
    assert share < 2e-5
    assert grey.channels == channels


def test_channels_that_are_normalised_alike_need_only_one() -> None:
    network = timm.create_model("resnet18", num_classes=0)
    share, grey = difference(network, "conv1", torch.rand(1, 1, 40, 40), *HALF)
    assert share < 2e-5
    assert grey.channels == 1
    assert network.get_submodule("conv1").weight.shape == (64, 1, 7, 7)


@pytest.mark.parametrize("side", [7, 8, 9])
@pytest.mark.parametrize(("layer", "padding"), [(nn.Conv2d, 1), (nn.Conv2d, 0), (Conv2dSame, 0)])
def test_the_fold_is_exact_up_to_the_border(layer: type[nn.Conv2d], padding: int, side: int) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(layer(3, 5, 3, stride=2, padding=padding)).double()
    film = torch.rand(2, 1, side, side, dtype=torch.float64)
    expected = network(three_channels(film, *IMAGENET))
    grey = fold(network, "0", *IMAGENET).double()
    assert torch.allclose(network(grey(film)), expected, atol=1e-6)


def test_a_bias_alone_would_be_wrong_at_the_border() -> None:
    # By hand: one 3x3 kernel of ones per channel, a black film, mean 0.3, 0, 0 and std 1. The copies are -0.3, 0, 0;
    # a corner pixel sees 4 of the 9 places, an edge 6, the middle 9: -1.2, -1.8, -2.7.
    network = nn.Sequential(nn.Conv2d(3, 1, 3, padding=1, bias=False))
    nn.init.ones_(network[0].weight)  # type: ignore[arg-type]
    grey = fold(network, "0", (0.3, 0.0, 0.0), (1.0, 1.0, 1.0))
    with torch.inference_mode():
        answer = network(grey(torch.zeros(1, 1, 3, 3)))[0, 0]
    expected = [[-1.2, -1.8, -1.2], [-1.8, -2.7, -1.8], [-1.2, -1.8, -1.2]]
    assert torch.allclose(answer, torch.tensor(expected), atol=1e-6)


def test_the_folded_layer_learns() -> None:
    network = nn.Sequential(nn.Conv2d(3, 2, 3))
    grey = fold(network, "0", *IMAGENET)
    network(grey(torch.rand(1, 1, 5, 5))).sum().backward()
    gradient = network[0].weight.grad
    assert isinstance(gradient, Tensor)
    assert gradient.abs().min() > 0
