"""What computes a trained network: torch, or on a processor OpenVINO, which is several times as fast.

Both compute in float32. OpenVINO takes one film at a time, on as many films at once as there are threads, each film
by one thread: so a film gets the same logits, to the last digit, whatever films come with it and on however many cores.
"""

from __future__ import annotations

import copy
import importlib.util
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from hilum.errors import RequestError
from hilum.model.classifier import Classifier

Films = NDArray[np.uint8]
Logits = NDArray[np.float32]
Asked = Literal["auto", "torch", "openvino"]

# Probabilities of the two engines may differ by this; float32 networks differ by some 1e-6.
TOLERANCE = 1e-4
# The first films, on which they are compared: torch should not compute many of them.
_COMPARED = 8
_ADVICE = "Choose the engine auto or torch."


class Engine:
    """A network that is ready to be asked for the logits of films; the only thing that asks it.

    asked: auto takes OpenVINO where the network is on a processor and the package is installed, and else torch. It
    is converted when the first films come, and compared with torch on them: where it cannot be converted, or gives
    other probabilities, auto takes torch and `note` says so, and openvino is refused with RequestError. flip, zoom: a
    film's logits are the mean of two `views` of it, the geometric mean of their probabilities, so that one temperature
    still calibrates them. used: which engine it is, once the first films came.
    """

    def __init__(self, classifier: Classifier, asked: Asked = "auto", *, flip: bool = False, zoom: float = 0.0) -> None:
        self.classifier = classifier.eval()
        self.flip, self.zoom = flip, zoom
        self.used: Literal["torch", "openvino"] | None = None
        self.note = ""
        self._asked = asked
        self._requests: list[Any] = []
        check_engine(asked, _device(classifier))

    @property
    def classes(self) -> tuple[str, ...]:
        """What the network tells apart, in the order of the logits."""
        return self.classifier.architecture.classes

    def __call__(self, films: Films) -> Logits:
        """Logits (N, K) of prepared films, uint8 (N, side, side)."""
        if not len(films):
            return np.zeros((0, len(self.classes)), dtype=np.float32)
        if self.used is None:
            self._choose(films)
        return mean_of_views(self._logits, films, flip=self.flip, zoom=self.zoom)

    def _logits(self, films: Films) -> Logits:
        return by_openvino(self._requests, films) if self._requests else by_torch(self.classifier, films)

    def _choose(self, films: Films) -> None:
        self.used = "torch"
        if self._asked == "torch" or (self._asked == "auto" and why_not_openvino(_device(self.classifier))):
            return
        try:
            requests = requests_of(converted(self.classifier, films[0].shape), "f32")
        except Exception as error:  # whatever its converter trips over, torch computes the network all the same
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            self._refuse(f"OpenVINO cannot convert {self.classifier.architecture.backbone}: {reason}")
            return
        first = films[:_COMPARED]
        differ = largest_difference(by_torch(self.classifier, first), by_openvino(requests, first))
        if not differ <= TOLERANCE:  # nor where it is no number
            self._refuse(
                f"OpenVINO gives {self.classifier.architecture.backbone} probabilities that differ by {differ:.1g}"
            )
            return
        self.used, self._requests = "openvino", requests

    def _refuse(self, why: str) -> None:
        if self._asked == "openvino":
            raise RequestError(why, where="engine openvino", next_step=_ADVICE)
        self.note = f"{why}; predicted with torch"


def mean_of_views(logits_of: Callable[[Films], Logits], films: Films, *, flip: bool, zoom: float) -> Logits:
    """The mean of the logits of all `views` of the films."""
    seen = [logits_of(view) for view in views(films, flip=flip, zoom=zoom)]
    return (seen[0] + seen[1]) / np.float32(2) if len(seen) == 2 else seen[0]


def views(films: Films, *, flip: bool, zoom: float) -> list[Films]:
    """The films as the network is shown them: as they are, or two ways, enlarged, and reduced and mirrored.

    films: uint8 (N, side, side). zoom: 0.05 enlarges by 5 % about the middle, and reduces by 5 % with a black margin.

    >>> film = np.arange(4, dtype=np.uint8).reshape(1, 2, 2)
    >>> [view[0].tolist() for view in views(film, flip=True, zoom=0.0)]
    [[[0, 1], [2, 3]], [[1, 0], [3, 2]]]
    """
    if not flip and not zoom:
        return [films]
    other = films[..., ::-1] if flip else films
    return [_scaled(films, 1 + zoom), _scaled(other, 1 - zoom)] if zoom else [films, other]


