"""The layer of every backbone: it has places, and nothing after it has more."""

from __future__ import annotations

import numpy as np
import pytest

from hilum.errors import RequestError
from hilum.explain.layers import TABLE, layer_of
from hilum.explain.maps import maps
from hilum.model import classifier as classifiers
from hilum.model import zoo
from hilum.model.classifier import Classifier
from hilum.recipe import schema

TRANSFORMERS = {
    "vit_tiny_patch16_224": "backbone.blocks.11.norm1",
    "deit_tiny_patch16_224": "backbone.blocks.11.norm1",
    "swin_tiny_patch4_window7_224": "backbone.norm",
}
# Of no table: what the rule finds.
OTHERS = ("resnet10t", "mobilenetv3_small_050", "convnext_atto", "mixer_s16_224", "regnetx_002", "xcit_nano_12_p16_224")


def built(name: str, side_px: int = 128, **model: object) -> Classifier:
    asked = {"backbone": name, "weights": "none", **({"pooling": "flatten"} if name == "darkcovidnet" else {}), **model}
    return classifiers.build(schema.Model.model_validate(asked), ("ill", "well"), side_px=side_px, seed=0)


def is_a_map(classifier: Classifier) -> bool:
    """A map of one film has places that differ, so the layer is before the pooling and the gradient reaches it."""
    side = classifier.architecture.side_px
    film = np.random.default_rng(0).integers(0, 255, (1, side, side), dtype=np.uint8)
    found = maps(classifier, film, np.array([0]), "grad-cam")
    return found.values.shape == (1, side, side) and bool(found.values.std() > 0)


@pytest.mark.parametrize("name", [backbone.timm for backbone in (*zoo.BACKBONES.values(), *zoo.OWN.values())])
def test_every_backbone_of_the_zoo_has_its_layer(name: str) -> None:
    classifier = built(name)
    architecture = name.partition(".")[0]
    layer = layer_of(classifier)
    assert (
        layer.name == f"backbone.{TABLE[architecture]}" if architecture != "cnn" else layer.name.startswith("backbone")
    )
    assert min(layer.places) > 1
    assert is_a_map(classifier)


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_transformers_have_places_again(name: str) -> None:
    classifier = built(name, side_px=224 if "swin" in name else 64)
    layer = layer_of(classifier)
    assert layer.name == TRANSFORMERS[name]
    assert layer.places == ((7, 7) if "swin" in name else (4, 4))
    assert is_a_map(classifier)


@pytest.mark.parametrize("name", OTHERS)
def test_any_other_network_has_the_last_layer_with_places(name: str) -> None:
    classifier = built(name, side_px=224 if name.startswith(("mixer", "xcit")) else 64)
    assert min(layer_of(classifier).places) > 1
    assert is_a_map(classifier)


def test_the_block_is_looked_at_where_there_is_one() -> None:
    classifier = built("vgg16", block={"layers": 2, "channels": 16})
    assert layer_of(classifier).name == "block.act2"  # block6_conv2 of kth-snn-2020, after its activation
    assert is_a_map(classifier)


def test_a_film_too_small_for_a_map_is_refused() -> None:
    with pytest.raises(RequestError, match="no feature map at 32 px"):
        layer_of(built("resnet18", side_px=32))
