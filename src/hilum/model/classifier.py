"""The network that is trained: grey input, backbone, pooled features, head; and its file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pydantic
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hilum import __version__
from hilum.errors import RequestError, WeightsError
from hilum.files import whole_file
from hilum.model import hub, weights, zoo
from hilum.model.grey import fold
from hilum.model.head import build_head
from hilum.model.levels import has_levels, levels
from hilum.model.networks import stacked_block
from hilum.model.normalise import Normalise, normaliser
from hilum.model.weights import Origin, Weights
from hilum.model.zoo import Backbone
from hilum.progress import SILENT, Progress
from hilum.recipe import schema

# Raised when what is written to the file changes in a way that older versions would misread.
FORMAT = 1

Pooling = Literal["avg", "max", "avgmax", "flatten", "levels"]


class Architecture(pydantic.BaseModel):
    """All that is needed to build the network again, stored with its weights.

    backbone: timm architecture and tag, or a network of hilum's own. classes: in the order of the logits. mean, std:
    how the film, repeated in three channels, is normalised before the first layer; 0 and 1 where normalise is fitted
    on the train part, and does that before. The rest as in the recipe; files of before a field have its default.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    backbone: str
    classes: tuple[str, ...]
    side_px: int
    pooling: Pooling
    dropout: float
    head: schema.Head
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    normalise: Literal["pretrained", "featurewise", "zca"] = "pretrained"
    cnn: schema.CNN | None = None
    block: schema.Block = schema.Block()


class Classifier(nn.Module):
    """Films (B, 1, side_px, side_px), float in [0, 1], to logits (B, K).

    They pass through normalise, grey, backbone, block and head; normalise and block do nothing where the recipe asks
    for none. While training, what `set_unfrozen` froze stays as in evaluation: batch norm neither uses nor moves its
    statistics of the batch. origin: where the backbone's weights came from.
    """

    def __init__(
        self,
        normalise: nn.Module,
        grey: nn.Module,
        backbone: nn.Module,
        block: nn.Module,
        head: nn.Module,
        architecture: Architecture,
        origin: Origin | None,
    ) -> None:
        super().__init__()
        self.normalise, self.grey, self.backbone = normalise, grey, backbone
        self.block, self.head = block, head
        self.architecture, self.origin = architecture, origin
        self._frozen: list[nn.Module] = []
        # What the head takes, and the state of the draws that made it; known where `build` made it.
        self.before_head: tuple[int, Tensor] | None = None

    @property
    def output_width(self) -> int:
        """K, the number of logits of a film."""
        return len(self.architecture.classes)

    def backbone_output(self, x: Tensor) -> Tensor:
        """What the backbone gives: pooled features (B, F), or its last map (B, C, h, w) where a block or flatten is.

        With a frozen backbone it is the same in every epoch; what comes after it learns.
        """
        x = self.grey(self.normalise(x))
        output: Tensor = levels(self.backbone, x) if self.architecture.pooling == "levels" else self.backbone(x)
        return output

    def features(self, x: Tensor) -> Tensor:
        """Pooled features (B, F), which the head takes."""
        pooled: Tensor = self.block(self.backbone_output(x))
        return pooled.flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(x))
        return logits

    def train(self, mode: bool = True) -> Classifier:
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self


