"""Training started runs on a cluster: the folds of a cross-validation, or the recipes of a comparison.

A run travels as its files: what `hilum.training.train.begin` wrote goes to the node, and comes back trained. So the
nodes share the films, and nothing else; and a node that is lost leaves no half of a run behind.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from hilum.errors import HilumError
from hilum.evaluation.run_folder import RunFolder
from hilum.files import write_json
from hilum.progress import SILENT, Progress
from hilum.scale.connect import check_nodes, here
from hilum.scale.packed import Packed, packed, unpacked
from hilum.scale.units import Cluster, Size, Tell, Telling, map_units
from hilum.training.environment import describe_environment
from hilum.training.train import train


def train_runs(runs: Sequence[RunFolder], progress: Progress = SILENT) -> None:
    """Train started runs on the cluster, each into its folder, as `train` with `resume` does on this machine.

    Each computes with as many threads as torch has here, on which the last digits of a training depend; and where the
    runs were started for a GPU, on one GPU. environment.json says in `trained_on` which node it was. Refused as by
    `train`, with the node's name; and with DataError: a node without the films.
    """
    manifests = [run.manifest()["path"] for run in runs]
    paths = list(dict.fromkeys(Path(path) for manifest in manifests for path in manifest))
    gpus = int(any(run.environment()["device"] != "cpu" for run in runs))
    cluster = Cluster(Size(torch.get_num_threads(), gpus), check_nodes(paths), progress)

    def hear(index: int, line: str) -> None:
        progress.say(f"{runs[index].path.name}: {line}")

    with progress.task(f"training {len(runs)} runs on {len(cluster.nodes)} nodes", len(runs)) as advance:
        items = (_Asked(run.path.name, packed(run.path)) for run in runs)
        for index, files in map_units(cluster, _trained, items, name=lambda index: runs[index].path.name, hear=hear):
            # A run that has weights has what environment.json says of them, wherever the writing is stopped.
            unpacked({"environment.json": files.pop("environment.json"), **files}, runs[index].path)
            shutil.rmtree(runs[index].path / "checkpoints", ignore_errors=True)
            advance(1)


# On a node -----------------------------------------------------------------------------------------------------------


class _Asked(NamedTuple):
    name: str
    files: Packed


def _trained(item: _Asked, tell: Tell) -> Packed:
    tell(f"on {here()}")
    with tempfile.TemporaryDirectory(prefix="hilum-") as above:
        folder = Path(above) / item.name
        unpacked(item.files, folder)
        run, about = RunFolder(folder), describe_environment()
        machine = {name: about[name] for name in ("system", "processor", "cores", "memory_gib", "accelerator")}
        write_json(folder / "environment.json", {**run.environment(), "trained_on": {"node": here(), **machine}})
        try:
            train(run.recipe(), folder, resume=True, progress=Telling(tell))
        except HilumError as error:
            error.where = f"{error.where} on the node {here()}".strip()
            raise
        return packed(folder)
