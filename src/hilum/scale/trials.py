"""The trials of a search on a cluster. The study, and what is chosen from it, stay on the driver."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch

from hilum.progress import SILENT, Progress
from hilum.recipe.schema import Recipe
from hilum.scale.connect import check_nodes
from hilum.scale.units import Cluster, ClusterError, Size, Tell, Telling, in_threads, run_unit
from hilum.training.search import TrainTrial, TrialJob, train_trial


@contextmanager
def on_cluster(
    films: pd.DataFrame, about: Mapping[str, Any], *, progress: Progress = SILENT
) -> Iterator[tuple[TrainTrial, Callable[[Callable[[], None]], None]]]:
    """What `hilum.training.search.search` takes as `elsewhere`: trials are trained on the cluster, several at once.

    films, about: of the search. Each trial computes with as many threads as torch has here; and, where the search was
    started for a GPU, on one GPU. Refused with DataError: a node without the films. A cluster that cannot go on ends
    the search, and not a trial.
    """
    import ray

    paths = [Path(path) for path in films["path"]]
    cluster = Cluster(Size(torch.get_num_threads(), int(about["device"] != "cpu")), check_nodes(paths), progress)
    shared = ray.put(films)

    def train(job: TrialJob, told: Callable[[Mapping[str, float]], None], _: Progress) -> dict[str, Any]:
        def hear(event: str | Mapping[str, float]) -> None:
            if isinstance(event, str):
                progress.say(f"{job.name}: {event}")
            else:
                told(event)

        try:
            found: dict[str, Any] = run_unit(
                cluster, _trained, _Asked(job.name, shared, job.about, job.recipe), name=job.name, hear=hear
            )
        except ClusterError as error:
            raise _EndedError(error) from error
        return found

    try:
        yield train, partial(in_threads, cluster)
    except _EndedError as ended:
        raise ended.error from None


class _EndedError(Exception):
    """Carries a ClusterError past what would take it for a failure of the trial."""

    def __init__(self, error: ClusterError) -> None:
        super().__init__(str(error))
        self.error = error


# On a node -----------------------------------------------------------------------------------------------------------


class _Asked(NamedTuple):
    name: str
    films: Any
    about: dict[str, Any]
    recipe: Recipe


def _trained(item: _Asked, tell: Tell) -> dict[str, Any]:
    import ray

    with tempfile.TemporaryDirectory(prefix="hilum-") as above:
        job = TrialJob(item.name, ray.get(item.films), item.about, item.recipe, Path(above) / "trial")
        return train_trial(job, lambda row: tell(dict(row)), Telling(tell))
