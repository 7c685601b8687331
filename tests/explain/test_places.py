"""Where the places of a map are, against convolutions of which it is known, and against gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from timm.layers import Conv2dSame
from torch import nn
from torch.nn import functional as F

from hilum.explain.layers import layer_of
from hilum.explain.places import Axis, even, grid_of, on_film
from hilum.model import classifier as classifiers
from hilum.recipe import schema


def grid_after(*layers: nn.Module, side: int = 64) -> tuple[tuple[Axis, Axis], torch.Tensor]:
    network = nn.Sequential(*layers)
    film = torch.zeros(1, 1, side, side)
    answer = network(film)
    return grid_of(network, film, network[-1], (answer.shape[2], answer.shape[3])), answer


@pytest.mark.parametrize(
    ("layers", "axis"),
    [
        ([nn.Conv2d(1, 1, 3, stride=2, padding=1) for _ in range(3)], Axis(0.0, 8.0)),
        ([nn.Conv2d(1, 1, 7, stride=2, padding=3), nn.MaxPool2d(3, 2, 1)], Axis(0.0, 4.0)),  # as a ResNet begins
        ([nn.MaxPool2d(2) for _ in range(3)], Axis(3.5, 8.0)),  # as in a VGG
        ([nn.Conv2d(1, 1, 16, stride=16)], Axis(7.5, 16.0)),  # the patches of a transformer
        ([nn.Conv2d(1, 1, 3, stride=2), nn.Conv2d(1, 1, 3)], Axis(3.0, 2.0)),  # without padding, as an Inception begins
        ([nn.Conv2d(1, 1, 1, padding=1)], Axis(-1.0, 1.0)),  # as in DarkCovidNet: places beyond the film
        ([Conv2dSame(1, 1, 3, stride=2)], Axis(1.0, 2.0)),  # TensorFlow pads after the film only
        ([nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(1, 1, 3, stride=2)], Axis(1.0, 2.0)),  # the same, as Keras does it
    ],
)
def test_places_are_at_the_middles_of_what_they_see(layers: list[nn.Module], axis: Axis) -> None:
    assert grid_after(*layers)[0] == (axis, axis)


def test_a_single_bright_pixel_is_found_where_it_is() -> None:
    # Convolutions that hand on the pixel in their middle: place i sees pixel 8 i alone.
    layers = [nn.Conv2d(1, 1, 3, stride=2, padding=1, bias=False) for _ in range(3)]
    for layer in layers:
        nn.init.zeros_(layer.weight)
        layer.weight.data[0, 0, 1, 1] = 1.0
    grid, _ = grid_after(*layers)
    film = torch.zeros(1, 1, 64, 64)
    film[0, 0, 24, 40] = 1.0
    with torch.no_grad():
        values = nn.Sequential(*layers)(film)[:, 0]
    found = on_film(values, grid, 64)[0]
    assert np.unravel_index(int(found.argmax()), (64, 64)) == (24, 40)
    spread = F.interpolate(values[:, None], (64, 64), mode="bilinear", align_corners=False)[0, 0]
    assert np.unravel_index(int(spread.argmax()), (64, 64)) != (24, 40)  # as maps are usually drawn


def test_places_that_divide_the_film_are_drawn_as_usual() -> None:
    values = torch.rand(2, 7, 7, generator=torch.Generator().manual_seed(0))
    usual = F.interpolate(values[:, None], (224, 224), mode="bilinear", align_corners=False)[:, 0]
    torch.testing.assert_close(on_film(values, (even(224, 7), even(224, 7)), 224), usual, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("backbone", "side", "axis"),
    [
        ("mobilenetv2_100", 224, Axis(0.0, 32.0)),
        ("densenet121", 224, Axis(14.0, 32.0)),  # 0 after the stem, then pools of 2 x 2: (4 + 8 + 16) / 2
        ("vit_tiny_patch16_224", 224, Axis(7.5, 16.0)),
        ("inception_v3", 299, Axis(37.0, 32.0)),  # 37 px from both ends: 299 - 1 - (37 + 7 x 32) = 37
    ],
)
def test_backbones_have_their_places(backbone: str, side: int, axis: Axis) -> None:
    model = schema.Model(backbone=backbone, weights="none")
    assert layer_of(classifiers.build(model, ("ill", "well"), side_px=side, seed=0)).grid == (axis, axis)


def test_tokens_that_are_taken_together_without_a_convolution_divide_the_film() -> None:
    class Merging(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[:, :, ::2, ::2] + x[:, :, 1::2, 1::2]

    assert grid_after(nn.Conv2d(1, 1, 4, stride=4), Merging())[0] == (even(64, 8), even(64, 8))
