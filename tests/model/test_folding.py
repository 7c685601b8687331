"""Frozen batch norms folded into their convolutions: the same network, less work."""

import pytest
import torch

from hilum.model import classifier as classifiers
from hilum.model.folding import folded
from hilum.recipe import schema


def _network(backbone: str) -> classifiers.Classifier:
    model = schema.Model(backbone=backbone, weights="none")
    network = classifiers.build(model, ("a", "b"), side_px=96, seed=0).double()
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():  # untrained statistics are 0 and 1, which any folding gets right
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.copy_(torch.randn(module.running_mean.shape, generator=generator) * 0.1)
            module.running_var.copy_(torch.rand(module.running_var.shape, generator=generator) + 0.5)
            module.weight.data.copy_(torch.rand(module.weight.shape, generator=generator) + 0.5)
    return network


@pytest.mark.parametrize(
    "backbone", ["mobilenetv2_100", "resnet10t", "densenet121", "inceptionv3", "vit_tiny_patch16_224"]
)
def test_a_folded_network_gives_the_same_logits(backbone):
    network = _network(backbone)
    classifiers.set_unfrozen(network, "none")
    films = torch.rand(2, 1, 96, 96, dtype=torch.float64)
    with torch.inference_mode():
        before = network(films)
        with folded(network):
            within = network(films)
        after = network(films)
    torch.testing.assert_close(within, before, rtol=1e-9, atol=1e-9)
    assert torch.equal(after, before)


def test_only_frozen_layers_are_folded_and_names_stay():
    network = _network("mobilenetv2_100")
    names = list(network.state_dict())
    classifiers.set_unfrozen(network, 84)  # of 104 layers: 20 are frozen, ten convolutions with their norms
    with folded(network) as count:
        assert count == 10
        assert list(network.state_dict()) == names
    classifiers.set_unfrozen(network, "all")
    network.train()
    with folded(network) as count:
        assert count == 0


def test_gradients_of_the_layers_that_learn_are_those_without_folding():
    network = _network("mobilenetv2_100")
    classifiers.set_unfrozen(network, 84)
    network.train()
    films = torch.rand(4, 1, 96, 96, dtype=torch.float64)

    def gradients() -> list[torch.Tensor]:
        network.zero_grad()
        network(films).square().sum().backward()
        return [weight.grad.clone() for weight in network.parameters() if weight.grad is not None]

    statistics = {name: value.clone() for name, value in network.named_buffers()}
    plain = gradients()
    network.load_state_dict(statistics, strict=False)
    with folded(network):
        fused = gradients()
    assert len(plain) == len(fused) > 80
    for one, other in zip(plain, fused, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9)
