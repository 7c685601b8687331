"""What a trained network makes of pictures, computed once and kept: its own features, and its logits.

    CACHE/explained/KEY.npy    float32 (n, F) or (n, K)

Pictures go through the network in blocks, each kept as soon as it is done, so that work which was stopped goes on where
it was. The key has the SHA-256 of the weights' file, and what the caller says of the pictures. The folder may be
deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from hilum.explain.part import Trained
from hilum.files import cache_folder, whole_file
from hilum.image.cache import key_of
from hilum.model.classifier import Classifier
from hilum.model.engine import Engine
from hilum.model.inference import BATCH
from hilum.progress import Progress
from hilum.training.prepared import Films

Floats = NDArray[np.float32]
Pictures = NDArray[np.uint8]

# Raised when the same key would hold other numbers than before.
VERSION = 1
_BLOCK = 256  # films


def without_head(classifier: Classifier) -> Classifier:
    """The same network, whose output is what its head takes: its features of a picture, (B, F)."""
    return Classifier(
        classifier.normalise,
        classifier.grey,
        classifier.backbone,
        classifier.block,
        nn.Identity(),
        classifier.architecture,
        classifier.origin,
    ).eval()


def features_of_films(network: Trained, films: Films, shas: Sequence[str], what: str, progress: Progress) -> Floats:
    """The network's own features (N, F) of prepared films. shas: of their files; what: for the progress."""
    engine = Engine(without_head(network.classifier))
    with progress.task(what, len(films)) as advance:
        found = []
        for start in range(0, len(films), _BLOCK):
            rows = films.rows[start : start + _BLOCK]
            batches = (films.cache.read(rows[at : at + BATCH]) for at in range(0, len(rows), BATCH))
            found.append(kept(network, ["features", *shas[start : start + _BLOCK]], engine, batches))
            advance(len(rows))
    return np.concatenate(found)


def kept(network: Trained, about: Sequence[Any], engine: Engine, pictures: Iterable[Pictures]) -> Floats:
    """What the engine makes of the pictures, which are asked for only where that is not in the cache.

    about: JSON values that, with the weights and the preparation, tell these pictures and this engine from all others.
    """
    told = json.dumps([VERSION, network.sha256, key_of(network.preparation), *about])
    path = cache_folder() / "explained" / f"{hashlib.sha256(told.encode()).hexdigest()[:24]}.npy"
    found = _read(path)
    if found is None:
        found = np.concatenate([engine(batch) for batch in pictures])
        with whole_file(path) as part, part.open("wb") as file:
            np.save(file, found)
    return found


def _read(path: Path) -> Floats | None:
    """The numbers of a file; None where there is none, or a broken one."""
    try:
        found: Floats = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found
