"""What an epoch draws, and what each class's loss weighs, when classes or sources are of unequal size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hilum.errors import DataError, RequestError
from hilum.recipe.load import nearest
from hilum.recipe.schema import Balance

Indices = NDArray[np.int64]


def class_weights(y: Indices, classes: int) -> NDArray[np.float64]:
    """Weights (K,) of the loss, n / (K * n_k): each class weighs the same in sum (King & Zeng 2001).

    y: (N,) class numbers.

    >>> class_weights(np.array([0, 0, 0, 1]), 2)
    array([0.66666667, 2.        ])
    """
    counts = np.bincount(y, minlength=classes)
    if (counts == 0).any():
        raise DataError(f"class number {int(counts.argmin())} has no film to train on")
    return len(y) / (classes * counts)


def epoch_batches(
    y: Indices,
    sources: NDArray[np.object_],
    classes: Sequence[str],
    balance: Balance,
    batch_size: int,
    rng: np.random.Generator,
) -> list[Indices]:
    """The batches of one epoch: arrays of film numbers, in the order in which they are trained on.

    none, weights: every film once. under: each class cut to the smallest one, anew each epoch. over: each class
    repeated up to the largest. share: in each batch the named classes have their share, and the others' films come
    once. With `by_source` the sources within each class are repeated up to that class's largest source first.
    A last batch of a single film joins the one before it, since batch normalisation cannot train on one.

    >>> batches = epoch_batches(np.array([0, 0, 0, 1]), np.array(["a"] * 4, dtype=object), ["x", "y"],
    ...                         Balance(how="over"), 2, np.random.default_rng(0))
    >>> sum(len(batch) for batch in batches)
    6
    """
    groups = [_films_of(y == k, sources, balance.by_source, rng) for k in range(len(classes))]
    if balance.how == "share":
        return _shared_batches(groups, classes, balance, batch_size, rng)
    sizes = [len(films) for films in groups]
    if balance.how == "under":
        groups = [films[: min(sizes)] for films in groups]
    elif balance.how == "over":
        groups = [_repeated(films, max(sizes), rng) for films in groups]
    return _cut(rng.permutation(np.concatenate(groups)), batch_size)


def batches_per_epoch(
    y: Indices, sources: NDArray[np.object_], classes: Sequence[str], balance: Balance, batch_size: int
) -> int:
    """How many batches each epoch has; it is the same for every epoch."""
    return len(epoch_batches(y, sources, classes, balance, batch_size, np.random.default_rng(0)))


def _films_of(
    mine: NDArray[np.bool_], sources: NDArray[np.object_], by_source: bool, rng: np.random.Generator
) -> Indices:
    films = np.flatnonzero(mine)
    if by_source:
        parts = [films[sources[films] == source] for source in sorted(set(sources[films]))]
        most = max(map(len, parts), default=0)
        films = np.concatenate([_repeated(part, most, rng) for part in parts]) if parts else films
    return rng.permutation(films)


def _repeated(films: Indices, size: int, rng: np.random.Generator) -> Indices:
    """`size` films: each film equally often, the remainder drawn without repetition."""
    rounds = -(-size // max(len(films), 1))
    return np.concatenate([rng.permutation(films) for _ in range(rounds)])[:size] if len(films) else films


def _shared_batches(
    groups: list[Indices], classes: Sequence[str], balance: Balance, batch_size: int, rng: np.random.Generator
) -> list[Indices]:
    for name in balance.share:
        if name not in classes:
            raise RequestError(f"there is no class {name!r}", where="balance.share", next_step=nearest(name, classes))
    fixed = {classes.index(name): round(share * batch_size) for name, share in balance.share.items()}
    for k, count in fixed.items():
        if count == 0 or not len(groups[k]):
            raise RequestError(
                f"the share of {classes[k]!r} is no whole film in a batch of {batch_size}",
                where="balance.share",
                next_step="Raise the share or stage.batch_size.",
            )
    free = batch_size - sum(fixed.values())
    others = [films for k, films in enumerate(groups) if k not in fixed]
    if free < 1 or not others:
        raise RequestError(
            f"the shares leave {free} of {batch_size} films in a batch for {len(others)} other classes",
            where="balance.share",
            next_step="Leave at least one class without a share, and room for it.",
        )
    rest = _cut(rng.permutation(np.concatenate(others)), free)
    drawn = {k: _repeated(groups[k], count * len(rest), rng) for k, count in fixed.items()}
    return [
        rng.permutation(np.concatenate([part, *(drawn[k][i * n : (i + 1) * n] for k, n in fixed.items())]))
        for i, part in enumerate(rest)
    ]


def _cut(films: Indices, size: int) -> list[Indices]:
    batches = [films[start : start + size] for start in range(0, len(films), size)]
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [np.concatenate(batches[-2:])]
    return batches
