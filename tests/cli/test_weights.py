"""`hilum weights`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner, Result

from hilum.cli.console import terminal
from hilum.cli.weights import app
from hilum.errors import RequestError, WeightsError
from hilum.model import store


@pytest.fixture(autouse=True)
def flags() -> Iterator[None]:
    yield
    terminal.json = terminal.quiet = False


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    from hilum.model.weights import bare_network
    from hilum.model.zoo import find

    path = tmp_path / "mine.safetensors"
    save_file(bare_network(find("test_resnet")).state_dict(), path)
    return path


def test_the_list_names_every_backbone_and_what_is_in_the_store(file: Path) -> None:
    before = run("list")
    assert before.exit_code == 0
    for name in ("VGG16", "SE-ResNet50", "NASNetLarge", "mobilenetv1_100.ra4_e3600_r224_in1k"):
        assert name in before.stdout
    assert "test_resnet" not in before.stdout
    run("import", file, "--backbone", "test_resnet")
    assert "file mine.safetensors" in run("list").stdout


def test_the_list_is_json_when_asked_for(file: Path) -> None:
    run("import", file, "--backbone", "test_resnet")
    terminal.json = True
    answer = json.loads(run("list").stdout)
    assert {"name": "VGG16", "timm": "vgg16.tv_in1k"}.items() <= answer["backbones"][0].items()
    assert [(row["timm"], row["sha256"]) for row in answer["store"]] == [("test_resnet.r160_in1k", store.sha256(file))]


def test_import_states_what_was_kept_and_how_to_use_it(file: Path) -> None:
    said = run("import", file, "--backbone", "test_resnet", "--mean", "0.4", "--std", "0.2,0.3,0.4").stdout
    assert "mean (0.4, 0.4, 0.4), std (0.2, 0.3, 0.4)" in said
    assert "--set model.backbone=test_resnet" in said


def test_import_of_a_pickle_warns(tmp_path: Path, file: Path) -> None:
    from safetensors.torch import load_file

    torch.save(load_file(file), tmp_path / "mine.pth")
    result = run("import", tmp_path / "mine.pth", "--backbone", "test_resnet")
    assert result.exit_code == 0
    assert "is a pickle" in result.stderr
    assert "WITHOUT" in result.stderr


def test_a_wrong_backbone_or_number_is_refused(file: Path) -> None:
    assert isinstance(run("import", file, "--backbone", "resnet18").exception, WeightsError)
    assert isinstance(run("import", file, "--backbone", "resnet1800").exception, RequestError)
    assert isinstance(run("import", file, "--backbone", "test_resnet", "--mean", "1,2").exception, RequestError)
    assert store.everything() == []


def test_verify_finds_the_damaged_file(file: Path) -> None:
    run("import", file, "--backbone", "test_resnet")
    assert "files: 1, all whole" in run("verify").stdout
    (stored,) = store.everything()
    stored.path.write_bytes(stored.path.read_bytes()[:-1] + b"\0\0")
    result = run("verify")
    assert "DAMAGED" in result.stdout
    assert isinstance(result.exception, WeightsError)
    assert "test_resnet.r160_in1k" in str(result.exception)


def test_fetch_says_where_the_weights_are_kept_when_they_are_there(file: Path) -> None:
    run("import", file, "--backbone", "test_resnet")
    assert "test_resnet.r160_in1k.safetensors" in run("fetch", "test_resnet").stdout
