"""Normalisation that is fitted on the train part: Keras' feature-wise centre and std, and its ZCA whitening.

What was fitted are buffers, so the weights file holds it, and training, evaluation and prediction do the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hilum.errors import RequestError

STD_EPSILON = 1e-6  # Keras divides by std + 1e-6
ZCA_EPSILON = 1e-6  # and adds 1e-6 to each eigenvalue
LARGEST_ZCA = 100_000_000  # numbers in the whitening's directions: 400 MB of weights


class Normalise(nn.Module):
    """Films (B, 1, H, W) in [0, 1] to (x - mean) / spread, then whitened where `whiten`. It does nothing until fitted.

    Keras' `ImageDataGenerator` takes one mean and one spread of all pixels of a channel, and whitens with
    W = U diag(1 / sqrt(s + 1e-6)) U^T, where U and s are the eigenvectors and eigenvalues of X^T X / N over the N
    films with D = H W pixels. W is D x D, and has rank N at most but for a multiple of the identity:
    W = I / sqrt(1e-6) + V diag(1 / sqrt(s + 1e-6) - 1 / sqrt(1e-6)) V^T, with V (D, r) from the singular value
    decomposition of X / sqrt(N). So a film is whitened without W: what lies in V is scaled by its own factor, the rest
    by 1000. That makes noise of whatever the train films do not hold, as it does in Keras. (Keras whitens three equal
    channels of a film together, which gives a third of the variance in each.)
    """

    mean: Tensor
    spread: Tensor
    directions: Tensor
    gains: Tensor
    rest: Tensor

    def __init__(self, pixels: int, *, whiten: bool, rank: int = 0) -> None:
        super().__init__()
        self.whiten = whiten
        self.register_buffer("mean", torch.zeros(1))
        self.register_buffer("spread", torch.ones(1))
        if whiten:
            self.register_buffer("directions", torch.zeros(pixels, rank))
            self.register_buffer("gains", torch.ones(rank))
            self.register_buffer("rest", torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        # Where training computes in bfloat16, the difference from the directions would be lost in it.
        with torch.autocast(x.device.type, enabled=False):
            z = (x.to(self.mean.dtype) - self.mean) / self.spread
            if not self.whiten:
                return z
            flat = z.flatten(1)
            inside = flat @ self.directions
            outside = flat - inside @ self.directions.T
            return ((inside * self.gains) @ self.directions.T + outside * self.rest).view_as(z)

    @torch.no_grad()
    def fit(self, batches: Iterable[NDArray[np.uint8]]) -> None:
        """Fit to the train films, uint8 (n, side, side) at a time."""
        kept: list[NDArray[np.uint8]] = []
        count = total = squares = 0  # whole numbers, so exact
        for batch in batches:
            grey = batch.astype(np.int64)
            count, total, squares = count + grey.size, total + int(grey.sum()), squares + int((grey**2).sum())
            kept += [batch] if self.whiten else []
        mean, variance = total / count, squares / count - (total / count) ** 2
        self.mean.fill_(mean / 255.0)
        self.spread.fill_(variance**0.5 / 255.0 + STD_EPSILON)
        if self.whiten:
            self._fit_directions(np.concatenate(kept))

    def _fit_directions(self, films: NDArray[np.uint8]) -> None:
        x = torch.from_numpy(films.reshape(len(films), -1)).double() / 255.0
        x = (x - self.mean.double().cpu()) / self.spread.double().cpu()
        _, scale, directions = torch.linalg.svd(x / len(x) ** 0.5, full_matrices=False)
        self.directions = directions.T.contiguous().to(self.mean)
        self.gains = (scale.square() + ZCA_EPSILON).rsqrt().to(self.mean)
        self.rest.fill_(ZCA_EPSILON**-0.5)


def normaliser(
    kind: Literal["pretrained", "featurewise", "zca"], side_px: int, state: Mapping[str, Tensor] | None = None
) -> nn.Module:
    """What stands before the network: nothing for "pretrained". state: that of a fitted one, whose rank is taken."""
    if kind == "pretrained":
        return nn.Identity()
    rank = state["gains"].shape[0] if state and "gains" in state else 0
    return Normalise(side_px**2, whiten=kind == "zca", rank=rank)


def check_zca(films: int, side_px: int) -> None:
    """Refuse with RequestError a whitening whose directions would not fit into memory and the weights file."""
    numbers = min(films, side_px**2) * side_px**2
    if numbers > LARGEST_ZCA:
        raise RequestError(
            f"whitening {films:,} train films of {side_px} px needs {4 * numbers / 1e6:,.0f} MB of directions in the "
            f"weights, and {4 * LARGEST_ZCA / 1e6:,.0f} MB are the most",
            where="model.normalise = 'zca'",
            next_step="Draw fewer films (data.per_class), lower prepare.side_px (150 was the study's), or use "
            "model.normalise = 'featurewise'.",
        )