def build(
    model: schema.Model, classes: Sequence[str], *, side_px: int, seed: int, progress: Progress = SILENT
) -> Classifier:
    """The classifier that the recipe's [model] asks for, in evaluation mode, all of it unfrozen.

    The first layer is folded, so that films give what the three-channel network gives. seed: of the head and block, and
    of the backbone where it starts untrained, which is said through `progress`. Normalisation by the train part is
    still to be fitted: `fit_normalisation`. Refused with RequestError: an unknown backbone, a side that it cannot take,
    a pooling that it does not have; with WeightsError: see `weights.resolve`.
    """
    backbone = zoo.find(model.backbone)
    if backbone.timm == "darkcovidnet" and model.pooling != "flatten":
        raise RequestError(
            "the last convolution of DarkCovidNet has a map per class, which its linear layer takes flat",
            where=f"model.pooling = {model.pooling!r}",
            next_step="Use --set model.pooling=flatten, and no layers in [model.head], as Ozturk et al. did.",
        )
    found = weights.resolve(model.weights, backbone, progress=progress)
    progress.say(found.origin.note)
    if found.of_run and found.of_run != model.normalise:
        raise RequestError(
            f"the run of these weights had model.normalise = {found.of_run!r}, and this one has {model.normalise!r}",
            where=model.weights,
            next_step=f"Use --set model.normalise={found.of_run}.",
        )
    fitted = model.normalise != "pretrained"
    architecture = Architecture(
        backbone=backbone.timm,
        classes=tuple(classes),
        side_px=side_px,
        pooling=model.pooling,
        dropout=model.dropout,
        head=model.head,
        mean=(0.0, 0.0, 0.0) if fitted else found.origin.mean,
        std=(1.0, 1.0, 1.0) if fitted else found.origin.std,
        normalise=model.normalise,
        cnn=model.cnn if backbone.timm == "cnn" else None,
        block=model.block,
    )
    return _assemble(architecture, backbone, found, seed=seed)


def _assemble(
    architecture: Architecture,
    backbone: Backbone,
    found: Weights | None,
    *,
    seed: int,
    normalise: Mapping[str, Tensor] | None = None,
) -> Classifier:
    """normalise: the tensors of a fitted normalisation, whose shapes are taken."""
    side_px, pooling, classes = architecture.side_px, architecture.pooling, len(architecture.classes)
    has_block = architecture.block.layers > 0
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = weights.bare_network(backbone, cnn=architecture.cnn, classes=classes)
        if found is not None and not found.of_run:
            weights.load_into(network, found, backbone)
        shape = _fit_to_side(network, backbone, side_px, "flatten" if has_block else pooling)
        grey = fold(network, hub.published(backbone).first_conv, architecture.mean, architecture.std)
        if found is not None and found.of_run:  # whose first layer is folded
            weights.load_into(network, found, backbone)
        block = _block(shape, architecture.block, pooling) if has_block else nn.Identity()
        with torch.inference_mode():
            width = block.eval()(torch.zeros(1, *shape)).numel()
        drawn = torch.get_rng_state()
        head = build_head(width, classes, architecture.head, dropout=architecture.dropout)
    whitening = normaliser(architecture.normalise, side_px, normalise)
    origin = found.origin if found else None
    classifier = Classifier(whitening, grey, network, block, head, architecture, origin).eval()
    classifier.before_head = (width, drawn)
    return classifier


def new_head(classifier: Classifier, model: schema.Model) -> nn.Sequential:
    """The head that `build` would make of this [model] with the seed of the classifier, and the same all else."""
    assert classifier.before_head is not None
    width, drawn = classifier.before_head
    with torch.random.fork_rng():
        torch.set_rng_state(drawn)
        return build_head(width, len(classifier.architecture.classes), model.head, dropout=model.dropout)


def _block(shape: Sequence[int], how: schema.Block, pooling: Pooling) -> nn.Module:
    if how.pool > min(shape[1:]):
        raise RequestError(
            f"the backbone's last map has {shape[1]} x {shape[2]} places, too few for a pool of {how.pool}",
            where="model.block.pool",
            next_step="Use --set model.block.pool=1, or larger films (prepare.side_px).",
        )
    return stacked_block(shape[0], how, pooling)


