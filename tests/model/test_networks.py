"""Networks of hilum's own: every layer's shape and every count as their authors give them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from hilum.errors import RequestError, WeightsError
from hilum.model.classifier import Classifier, backbone_layers, build, load, save, set_unfrozen
from hilum.model.grey import fold
from hilum.model.networks import COVIENTIST, Network, darkcovidnet, plain_cnn
from hilum.model.weights import bare_network
from hilum.model.zoo import OWN, find
from hilum.recipe.load import load_recipe
from hilum.recipe.schema import CNN, Block, Head, Model, Prepare

CLASSES = ["covid-19", "normal", "pneumonia"]


def own(side_px: int = 64, **keys: object) -> Classifier:
    asked = {"backbone": "cnn", "weights": "none", **keys}
    return build(Model.model_validate(asked), CLASSES, side_px=side_px, seed=0)


def shapes(network: Network, side_px: int) -> dict[str, tuple[int, ...]]:
    """The shape of each layer's map of one film, by the layer's name; no number is computed."""
    found = {}
    x = torch.zeros(1, 3, side_px, side_px, device="meta")
    for name, layer in network.to("meta").layers.named_children():
        x = layer(x)
        found[name] = tuple(x.shape[1:])
    return found


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_covientist_cnn_has_the_shapes_of_the_study_at_each_layer() -> None:
    found = shapes(plain_cnn(COVIENTIST), 224)
    assert {name: found[name] for name in found if name.startswith(("conv", "pool"))} == {
        "conv1": (128, 224, 224),
        "pool1": (128, 56, 56),
        "conv2": (128, 56, 56),
        "pool2": (128, 28, 28),
        "conv3": (256, 28, 28),
        "pool3": (256, 14, 14),
    }
    assert [name.rstrip("123") for name in found] == ["conv", "norm", "act", "pool"] * 3


def test_the_covientist_cnn_has_the_parameters_of_the_study() -> None:
    with torch.device("meta"):
        network = plain_cnn(COVIENTIST)
    # Convolutions with their biases, and two numbers per channel of each batch norm.
    convolutions = (3 * 9 + 1) * 128 + (128 * 9 + 1) * 128 + (128 * 9 + 1) * 256
    assert count(network) == convolutions + 2 * (128 + 128 + 256)
    assert [type(layer) for layer in network.layers[:4]] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d]
    head = Head(layers=1, units=256, activation="linear", dropout=0.5)
    classifier = own(224, backbone="covientist-cnn", pooling="flatten", head=head)
    linear = [layer for layer in classifier.head.modules() if isinstance(layer, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in linear] == [(50176, 256), (256, 3)]
    assert count(classifier.head) == 50176 * 256 + 256 + 256 * 3 + 3
    # One channel in place of three in the first layer.
    assert count(classifier.backbone) == count(network) - 2 * 9 * 128


def test_darkcovidnet_has_the_shapes_of_the_paper_at_each_layer() -> None:
    found = shapes(darkcovidnet(2), 256)
    convolutions = [found[f"conv{number}"] for number in range(1, 18)]
    assert [shape[0] for shape in convolutions] == [
        *(8, 16, 32, 16, 32, 64, 32, 64, 128, 64, 128, 256, 128, 256, 128, 256, 2)
    ]
    sides = [256, 128, 64, 66, 66, 33, 35, 35, 17, 19, 19, 9, 11, 11, 13, 13, 13]
    assert [shape[1] for shape in convolutions] == sides
    assert sum(name.startswith("pool") for name in found) == 5
    assert found["norm17"] == (2, 13, 13)


@pytest.mark.parametrize(("classes", "expected", "flat"), [(2, 1_164_434, 338), (3, 1_167_586, 507)])
def test_darkcovidnet_has_the_parameters_of_the_paper(classes: int, expected: int, flat: int) -> None:
    # Table 2 of Ozturk et al. 2020 has two classes. A third adds a map of 256 x 9 weights and 2 of its batch norm, and
    # 507 x 3 + 3 in place of 338 x 2 + 2.
    assert expected == 1_164_434 + (classes - 2) * (256 * 9 + 2 + 507 * 3 + 3 - (338 * 2 + 2))
    model = Model(backbone="DarkCovidNet", weights="none", pooling="flatten")
    classifier = build(model, CLASSES[:classes], side_px=256, seed=0)
    assert classifier.head[0].in_features == flat  # type: ignore[index]
    folded_away = 2 * 9 * 8
    assert count(classifier) == expected - folded_away


def test_darkcovidnet_has_no_biases_and_a_leaky_slope_of_a_tenth() -> None:
    layers = list(darkcovidnet(3).layers)
    assert all(layer.bias is None for layer in layers if isinstance(layer, nn.Conv2d))
    assert {layer.negative_slope for layer in layers if isinstance(layer, nn.LeakyReLU)} == {0.1}
    assert sum(isinstance(layer, nn.LeakyReLU) for layer in layers) == 16
    assert [type(layer) for layer in layers[-3:]] == [nn.Conv2d, nn.ReLU, nn.BatchNorm2d]


def test_darkcovidnet_is_refused_without_its_flat_maps() -> None:
    with pytest.raises(RequestError, match="pooling=flatten"):
        own(backbone="darkcovidnet")


@pytest.mark.parametrize("key", OWN)
def test_one_channel_gives_what_the_film_in_three_channels_gives(key: str) -> None:
    network = bare_network(OWN[key], cnn=CNN(channels=[4, 8]), classes=3).double().eval()
    film = torch.rand(1, 1, 64, 64, dtype=torch.float64)
    with torch.inference_mode():
        three = network(((film - 0.5) / 0.25).repeat(1, 3, 1, 1))
        grey = fold(network, "layers.conv1", (0.5,) * 3, (0.25,) * 3).double()
        assert grey.channels == 1
        torch.testing.assert_close(network(grey(film)), three)


@pytest.mark.parametrize("how", ["covientist-cnn", "darkcovidnet", "cnn", "block"])
def test_a_network_of_our_own_learns_and_comes_back_from_its_file(how: str, tmp_path: Path) -> None:
    keys: dict[str, object] = {"backbone": how, "pooling": "flatten"}
    if how == "cnn":
        keys = {"backbone": "CNN", "pooling": "avgmax", "cnn": CNN(channels=[8, 16], convolutions=2, pools=[2])}
    if how == "block":
        keys = {"backbone": "resnet10t", "block": Block(layers=2, channels=8, pool=2, normalisation="group")}
    classifier = own(**keys)
    films = torch.rand(2, 1, 64, 64)
    set_unfrozen(classifier, 2)
    classifier.train()
    F.cross_entropy(classifier(films), torch.tensor([0, 1])).backward()
    learnt = {name for name, parameter in classifier.named_parameters() if parameter.grad is not None}
    assert learnt == {name for name, parameter in classifier.named_parameters() if parameter.requires_grad}
    assert {name.split(".")[0] for name in learnt} == {"head", "backbone"} | ({"block"} if how == "block" else set())
    save(classifier.eval(), tmp_path / "weights.safetensors", Prepare(side_px=64))
    again, _ = load(tmp_path / "weights.safetensors")
    assert again.architecture == classifier.architecture
    with torch.inference_mode():
        assert torch.equal(again(films), classifier(films))


def test_the_space_of_cnns_has_the_depths_widths_pools_and_norms_that_are_asked_for() -> None:
    how = CNN(channels=[4, 8, 8], pools=[3, 1], convolutions=2, kernel=5, pooling="avg", normalisation="group")
    assert [f"{name} {shape[0]}x{shape[1]}" for name, shape in shapes(plain_cnn(how), 30).items()] == [
        *("conv1 4x30", "norm1 4x30", "act1 4x30", "conv2 4x30", "norm2 4x30", "act2 4x30", "pool1 4x10"),
        *("conv3 8x10", "norm3 8x10", "act3 8x10", "conv4 8x10", "norm4 8x10", "act4 8x10"),
        *("conv5 8x10", "norm5 8x10", "act5 8x10", "conv6 8x10", "norm6 8x10", "act6 8x10"),
    ]
    layers = plain_cnn(how).layers
    assert isinstance(layers.pool1, nn.AvgPool2d)
    assert isinstance(layers.norm1, nn.GroupNorm) and layers.norm1.num_groups == 4
    bare = plain_cnn(CNN(channels=[4], pools=[2], normalisation="none", activation="selu")).layers
    assert [type(layer) for layer in bare] == [nn.Conv2d, nn.SELU, nn.MaxPool2d]


def test_a_recipe_describes_a_cnn_and_nothing_else_with_it() -> None:
    recipe = load_recipe(settings=["model.backbone=cnn", "model.cnn.channels=[8, 8]", "model.cnn.pools=[2]"])
    assert recipe.model.cnn.channels == [8, 8]
    with pytest.raises(RequestError, match=r"describes model\.backbone = 'cnn'"):
        load_recipe(settings=["model.backbone=covientist-cnn", "model.cnn.channels=[8]", "model.cnn.pools=[2]"])
    with pytest.raises(RequestError, match="more pools"):
        load_recipe(settings=["model.backbone=cnn", "model.cnn.channels=[8]"])


def test_our_networks_have_no_pretrained_weights_and_that_is_said() -> None:
    with pytest.raises(WeightsError, match=r"nobody publishes.*model.weights=none"):
        own(weights="pretrained")


def test_a_file_of_such_a_network_is_taken_when_it_fits(tmp_path: Path) -> None:
    torch.manual_seed(1)
    state = plain_cnn(CNN(channels=[4, 8])).state_dict()
    save_file(state, tmp_path / "a.safetensors")
    found = own(weights=str(tmp_path / "a.safetensors"), cnn=CNN(channels=[4, 8]))
    assert torch.equal(found.backbone.layers.conv2.weight, state["layers.conv2.weight"])  # type: ignore[union-attr]
    with pytest.raises(WeightsError, match=r"tensor 'layers.conv1.weight' has shape \(4, 3, 3, 3\)"):
        own(weights=str(tmp_path / "a.safetensors"), cnn=CNN(channels=[8, 8]))


def test_the_block_of_kth_snn_stands_on_vgg16_and_learns_while_it_is_frozen() -> None:
    classifier = own(backbone="vgg16", pooling="flatten", block=Block(layers=2, channels=32))
    assert [name for name, _ in classifier.block.named_children()] == ["conv1", "act1", "conv2", "act2", "global_pool"]
    assert classifier.block.conv1.in_channels == 512  # type: ignore[union-attr]
    set_unfrozen(classifier, "none")
    learns = {name.split(".")[0] for name, weight in classifier.named_parameters() if weight.requires_grad}
    assert learns == {"block", "head"}
    films = torch.rand(1, 1, 64, 64)
    with torch.inference_mode():
        last = classifier.backbone_output(films)
        assert last.shape == (1, 512, 2, 2)
        assert torch.equal(classifier.features(films), classifier.block(last).flatten(1))
    assert classifier.features(films).shape == (1, 32 * 2 * 2)


def test_a_block_needs_a_map_that_is_large_enough() -> None:
    with pytest.raises(RequestError, match=r"2 x 2 places.*model.block.pool=1"):
        own(backbone="vgg16", block=Block(layers=1, pool=4))
    with pytest.raises(RequestError, match="no feature map"):
        own(backbone="vit_tiny_patch16_224", block=Block(layers=1))


def test_the_layers_of_our_networks_are_counted_as_those_of_timm() -> None:
    assert len(backbone_layers(own(backbone="covientist-cnn"))) == 6
    assert find("Covientist CNN") is OWN["covientistcnn"]
