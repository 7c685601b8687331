"""What a training by several workers does to the network, and what it refuses, without a cluster."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from hilum.cli.app import main
from hilum.model import classifier as classifiers
from hilum.recipe.schema import Model, Stage
from hilum.scale import parallel


def test_batch_norms_that_learn_are_synchronised_and_compute_what_they_did() -> None:
    model = Model(backbone="mobilenetv3_small_050", weights="none")
    network = classifiers.build(model, ["one", "other"], side_px=32, seed=0)
    films = torch.rand(2, 1, 32, 32)
    before = network.eval()(films)
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    parallel._synchronise(network, Stage(unfreeze=12))
    synchronised = [module for module in network.modules() if isinstance(module, nn.SyncBatchNorm)]
    assert 0 < len(synchronised) < norms
    assert all(weight.requires_grad for module in synchronised for weight in module.parameters())
    assert any(isinstance(getattr(module, "act", None), nn.Hardswish) for module in synchronised)
    torch.testing.assert_close(network.eval()(films), before)


def test_workers_without_a_cluster_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["hilum", "train", "--workers", "2"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2 and "--cluster local" in capsys.readouterr().err