def _fit_to_side(network: nn.Module, backbone: Backbone, side_px: int, pooling: Pooling) -> Sequence[int]:
    """Set the film's side and the pooling; the shape of what comes out, found by passing one black film through."""
    resize: Any = getattr(network, "set_input_size", None)
    reset: Any = network.reset_classifier
    film = torch.zeros(1, 3, side_px, side_px)
    advice = f"It was made for {backbone.side_px} px: use --set prepare.side_px={backbone.side_px}."
    network.eval()
    try:
        if resize and side_px != backbone.side_px:
            resize(img_size=(side_px, side_px))
        with torch.inference_mode():
            last = network.forward_features(film)  # type: ignore[operator]
            is_map = isinstance(last, Tensor) and last.ndim == 4
            if pooling not in ("avg", "levels") and is_map:
                reset(0, global_pool="" if pooling == "flatten" else pooling)
            as_levels = pooling == "levels" and has_levels(network, film)
            features: Tensor = levels(network, film) if as_levels else network(film)
    except (RuntimeError, AssertionError, ValueError, TypeError) as error:
        reason = str(error).split("\n")[0].rstrip(".") or type(error).__name__
        raise RequestError(
            f"{backbone.timm} cannot take films of {side_px} px with pooling {pooling!r} ({reason})", next_step=advice
        ) from None
    if features.numel() == 0:
        raise RequestError(f"nothing is left of a film of {side_px} px in {backbone.timm}", next_step=advice)
    if pooling != "avg" and not is_map:
        raise RequestError(
            f"{backbone.timm} has no feature map, which pooling {pooling!r} or a block would need",
            where="[model]",
            next_step="Use model.pooling = 'avg', which is the network's own way of pooling, and no [model.block].",
        )
    if pooling == "levels" and not as_levels:
        raise RequestError(
            f"{backbone.timm} does not give the maps of its levels",
            where="model.pooling = 'levels'",
            next_step="Use model.pooling = 'avg', or a convolutional network of timm.",
        )
    return features.shape[1:]


def fit_normalisation(classifier: Classifier, batches: Iterable[NDArray[np.uint8]]) -> None:
    """Fit model.normalise in place to the films of the train part, uint8 (n, side_px, side_px) at a time."""
    if isinstance(classifier.normalise, Normalise):
        classifier.normalise.fit(batches)


def backbone_layers(classifier: Classifier) -> list[nn.Module]:
    """The backbone's layers that have weights or running statistics of their own, first to last."""
    return [
        module
        for module in classifier.backbone.modules()
        if any(True for _ in module.parameters(recurse=False)) or hasattr(module, "running_mean")
    ]


def set_unfrozen(classifier: Classifier, unfreeze: Literal["none", "all"] | int) -> None:
    """Let all, none, or the last N layers of the backbone learn; the block and the head always do.

    A layer is a module that has weights of its own (convolution, batch norm, linear), in the order in which the
    network lists them. Refused with RequestError: more layers than there are.
    """
    layers = backbone_layers(classifier)
    count = {"none": 0, "all": len(layers)}[unfreeze] if isinstance(unfreeze, str) else unfreeze
    if not 0 <= count <= len(layers):
        raise RequestError(
            f"{classifier.architecture.backbone} has {len(layers)} layers, and the last {count} cannot be unfrozen",
            where="stage.unfreeze",
            next_step=f"Give 'none', 'all' or a number from 0 to {len(layers)}.",
        )
    frozen = layers[: len(layers) - count]
    for layer in layers:
        for parameter in layer.parameters(recurse=False):
            parameter.requires_grad_(True)
    for layer in frozen:
        for parameter in layer.parameters(recurse=False):
            parameter.requires_grad_(False)
    # A backbone that does not learn at all has no dropout of its own either: its features are then the same each time.
    classifier._frozen = frozen if count else [classifier.backbone]
    classifier.train(classifier.training)


