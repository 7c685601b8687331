"""The two engines give the same probabilities, a film by itself the same as among others, and say when they cannot."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from torch import nn

from hilum.errors import RequestError
from hilum.model import engine as engines
from hilum.model.classifier import Classifier, build
from hilum.model.engine import Engine
from hilum.model.inference import logits, softmax
from hilum.recipe.schema import Head, Model

SIDE = 64
openvino = pytest.mark.skipif(engines.importlib.util.find_spec("openvino") is None, reason="openvino is not installed")


def network(backbone: str = "resnet10t", **keys: object) -> Classifier:
    """An untrained network that is nonetheless sure of some films: its logits spread by about 2."""
    asked = Model.model_validate({"backbone": backbone, "weights": "none", **keys})
    classifier = build(asked, ["covid-19", "normal", "pneumonia"], side_px=SIDE, seed=1)
    last = classifier.head[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        classifier.train()  # batch norm learns its statistics: without them a deep network's rounding errors grow
        for seed in range(20):
            classifier(torch.from_numpy(films(8, seed))[:, None] / 255.0)
        classifier.eval()
        z = torch.from_numpy(Engine(classifier, "torch")(films(16)))
        scale = 2.0 / z.std(0)
        last.weight *= scale[:, None]
        last.bias.copy_(-z.mean(0) * scale)
    return classifier


def films(count: int, seed: int = 3) -> np.ndarray:
    """Soft shapes rather than noise, so that networks see a difference."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.random((count, 1, 5, 5)))
    fine = nn.functional.interpolate(coarse, size=(SIDE, SIDE), mode="bicubic")[:, 0].clamp(0, 1)
    return (255 * fine).round().to(torch.uint8).numpy()


BACKBONES = ["mobilenetv2", "resnet10t", "efficientnet_b0", "convnext_atto", "vit_tiny_patch16_224", "cnn"]


@openvino
@pytest.mark.parametrize("backbone", BACKBONES)
def test_openvino_gives_the_probabilities_of_torch(backbone: str) -> None:
    classifier = network(backbone, head=Head(layers=1, units=16, activation="selu"))
    some = films(11)
    fast, slow = Engine(classifier, "openvino"), Engine(classifier, "torch")
    p, q = softmax(fast(some)), softmax(slow(some))
    assert (fast.used, slow.used) == ("openvino", "torch")
    assert np.ptp(q, axis=0).min() > 0.1, "the films must not all look alike to the network"
    np.testing.assert_allclose(p, q, atol=1e-4)


@openvino
def test_a_film_has_the_same_logits_to_the_last_digit_whatever_comes_along_and_however_often_it_is_converted() -> None:
    classifier, some = network(), films(37)
    together = logits(Engine(classifier), [some])
    parted = logits(Engine(classifier), [some[:32], some[32:]])
    alone = Engine(classifier)
    np.testing.assert_array_equal(together, parted)
    np.testing.assert_array_equal(together, np.concatenate([alone(some[[i]]) for i in range(len(some))]))
    np.testing.assert_array_equal(together, Engine(classifier)(some[::-1])[::-1])


@openvino
def test_the_number_of_threads_changes_nothing() -> None:
    classifier, some = network(), films(9)
    threads = torch.get_num_threads()
    found = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            found.append(Engine(classifier, "openvino")(some))
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


@pytest.mark.parametrize("name", ["torch", pytest.param("openvino", marks=openvino)])
def test_flip_averages_the_logits_of_the_film_and_its_mirror_image(name: str) -> None:
    classifier, some = network(), films(5)
    plain, both = Engine(classifier, name), Engine(classifier, name, flip=True)  # type: ignore[arg-type]
    mirrored = np.ascontiguousarray(some[:, :, ::-1])
    assert np.abs(plain(some) - plain(mirrored)).max() > 0.1
    np.testing.assert_allclose(both(some), (plain(some) + plain(mirrored)) / 2, atol=1e-5)
    np.testing.assert_allclose(both(some), both(mirrored), atol=1e-5)


def test_no_films_have_no_logits() -> None:
    classifier = network()
    assert logits(classifier, []).shape == (0, 3)
    assert Engine(classifier)(films(1)[:0]).shape == (0, 3)


class Odd(nn.Module):
    """A layer that no converter can follow faithfully: what it adds depends on who calls it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 3.0 * float(torch.jit.is_tracing()) * torch.arange(x.shape[1])


@openvino
def test_where_openvino_gives_other_probabilities_torch_predicts_and_says_so() -> None:
    classifier, some = network(), films(4)
    expected = Engine(classifier, "torch")(some)
    classifier.head.append(Odd())
    engine = Engine(classifier)
    np.testing.assert_array_equal(engine(some), expected)
    assert engine.used == "torch"
    assert "differ by" in engine.note and "resnet10t" in engine.note
    with pytest.raises(RequestError, match=r"differ by.*engine auto or torch"):
        Engine(classifier, "openvino")(some)


class Unconvertible(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.eigvals(x[:, :, None] * x[:, None, :]).real


@openvino
def test_where_openvino_cannot_convert_torch_predicts_and_says_so() -> None:
    classifier, some = network(), films(4)
    classifier.head.append(Unconvertible())
    engine = Engine(classifier)
    np.testing.assert_array_equal(engine(some), Engine(classifier, "torch")(some))
    assert engine.used == "torch"
    assert "cannot convert resnet10t" in engine.note


def test_without_the_package_auto_is_torch_and_openvino_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: None)
    classifier = network()
    engine = Engine(classifier)
    engine(films(1))
    assert (engine.used, engine.note) == ("torch", "")
    with pytest.raises(RequestError, match="pip install openvino"):
        Engine(classifier, "openvino")


@openvino
def test_openvino_is_refused_for_a_network_on_a_gpu() -> None:
    engines.check_engine("auto", "cuda")
    with pytest.raises(RequestError, match="on cuda"):
        engines.check_engine("openvino", "cuda")


@openvino
def test_nothing_is_told_to_the_maker_of_openvino() -> None:
    Engine(network(), "openvino")(films(1))
    assert not [name for name in sys.modules if name.startswith("openvino_telemetry.")]
