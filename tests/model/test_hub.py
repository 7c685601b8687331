"""Weights from the hub, with a stand-in on this machine."""

from __future__ import annotations

import errno
import io
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import load, save

from hilum.errors import WeightsError
from hilum.model import hub, store, weights
from hilum.model.classifier import build
from hilum.model.weights import bare_network
from hilum.model.zoo import find
from hilum.recipe.schema import Model
from model.stand_in_hub import Hub, stand_in_hub

BACKBONE = find("test_resnet")  # timm's own, of 0.5 million weights
REPOSITORY = "timm/test_resnet.r160_in1k"
NOWHERE = "http://127.0.0.1:9"  # the discard port, where nothing listens


@pytest.fixture
def server() -> Iterator[Hub]:
    with stand_in_hub() as running:
        yield running


@pytest.fixture
def content() -> bytes:
    torch.manual_seed(0)
    state = bare_network(BACKBONE).state_dict()
    return save({**state, "fc.weight": torch.zeros(1000, 96), "fc.bias": torch.zeros(1000)})


def left_over() -> list[str]:
    return sorted(path.name for path in store.folder().iterdir())


def test_weights_are_fetched_once_and_kept_with_their_facts(server: Hub, content: bytes) -> None:
    server.publish(REPOSITORY, content)
    stored = hub.fetch(BACKBONE, endpoint=server.url)
    assert stored.sha256 == sha256(content).hexdigest()
    assert (stored.origin, stored.licence) == (f"hub {REPOSITORY}", "apache-2.0")
    assert left_over() == ["test_resnet.r160_in1k.json", "test_resnet.r160_in1k.safetensors"]
    asked = list(server.asked)
    assert hub.fetch(BACKBONE, endpoint=server.url) == stored
    assert server.asked == asked


def test_fetched_weights_are_those_that_train(server: Hub, content: bytes) -> None:
    server.publish(REPOSITORY, content)
    hub.fetch(BACKBONE, endpoint=server.url)
    found = weights.resolve("pretrained", BACKBONE)
    classifier = build(Model(backbone="test_resnet"), ["a", "b"], side_px=64, seed=1)
    assert found.state is not None
    key = "layer4.0.conv1.weight"
    assert torch.equal(classifier.backbone.state_dict()[key], found.state[key])
    assert classifier.origin == found.origin
    assert found.origin.kind == "pretrained"


def test_a_truncated_download_is_not_kept(server: Hub, content: bytes) -> None:
    server.publish(REPOSITORY, content[: len(content) // 2], said=content)
    with pytest.raises(WeightsError, match="nothing was kept"):
        hub.fetch(BACKBONE, endpoint=server.url)
    assert left_over() == []


def test_a_download_with_another_sha256_than_the_hub_tells_is_not_kept(server: Hub, content: bytes) -> None:
    broken = bytearray(content)
    broken[-1] ^= 1
    server.publish(REPOSITORY, bytes(broken), said=content)
    with pytest.raises(WeightsError, match="SHA-256 is not the hub's; nothing was kept"):
        hub.fetch(BACKBONE, endpoint=server.url)
    assert left_over() == []


def test_damaged_weights_in_the_store_are_refused_when_read_and_replaced_when_fetched(
    server: Hub, content: bytes
) -> None:
    server.publish(REPOSITORY, content)
    stored = hub.fetch(BACKBONE, endpoint=server.url)
    damaged = bytearray(content)
    damaged[len(content) // 2] ^= 1
    stored.path.write_bytes(damaged)
    with pytest.raises(WeightsError, match=r"damaged.*hilum weights fetch test_resnet"):
        weights.resolve("pretrained", BACKBONE)
    hub.fetch(BACKBONE, endpoint=server.url)
    assert stored.path.read_bytes() == content


def test_without_a_network_the_user_is_told_exactly_what_to_do() -> None:
    with pytest.raises(WeightsError) as refused:
        hub.fetch(BACKBONE, endpoint=NOWHERE)
    said = str(refused.value)
    for part in (
        "model.safetensors",
        REPOSITORY,
        "hilum weights import model.safetensors --backbone test_resnet.r160_in1k",
        "--set model.weights=FILE",
        "--set model.weights=none",
    ):
        assert part in said
    assert left_over() == []


def test_a_hub_without_the_file_is_no_traceback(server: Hub) -> None:
    with pytest.raises(WeightsError, match=r"the hub has no file model\.safetensors in timm/test_resnet"):
        hub.fetch(BACKBONE, endpoint=server.url)


def test_a_file_that_another_tool_fetched_before_is_used_without_a_network(
    server: Hub, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.publish(REPOSITORY, content)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    huggingface_hub.hf_hub_download(REPOSITORY, "model.safetensors", endpoint=server.url)
    stored = hub.fetch(BACKBONE, endpoint=NOWHERE)
    assert stored.sha256 == sha256(content).hexdigest()


def test_weights_that_nobody_publishes_or_only_as_a_pickle_are_said_so() -> None:
    with pytest.raises(WeightsError, match="hilum weights fetch legacy_xception"):
        weights.resolve("pretrained", find("Xception"))
    with pytest.raises(WeightsError, match="nobody publishes pretrained weights of botnet50ts_256"):
        hub.fetch(find("botnet50ts_256"))


@pytest.fixture
def pickled(server: Hub, content: bytes, monkeypatch: pytest.MonkeyPatch) -> str:
    """The backbone's weights as only a pickle, as timm has Xception's; the value is its path on the server."""
    buffer = io.BytesIO()
    torch.save(load(content), buffer)
    path = f"/made-{sha256(buffer.getvalue()).hexdigest()[:8]}.pth"
    server.files[path] = buffer.getvalue()
    known = hub.published(BACKBONE)
    monkeypatch.setattr(hub, "published", lambda _: replace(known, repository=None, url=server.url + path))
    return path


def test_weights_published_as_a_pickle_are_converted_when_fetched_and_only_then(pickled: str, content: bytes) -> None:
    with pytest.raises(WeightsError, match="published only as a pickle"):
        weights.resolve("pretrained", BACKBONE)
    stored = weights.fetch(BACKBONE)
    assert stored.origin == f"converted from {pickled[1:]}"
    found = weights.resolve("pretrained", BACKBONE).state
    assert found is not None
    assert all(torch.equal(found[name], tensor) for name, tensor in load(content).items())


def test_a_pickle_whose_sha256_is_not_that_of_its_name_is_not_kept(server: Hub, pickled: str) -> None:
    server.files[pickled] += b"more"
    with pytest.raises(WeightsError, match=r"nothing was kept.*hilum weights import made-.*--backbone test_resnet"):
        weights.fetch(BACKBONE)
    assert left_over() == []


def test_a_full_disk_is_named_and_leaves_nothing(server: Hub, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    server.publish(REPOSITORY, content)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", full)
    with pytest.raises(WeightsError, match="disk is full"):
        hub.fetch(BACKBONE, endpoint=server.url)
    assert left_over() == []


def test_a_damaged_page_of_facts_is_named(server: Hub, content: bytes) -> None:
    server.publish(REPOSITORY, content)
    page = hub.fetch(BACKBONE, endpoint=server.url).path.with_suffix(".json")
    page.write_text("{")
    with pytest.raises(WeightsError, match=r"test_resnet.r160_in1k.json: the page of facts is damaged"):
        store.get(BACKBONE.timm)
