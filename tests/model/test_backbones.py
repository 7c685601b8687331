"""One test over every backbone of the table: built, trained a step, saved, loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from hilum.model.classifier import build, load, save, set_unfrozen
from hilum.model.zoo import BACKBONES
from hilum.recipe.schema import Model, Prepare

SIDE_PX = {"inceptionv3": 75, "inceptionresnetv2": 75}


@pytest.mark.parametrize("key", BACKBONES)
def test_a_backbone_is_built_learns_and_comes_back_from_its_file(key: str, tmp_path: Path) -> None:
    side = SIDE_PX.get(key, 40)
    classifier = build(Model(backbone=key, weights="none"), ["covid-19", "normal"], side_px=side, seed=0)
    films = torch.rand(2, 1, side, side)
    set_unfrozen(classifier, 2)
    classifier.train()
    F.cross_entropy(classifier(films), torch.tensor([0, 1])).backward()
    learnt = {name for name, parameter in classifier.named_parameters() if parameter.grad is not None}
    assert learnt == {name for name, parameter in classifier.named_parameters() if parameter.requires_grad}
    assert {name.split(".")[0] for name in learnt} == {"head", "backbone"}

    classifier.eval()
    save(classifier, tmp_path / "weights.safetensors", Prepare(side_px=side))
    again, metadata = load(tmp_path / "weights.safetensors")
    with torch.inference_mode():
        assert torch.equal(again(films), classifier(films))
        assert again.features(films).shape == (2, classifier.head[-1].in_features)
    assert metadata["architecture"]["backbone"] == BACKBONES[key].timm
