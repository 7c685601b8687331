"""Reading and predicting many films on a cluster, some hundred at a time."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import pandas as pd

from hilum.files import cores
from hilum.image.facts import Facts, FileKey, facts_of, facts_store, key_of, reason
from hilum.image.workers import map_films
from hilum.predict.films import films_of
from hilum.progress import SILENT, Progress
from hilum.scale.connect import check_nodes, here, no_data
from hilum.scale.packed import packed_network, unpacked
from hilum.scale.units import Cluster, Size, Tell, map_units

if TYPE_CHECKING:
    from hilum.model.engine import Asked
    from hilum.predict.predictor import Predictor

Device = Literal["cpu", "gpu"]
# Films of a unit: some ten seconds of work, of which handing it out takes a hundredth.
TOGETHER = 512


def read_films(paths: Sequence[Path], *, progress: Progress = SILENT) -> None:
    """Read films through on the cluster, so that `image.scan.scan` finds all there is to know of them remembered.

    Only what is not remembered is read, by the very function that one machine reads with. What cannot be read is not
    remembered: `scan` looks at it again and says why. Refused with DataError: a node without the films.
    """
    keys = [key for path in paths if (key := key_of(path)) is not None]
    with facts_store() as store:
        known = store.remembered(keys)
        new = list(dict.fromkeys(key for key in keys if key not in known))
        if not new:
            return
        cluster = _cluster([Path(key.path) for key in new], Size(cores()), progress)
        with progress.task(f"reading films on {len(cluster.nodes)} nodes", len(new)) as advance:
            chunks = [new[at : at + TOGETHER] for at in range(0, len(new), TOGETHER)]
            for index, facts in map_units(cluster, _facts, [(each, cluster.cpus) for each in chunks], name=_name):
                store.remember(dict(zip(chunks[index], facts, strict=True)))
                advance(len(facts))


def predict(
    run: Path | str,
    paths: Iterable[Path | str],
    *,
    engine: Asked = "auto",
    gate: bool = True,
    progress: Progress = SILENT,
) -> pd.DataFrame:
    """What `predictor.load(run, engine=engine).predict(paths, gate=gate)` says, worked out on the cluster.

    The run travels to the nodes; the films are read there. Where this machine has a GPU, each unit takes one. Refused
    as by `Predictor.predict`, and with DataError: a node without the films.
    """
    import ray
    import torch

    from hilum.model import machine

    files = films_of(paths)
    device: Device = "cpu" if machine.accelerator("auto") == "cpu" else "gpu"
    cluster = _cluster(files, Size(torch.get_num_threads(), int(device == "gpu")), progress)
    network = ray.put(packed_network(Path(run)))
    chunks = [files[at : at + TOGETHER] for at in range(0, len(files), TOGETHER)]
    tables: dict[int, pd.DataFrame] = {}
    said: dict[str, None] = {}
    with progress.task(f"predicting on {len(cluster.nodes)} nodes", len(files)) as advance:
        items = (_Asked(network, device, engine, each, gate, cluster.cpus) for each in chunks)
        for index, table in map_units(
            cluster, _predicted, items, name=_name, hear=lambda _, line: said.setdefault(line)
        ):
            tables[index] = table
            advance(len(table))
    for line in said:  # each node says the same of its engine
        progress.say(line)
    return pd.concat([tables[index] for index in range(len(chunks))], ignore_index=True)


def _cluster(paths: Sequence[Path], size: Size, progress: Progress) -> Cluster:
    return Cluster(size, check_nodes(paths), progress)


def _name(index: int) -> str:
    return f"films {index * TOGETHER + 1} to {(index + 1) * TOGETHER}"


# On a node -----------------------------------------------------------------------------------------------------------


def _facts(item: tuple[list[FileKey], int], tell: Tell) -> list[Facts]:
    keys, cpus = item
    paths = [_there(Path(key.path)) for key in keys]
    found: list[Facts] = [Facts()] * len(paths)
    # Two processes at least, because a film may crash the decoder.
    for index, facts in map_films(facts_of, paths, workers=max(2, cpus)):
        found[index] = facts if isinstance(facts, Facts) else Facts(error=reason(facts))
    return found


class _Asked(NamedTuple):
    network: Any
    device: Device
    engine: Asked
    files: list[Path]
    gate: bool
    cpus: int


def _predicted(item: _Asked, tell: Tell) -> pd.DataFrame:
    predictor = _predictor(item.network, item.device, item.engine)
    files = [_there(file) for file in item.files]
    return predictor.predict(files, gate=item.gate, workers=max(2, item.cpus), progress=_Saying(tell))


@lru_cache(maxsize=1)
def _predictor(network: Any, device: Device, engine: Asked) -> Predictor:
    """The predictor, which a process fetches and makes ready once."""
    import ray

    from hilum.predict.predictor import load

    name, files = ray.get(network)
    with tempfile.TemporaryDirectory(prefix="hilum-") as folder:
        unpacked(files, Path(folder))
        return load(Path(folder) / name, device=device, engine=engine)


@dataclass(frozen=True)
class _Saying(Progress):
    """Tells what is said, and not how far one unit is."""

    tell: Tell

    def say(self, message: str) -> None:
        self.tell(message)


def _there(path: Path) -> Path:
    """The same path. DataError where it is not on this node: the driver has seen it."""
    if not path.exists():
        raise no_data(here(), path)
    return path
