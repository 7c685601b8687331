"""hilum: train, judge and explain chest X-ray classifiers. Research use only: not a medical device.

import hilum

films = hilum.read("kermany:chest_xray")                       # a manifest, a row per film
run = hilum.train(data="kermany:chest_xray", settings=["data.task=pneumonia-3"], out="runs/first")
run.metrics()["test"]["accuracy"]                              # {value, low, high, n, patients}
hilum.load("runs/first").predict(["film.dcm"])                 # a row per film
hilum.evaluate("runs/first", ["cohen:cohen"]).metrics
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hilum.data.sources import read
    from hilum.predict.ensemble import ensemble
    from hilum.predict.external import evaluate
    from hilum.predict.predictor import load
    from hilum.training.api import crossval, train

__version__ = "0.1.0"
__all__ = ["crossval", "ensemble", "evaluate", "load", "read", "train"]

# Loaded when they are first used, so that `import hilum` and `hilum --help` answer at once.
_WHERE = {
    "read": "hilum.data.sources",
    "train": "hilum.training.api",
    "crossval": "hilum.training.api",
    "load": "hilum.predict.predictor",
    "evaluate": "hilum.predict.external",
    "ensemble": "hilum.predict.ensemble",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'hilum' has no attribute {name!r}")
    import importlib

    try:
        return getattr(importlib.import_module(_WHERE[name]), name)
    except ModuleNotFoundError as error:
        if error.name in ("torch", "torchvision", "timm", "lightning"):
            from hilum.errors import MissingExtraError

            raise MissingExtraError("train") from None
        raise


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
