"""Maps against what theory demands of them, and against grad-cam's own answer."""

from __future__ import annotations

import numpy as np
import pytest
import pytorch_grad_cam
import torch
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from hilum.errors import RequestError
from hilum.explain.layers import layer_of
from hilum.explain.maps import METHODS, maps
from hilum.model import classifier as classifiers
from hilum.model.classifier import Classifier
from hilum.recipe import schema

SIDE = 64


@pytest.fixture(scope="module")
def network() -> Classifier:
    """An untrained network whose batch norms have seen films, so that films differ in its last map."""
    model = schema.Model(backbone="resnet10t", weights="none")
    built = classifiers.build(model, ("ill", "well", "other"), side_px=SIDE, seed=1)
    torch.nn.init.normal_(built.head[-1].bias, generator=torch.Generator().manual_seed(0))
    built.train()
    with torch.no_grad():
        for _ in range(20):
            built(torch.rand(8, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(3)))
    return built.eval()


@pytest.fixture(scope="module")
def films() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (3, SIDE, SIDE), dtype=np.uint8)


def logits_of(network: Classifier, films: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return network(torch.from_numpy(films)[:, None].float() / 255).numpy()


@pytest.mark.parametrize("method", METHODS)
def test_a_map_has_the_film_s_side_and_is_float32(method: str, network: Classifier, films: np.ndarray) -> None:
    found = maps(network, films, None, method)
    assert found.values.shape == (3, SIDE, SIDE)
    assert found.values.dtype == np.float32
    np.testing.assert_allclose(found.z, logits_of(network, films), atol=1e-5)
    assert found.classes.tolist() == found.z.argmax(1).tolist()
    assert all(each.requires_grad for each in network.parameters())


@pytest.mark.parametrize("k", [0, 1, 2])
def test_the_mean_of_grad_cam_is_the_logit_less_its_bias(k: int, network: Classifier, films: np.ndarray) -> None:
    # Averaging and one linear layer follow the map, so the weighted maps add up to the logit (Zhou et al. 2016).
    found = maps(network, films, np.full(3, k), "grad-cam")
    bias = float(network.head[-1].bias[k].detach())
    layer = layer_of(network)
    down, across = ([round(axis.first + axis.step * place) for place in range(2)] for axis in layer.grid)
    at_places = found.values[:, down][:, :, across]
    np.testing.assert_allclose(at_places.mean((1, 2)), found.z[:, k] - bias, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("k", [0, 2])
def test_the_mean_of_integrated_gradients_is_the_gain_over_a_grey_film(
    k: int, network: Classifier, films: np.ndarray
) -> None:
    dull = (films // 32 + 100).astype(np.uint8)  # near its grey film, so that 32 steps are enough
    found = maps(network, dull, np.full(3, k), "integrated-gradients")
    x = torch.from_numpy(dull)[:, None].float() / 255
    with torch.no_grad():
        grey = network(x.mean((2, 3), keepdim=True).expand_as(x)).numpy()
    np.testing.assert_allclose(found.values.mean((1, 2)), found.z[:, k] - grey[:, k], rtol=0.05, atol=5e-3)


def test_occlusion_is_the_logit_that_is_lost(network: Classifier, films: np.ndarray) -> None:
    found = maps(network, films[:1], np.array([1]), "occlusion")
    # The corner pixel is hidden by one square alone, of 9 pixels at 64 px.
    hidden = torch.from_numpy(films[:1])[:, None].float() / 255
    hidden[..., :9, :9] = hidden.mean()
    with torch.no_grad():
        lost = found.z[0, 1] - float(network(hidden)[0, 1])
    assert found.values[0, 0, 0] == pytest.approx(lost, abs=1e-4)


@pytest.mark.parametrize(("method", "kind"), [("grad-cam", "GradCAM"), ("grad-cam++", "GradCAMPlusPlus")])
def test_grad_cam_s_own_map_is_ours_cut_at_0_and_stretched(
    method: str, kind: str, network: Classifier, films: np.ndarray
) -> None:
    layer = layer_of(network)
    assert layer.places == (2, 2)  # so that the corners of a map are its places
    ours = np.maximum(corners(maps(network, films, np.zeros(3, int), method).values), 0)
    x = torch.from_numpy(films)[:, None].float() / 255
    with getattr(pytorch_grad_cam, kind)(network, [layer.module], layer.to_maps) as cam:
        theirs = corners(cam(x, [ClassifierOutputTarget(0)] * 3))
    low, high = ours.min(1, keepdims=True), ours.max(1, keepdims=True)
    assert (high > 0).any()
    np.testing.assert_allclose((ours - low) / np.maximum(high - low, 1e-7), theirs, atol=1e-3)


def corners(values: np.ndarray) -> np.ndarray:
    return values[:, [0, 0, -1, -1], [0, -1, 0, -1]]


def test_a_network_that_reacts_weakly_has_a_weak_map(network: Classifier, films: np.ndarray) -> None:
    before = maps(network, films, np.zeros(3, int), "grad-cam").values
    with torch.no_grad():
        network.head[-1].weight.mul_(0.1)
    after = maps(network, films, np.zeros(3, int), "grad-cam").values
    with torch.no_grad():
        network.head[-1].weight.div_(0.1)
    np.testing.assert_allclose(after, 0.1 * before, rtol=1e-3, atol=1e-5)


def test_films_in_a_batch_have_the_maps_that_they_have_alone(network: Classifier, films: np.ndarray) -> None:
    together = maps(network, films, np.zeros(3, int), "grad-cam").values
    alone = np.concatenate([maps(network, film[None], np.zeros(1, int), "grad-cam").values for film in films])
    np.testing.assert_allclose(together, alone, atol=1e-4)


def test_an_unknown_method_is_refused_with_those_that_there_are(network: Classifier, films: np.ndarray) -> None:
    with pytest.raises(RequestError, match=r"no method 'jet'.*grad-cam, grad-cam\+\+"):
        maps(network, films, None, "jet")
