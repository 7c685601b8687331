"""Maps of where a network's answer comes from, in logits, float32, for any class.

A map is not stretched to its own range: one of a film that the network hardly reacts to has small values and looks
weak. Grad-CAM, Grad-CAM++ and Eigen-CAM are computed by grad-cam, less its stretching of each map to [0, 1]; occlusion
and integrated gradients by captum. What a value means is said by `METHODS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hilum.errors import RequestError
from hilum.explain.layers import Layer, layer_of
from hilum.explain.places import on_film
from hilum.model.classifier import Classifier

Films = NDArray[np.uint8]
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

# Integrated gradients: steps from the grey film to the film. Occlusion: side and stride of the square that hides, as
# shares of the film's side.
STEPS = 32
HIDDEN_SIDE, HIDDEN_STRIDE = 1 / 7, 1 / 14
_AT_ONCE = 32  # films in a forward pass of the methods that need many


@dataclass(frozen=True)
class Maps:
    """values: (N, side, side); what speaks for the class is positive. z: logits (N, K). classes: (N,), of the maps."""

    values: Floats
    z: Floats
    classes: Ints


@dataclass(frozen=True)
class Method:
    """A way to make maps. unit: of the values; meaning: what one says; passes: its cost, in forward passes of a film.

    of_class: whether the map is one of a class; Eigen-CAM's is the same for each.
    """

    title: str
    unit: str
    meaning: str
    passes: str
    source: str
    compute: Callable[[Classifier, Tensor, Tensor], tuple[Tensor, Tensor]]
    of_class: bool = True


def maps(classifier: Classifier, films: Films, classes: Ints | None, method: str) -> Maps:
    """The maps of prepared films, uint8 (N, side, side), each for its class; by default the one of the largest logit.

    float32 on every machine, the network in evaluation mode. Refused with RequestError: an unknown method, a network
    without a layer for it (`layers.layer_of`).
    """
    how = need_method(method)
    side = films.shape[-1]
    if not len(films):
        nothing = np.zeros((0, classifier.output_width), np.float32)
        return Maps(np.zeros((0, side, side), np.float32), nothing, np.zeros(0, np.int64))
    x = torch.from_numpy(np.ascontiguousarray(films))[:, None].to(next(classifier.parameters()).device).float() / 255.0
    with _ready(classifier):
        if classes is None:
            with torch.no_grad():
                asked = classifier(x).argmax(1)
        else:
            asked = torch.from_numpy(np.asarray(classes, np.int64)).to(x.device)
        values, z = how.compute(classifier, x, asked)
    return Maps(
        values.detach().float().cpu().numpy(), z.detach().float().cpu().numpy(), asked.cpu().numpy().astype(np.int64)
    )


def need_method(name: str) -> Method:
    """The method of a name; refused with RequestError, which names those that there are."""
    if name not in METHODS:
        raise RequestError(f"there is no method {name!r}", next_step=f"It is one of: {', '.join(METHODS)}.")
    return METHODS[name]


@contextmanager
def _ready(classifier: Classifier) -> Iterator[None]:
    """Evaluation mode, no gradient of weights, no TF32, which would leave ten bits of mantissa on newer GPUs."""
    learned = [each for each in classifier.parameters() if each.requires_grad]
    mode = classifier.training
    classifier.eval().requires_grad_(False)
    try:
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False), torch.enable_grad():
            yield
    finally:
        classifier.train(mode)
        for each in learned:
            each.requires_grad_(True)


def _activation_map(classifier: Classifier, x: Tensor, classes: Tensor, *, kind: str) -> tuple[Tensor, Tensor, Layer]:
    """What grad-cam's class of this name makes of the layer's maps, before it stretches them: (N, h, w), logits."""
    import pytorch_grad_cam

    layer = layer_of(classifier)
    with _leaf(layer.module):
        cam = getattr(pytorch_grad_cam, kind)(classifier, [layer.module], layer.to_maps)
        try:
            z = cam.activations_and_grads(x)
            gradients = None
            if cam.uses_gradients:
                _logit(z, classes).sum().backward()
                gradients = cam.activations_and_grads.gradients[0].float().numpy()
            activations = cam.activations_and_grads.activations[0].float().numpy()
            found = cam.get_cam_image(x, layer.module, [], activations, gradients, False)
        finally:
            cam.activations_and_grads.release()
    return torch.from_numpy(np.ascontiguousarray(found, np.float32)), z, layer


@contextmanager
def _leaf(module: nn.Module) -> Iterator[None]:
    """Gradients end at the module's output: what is before it is only passed forward, which halves the cost."""

    def cut(module: nn.Module, given: Any, output: Tensor) -> Tensor:
        return output.detach().requires_grad_(True).clone()  # a copy, because what follows may change it in place

    hook = module.register_forward_hook(cut)
    try:
        yield
    finally:
        hook.remove()


