"""Random changes to a batch of films at once, on whatever device it lies."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hilum.recipe.schema import Augment

_PADDING = {"constant": "zeros", "nearest": "border", "reflect": "reflection"}
_ERASED_AREA = (0.02, 0.2)


def augment(films: Tensor, how: Augment, generator: torch.Generator) -> Tensor:
    """The films, each changed at random by at most the amounts of `how`.

    films: float (B, 1, H, W) in [0, 1]; the result is the same. generator: on the CPU, so that every device draws the
    same. Geometry is one resampling (bilinear), whatever is combined. Zoom draws each axis by itself, as Keras does.

    >>> films = torch.rand(2, 1, 8, 8)
    >>> torch.equal(augment(films, Augment(), torch.Generator()), films)
    True
    """
    films = _resample(films, how, generator)
    films = _change_grey(films, how, generator)
    if how.blur:
        films = torch.where(_chosen(len(films), how.blur, films, generator), _blurred(films), films)
    return _erase(films, how.erase, generator) if how.erase else films


def to_mirror(count: int, generator: torch.Generator) -> Tensor:
    """Which of `count` films are mirrored where `augment` does nothing else: bool (count,), on the CPU."""
    return torch.rand(count, generator=generator) < 0.5


def mix(films: Tensor, targets: Tensor, alpha: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Films and their targets (B, K) mixed with a shuffled copy by one Beta(alpha, alpha) share.

    Zhang et al. 2018, mixup, arXiv:1710.09412.
    """
    seed = int(torch.randint(2**62, (), generator=generator))
    share = float(np.random.default_rng(seed).beta(alpha, alpha))
    other = torch.randperm(len(films), generator=generator).to(films.device)
    return share * films + (1 - share) * films[other], share * targets + (1 - share) * targets[other]


def affine(how: Augment, count: int, generator: torch.Generator) -> Tensor:
    """Random matrices (count, 2, 3) from places of the result to places of the film, both in [-1, 1], x before y."""

    def symmetric(amount: float) -> Tensor:
        return (torch.rand(count, generator=generator) * 2 - 1) * amount

    angle = symmetric(math.radians(how.rotation_deg))
    shear = torch.tan(symmetric(math.radians(how.shear)))
    zoom_x, zoom_y = 1 + symmetric(how.zoom), 1 + symmetric(how.zoom)
    shift_x, shift_y = symmetric(2 * how.shift), symmetric(2 * how.shift)
    if how.resized_crop:
        area = 1 - torch.rand(count, generator=generator) * how.resized_crop
        stretch = torch.exp(symmetric(0.5 * math.log(4 / 3)))
        crop_x, crop_y = (area.sqrt() * stretch).clamp(max=1), (area.sqrt() / stretch).clamp(max=1)
        shift_x = shift_x + symmetric(1.0) * (1 - crop_x)
        shift_y = shift_y + symmetric(1.0) * (1 - crop_y)
        zoom_x, zoom_y = zoom_x * crop_x, zoom_y * crop_y
    flip_x = 1.0 - 2.0 * ((torch.rand(count, generator=generator) < 0.5) & how.flip_horizontal)
    flip_y = 1.0 - 2.0 * ((torch.rand(count, generator=generator) < 0.5) & how.flip_vertical)
    cos, sin = torch.cos(angle), torch.sin(angle)
    rows = [
        torch.stack([flip_x * zoom_x * cos, flip_y * zoom_x * (shear * cos - sin), shift_x], dim=1),
        torch.stack([flip_x * zoom_y * sin, flip_y * zoom_y * (shear * sin + cos), shift_y], dim=1),
    ]
    return torch.stack(rows, dim=1)


def _resample(films: Tensor, how: Augment, generator: torch.Generator) -> Tensor:
    geometry = (how.rotation_deg, how.shift, how.zoom, how.shear, how.resized_crop, how.flip_vertical)
    if not any(geometry):
        if how.flip_horizontal:
            flip = to_mirror(len(films), generator).reshape(-1, 1, 1, 1).to(films.device)
            films = torch.where(flip, films.flip(3), films)
        return films
    places = F.affine_grid(affine(how, len(films), generator).to(films), list(films.shape), align_corners=False)
    return F.grid_sample(films, places, mode="bilinear", padding_mode=_PADDING[how.fill], align_corners=False)


def _change_grey(films: Tensor, how: Augment, generator: torch.Generator) -> Tensor:
    if not (how.brightness or how.contrast or how.channel_shift):
        return films

    def symmetric(amount: float) -> Tensor:
        return ((torch.rand(len(films), 1, 1, 1, generator=generator) * 2 - 1) * amount).to(films)

    mean = films.mean(dim=(2, 3), keepdim=True)
    films = (films - mean) * (1 + symmetric(how.contrast)) + mean
    films = films * (1 + symmetric(how.brightness)) + symmetric(how.channel_shift / 255.0)
    return films.clamp(0.0, 1.0)


def _blurred(films: Tensor) -> Tensor:
    """Each film under the binomial 3 x 3 kernel (1 2 1), as two means of 2 x 2: a convolution takes 7 times as long."""
    return F.avg_pool2d(F.avg_pool2d(F.pad(films, (1, 1, 1, 1), mode="replicate"), 2, stride=1), 2, stride=1)


def _erase(films: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """A rectangle of noise over some films (Zhong et al. 2020, Random Erasing, arXiv:1708.04896)."""
    count, _, height, width = films.shape
    low, high = _ERASED_AREA
    area = low + torch.rand(count, generator=generator) * (high - low)
    ratio = torch.exp((torch.rand(count, generator=generator) * 2 - 1) * math.log(3.0))
    tall, wide = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
    top, left = torch.rand(count, generator=generator) * (1 - tall), torch.rand(count, generator=generator) * (1 - wide)
    y, x = torch.arange(height)[None, :] / height, torch.arange(width)[None, :] / width
    rows = (y >= top[:, None]) & (y < (top + tall)[:, None])
    columns = (x >= left[:, None]) & (x < (left + wide)[:, None])
    inside = (rows[:, None, :, None] & columns[:, None, None, :]).to(films.device)
    noise = torch.rand(films.shape, generator=generator).to(films)
    return torch.where(inside & _chosen(count, probability, films, generator), noise, films)


def _chosen(count: int, probability: float, like: Tensor, generator: torch.Generator) -> Tensor:
    return (torch.rand(count, 1, 1, 1, generator=generator) < probability).to(like.device)
