"""The lung network in torch, and the same network in OpenCV."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from hilum.image.lungs import LungNetwork, save
from hilum.image.unet import MULTIPLE, PLAN
from hilum.model import unet
from hilum.recipe.schema import Prepare
from image.lung_pictures import shapes_of_pairs


def _lived_in(seed: int) -> unet.LungUNet:
    """A network whose batch norms have seen films, as after training."""
    network = unet.build(seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.copy_(torch.rand(module.weight.shape, generator=generator) + 0.5)
                module.bias.copy_(torch.randn(module.bias.shape, generator=generator) * 0.1)
        for _ in range(2):
            network.train()(torch.rand(4, 1, 64, 64, generator=generator))
    return network.eval()


def test_opencv_computes_what_torch_does(tmp_path: Path) -> None:
    for side in (64, 96):
        network = _lived_in(side)
        path = tmp_path / f"{side}.safetensors"
        how = Prepare(side_px=side)
        save(path, unet.folded(network), shapes_of_pairs(), most_strange=0.2, preparation=how, facts={})
        square = np.random.default_rng(side).integers(0, 256, (side, side), np.uint8)
        film = torch.from_numpy(square).float()[None, None] / 255
        with torch.inference_mode():
            expected = (network(film) + network(film.flip(3)).flip(3))[0, 0].numpy() / 2
        found = LungNetwork(path).logits(square)
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_the_answer_has_half_the_films_side_and_sees_more_than_its_neighbourhood() -> None:
    network = _lived_in(0)
    film = torch.rand(1, 1, 128, 128, requires_grad=True)
    z = network(film)
    assert z.shape == (1, 1, 64, 64)
    z[0, 0, 32, 32].backward()
    assert film.grad is not None
    reached = film.grad[0, 0].abs().sum(dim=1).nonzero().flatten()
    assert reached[-1] - reached[0] > 100  # a lung is told by the whole chest


def test_a_residual_block_begins_as_the_identity() -> None:
    network = unet.build(0)
    last_of_block = [step.name for step in PLAN if step.plus and step.name[:4] in ("deep", "flat")]
    assert last_of_block
    for name in last_of_block:
        assert float(network.layers[name][1].weight.detach().abs().max()) == 0.0  # type: ignore[index]


def test_the_seed_alone_decides_the_weights() -> None:
    before = torch.random.get_rng_state()
    one, same, other = unet.build(3), unet.build(3), unet.build(4)
    assert torch.equal(before, torch.random.get_rng_state())
    first = PLAN[0].name
    assert torch.equal(one.layers[first][0].weight, same.layers[first][0].weight)  # type: ignore[index]
    assert not torch.equal(one.layers[first][0].weight, other.layers[first][0].weight)  # type: ignore[index]
    assert 2 ** sum(step.stride == 2 for step in PLAN) == MULTIPLE
