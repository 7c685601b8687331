"""Where weights come from, and whether they fit."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from hilum.errors import RequestError, WeightsError
from hilum.model import store
from hilum.model.classifier import build, save
from hilum.model.weights import bare_network, import_file, read_pickle, resolve
from hilum.model.zoo import find
from hilum.progress import Progress
from hilum.recipe.schema import Model, Prepare

BACKBONE = find("test_resnet")
KEY = "layer4.0.conv1.weight"


class Told(Progress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    classifier = {"fc.weight": torch.zeros(1000, 96), "fc.bias": torch.zeros(1000)}
    return {**bare_network(BACKBONE).state_dict(), **classifier}


def built(weights: str | Path, backbone: str = "test_resnet", progress: Progress | None = None) -> nn.Module:
    model = Model(backbone=backbone, weights=str(weights))
    return build(model, ["a", "b"], side_px=64, seed=0, progress=progress or Progress()).backbone


def test_untrained_is_never_silent() -> None:
    told = Told()
    built("none", progress=told)
    assert any("UNTRAINED" in line for line in told.lines)


def test_a_half_precision_file_is_used_in_single_precision_and_its_classifier_left_out(
    state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    halved = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    save_file(halved, tmp_path / "a.safetensors")
    loaded = built(tmp_path / "a.safetensors").state_dict()
    assert loaded[KEY].dtype == torch.float32
    assert torch.equal(loaded[KEY], state[KEY].half().float())
    assert not any(name.startswith("fc") for name in loaded)


def test_the_files_metadata_state_how_its_channels_are_normalised(
    state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    silent, stating = tmp_path / "silent.safetensors", tmp_path / "stating.safetensors"
    save_file(state, silent)
    save_file(state, stating, {"mean": "0.485,0.456,0.406", "std": "0.25", "licence": "Apache-2.0"})
    assert resolve(str(silent), BACKBONE).origin.mean == (0.5, 0.5, 0.5)  # as timm states for test_resnet
    origin = resolve(str(stating), BACKBONE).origin
    assert (origin.mean, origin.std, origin.licence) == ((0.485, 0.456, 0.406), (0.25,) * 3, "Apache-2.0")
    save_file(state, stating, {"mean": "half"})
    with pytest.raises(RequestError, match="'half' is not one number or three"):
        resolve(str(stating), BACKBONE)


def test_weights_of_another_architecture_are_refused_naming_tensor_and_architecture(tmp_path: Path) -> None:
    save_file(bare_network(find("resnet34")).state_dict(), tmp_path / "a.safetensors")
    # Every tensor of ResNet18 is in ResNet34's file, with its shape: what is too many gives it away.
    with pytest.raises(WeightsError, match=r"not for resnet18.*'layer1.2.[a-z0-9.]+' is not part of it.*ResNet34"):
        built(tmp_path / "a.safetensors", "resnet18")
    with pytest.raises(WeightsError, match=r"not for resnet50.*'layer1.0.conv1.weight' has shape \(64, 64, 3, 3\)"):
        built(tmp_path / "a.safetensors", "resnet50")


def test_a_missing_tensor_is_named(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    del state[KEY]
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match=f"a.safetensors: .*tensor '{KEY}' is missing"):
        built(tmp_path / "a.safetensors")


def test_files_that_are_no_backbones_weights_are_refused(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="neither 'pretrained', 'none' nor a file"):
        built("pretraned")
    whole = tmp_path / "a.safetensors"
    save_file(state, whole)
    whole.write_bytes(whole.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="no whole safetensors file"):
        built(whole)
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"hilum weights import .*a.pth --backbone test_resnet"):
        built(tmp_path / "a.pth")
    classifier = build(Model(backbone="test_resnet", weights="none"), ["a", "b"], side_px=64, seed=0)
    save(classifier, whole, Prepare(side_px=64))
    with pytest.raises(WeightsError, match="a classifier that hilum trained"):
        import_file(whole, BACKBONE)


def test_a_run_starts_from_the_backbone_of_another_run_and_not_from_its_head(tmp_path: Path) -> None:
    # ImageNet's channels differ, so the first layer is folded to two channels; here, and once only.
    model = Model(backbone="resnet10t", weights="none")
    first = build(model, ["a", "b"], side_px=64, seed=1)
    save(first, tmp_path / "run.safetensors", Prepare(side_px=64))
    started = Model(backbone="resnet10t", weights=str(tmp_path / "run.safetensors"))
    second = build(started, ["x", "y", "z"], side_px=96, seed=2)
    films = torch.rand(2, 1, 96, 96)
    with torch.inference_mode():
        assert torch.equal(second.features(films), first.features(films))
    assert second(films).shape == (2, 3)
    assert second.origin is not None and second.origin.kind == "file"
    with pytest.raises(WeightsError, match=r"trained resnet10t.*not resnet18.*model.backbone=resnet10t"):
        built(tmp_path / "run.safetensors", "resnet18")
    other = started.model_copy(update={"normalise": "featurewise"})
    with pytest.raises(RequestError, match=r"model.normalise = 'pretrained', and this one has 'featurewise'"):
        build(other, ["x", "y"], side_px=64, seed=0)


def test_the_note_on_a_file_names_the_architecture_and_no_tag_of_timms(
    tmp_path: Path,
) -> None:
    save_file(bare_network(find("resnet18")).state_dict(), tmp_path / "a.safetensors")
    note = resolve(str(tmp_path / "a.safetensors"), find("resnet18")).origin.note
    assert note.startswith(f"resnet18: weights from {tmp_path / 'a.safetensors'}, SHA-256 ")
    assert "tv_in1k" not in note


def test_an_imported_file_is_what_pretrained_means_from_then_on(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    save_file(state, tmp_path / "a.safetensors", {"mean": "0.5", "std": "0.5", "licence": "Apache-2.0"})
    stored = import_file(tmp_path / "a.safetensors", BACKBONE)
    assert stored == store.get(BACKBONE.timm)
    assert stored.path.read_bytes() == (tmp_path / "a.safetensors").read_bytes()
    found = resolve("pretrained", BACKBONE)
    assert found.origin.mean == (0.5, 0.5, 0.5)
    assert found.origin.source == "file a.safetensors"
    assert torch.equal(built("pretrained").state_dict()[KEY], state[KEY])


def test_what_the_user_states_at_import_goes_before_what_the_file_states(
    state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    save_file(state, tmp_path / "a.safetensors", {"mean": "0.5", "std": "0.5"})
    stored = import_file(tmp_path / "a.safetensors", BACKBONE, mean=(0.1, 0.2, 0.3))
    assert (stored.mean, stored.std) == ((0.1, 0.2, 0.3), (0.5, 0.5, 0.5))


def test_a_wrong_file_is_not_imported(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match="not for test_resnet"):
        import_file(tmp_path / "a.safetensors", BACKBONE)
    with pytest.raises(RequestError, match="no such file"):
        import_file(tmp_path / "b.safetensors", BACKBONE)
    assert store.everything() == []


@pytest.mark.parametrize("wrap", ["bare", "checkpoint", "parallel"])
def test_a_pickled_file_is_converted(state: dict[str, torch.Tensor], tmp_path: Path, wrap: str) -> None:
    content: dict[str, object] = {
        "bare": dict(state),
        "checkpoint": {"epoch": 3, "state_dict": state},
        "parallel": {f"module.{name}": value for name, value in state.items()},
    }[wrap]  # type: ignore[assignment]
    torch.save(content, tmp_path / "a.pth")
    stored = import_file(tmp_path / "a.pth", BACKBONE)
    assert stored.path.suffix == ".safetensors"
    assert torch.equal(built("pretrained").state_dict()[KEY], state[KEY])


class Evil:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.mark,)


def test_a_pickle_that_runs_code_is_refused_unless_it_is_trusted(
    state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    mark = tmp_path / "ran"
    torch.save({"state_dict": state, "extra": Evil(mark)}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="--trust-pickle"):
        import_file(tmp_path / "a.pth", BACKBONE)
    assert not mark.exists()
    import_file(tmp_path / "a.pth", BACKBONE, trust_pickle=True)
    assert mark.exists()


def test_pickles_without_tensors_or_cut_short_are_refused(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save([1, 2], path)
    with pytest.raises(WeightsError, match="no named tensors"):
        read_pickle(path, trust=False)
    torch.save(state, path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(WeightsError, match=r"a.pth: "):
        read_pickle(path, trust=False)
    path.write_bytes(pickle.dumps({"a": 1}, protocol=2)[:4])
    with pytest.raises(WeightsError, match=r"a.pth: "):
        read_pickle(path, trust=False)


def test_a_transformer_takes_other_sides_with_its_own_weights(tmp_path: Path) -> None:
    backbone = find("vit_tiny_patch16_224")
    torch.manual_seed(0)
    state = bare_network(backbone).state_dict()
    assert state["pos_embed"].shape == (1, 1 + 14 * 14, 192)
    save_file(state, tmp_path / "a.safetensors")
    loaded = built(tmp_path / "a.safetensors", "vit_tiny_patch16_224").state_dict()
    assert loaded["pos_embed"].shape == (1, 1 + 4 * 4, 192)
    assert torch.equal(loaded["blocks.0.attn.qkv.weight"], state["blocks.0.attn.qkv.weight"])


def test_files_of_other_makers_that_timm_can_rename_are_taken(tmp_path: Path) -> None:
    # ConvNeXt's authors name the stem downsample_layers.0 and the blocks' layers dwconv, pwconv1, pwconv2, gamma.
    backbone = find("convnext_atto")
    torch.manual_seed(0)
    ours = bare_network(backbone).state_dict()

    def theirs(name: str) -> str:
        if name.startswith("stem."):
            return name.replace("stem.", "downsample_layers.0.")
        parts = name.split(".")
        if parts[2] == "downsample":
            return f"downsample_layers.{parts[1]}.{parts[3]}.{parts[4]}"
        name = name.replace("head.norm.", "norm.").replace("blocks.", "")
        for mine, other in (("conv_dw", "dwconv"), ("mlp.fc1", "pwconv1"), ("mlp.fc2", "pwconv2")):
            name = name.replace(mine, other)
        return name

    state = {}
    for name, value in ours.items():
        # They write the 1x1 convolutions as linear layers.
        is_linear = value.ndim == 4 and ".mlp." in name
        state[theirs(name)] = value[:, :, 0, 0] if is_linear else value
    save_file({name: value.contiguous() for name, value in state.items()}, tmp_path / "a.safetensors")
    loaded = built(tmp_path / "a.safetensors", "convnext_atto").state_dict()
    for name, value in ours.items():
        if not name.startswith("stem.0.weight"):  # folded
            assert torch.equal(loaded[name], value), name


@pytest.mark.real
@pytest.mark.parametrize("name", ["mobilenetv1_100", "mobilenetv2_100"])
def test_the_shared_weights_see_a_palace_in_three_channels_and_in_one(shared: Path, name: str) -> None:
    import timm
    from sklearn.datasets import load_sample_image

    path = shared / "weights" / f"{name}.safetensors"
    found = resolve(str(path), find(name))
    assert (found.origin.mean, found.origin.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert found.state is not None
    whole = timm.create_model(name, num_classes=1000).eval()
    whole.load_state_dict(found.state)
    photo = torch.from_numpy(load_sample_image("china.jpg")[:, 106:533].copy()).float().permute(2, 0, 1)[None] / 255
    grey = nn.functional.interpolate(photo, (224, 224), mode="area").mean(1, keepdim=True)
    model = Model(backbone=name, weights=str(path))
    classifier = build(model, ["a", "b"], side_px=224, seed=0)
    with torch.inference_mode():
        three = whole((grey.repeat(1, 3, 1, 1) - 0.5) / 0.5)
        one = whole.classifier(classifier.features(grey))
    assert torch.allclose(one, three, rtol=1e-4, atol=1e-4)
    assert int(one.argmax()) == 698  # palace, monument: the photo is of the Summer Palace
