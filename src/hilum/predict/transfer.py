"""Features of films of several sources, by a network that has seen none of them, for the matrix of `audit.transfer`."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hilum.audit.films import Films, drawn, films_of
from hilum.audit.transfer import transfer
from hilum.audit.verdict import Check
from hilum.explain.features import without_head
from hilum.image.cache import PreparedCache
from hilum.image.prepare import settled
from hilum.model import classifier as classifiers
from hilum.model.engine import Engine
from hilum.model.inference import BATCH
from hilum.progress import SILENT, Progress
from hilum.recipe.schema import Head, Model, Recipe
from hilum.training.prepared import prepare_films


def audit_transfer(manifest: pd.DataFrame, recipe: Recipe, *, progress: Progress = SILENT) -> list[Check]:
    """The check train-here-test-there of the films of a manifest (with sha256 and phash: `collect.with_facts`).

    The network is that of [model] as it is before training, films are prepared as [prepare] says, and at most [audit]
    films of them are drawn, from each source and class alike. Refused with WeightsError: no weights for the network.
    """
    films = films_of(manifest, recipe.audit)
    rows = drawn(films)
    features = features_of(films, rows, recipe, progress=progress)
    return [transfer(features, films, rows, films.limits)]


def features_of(
    films: Films, rows: NDArray[np.int64], recipe: Recipe, *, progress: Progress = SILENT
) -> NDArray[np.float64]:
    """(M, F) of the films in `rows`. Refused with DataError: a film that cannot be read any more."""
    how = settled(recipe.prepare)
    model = Model(backbone=recipe.model.backbone, weights=recipe.model.weights, head=Head())
    network = classifiers.build(model, ["a", "b"], side_px=how.side_px, seed=0, progress=progress)
    engine = Engine(without_head(network))
    chosen = films.manifest.iloc[rows]
    prepared = prepare_films(chosen.assign(**{"class": "any"}), ["any"], how, workers=None, progress=progress)
    cache: PreparedCache = prepared.cache
    found = []
    with progress.task("features of a network that has not seen the films", len(rows)) as advance:
        for start in range(0, len(rows), BATCH):
            part = prepared.rows[start : start + BATCH]
            found.append(engine(cache.read(part)).reshape(len(part), -1))
            advance(len(part))
    return np.concatenate(found).astype(np.float64)
