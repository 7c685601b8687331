"""The films of a run as the network takes them: prepared once, then read from the cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from hilum.errors import DataError
from hilum.image.cache import PreparedCache
from hilum.image.prepare import settled
from hilum.model.inference import BATCH
from hilum.progress import Progress
from hilum.recipe.schema import Prepare, Recipe


class Batch(NamedTuple):
    """The numbers of the films of one step, and where in its stage that step stands; both counted from 0."""

    epoch: int
    step: int
    films: NDArray[np.int64]


class Examples(Protocol):
    """What a stage learns from: films, or what a frozen backbone makes of them."""

    @property
    def y(self) -> NDArray[np.int64]: ...

    @property
    def sources(self) -> NDArray[np.object_]: ...

    def __len__(self) -> int: ...

    def read(self, batch: Batch) -> Tensor: ...


@dataclass(frozen=True)
class Films:
    """Films by their rows in the cache, with class numbers (N,) and sources (N,)."""

    cache: PreparedCache
    rows: NDArray[np.int64]
    y: NDArray[np.int64]
    sources: NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.rows)

    def where(self, chosen: NDArray[np.bool_]) -> Films:
        """The chosen films, in the same order."""
        return Films(self.cache, self.rows[chosen], self.y[chosen], self.sources[chosen])

    def read(self, batch: Batch) -> Tensor:
        """The films of a step, uint8 (n, 1, side, side)."""
        return torch.from_numpy(self.cache.read(self.rows[batch.films]))[:, None]

    def batches(self, size: int = BATCH) -> Iterator[NDArray[np.uint8]]:
        """All films in order, uint8 (n, side, side) at a time."""
        for start in range(0, len(self.rows), size):
            yield self.cache.read(self.rows[start : start + size])


def prepare_films(
    manifest: pd.DataFrame, classes: Sequence[str], how: Prepare, *, workers: int | None, progress: Progress
) -> Films:
    """The manifest's films, in its order, from the prepared cache, which is filled first.

    Refused with DataError: a film that could be read when the run was started, and cannot be now.
    """
    cache = PreparedCache(how)
    pairs = [(Path(path), str(sha)) for path, sha in zip(manifest["path"], manifest["sha256"], strict=True)]
    ensured = cache.ensure(pairs, workers=workers, progress=progress)
    if ensured.errors:
        index, error = next(iter(ensured.errors.items()))
        raise DataError(
            f"{len(ensured.errors)} films of the run cannot be read any more; the first: {error}",
            where=str(pairs[index][0]),
            next_step="Bring them back, or start a new run without them.",
        )
    numbers = {name: number for number, name in enumerate(classes)}
    y = np.array([numbers[name] for name in manifest["class"]], dtype=np.int64)
    return Films(cache, ensured.rows, y, manifest["source"].to_numpy(object))


def settle(recipe: Recipe) -> Recipe:
    """The recipe with the lung network named that `prepare.lungs` asks for; see `image.prepare.settled`."""
    return recipe.model_copy(update={"prepare": settled(recipe.prepare)})


def with_doubts(manifest: pd.DataFrame, how: Prepare) -> tuple[pd.DataFrame, list[str]]:
    """The manifest with `lungs_doubt`, why a film stands whole though its lungs were asked for, and a note of how many.

    Both are as they were where no lungs are asked for. The films are in the prepared cache already.
    """
    if how.lungs == "none":
        return manifest, []
    films = [(Path(path), str(sha)) for path, sha in zip(manifest["path"], manifest["sha256"], strict=True)]
    doubts = PreparedCache(how).ensure(films).doubts
    manifest = manifest.assign(lungs_doubt=pd.array([doubts.get(at) for at in range(len(manifest))], dtype="string"))
    doubted = manifest.loc[manifest["lungs_doubt"].notna(), "class"].value_counts()
    if doubted.empty:
        return manifest, []
    by_class = ", ".join(f"{name} {count} of {(manifest['class'] == name).sum()}" for name, count in doubted.items())
    return manifest, [
        f"{len(doubts)} of {len(manifest)} films stand whole, because no believable lungs were found on them "
        f"({by_class}); the manifest's column lungs_doubt says why"
    ]
