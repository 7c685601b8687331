"""Does a map show what was learned? Then it must not outlive the loss of it.

Adebayo et al. 2018, Sanity Checks for Saliency Maps, NeurIPS, arXiv:1810.03292: maps of the trained network are
compared with those of the same network whose weights are all random, the end of their cascade.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from hilum.explain.judge import Likeness, likeness
from hilum.explain.maps import maps
from hilum.model.classifier import Classifier

Films = NDArray[np.uint8]
Ints = NDArray[np.int64]

DRAWS = 6  # networks with random weights that each film's map is compared with


def survival(classifier: Classifier, films: Films, classes: Ints, method: str) -> Likeness:
    """How much the maps of prepared films, uint8 (n, side, side), for their classes, are like those of no learning."""
    trained = maps(classifier, films, classes, method).values
    twins = (at_random(classifier, films, seed=seed) for seed in range(DRAWS))
    return likeness(trained, [maps(twin, films, classes, method).values for twin in twins])


def at_random(classifier: Classifier, films: Films, *, seed: int) -> Classifier:
    """A copy whose weights are shuffled within each tensor, with signs drawn anew: their sizes stay, learning goes.

    Batch norms are fitted anew to the films and their mirror images, so that the copy still reacts to films; without
    that its maps would be flat, and any method would pass.
    """
    twin = copy.deepcopy(classifier)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weights in twin.parameters():
            values = weights.detach().flatten().cpu()
            signs = torch.randint(0, 2, values.shape, generator=draw) * 2 - 1
            weights.copy_((values[torch.randperm(len(values), generator=draw)] * signs).view_as(weights))
        norms = [each for each in twin.modules() if isinstance(each, nn.modules.batchnorm._BatchNorm)]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain mean of all that is passed through
            norm.train()
        x = torch.from_numpy(np.ascontiguousarray(films))[:, None].to(next(twin.parameters()).device).float() / 255.0
        if norms:
            twin(torch.cat([x, x.flip(-1)]))
    return twin.eval()
