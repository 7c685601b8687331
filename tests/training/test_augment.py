"""Each change does what its name says, no more than asked, and the same again for the same generator."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from hilum.recipe.schema import Augment
from hilum.training.augment import affine, augment, mix


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def dot(row: int, column: int, side: int = 33) -> torch.Tensor:
    film = torch.zeros(1, 1, side, side)
    film[0, 0, row, column] = 1.0
    return F.max_pool2d(film, 3, 1, 1)


def centre(film: torch.Tensor) -> tuple[float, float]:
    rows, columns = torch.meshgrid(torch.arange(33.0), torch.arange(33.0), indexing="ij")
    mass = film[0, 0]
    return float((rows * mass).sum() / mass.sum()), float((columns * mass).sum() / mass.sum())


def test_a_rotation_keeps_the_distance_from_the_centre_and_stays_within_its_angle() -> None:
    angles = []
    for seed in range(60):
        row, column = centre(augment(dot(16, 26), Augment(rotation_deg=10), generator(seed)))
        assert np.hypot(row - 16, column - 16) == pytest.approx(10, abs=0.15)
        angles.append(np.degrees(np.arctan2(row - 16, column - 16)))
    assert max(np.abs(angles)) <= 10.5
    assert max(np.abs(angles)) > 7


def test_a_rotation_after_a_flip_is_still_a_rotation() -> None:
    matrices = affine(Augment(rotation_deg=180, flip_horizontal=True, flip_vertical=True), 50, generator())[:, :, :2]
    assert torch.allclose(matrices @ matrices.transpose(1, 2), torch.eye(2).expand(50, 2, 2), atol=1e-5)


def test_a_shift_moves_by_at_most_its_share_of_the_side() -> None:
    moved = np.array([centre(augment(dot(16, 16), Augment(shift=0.1), generator(seed))) for seed in range(60)]) - 16
    assert np.abs(moved).max() <= 3.3 + 0.01
    assert np.abs(moved).max() > 2.5


def test_zoom_changes_the_size_by_at_most_its_share() -> None:
    film = torch.zeros(1, 1, 100, 100)
    film[..., 30:70, 30:70] = 1.0
    widths = [float(augment(film, Augment(zoom=0.15), generator(seed))[0, 0, 50].sum()) for seed in range(60)]
    assert 40 / 1.15 - 0.5 <= min(widths) < 37
    assert 43 < max(widths) <= 40 / 0.85 + 0.5


def test_a_flip_alone_is_exact_and_about_half_of_the_films_are_flipped() -> None:
    films = torch.rand(200, 1, 4, 4, generator=generator(1))
    changed = augment(films, Augment(flip_horizontal=True), generator())
    flipped = (changed == films.flip(3)).flatten(1).all(1)
    same = (changed == films).flatten(1).all(1)
    assert (flipped ^ same).all()
    assert 70 < int(flipped.sum()) < 130


def test_constant_fill_is_black_and_nearest_fill_is_not() -> None:
    film = torch.ones(1, 1, 32, 32)
    assert augment(film, Augment(shift=0.3), generator(2)).min() == 0
    assert augment(film, Augment(shift=0.3, fill="nearest"), generator(2)).min() == pytest.approx(1)


def test_grey_changes_stay_within_their_amounts_and_in_the_range() -> None:
    film = torch.full((64, 1, 4, 4), 0.5)
    shifted = augment(film, Augment(channel_shift=51), generator())
    assert 0.3 - 1e-6 <= float(shifted.min()) < 0.34
    assert 0.66 < float(shifted.max()) <= 0.7 + 1e-6
    bright = augment(film, Augment(brightness=0.1), generator())
    assert float(bright.min()) >= 0.45 - 1e-6 and float(bright.max()) <= 0.55 + 1e-6
    assert float(augment(torch.rand(8, 1, 4, 4), Augment(channel_shift=255), generator()).max()) <= 1


def test_contrast_keeps_the_mean() -> None:
    films = 0.4 + 0.2 * torch.rand(8, 1, 16, 16, generator=generator(3))
    changed = augment(films, Augment(contrast=0.3), generator())
    assert torch.allclose(changed.mean((2, 3)), films.mean((2, 3)), atol=1e-5)
    assert not torch.allclose(changed.std((2, 3)), films.std((2, 3)), rtol=0.05)


def test_blur_keeps_the_sum_away_from_the_border() -> None:
    changed = augment(dot(16, 16), Augment(blur=1.0), generator())
    assert float(changed.sum()) == pytest.approx(9.0, abs=1e-4)
    assert float(changed.max()) <= 1 and int((changed > 0).sum()) == 25


def test_erasing_touches_at_most_a_fifth_of_the_film() -> None:
    films = torch.full((100, 1, 64, 64), 0.5)
    share = (augment(films, Augment(erase=1.0), generator()) != 0.5).float().mean((1, 2, 3))
    assert float(share.min()) > 0 and float(share.max()) < 0.22


def test_a_resized_crop_shows_at_least_the_asked_area() -> None:
    matrices = affine(Augment(resized_crop=0.3), 500, generator())
    area = torch.linalg.det(matrices[:, :, :2])
    assert float(area.min()) >= 0.7 - 0.08  # a crop that would be wider than the film is cut
    assert float(area.max()) <= 1 + 1e-6
    corners = matrices[:, :, :2].abs().sum(2) + matrices[:, :, 2].abs()
    assert float(corners.max()) <= 1 + 1e-5


def test_the_same_generator_gives_the_same_films() -> None:
    how = Augment(rotation_deg=10, shift=0.1, zoom=0.1, shear=10, contrast=0.2, blur=0.5, erase=0.5)
    films = torch.rand(4, 1, 32, 32)
    assert torch.equal(augment(films, how, generator(7)), augment(films, how, generator(7)))
    assert not torch.equal(augment(films, how, generator(7)), augment(films, how, generator(8)))


def test_films_and_targets_are_mixed_alike() -> None:
    classes = torch.arange(6) % 3
    films = classes.view(6, 1, 1, 1).expand(6, 1, 4, 4) / 2.0  # each film is its class's grey
    mixed, soft = mix(films, F.one_hot(classes, 3).float(), 0.4, generator())
    assert torch.allclose(soft.sum(1), torch.ones(6))
    assert torch.allclose(mixed.mean((1, 2, 3)), soft @ torch.tensor([0.0, 0.5, 1.0]), atol=1e-6)
    assert not torch.allclose(mixed, films)
