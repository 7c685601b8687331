"""The check with random weights: what is learned is lost, the network still reacts, the trained one is left alone."""

from __future__ import annotations

import numpy as np
import torch

from hilum.explain.at_random import DRAWS, at_random, survival
from hilum.explain.maps import maps
from hilum.model import classifier as classifiers
from hilum.recipe import schema

SIDE = 64
FILMS = np.random.default_rng(0).integers(0, 255, (8, SIDE, SIDE), dtype=np.uint8)


def network(backbone: str = "resnet10t") -> classifiers.Classifier:
    model = schema.Model(backbone=backbone, weights="none")
    return at_random(classifiers.build(model, ("ill", "well"), side_px=SIDE, seed=1), FILMS, seed=9)


def test_every_weight_is_drawn_anew_and_the_trained_network_is_as_it_was() -> None:
    trained = network()
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    other = at_random(trained, FILMS, seed=0)
    assert all(torch.equal(value, before[name]) for name, value in trained.state_dict().items())
    for (name, one), two in zip(trained.named_parameters(), other.parameters(), strict=True):
        if one.numel() > 32 and one.std() > 0:
            assert abs(np.corrcoef(one.detach().flatten(), two.detach().flatten())[0, 1]) < 0.5, name
        # Nothing but places and signs changes, so that the weights stay as large as training made them.
        assert torch.equal(one.abs().flatten().sort().values, two.abs().flatten().sort().values)


def test_a_network_of_random_weights_still_tells_films_apart() -> None:
    z = maps(at_random(network(), FILMS, seed=0), FILMS, np.zeros(8, int), "grad-cam").z
    assert z.std(0).min() > 1e-3
    assert np.isfinite(z).all()


def test_the_same_draw_gives_the_same_network_and_another_draw_another() -> None:
    trained = network()
    weights = [next(at_random(trained, FILMS, seed=seed).parameters()) for seed in (0, 0, 1)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_grad_cam_does_not_survive_and_a_network_without_batch_norm_is_checked_too() -> None:
    found = survival(network(), FILMS, np.zeros(8, int), "grad-cam")
    assert (found.n, found.draws) == (8, DRAWS)
    assert not found.survives
    plain = schema.Model(backbone="cnn", weights="none", cnn=schema.CNN(channels=[8, 16], normalisation="none"))
    bare = classifiers.build(plain, ("ill", "well"), side_px=SIDE, seed=1)
    assert np.isfinite(survival(bare, FILMS[:1], np.zeros(1, int), "grad-cam").spearman)
