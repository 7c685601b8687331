"""The names of backbones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from timm.models import get_pretrained_cfg

from hilum.errors import RequestError
from hilum.model.weights import bare_network
from hilum.model.zoo import BACKBONES, SYNONYMS, Backbone, find


@pytest.mark.parametrize(
    ("written", "architecture"),
    [
        ("VGG16", "vgg16"),
        ("vgg-19", "vgg19"),
        ("ResNet 18", "resnet18"),
        ("resnet_34", "resnet34"),
        ("ResNet-50", "resnet50"),
        ("RESNET101", "resnet101"),
        ("SE-ResNet50", "seresnet50"),
        ("Inception-V3", "inception_v3"),
        ("Xception", "legacy_xception"),
        ("InceptionResNetV2", "inception_resnet_v2"),
        ("NASNetLarge", "nasnetalarge"),
        ("EfficientNet-B0", "efficientnet_b0"),
        ("DenseNet-121", "densenet121"),
        ("MobileNet", "mobilenetv1_100"),
        ("MobileNet V2", "mobilenetv2_100"),
        ("mobilenetv2_100.ra_in1k", "mobilenetv2_100"),
    ],
)
def test_a_backbone_is_found_however_people_write_it(written: str, architecture: str) -> None:
    assert find(written).architecture == architecture
    assert find(written) in BACKBONES.values()


def test_any_other_timm_name_passes_through_with_its_default_weights_or_the_ones_named() -> None:
    assert find("convnext_atto").timm == "convnext_atto.d2_in1k"
    other = find("resnet50.a1_in1k")
    assert (other.timm, other.side_px, other.licence) == ("resnet50.a1_in1k", 224, "apache-2.0")


def test_an_unknown_backbone_is_refused_and_the_nearest_are_named() -> None:
    with pytest.raises(RequestError, match=r"no backbone 'densnet112'.*DenseNet121"):
        find("densnet112")
    with pytest.raises(RequestError, match=r"no backbone 'resnet50.tv_in2k'.*resnet50.tv_in1k"):
        find("resnet50.tv_in2k")
    assert find("resnet50").timm == "resnet50.tv_in1k"


def test_every_synonym_stands_for_a_backbone_and_hides_none() -> None:
    assert set(SYNONYMS.values()) <= set(BACKBONES)
    assert not set(SYNONYMS) & set(BACKBONES)


@pytest.mark.parametrize("key", BACKBONES)
def test_the_table_says_what_timm_says(key: str) -> None:
    backbone = BACKBONES[key]
    cfg = get_pretrained_cfg(backbone.timm)
    assert (cfg.architecture, cfg.tag) == tuple(backbone.timm.split("."))
    assert (backbone.side_px, backbone.licence) == (cfg.input_size[-1], cfg.license)
    assert cfg.hf_hub_id or cfg.url


def test_the_table_counts_the_parameters_without_the_classifier() -> None:
    import torch

    for backbone in BACKBONES.values():
        with torch.device("meta"):
            network = bare_network(backbone)
        millions = sum(parameter.numel() for parameter in network.parameters()) / 1e6
        assert millions == pytest.approx(backbone.parameters_m, abs=0.051), backbone.name


@pytest.mark.parametrize("backbone", BACKBONES.values(), ids=BACKBONES)
def test_the_documentation_has_the_tables_row(backbone: Backbone) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "backbones.md").read_text(encoding="utf-8")
    licence = {"bsd-3-clause": "BSD-3-Clause", "apache-2.0": "Apache-2.0"}[str(backbone.licence)]
    row = (backbone.name, f"`{backbone.timm}`", f"{backbone.parameters_m:.1f}", str(backbone.side_px), licence)
    assert f"| {' | '.join(row)} |" in page


def test_the_names_are_known_without_torch() -> None:
    code = "import sys; from hilum.model import store, zoo; zoo.find('VGG16'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