def _scaled(films: Films, factor: float) -> Films:
    side = films.shape[-1]
    margin = (1 - factor) * (side - 1) / 2
    place = np.array([[factor, 0.0, margin], [0.0, factor, margin]])
    return np.stack([cv2.warpAffine(np.ascontiguousarray(film), place, (side, side)) for film in films])


def check_engine(asked: Asked, device: str) -> None:
    """RequestError where OpenVINO is asked for and cannot compute on this device (cpu, cuda)."""
    if asked == "openvino" and (reason := why_not_openvino(device)):
        raise RequestError(reason, where="engine openvino", next_step=_ADVICE)


def why_not_openvino(device: str) -> str:
    """Why OpenVINO cannot compute on this device (cpu, cuda), or "" where it can."""
    if device != "cpu":
        return f"OpenVINO computes on the processor, and the network is on {device}"
    return "" if importlib.util.find_spec("openvino") else "OpenVINO is not installed (pip install openvino)"


def _device(classifier: Classifier) -> str:
    return next(classifier.parameters()).device.type


def by_torch(classifier: Classifier, films: Films) -> Logits:
    """Logits (N, K) of films, uint8 (N, side, side), by torch in float32."""
    # TF32 would leave ten bits of mantissa on newer GPUs.
    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        x = torch.from_numpy(np.ascontiguousarray(films))[:, None].to(next(classifier.parameters()).device)
        z: Logits = classifier(x.float() / 255.0).float().cpu().numpy()
        return z


def by_openvino(requests: Sequence[Any], films: Films) -> Logits:
    """What a network of OpenVINO gives of films (N, ...), one at a time, by the requests of `requests_of`."""
    found: list[Logits] = []
    # The requests are waited for in turn and do not call back, because a thread that once ran Python wants its lock
    # again when it ends, and whoever frees the network holds it.
    for number in range(len(films) + len(requests)):
        request, done = requests[number % len(requests)], number - len(requests)
        if 0 <= done < len(films):
            request.wait()
            found.append(request.get_output_tensor(0).data[0].astype(np.float32))
        if number < len(films):
            request.start_async({0: np.ascontiguousarray(films[number])[None, None]})
    return np.stack(found)


def openvino() -> Any:
    """The package; it tells its maker of each import and conversion over the network unless it is hindered."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # it then takes its silent stand-in
    import openvino

    return openvino


def converted(classifier: Classifier, film: tuple[int, ...], *, films: int = 1) -> Any:
    """The network as OpenVINO's model of films, uint8 (films, 1, side, side); -1 films: any number at once."""
    fixed = _fixed(classifier)
    return _converted(lambda films: fixed(films.float() / 255.0), torch.zeros((1, 1, *film), dtype=torch.uint8), films)


def converted_backbone(classifier: Classifier, film: tuple[int, ...]) -> Any:
    """`Classifier.backbone_output` as OpenVINO's model of one film, float (1, 1, side, side) in [0, 1]."""
    fixed = _fixed(classifier)
    return _converted(lambda films: fixed.backbone_output(films), torch.zeros((1, 1, *film)), 1)


def _fixed(classifier: Classifier) -> Classifier:
    """A copy whose weights cannot learn: a function, which is traced in a third of a module's time, takes no others."""
    return copy.deepcopy(classifier).requires_grad_(False).eval()


def _converted(function: Callable[[torch.Tensor], torch.Tensor], black: torch.Tensor, films: int) -> Any:
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the result is compared, and no user can do without torch.jit
        traced = torch.jit.trace(function, black, check_trace=False)
        shape = openvino().PartialShape([films, *black.shape[1:]])
        return openvino().convert_model(traced, example_input=black, input=[shape], share_weights=False)


def requests_of(model: Any, precision: Literal["f32", "bf16"]) -> list[Any]:
    """A model of one film at a time made ready: two requests, so that none waits, for each thread of torch's."""
    threads = torch.get_num_threads()
    how = {"INFERENCE_PRECISION_HINT": precision, "NUM_STREAMS": threads, "INFERENCE_NUM_THREADS": threads}
    compiled = openvino().Core().compile_model(model, "CPU", how)
    return [compiled.create_infer_request() for _ in range(2 * threads)]


def largest_difference(one: Logits, other: Logits) -> float:
    """Between the probabilities that logits (N, K) stand for.

    >>> largest_difference(np.array([[0.0, 0.0]]), np.array([[9.0, 9.0]]))
    0.0
    """
    p, q = (torch.softmax(torch.from_numpy(z).double(), dim=1) for z in (one, other))
    return float((p - q).abs().max())
