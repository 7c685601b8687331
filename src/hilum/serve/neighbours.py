"""The training films nearest to a film in a model's own features, where the server was started to show them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hilum.errors import HilumError
from hilum.progress import SILENT
from hilum.recipe.schema import Prepare
from hilum.report.films import small
from hilum.serve.errors import BusyError, GoneError, NotFoundError
from hilum.serve.models import Model
from hilum.serve.records import NeighbourRecord, Neighbours

if TYPE_CHECKING:
    from hilum.model.engine import Engine

NEAREST = 5


@dataclass(frozen=True)
class _Learned:
    """A model's training films, rows of its manifest, with their features (M, F), and what makes a film's features."""

    films: pd.DataFrame
    features: NDArray[np.float32]
    engine: Engine
    preparation: Prepare


class TrainingFilms:
    """Goes once through the training films of each model, in a thread; features are kept in the cache."""

    def __init__(self, models: Sequence[Model]) -> None:
        self._learned: dict[str, Future[_Learned]] = {model.model_id: Future() for model in models}
        self._paths = {model.model_id: model.path for model in models}
        self._lock = threading.Lock()
        threading.Thread(target=self._learn, name="training-films", daemon=True).start()

    def preparation(self, model_id: str) -> Prepare:
        """How a film is prepared for the model's features. Refused as `near` is."""
        return self._of(model_id).preparation

    def near(self, model_id: str, square: NDArray[np.uint8]) -> Neighbours:
        """The nearest training films of a prepared film, uint8 (side, side).

        BusyError while they are gone through; NotFoundError where the run has none that can be read.
        """
        from hilum.explain.neighbours import nearest

        learned = self._of(model_id)
        with self._lock:
            own = learned.engine(square[None])
        found = nearest(own, learned.features, NEAREST)
        rows = zip(found.rows[0].tolist(), found.distances[0].tolist(), strict=True)
        return Neighbours(
            model_id=model_id,
            among=len(learned.films),
            neighbours=[_record(row, learned.films.iloc[row], distance) for row, distance in rows],
        )

    def picture(self, model_id: str, row: int) -> bytes:
        """A training film, small, grey PNG. NotFoundError: no such row; GoneError where it cannot be read any more."""
        films = self._of(model_id).films
        if row >= len(films):
            raise NotFoundError("the run has no such training film")
        try:
            pixels = small(Path(str(films["path"].iloc[row])))
        except (HilumError, OSError):
            raise GoneError("this training film cannot be read any more") from None
        done, data = cv2.imencode(".png", pixels)
        assert done
        return data.tobytes()

    def _of(self, model_id: str) -> _Learned:
        learned = self._learned[model_id]
        if not learned.done():
            raise BusyError("the training films are being gone through", next_step="Ask again in a while.")
        error = learned.exception()
        if error is not None:
            reason = error.what if isinstance(error, HilumError) else type(error).__name__
            raise NotFoundError(f"there are no training films to compare with: {reason}")
        return learned.result()

    def _learn(self) -> None:
        for model_id, path in self._paths.items():
            try:
                self._learned[model_id].set_result(_learned(path))
            except Exception as error:
                self._learned[model_id].set_exception(error)


def _learned(path: Path) -> _Learned:
    from hilum.explain.features import features_of_films, without_head
    from hilum.explain.part import trained
    from hilum.model.engine import Engine

    network = trained(path)
    manifest = network.run.manifest()
    films = manifest[(manifest["part"] == "train") & manifest["class"].notna()].reset_index(drop=True)
    if films.empty:
        raise NotFoundError("the run has no train part")
    shas = films["sha256"].astype(str).tolist()
    features = features_of_films(network, network.prepared(films, SILENT), shas, "training films", SILENT)
    return _Learned(films, features, Engine(without_head(network.classifier)), network.preparation)


def _record(row: int, film: pd.Series, distance: float) -> NeighbourRecord:
    view = film.get("view")
    return NeighbourRecord(
        row=row,
        label=str(film["class"]),
        source=str(film["source"]),
        view=None if pd.isna(view) else str(view),
        distance=distance,
    )
