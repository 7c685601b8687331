"""Where a backbone's weights come from, and whether they are its weights at all."""

from __future__ import annotations

import json
import math
import pickle
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import safetensors
import safetensors.torch
import timm
import torch
from timm.models.vgg import VGG
from torch import Tensor, nn

from hilum.errors import RequestError, WeightsError
from hilum.model import hub, networks, store, zoo
from hilum.model.store import Stored, Triple
from hilum.model.zoo import Backbone
from hilum.progress import SILENT, Progress
from hilum.recipe import schema

State = dict[str, Tensor]

PICKLES = (".pth", ".pt", ".bin", ".ckpt", ".pkl", ".tar")
# Classifiers of other makers' files, and InceptionV3's second one, which no backbone needs.
CLASSIFIERS = ("fc.", "classifier.", "head.", "last_linear.", "classif.", "pre_logits.", "AuxLogits.")


@dataclass(frozen=True)
class Origin:
    """Where weights came from, as it is recorded in the run. mean, std: how the three channels are normalised.

    backbone: architecture and tag of pretrained weights; else the architecture alone, since a file need not hold the
    weights of timm's tag.
    """

    kind: Literal["pretrained", "file", "none"]
    backbone: str
    source: str
    sha256: str | None
    licence: str | None
    mean: Triple
    std: Triple

    @property
    def note(self) -> str:
        """One line for the user."""
        if self.kind == "none":
            return f"UNTRAINED: {self.backbone} starts from random weights (model.weights = none)"
        return (
            f"{self.backbone}: weights from {self.source}, SHA-256 {(self.sha256 or '')[:12]}…, "
            f"channels normalised with mean {_listed(self.mean)}, std {_listed(self.std)}"
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "mean": list(self.mean), "std": list(self.std)}


@dataclass(frozen=True)
class Weights:
    """A backbone's tensors, float32, and where they came from; state is None for an untrained one.

    of_run: model.normalise of the hilum run that trained them; its first layer is folded already. Empty for others.
    """

    origin: Origin
    state: State | None
    of_run: str = ""


def resolve(weights: str, backbone: Backbone, *, progress: Progress = SILENT) -> Weights:
    """The weights that `model.weights` asks for: pretrained, none, or a safetensors file, of a hilum run too.

    pretrained: from the store, else fetched from the hub into it. A file's metadata may state `architecture`, `mean`
    and `std`; where it does not, timm's for the backbone hold. Whether the tensors fit is checked by `load_into`.
    Refused with RequestError: a file that is not there. With WeightsError: no network, a damaged file, a pickle.
    """
    known = hub.published(backbone)
    if weights == "none":
        return Weights(Origin("none", backbone.architecture, "random", None, None, known.mean, known.std), None)
    if weights == "pretrained":
        held = store.get(backbone.timm)
        stored = store.checked(held) if held else hub.fetch(backbone, progress=progress)
        origin = Origin(
            "pretrained", stored.timm, stored.origin, stored.sha256, stored.licence, stored.mean, stored.std
        )
        return Weights(origin, read_safetensors(stored.path)[0])
    path = Path(weights)
    if not path.is_file():
        raise RequestError(
            f"model.weights = {weights!r} is neither 'pretrained', 'none' nor a file that is there",
            next_step="Name a safetensors file, absolute or from the working folder.",
        )
    if path.suffix.lower() in PICKLES:
        raise WeightsError(
            "a pickled file can run code when it is read, so hilum trains only from safetensors",
            where=str(path),
            next_step=f"Convert it once: hilum weights import {path} --backbone {backbone.timm}, then model.weights = "
            "'pretrained' finds it.",
        )
    state, facts = _read(path)
    if "hilum" in facts:
        return _of_run(path, state, json.loads(facts["hilum"]), backbone)
    mean = stated(facts, "mean", path) or known.mean
    std = stated(facts, "std", path) or known.std
    licence = facts.get("licence") or facts.get("license")
    return Weights(Origin("file", backbone.architecture, str(path), store.sha256(path), licence, mean, std), state)


def _of_run(path: Path, state: State, facts: Mapping[str, Any], backbone: Backbone) -> Weights:
    """The backbone of a classifier that hilum trained; its head and its fitted normalisation are left behind."""
    architecture, origin = facts["architecture"], facts["origin"] or {}
    if architecture["backbone"] != backbone.timm:
        raise WeightsError(
            f"this run trained {architecture['backbone']}, not {backbone.timm}",
            where=str(path),
            next_step=f"Use --set model.backbone={architecture['backbone']}.",
        )
    taken = {name.removeprefix("backbone."): state[name] for name in state if name.startswith("backbone.")}
    mean, std = tuple(architecture["mean"]), tuple(architecture["std"])
    found = Origin("file", backbone.architecture, str(path), store.sha256(path), origin.get("licence"), mean, std)
    return Weights(found, taken, of_run=architecture.get("normalise", "pretrained"))


