"""Logits of films. Every figure, map and answer comes from here: float32, network in evaluation mode."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from hilum.model.classifier import Classifier
from hilum.model.engine import Engine
from hilum.model.exported import Exported

# Fits the caches of a CPU: MobileNetV2 at 224 px predicts 70 films a second in batches of 32, 47 in batches of 128.
BATCH = 32


def logits(
    network: Classifier | Engine | Exported,
    batches: Iterable[NDArray[np.uint8]],
    advance: Callable[[int], None] = lambda films: None,
) -> NDArray[np.float32]:
    """Logits (N, K) of prepared films that come as batches of uint8 (n, side, side); `advance` is told of each batch.

    Training may compute in bfloat16; what is reported does not, so that it is the same on every machine, with every
    engine and for every batch size, to rounding.
    """
    engine = Engine(network) if isinstance(network, Classifier) else network
    found = [np.zeros((0, len(engine.classes)), dtype=np.float32)]
    for batch in batches:
        found.append(engine(batch))
        advance(len(batch))
    return np.concatenate(found)


def softmax(z: NDArray[np.floating], temperature: float = 1.0) -> NDArray[np.float64]:
    """Probabilities (N, K) of logits (N, K) divided by the temperature.

    >>> softmax(np.array([[0.0, 0.0]]))
    array([[0.5, 0.5]])
    """
    scaled = z.astype(np.float64) / temperature
    raised = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)
