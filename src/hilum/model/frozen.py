"""A backbone that does not learn, computed by OpenVINO where it is on a processor and many films are to come."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import ExitStack
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hilum.model.classifier import Classifier
from hilum.model.engine import TOLERANCE, by_openvino, converted_backbone, requests_of, why_not_openvino
from hilum.model.folding import folded

# Below this, converting the network takes longer than is gained.
FEW_FILMS = 1000
_COMPARED = 8


class Frozen:
    """What the backbone makes of films, in the stage's precision (Lightning's name of it).

    films: how many are to come. engine: auto, where OpenVINO may compute them, else torch. It is compared with torch on
    the first films: where its features lie further from those of float32 than twice what torch's own of this precision
    do, torch computes them all, and `say` is told why.
    """

    def __init__(self, classifier: Classifier, precision: str, films: int, say: Callable[[str], None]) -> None:
        self._say = say
        self._classifier, self._bf16 = classifier, precision == "bf16-mixed"
        self.device = next(classifier.parameters()).device
        openvino = films >= FEW_FILMS and not why_not_openvino(self.device.type)
        self.engine: Literal["auto", "torch"] = "auto" if openvino else "torch"
        self._requests: list[Any] | None = None if openvino else []
        self._folding = ExitStack()

    @cached_property
    def _backbone(self) -> Classifier:
        """A copy without a head: the classifier's own learns, and a later stage may unfreeze what is folded here."""
        of = self._classifier
        before_head = copy.deepcopy((of.normalise, of.grey, of.backbone))
        alone = Classifier(*before_head, nn.Identity(), nn.Identity(), of.architecture, of.origin)
        alone.requires_grad_(False).eval()
        self._folding.enter_context(folded(alone))
        return alone

    def __call__(self, x: Tensor) -> Tensor:
        """Features of films (B, 1, side, side), float in [0, 1], on `device`; on the processor, float32 or bfloat16."""
        if self._requests is None:
            self._requests = self._agreeing(x[:_COMPARED])
        if not self._requests:
            return self._by_torch(x, bf16=self._bf16).cpu()
        features = torch.from_numpy(by_openvino(self._requests, x[:, 0].numpy()))
        return features.bfloat16() if self._bf16 else features

    def _agreeing(self, x: Tensor) -> list[Any]:
        """OpenVINO's requests, or none where it cannot convert the network or gives other features."""
        try:
            model = converted_backbone(self._backbone, tuple(x.shape[2:]))
            requests = requests_of(model, "bf16" if self._bf16 else "f32")
        except Exception as error:  # whatever its converter trips over, torch computes the network all the same
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            return self._by_torch_alone(f"OpenVINO cannot convert {self._classifier.architecture.backbone}: {reason}")
        exact = self._by_torch(x, bf16=False).numpy()
        own = self._by_torch(x, bf16=self._bf16).float().numpy()
        allowed = max(TOLERANCE, 2 * _distance(own, exact))
        differ = _distance(by_openvino(requests, x[:, 0].numpy()), exact)
        if not differ <= allowed:  # nor where it is no number
            name = self._classifier.architecture.backbone
            return self._by_torch_alone(f"OpenVINO gives {name} features that differ by {differ:.1%}")
        return requests

    def _by_torch_alone(self, why: str) -> list[Any]:
        self._say(f"{why}; computed with torch, which takes longer")
        return []

    def _by_torch(self, x: Tensor, *, bf16: bool) -> Tensor:
        with (
            torch.no_grad(),  # not inference mode, whose tensors no head could learn from
            torch.autocast(self.device.type, torch.bfloat16, enabled=bf16),
        ):
            return self._backbone.backbone_output(x)


def _distance(features: NDArray[Any], exact: NDArray[Any]) -> float:
    """Between features, as a share of the exact ones' length.

    >>> _distance(np.array([3.0, 4.5]), np.array([3.0, 4.0]))
    0.1
    """
    return float(np.linalg.norm(features - exact) / np.linalg.norm(exact))