def read_safetensors(path: Path) -> tuple[State, dict[str, str]]:
    """A file's tensors, floating ones as float32, and its metadata.

    Refused with WeightsError: a broken file, a classifier that hilum trained.
    """
    state, facts = _read(path)
    if "hilum" in facts:
        raise WeightsError(
            "this is a classifier that hilum trained, not a backbone's weights",
            where=str(path),
            next_step="Use it with `hilum predict` or `hilum evaluate`, or start a run from it: "
            f"--set model.weights={path}.",
        )
    return state, facts


def is_of_hilum(path: Path) -> bool:
    """Whether a file is a classifier that hilum trained; False for one that is broken or not there."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return "hilum" in (file.metadata() or {})
    except (safetensors.SafetensorError, OSError):
        return False


def _read(path: Path) -> tuple[State, dict[str, str]]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            facts = dict(file.metadata() or {})
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (safetensors.SafetensorError, OSError) as error:
        raise WeightsError(
            f"this is no whole safetensors file: {error}", where=str(path), next_step="Copy or fetch it again."
        ) from None
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}, facts


def stated(facts: Mapping[str, str], key: str, where: Path) -> Triple | None:
    """A mean or std as safetensors metadata has it, "0.5" or "0.485,0.456,0.406"; None where it is not stated."""
    return parse_triple(facts[key], f"{where}: metadata {key!r}") if facts.get(key) else None


def parse_triple(text: str, where: str) -> Triple:
    """One number for all channels, or three.

    >>> parse_triple("0.5", "--mean"), parse_triple("0.485, 0.456, 0.406", "--mean")
    ((0.5, 0.5, 0.5), (0.485, 0.456, 0.406))
    """
    try:
        values = [float(part) for part in text.strip("()[] ").split(",")]
    except ValueError:
        values = []
    if len(values) not in (1, 3) or not all(math.isfinite(value) for value in values):
        raise RequestError(f"{text!r} is not one number or three with commas, as 0.485,0.456,0.406", where=where)
    red, green, blue = values * 3 if len(values) == 1 else values
    return red, green, blue


def bare_network(backbone: Backbone, *, cnn: schema.CNN | None = None, classes: int = 2) -> nn.Module:
    """The network with three channels and random weights, without its classifier.

    cnn and classes: for networks of hilum's own, see `networks.build`.
    """
    if backbone.own:
        return networks.build(backbone, cnn or schema.CNN(), classes)
    # VGG's two dense layers of 4096 belong to the classifier, as in Keras' include_top: made tiny, since drawing their
    # 120 million weights takes seconds, and then left out.
    tiny = {"mlp_ratio": 1 / 4096} if backbone.architecture.startswith("vgg") else {}
    network: nn.Module = timm.create_model(backbone.timm, pretrained=False, num_classes=0, **tiny)
    if isinstance(network, VGG):
        network.pre_logits = nn.Identity()
    return network


def load_into(network: nn.Module, weights: Weights, backbone: Backbone) -> None:
    """Put the weights into the network of `bare_network`; nothing is changed when they do not fit.

    The file's own classifier is left out. Refused with WeightsError, which names the first tensor that does not fit,
    and the architecture that it would fit if that is one of the table.
    """
    if weights.state is not None:
        network.load_state_dict(_fitting(network, weights.state, backbone, where=weights.origin.source), strict=False)


def _fitting(network: nn.Module, state: State, backbone: Backbone, *, where: str) -> State:
    """The tensors that the network needs, by its names for them."""
    expected = network.state_dict()
    problem = first_mismatch(expected, state)
    # timm renames the tensors of some makers' files in a function of this name.
    rename = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    if problem and rename:
        try:
            renamed = rename(dict(state), network)
        except (RuntimeError, KeyError, AttributeError, TypeError):
            renamed = {}  # not such a file either: the first problem is the one to tell
        if first_mismatch(expected, renamed) is None:
            problem, state = None, renamed
    if problem:
        other = _which_architecture(state, backbone)
        raise WeightsError(
            f"these weights are not for {backbone.timm}: {problem}",
            where=where,
            next_step=f"They fit {other.name}: use --set model.backbone={other.timm}."
            if other
            else "Use weights of this architecture, or name the backbone that they belong to.",
        )
    return {name: state[name] for name in expected if name in state}


def first_mismatch(expected: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str | None:
    """The first tensor that is missing, of another shape or too many, in words; None when all fit.

    >>> first_mismatch({"a": torch.zeros(2, 3)}, {"a": torch.zeros(2, 1)})
    "tensor 'a' has shape (2, 1), and (2, 3) is needed"
    """
    for name, tensor in expected.items():
        if name not in given:
            if name.endswith("num_batches_tracked"):
                continue
            return f"tensor {name!r} is missing"
        if given[name].shape != tensor.shape:
            return f"tensor {name!r} has shape {tuple(given[name].shape)}, and {tuple(tensor.shape)} is needed"
    for name in given:
        if name not in expected and not name.startswith(CLASSIFIERS) and not name.endswith("num_batches_tracked"):
            return f"tensor {name!r} is not part of it"
    return None


def _which_architecture(state: State, backbone: Backbone) -> Backbone | None:
    """The backbone of the table whose tensors these are."""
    for other in zoo.BACKBONES.values():
        if other != backbone:
            with torch.device("meta"):
                network = bare_network(other)
            if first_mismatch(network.state_dict(), state) is None:
                return other
    return None


def import_file(
    path: Path,
    backbone: Backbone,
    *,
    mean: Triple | None = None,
    std: Triple | None = None,
    trust_pickle: bool = False,
    origin: str | None = None,
    licence: str | None = None,
) -> Stored:
    """Check a file against the backbone and copy it into the store, where `model.weights = "pretrained"` finds it.

    A pickled file is converted; it is read without running code, and one that cannot be read so is refused unless
    trust_pickle. mean and std are the file's metadata or timm's where they are not given. Refused with WeightsError:
    weights of another architecture.
    """
    if not path.is_file():
        raise RequestError("there is no such file", where=str(path))
    pickled = path.suffix.lower() in PICKLES
    state, facts = (read_pickle(path, trust=trust_pickle), {}) if pickled else read_safetensors(path)
    _fitting(bare_network(backbone), state, backbone, where=str(path))
    known = hub.published(backbone)
    mean = mean or stated(facts, "mean", path) or known.mean
    std = std or stated(facts, "std", path) or known.std
    licence = licence or facts.get("licence") or facts.get("license")
    store.folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=store.folder(), prefix=".import-") as scratch:
        file = Path(scratch) / "whole.safetensors"
        if pickled:
            safetensors.torch.save_file({name: tensor.contiguous().clone() for name, tensor in state.items()}, file)
        else:
            shutil.copyfile(path, file)
        origin = origin or f"file {path.name}"
        return store.put(file, backbone.timm, origin=origin, licence=licence, mean=mean, std=std)


def fetch(backbone: Backbone, *, progress: Progress = SILENT) -> Stored:
    """As `hub.fetch`, but weights published only as a pickle are converted, and that is said."""
    held = store.get(backbone.timm)
    known = hub.published(backbone)
    if known.repository or not known.url or (held and store.is_whole(held)):
        return hub.fetch(backbone, progress=progress)
    file = known.url.rpartition("/")[2]
    progress.say(
        f"{backbone.timm} is published only as a pickle: fetching {file}, read without running code, converted"
    )
    store.folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=store.folder(), prefix=".fetch-") as scratch:
        pickled = hub.fetch_pickle(backbone, known.url, Path(scratch))
        return import_file(pickled, backbone, origin=f"converted from {file}", licence=known.licence)


def read_pickle(path: Path, *, trust: bool) -> State:
    """The tensors of a .pth file: a state dict, one inside a checkpoint, or (trusted only) a whole module."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=not trust)
    except pickle.UnpicklingError:
        raise WeightsError(
            "the file holds more than tensors, and reading that can run any code",
            where=str(path),
            next_step="Only if you trust who made it: add --trust-pickle.",
        ) from None
    except Exception as error:  # a damaged pickle raises whatever its bytes lead to
        reason = str(error).split("\n")[0] or type(error).__name__
        raise WeightsError(
            f"the file cannot be read: {reason}", where=str(path), next_step="Copy or fetch it again."
        ) from None
    if isinstance(content, nn.Module):
        content = content.state_dict()
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    named = content.items() if isinstance(content, Mapping) else ()
    # torch.nn.DataParallel puts "module." before every name.
    state = {str(name).removeprefix("module."): value for name, value in named if isinstance(value, Tensor)}
    if not state:
        raise WeightsError("there are no named tensors in the file", where=str(path))
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}


def _listed(values: Triple) -> str:
    return f"{values[0]:g}" if len(set(values)) == 1 else ", ".join(f"{value:g}" for value in values)
