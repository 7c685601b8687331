"""The classifier and its file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from hilum.errors import RequestError, WeightsError
from hilum.model.classifier import Classifier, backbone_layers, build, load, read_metadata, save, set_unfrozen
from hilum.recipe.schema import Block, Head, Model, Prepare

CLASSES = ["covid-19", "normal", "pneumonia"]
SIDE = 64


def small(seed: int = 0, **keys: object) -> Classifier:
    asked = {"backbone": "resnet18", "weights": "none", **keys}
    return build(Model.model_validate(asked), CLASSES, side_px=SIDE, seed=seed)


@pytest.fixture
def films() -> torch.Tensor:
    torch.manual_seed(1)
    return torch.rand(4, 1, SIDE, SIDE)


def running(classifier: Classifier) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in classifier.backbone.named_buffers() if "running" in name}


def test_the_same_seed_gives_the_same_network_and_leaves_the_global_randomness_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one, same, other = small(1), small(1), small(2)
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(one.head[0].weight, other.head[0].weight)  # type: ignore[index]


def test_the_poolings_are_those_of_the_last_map(films: torch.Tensor) -> None:
    average, largest, both, flat = (small(pooling=pooling) for pooling in ("avg", "max", "avgmax", "flatten"))
    with torch.inference_mode():
        last = average.backbone.forward_features(average.grey(films))  # type: ignore[operator]
        assert torch.allclose(average.features(films), last.mean((2, 3)), atol=1e-5)
        assert torch.allclose(largest.features(films), last.amax((2, 3)), atol=1e-5)
        assert torch.allclose(both.features(films), (last.mean((2, 3)) + last.amax((2, 3))) / 2, atol=1e-5)
        assert torch.allclose(flat.features(films), last.flatten(1), atol=1e-5)
    assert flat.head[-1].in_features == 512 * 2 * 2  # type: ignore[index]


def test_levels_are_the_mean_and_the_spread_of_three_maps(films: torch.Tensor) -> None:
    classifier = small(backbone="mobilenetv2", pooling="levels")
    seen: dict[str, torch.Tensor] = {}
    modules = dict(classifier.backbone.named_modules())
    for name in ("blocks.2", "blocks.4", "bn2"):  # the last of 1/8, of 1/16, and what stands before pooling
        modules[name].register_forward_hook(lambda module, into, out, name=name: seen.__setitem__(name, out))
    with torch.inference_mode():
        features = classifier.features(films)
    expected = torch.cat([f for m in seen.values() for f in (m.mean((2, 3)), m.std((2, 3), correction=0))], dim=1)
    assert list(seen) == ["blocks.2", "blocks.4", "bn2"] and features.shape[1] == 2 * (32 + 96 + 1280)
    # The spread has a smallest value of 0.003, so that one of 0 has a slope.
    torch.testing.assert_close(features, expected, atol=0.004, rtol=1e-3)


def test_levels_of_a_black_film_can_be_learned_from() -> None:
    classifier = small(pooling="levels").train()
    classifier(torch.zeros(2, 1, SIDE, SIDE)).sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in classifier.parameters())


@pytest.mark.parametrize("backbone", ["cnn", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
def test_networks_without_maps_of_three_levels_are_refused(backbone: str) -> None:
    with pytest.raises(RequestError, match=r"maps of its levels|no feature map"):
        build(Model(backbone=backbone, weights="none", pooling="levels"), CLASSES, side_px=224, seed=0)
    with pytest.raises(ValueError, match="takes the last one alone"):
        Model(pooling="levels", block=Block(layers=1))


@pytest.mark.parametrize("pooling", ["max", "avgmax", "flatten", "levels"])
@pytest.mark.parametrize("backbone", ["convnext_atto", "mobilenetv2", "densenet121", "vgg16"])
def test_networks_of_every_build_pool_too(backbone: str, pooling: str) -> None:
    classifier = small(backbone=backbone, pooling=pooling)
    assert classifier(torch.rand(1, 1, SIDE, SIDE)).shape == (1, 3)


def test_a_transformer_pools_in_its_own_way_only() -> None:
    with pytest.raises(RequestError, match="no feature map"):
        small(backbone="vit_tiny_patch16_224", pooling="flatten")
    with pytest.raises(RequestError, match="no feature map"):  # it has several
        build(Model(backbone="coat_tiny", weights="none", pooling="max"), CLASSES, side_px=224, seed=0)
    classifier = small(backbone="vit_tiny_patch16_224")
    assert classifier(torch.rand(2, 1, SIDE, SIDE)).shape == (2, 3)


def test_films_too_small_for_a_backbone_are_refused_with_a_side_that_will_do() -> None:
    with pytest.raises(RequestError, match=r"inception_v3.* 64 px.*side_px=299"):
        small(backbone="InceptionV3")


def test_nothing_all_or_the_last_layers_of_the_backbone_learn_and_the_head_always() -> None:
    classifier = small(head=Head(layers=1, batch_norm=True))
    layers = backbone_layers(classifier)
    # ResNet18: 20 convolutions (with 3 of the short cuts), each with its batch norm.
    assert len(layers) == 40
    for unfreeze, learning in (("none", 0), ("all", 40), (0, 0), (3, 3), (40, 40)):
        set_unfrozen(classifier, unfreeze)  # type: ignore[arg-type]
        able = [all(parameter.requires_grad for parameter in layer.parameters()) for layer in layers]
        assert able == [False] * (40 - learning) + [True] * learning
        assert all(parameter.requires_grad for parameter in classifier.head.parameters())


def test_more_layers_than_there_are_cannot_be_unfrozen() -> None:
    with pytest.raises(RequestError, match="has 40 layers"):
        set_unfrozen(small(), 41)


def test_frozen_batch_norm_does_not_move_while_training(films: torch.Tensor) -> None:
    classifier = small()
    set_unfrozen(classifier, 4)
    before = running(classifier)
    classifier.train()
    classifier(films).sum().backward()
    moved = {name for name, value in running(classifier).items() if not torch.equal(value, before[name])}
    # The last four layers are conv1, bn1, conv2, bn2 of the last block.
    assert moved == {f"layer4.1.{norm}.running_{what}" for norm in ("bn1", "bn2") for what in ("mean", "var")}


def test_a_frozen_backbone_gives_the_same_features_in_training_as_in_evaluation(films: torch.Tensor) -> None:
    classifier = small(backbone="efficientnet_b0", dropout=0.5)
    with torch.no_grad():
        expected = classifier.eval().features(films)
        set_unfrozen(classifier, "none")
        assert torch.equal(classifier.train().features(films), expected)
        assert classifier.head.training
        set_unfrozen(classifier, "all")
        assert not torch.equal(classifier.features(films), expected)


def test_a_file_brings_back_the_network_and_all_that_is_needed_to_use_it(tmp_path: Path, films: torch.Tensor) -> None:
    classifier = small(head={"layers": 2, "units": 8, "activation": "selu"}, pooling="max", dropout=0.1)
    preparation = Prepare(side_px=SIDE, equalise="clahe")
    path = tmp_path / "weights.safetensors"
    save(classifier, path, preparation, {"temperature": 1.5})
    again, metadata = load(path)
    assert torch.equal(again(films), classifier(films))
    assert not again.training
    assert again.architecture == classifier.architecture
    assert again.origin == classifier.origin
    assert metadata["classes"] == CLASSES
    assert metadata["temperature"] == 1.5
    assert Prepare.model_validate(metadata["preparation"]) == preparation
    assert metadata == read_metadata(path)
    assert metadata["origin"]["kind"] == "none"


def test_the_facts_that_save_writes_cannot_be_overwritten(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="classes"):
        save(small(), tmp_path / "weights.safetensors", Prepare(), {"classes": ["a"]})
    assert not list(tmp_path.iterdir())


def changed(path: Path, tensors: dict[str, torch.Tensor], **facts: object) -> Path:
    """The file with some tensors and metadata replaced."""
    with safetensors.safe_open(path, "pt") as file:
        metadata = json.loads(file.metadata()["hilum"])
    save_file({**load_file(path), **tensors}, path, {"hilum": json.dumps({**metadata, **facts})})
    return path


def test_files_that_are_not_what_they_say_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"

    def fresh() -> Path:
        save(classifier, path, Prepare(side_px=SIDE))
        return path

    classifier = small()
    with pytest.raises(WeightsError, match="no weights here"):
        load(path)
    with pytest.raises(WeightsError, match=r"tensor 'backbone.bn1.weight' has shape \(5,\), and \(64,\) is needed"):
        load(changed(fresh(), {"backbone.bn1.weight": torch.zeros(5)}))
    with pytest.raises(WeightsError, match=r"tensor 'more' is not part of it"):
        load(changed(fresh(), {"more": torch.zeros(5)}))
    with pytest.raises(WeightsError, match="names 3 classes, but its last layer tells 4 apart"):
        load(changed(fresh(), {"head.0.bias": torch.zeros(4), "head.0.weight": torch.zeros(4, 512)}))
    with pytest.raises(WeightsError, match="classes are not those of the architecture"):
        load(changed(fresh(), {}, classes=["normal", "covid-19", "pneumonia"]))
    with pytest.raises(WeightsError, match="format 99"):
        load(changed(fresh(), {}, format=99))
    with pytest.raises(WeightsError, match="metadata are damaged"):
        load(changed(fresh(), {}, architecture={"backbone": "resnet18"}))
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match="no classifier that hilum trained"):
        load(path)
    half = fresh().read_bytes()[: path.stat().st_size // 2]
    path.write_bytes(half)
    with pytest.raises(WeightsError, match="no whole safetensors file"):
        load(path)


def test_a_failed_save_leaves_the_earlier_file(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    classifier = small()
    save(classifier, path, Prepare(side_px=SIDE))
    before = path.read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        save(classifier, path, Prepare(side_px=SIDE), {"temperature": float("nan")})
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["weights.safetensors"]


def test_the_architecture_is_a_plain_record(films: torch.Tensor) -> None:
    classifier = small()
    assert classifier.architecture.backbone == "resnet18.tv_in1k"
    assert classifier.output_width == 3
    assert classifier.architecture.mean == (0.485, 0.456, 0.406)
    assert isinstance(classifier.backbone, nn.Module)
    assert "UNTRAINED" in classifier.origin.note  # type: ignore[union-attr]