def _logit(z: Tensor, classes: Tensor) -> Tensor:
    return z.gather(1, classes[:, None])[:, 0]


def _grad_cam(classifier: Classifier, x: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    values, z, layer = _activation_map(classifier, x, classes, kind="GradCAM")
    # The gradient's mean over the places becomes its sum: the weights of Zhou et al. 2016 (CVPR), whose map's mean is
    # the logit less its bias where averaging and one linear layer follow.
    return on_film(values * (layer.places[0] * layer.places[1]), layer.grid, x.shape[-1]), z


def _grad_cam_plus_plus(classifier: Classifier, x: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    values, z, layer = _activation_map(classifier, x, classes, kind="GradCAMPlusPlus")
    return on_film(values, layer.grid, x.shape[-1]), z


def _eigen_cam(classifier: Classifier, x: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    values, z, layer = _activation_map(classifier, x, classes, kind="EigenCAM")
    # The sign of a principal component is arbitrary: the stronger end is positive (Chung & Ying 2025, Appl. Sci.
    # 15:7562, eq. 13).
    low, high = values.amin((1, 2)), values.amax((1, 2))
    return on_film(values * torch.where(-low > high, -1.0, 1.0)[:, None, None], layer.grid, x.shape[-1]), z


def _occlusion(classifier: Classifier, x: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    from captum.attr import Occlusion

    side = x.shape[-1]
    hidden, stride = max(2, round(side * HIDDEN_SIDE)), max(1, round(side * HIDDEN_STRIDE))
    with torch.no_grad():
        z = classifier(x)
        found = [
            Occlusion(classifier).attribute(
                film,
                sliding_window_shapes=(1, hidden, hidden),
                strides=(1, stride, stride),
                baselines=grey(film),
                target=int(k),
                perturbations_per_eval=_AT_ONCE,
            )
            for film, k in zip(x.split(1), classes, strict=True)
        ]
    return torch.cat(found)[:, 0], z


def _integrated_gradients(classifier: Classifier, x: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    from captum.attr import IntegratedGradients

    with torch.no_grad():
        z = classifier(x)
    found = IntegratedGradients(classifier).attribute(
        x, baselines=grey(x), target=classes, n_steps=STEPS, internal_batch_size=max(_AT_ONCE, len(x))
    )
    return found[:, 0] * (x.shape[-1] * x.shape[-2]), z


def grey(x: Tensor) -> Tensor:
    """Films (N, 1, H, W) of which nothing is left but the mean grey value of each."""
    return x.mean((2, 3), keepdim=True).expand_as(x).contiguous()


_SHARE = "logit of the class that a film would get of which every place were like this one"
METHODS: Mapping[str, Method] = {
    "grad-cam": Method("Grad-CAM", "logits", _SHARE, "1", "Selvaraju et al. 2017, ICCV, arXiv:1610.02391", _grad_cam),
    "grad-cam++": Method(
        "Grad-CAM++",
        "logits",
        f"{_SHARE}, weighted so that each place with the feature counts; never negative",
        "1",
        "Chattopadhay et al. 2018, WACV, arXiv:1710.11063",
        _grad_cam_plus_plus,
    ),
    "eigen-cam": Method(
        "Eigen-CAM",
        "activation",
        "how strong the main pattern of the last layer is here; of no class, and not in logits",
        "1",
        "Muhammad & Yeasin 2020, IJCNN, arXiv:2008.00299",
        _eigen_cam,
        of_class=False,
    ),
    "occlusion": Method(
        "Occlusion",
        "logits",
        "logits that the class loses when a square of a seventh of the side is made grey here",
        "about 170",
        "Zeiler & Fergus 2014, ECCV, arXiv:1311.2901",
        _occlusion,
    ),
    "integrated-gradients": Method(
        "Integrated gradients",
        "logits",
        "what this place adds to the logit between a grey film and this one, as if every place did; the map's mean is "
        "the whole difference",
        f"about {3 * STEPS}",
        "Sundararajan et al. 2017, ICML, arXiv:1703.01365",
        _integrated_gradients,
    ),
}