def save(
    classifier: Classifier, path: Path, preparation: schema.Prepare, extra: Mapping[str, Any] | None = None
) -> None:
    """Write the weights as safetensors, whole or not at all, with all that is needed to use them.

    The file's metadata hold one JSON text under "hilum": format, version, classes, architecture, preparation, origin,
    and the keys of `extra` (temperature, operating points, ...), which must not be one of those.
    """
    own: dict[str, Any] = {
        "format": FORMAT,
        "version": __version__,
        "classes": list(classifier.architecture.classes),
        "architecture": classifier.architecture.model_dump(mode="json"),
        "preparation": preparation.model_dump(mode="json"),
        "origin": classifier.origin.as_dict() if classifier.origin else None,
    }
    if taken := set(own) & set(extra or {}):
        raise ValueError(f"extra may not have the keys {sorted(taken)}")
    facts = json.dumps({**own, **(extra or {})}, allow_nan=False)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in classifier.state_dict().items()}
    try:
        with whole_file(path) as part:
            safetensors.torch.save_file(tensors, part, metadata={"hilum": facts})
    except safetensors.SafetensorError as error:  # its word for a full disk
        raise WeightsError(
            f"the weights cannot be written: {error}",
            where=str(path),
            next_step="Free some space and go on with --resume.",
        ) from None


def read_metadata(path: Path) -> dict[str, Any]:
    """What `save` wrote beside the tensors. Refused with WeightsError: another kind of file, or a newer format."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            facts = (file.metadata() or {}).get("hilum")
    except FileNotFoundError:
        raise WeightsError(
            "there are no weights here", where=str(path), next_step="Train first, or give another run."
        ) from None
    except (safetensors.SafetensorError, OSError) as error:
        raise WeightsError(
            f"this is no whole safetensors file: {error}", where=str(path), next_step="Copy it again."
        ) from None
    if facts is None:
        raise WeightsError(
            "this is no classifier that hilum trained: the file does not tell its classes and preparation",
            where=str(path),
            next_step="A backbone's weights are for training: --set model.weights=FILE.",
        )
    metadata: dict[str, Any] = json.loads(facts)
    if metadata.get("format") != FORMAT:
        raise WeightsError(
            f"format {metadata.get('format')} of hilum {metadata.get('version')} is not known to hilum {__version__}",
            where=str(path),
            next_step="Install the newer hilum: pip install --upgrade hilum",
        )
    return metadata


def load(path: Path) -> tuple[Classifier, dict[str, Any]]:
    """The classifier of a file, in evaluation mode on the processor, and its metadata.

    Refused with WeightsError: no hilum metadata, classes that are not those of the architecture or of the last
    layer, tensors that do not fit (the first is named).
    """
    path = Path(path)
    metadata = read_metadata(path)
    try:
        architecture = Architecture.model_validate(metadata["architecture"])
        origin = _origin(metadata["origin"])
    except (pydantic.ValidationError, KeyError, TypeError) as error:
        raise WeightsError(f"the metadata are damaged: {error}", where=str(path)) from None
    if list(architecture.classes) != metadata.get("classes"):
        raise WeightsError("the classes are not those of the architecture", where=str(path))
    tensors = safetensors.torch.load_file(path)
    fitted = {name.removeprefix("normalise."): tensors[name] for name in tensors if name.startswith("normalise.")}
    classifier = _assemble(architecture, zoo.find(architecture.backbone), None, seed=0, normalise=fitted)
    classifier.origin = origin
    last = [name for name in classifier.state_dict() if name.startswith("head.")][-1]
    if last in tensors and len(tensors[last]) != len(architecture.classes):
        raise WeightsError(
            f"the file names {len(architecture.classes)} classes, but its last layer tells {len(tensors[last])} apart",
            where=str(path),
        )
    if problem := weights.first_mismatch(classifier.state_dict(), tensors):
        raise WeightsError(f"the tensors do not fit {architecture.backbone}: {problem}", where=str(path))
    classifier.load_state_dict(tensors)
    return classifier, metadata


def _origin(facts: Mapping[str, Any] | None) -> Origin | None:
    return Origin(**{**facts, "mean": tuple(facts["mean"]), "std": tuple(facts["std"])}) if facts else None
