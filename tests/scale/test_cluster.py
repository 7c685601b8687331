"""The same work on a cluster of several nodes: the same results, also where a node is killed; and what is refused."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from hilum.cli.app import main
from hilum.data.manifest import read_manifest
from hilum.errors import DataError, FilmError, HilumError, MissingExtraError, RequestError
from hilum.evaluation.run_folder import RunFolder
from hilum.predict.predictor import load
from hilum.progress import Progress
from hilum.recipe.load import load_recipe
from hilum.recipe.schema import Recipe
from hilum.scale import films as on_films
from hilum.scale import parallel
from hilum.scale import runs as on_runs
from hilum.scale.connect import check_nodes, connected, nodes
from hilum.scale.trials import on_cluster
from hilum.scale.units import ATTEMPTS, Cluster, ClusterError, Size, Tell, in_threads, map_units, run_unit
from hilum.training import crossval as folds
from hilum.training.search import search
from hilum.training.train import train

ray = pytest.importorskip("ray", reason="the extra cluster is not installed")

STORE_BYTES = 80 * 2**20
SETTINGS = (
    "data.task=covid-3",
    "split.validation=0.3",
    "prepare.side_px=32",
    "model.backbone=mobilenetv3_small_050",
    "model.weights=none",
    "stage.epochs=1",
    "training.workers=1",
    "evaluate.bootstrap=100",
    "predict.engine=torch",
)


class Said(Progress):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Three nodes of one core each, to which this process is connected; their disk is full, as Ray sees it."""
    from ray.cluster_utils import Cluster as Nodes

    # The jobs of this module, which the nodes could not import.
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HILUM_CACHE", str(tmp_path_factory.mktemp("nodes-cache")))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")
        full_disk = {"local_fs_capacity_threshold": 0.001}
        head = {"num_cpus": 1, "object_store_memory": STORE_BYTES, "include_dashboard": False}
        there = Nodes(initialize_head=True, head_node_args={**head, "_system_config": full_disk})
        there.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
        there.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
        try:
            with connected(there.address):
                yield there
        finally:
            there.shutdown()
            torch.set_num_threads(threads)


def of_one_core(progress: Progress | None = None) -> Cluster:
    return Cluster(Size(1), nodes(), progress or Progress())


# Units ---------------------------------------------------------------------------------------------------------------


def doubled(item: int, tell: Tell) -> int:
    tell(f"doubling {item}")
    return 2 * item


def killed_while(item: Path | None, tell: Tell) -> str:
    """Kills its process, always or, where a file is named, only as long as that is not there."""
    if item is None or not item.exists():
        if item is not None:
            item.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"


def refused(item: str, tell: Tell) -> None:
    raise FilmError("this film is broken", where=item, next_step="Copy it again.")


def large(item: int, tell: Tell) -> bytes:
    return bytes(item)


def test_every_unit_is_done_once_and_what_it_tells_is_heard(cluster: Any) -> None:
    heard: list[tuple[int, str]] = []
    found = dict(
        map_units(of_one_core(), doubled, [5, 6, 7, 8], name=str, hear=lambda index, said: heard.append((index, said)))
    )
    assert found == {0: 10, 1: 12, 2: 14, 3: 16}
    assert sorted(heard) == [(0, "doubling 5"), (1, "doubling 6"), (2, "doubling 7"), (3, "doubling 8")]


def test_a_unit_whose_process_is_killed_is_done_again_and_one_that_always_dies_is_refused(
    cluster: Any, tmp_path: Path
) -> None:
    said = Said()
    assert run_unit(of_one_core(said), killed_while, tmp_path / "killed", name="fold-1") == "done"
    assert said.lines == ["fold-1: its process was killed or crashed; it is done again"]
    with pytest.raises(HilumError, match=f"fold-1: its process died {ATTEMPTS} times"):
        run_unit(of_one_core(), killed_while, None, name="fold-1")


def test_what_a_unit_refuses_is_refused_here_in_the_same_words(cluster: Any) -> None:
    with pytest.raises(FilmError, match=r"a\.png: this film is broken\. Copy it again\."):
        list(map_units(of_one_core(), refused, ["a.png"], name=str))


def test_a_full_object_store_is_said_with_what_to_do(cluster: Any) -> None:
    with pytest.raises(ClusterError, match=r"fold-1: the cluster has no room .* --object-store-memory"):
        run_unit(of_one_core(), large, 2 * STORE_BYTES, name="fold-1")


def test_ctrl_c_in_one_thread_ends_the_others(cluster: Any) -> None:
    there, begun = of_one_core(), threading.Semaphore(0)

    def work() -> None:
        begun.release()
        if threading.current_thread().name.endswith("_0"):
            begun.acquire()
            raise KeyboardInterrupt
        while not there.stopped.is_set():
            time.sleep(0.01)

    with pytest.raises(KeyboardInterrupt):
        in_threads(there, work)


# The work of the commands --------------------------------------------------------------------------------------------


def without_report(item: Any, tell: Tell) -> Any:
    """A run trained on a node, without its page, which takes most of the time."""
    from hilum.scale.runs import _trained
    from hilum.training import train

    train.write_report = lambda run: (Path(run) / "report.html").write_text("")
    return _trained(item, tell)


@pytest.fixture(scope="module")
def asked(phantoms: Path) -> Recipe:
    return load_recipe(settings=[*SETTINGS, f'data.source=["{phantoms}"]'])


@pytest.fixture(scope="module")
def serial(cluster: Any, asked: Recipe, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Two folds on this machine, one after the other; tests read them and do not change them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HILUM_CACHE", str(tmp_path_factory.mktemp("serial-cache")))
        for module in ("train", "crossval"):
            patch.setattr(f"hilum.training.{module}.write_report", lambda run: (run / "report.html").write_text(""))
        return folds.crossval(asked, tmp_path_factory.mktemp("serial") / "cv", folds=2)


class Killing(Said):
    """Kills the first node, other than this process's own, on which a fold says that it began."""

    def __init__(self, cluster: Any) -> None:
        super().__init__()
        self.cluster, self.killed = cluster, ""

    def say(self, message: str) -> None:
        super().say(message)
        for node in self.cluster.list_all_nodes():
            if not self.killed and node != self.cluster.head_node and f"node {node.node_id[:8]})" in message:
                self.killed = message.split(":")[0]
                self.cluster.remove_node(node, allow_graceful=False)


def test_folds_of_a_cluster_that_loses_a_node_are_those_of_one_machine(
    cluster: Any, asked: Recipe, serial: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_runs, "_trained", without_report)
    monkeypatch.setattr(folds, "write_report", lambda run: (run / "report.html").write_text(""))
    said = Killing(cluster)
    whole = folds.crossval(asked, tmp_path / "cv", folds=2, train_all=on_runs.train_runs, progress=said)
    assert f"{said.killed}: its node was lost; it is done again" in said.lines
    for name in ("predictions.csv", "metrics.json", "fold-0/weights.safetensors", "fold-1/weights.safetensors"):
        assert (whole.path / name).read_bytes() == (serial.path / name).read_bytes(), name
    there = whole.folds[0]
    pd.testing.assert_frame_equal(
        there.history().drop(columns="seconds"), serial.folds[0].history().drop(columns="seconds")
    )
    assert there.finished and "node" in there.environment()["trained_on"]


def test_trials_of_a_cluster_are_those_of_one_machine(cluster: Any, asked: Recipe, tmp_path: Path) -> None:
    recipe = load_recipe(
        settings=["search.space.stage.learning_rate=[0.01, 0.001]", "search.method=grid"],
        base=asked.model_dump(mode="json", exclude_none=True),
    )
    here = search(recipe, tmp_path / "here" / "s")
    there = search(recipe, tmp_path / "there" / "s", elsewhere=partial(on_cluster, progress=Said()))
    tables = [pd.read_csv(out / "trials.csv").drop(columns="seconds") for out in (here, there)]
    pd.testing.assert_frame_equal(*tables)
    assert len(tables[0]) == 2 and set(tables[0]["state"]) == {"finished"}
    assert (here / "best.toml").read_text() == (there / "best.toml").read_text()


@pytest.fixture
def some_films(phantoms: Path, tmp_path: Path) -> Path:
    """Forty films in two classes, one of them broken."""
    for number, film in enumerate(sorted(phantoms.parent.rglob("*.[pj][np]g"))[:40]):
        label = tmp_path / "films" / ("normal", "covid-19")[number % 2]
        label.mkdir(parents=True, exist_ok=True)
        shutil.copy(film, label / f"{number:02}{film.suffix}")
    (tmp_path / "films" / "normal" / "00.png").write_bytes(b"no film")
    return tmp_path / "films"


def test_a_manifest_built_on_a_cluster_is_that_of_one_machine(
    cluster: Any, some_films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_films, "TOGETHER", 16)
    written = []
    for name, flags in (("here", []), ("there", ["--cluster", cluster.address])):
        monkeypatch.setenv("HILUM_CACHE", str(tmp_path / name))
        written.append(tmp_path / f"{name}.parquet")
        monkeypatch.setattr(
            sys, "argv", ["hilum", "data", "build", f"folder:{some_films}", "-o", str(written[-1]), *flags]
        )
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0
    here, there = map(read_manifest, written)
    pd.testing.assert_frame_equal(here, there)
    assert len(there) == 39 and there["sha256"].notna().all()


def test_a_cluster_predicts_what_one_machine_predicts(
    cluster: Any, serial: RunFolder, some_films: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = load(serial.path, engine="openvino").predict(some_films)
    monkeypatch.setattr(on_films, "TOGETHER", 16)
    there = on_films.predict(serial.path, [some_films], engine="openvino")
    pd.testing.assert_frame_equal(here, there)
    assert there["error"].notna().sum() == 1 and there["predicted"].notna().sum() == 39


# One run by several workers ------------------------------------------------------------------------------------------

# Batches of five films divide into two and three. The last layer is a convolution, so that no batch norm learns.
TOGETHER = """
[augment]
rotation_deg = 5
mixup = 0.2
[balance]
how = "weights"
[[stage]]
unfreeze = "none"
epochs = 1
[[stage]]
unfreeze = 1
epochs = 2
batch_size = 5
ema = 0.5
optimiser = "sgd"
learning_rate = 0.05
"""


@pytest.fixture
def together(asked: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    (tmp_path / "together.toml").write_text(TOGETHER)
    monkeypatch.setattr("hilum.training.train.write_report", lambda run: None)
    base = asked.model_dump(mode="json", exclude_none=True, exclude={"stage"})
    return load_recipe([str(tmp_path / "together.toml")], ['training.precision="32"'], base=base)


def killed_after_an_epoch(config: dict[str, Any]) -> None:
    """What a worker does; the first one is killed when it has brought its first epoch."""
    from hilum.scale import parallel

    bring = parallel._Bringing.on_train_epoch_end

    def then_die(self: Any, trainer: Any, module: Any) -> None:
        bring(self, trainer, module)
        if trainer.is_global_zero and trainer.current_epoch == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    parallel._Bringing.on_train_epoch_end = then_die
    parallel._work(config)


@pytest.mark.slow
def test_two_workers_of_which_one_is_killed_train_what_one_machine_trains(
    cluster: Any, together: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, said = train(together, tmp_path / "here"), Said()
    monkeypatch.setattr(parallel, "_work", killed_after_an_epoch)
    there = parallel.train(together, tmp_path / "there", workers=2, progress=said)
    assert "stage 2: a worker was killed or crashed; all go on after epoch 1" in said.lines
    one, other = (load_file(run.weights_path) for run in (here, there))
    torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-6)
    figures = [run.history().drop(columns="seconds") for run in (here, there)]
    pd.testing.assert_frame_equal(*figures, rtol=1e-4)
    about = there.environment()["trained_on"]
    assert (about["workers"], about["cores_each"]) == (2, 1)
    assert len(about["nodes"]) >= 2  # three where the workers began again on another


def test_more_workers_than_there_is_room_for_are_refused_with_the_number_of_which_there_is(
    cluster: Any, asked: Recipe, tmp_path: Path
) -> None:
    most = len(nodes())
    with pytest.raises(RequestError, match=rf"--workers 9: .* room for {most} workers.* Give --workers {most}"):
        parallel.train(asked, tmp_path / "run", workers=9)
    small = load_recipe(settings=["stage.batch_size=3"], base=asked.model_dump(mode="json", exclude_none=True))
    with pytest.raises(RequestError, match=r"stage 1: batch_size: each of 2 workers needs two films .* --workers 1"):
        parallel.train(small, tmp_path / "run", workers=2)
    assert not (tmp_path / "run").exists()


# What is refused -----------------------------------------------------------------------------------------------------


def test_a_node_without_the_films_is_named_with_the_path(cluster: Any, tmp_path: Path) -> None:
    # A file that is open in this process alone has a path that no other process can read.
    (tmp_path / "film.png").write_bytes(b"film")
    with (tmp_path / "film.png").open("rb") as film:
        os.dup2(film.fileno(), 900)
    try:
        with pytest.raises(
            DataError, match=r"/proc/self/fd/900: the node .* cannot read this file.* Mount the storage"
        ):
            check_nodes([Path("/proc/self/fd/900")])
    finally:
        os.close(900)


@pytest.mark.parametrize("address", ["here", "host:", ":6379", "host:port", "ray://host:10001"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(RequestError, match=f"--cluster {address}: .*HOST:"), connected(address):
        pass


def test_an_address_that_does_not_answer_or_is_not_ray_is_refused_within_seconds() -> None:
    start = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        answer = threading.Thread(target=lambda: server.accept()[0].sendall(b"HTTP/1.1 400 Bad Request\r\n"))
        answer.start()
        with pytest.raises(HilumError, match=f"{port}: what answers there is not Ray"), connected(f"127.0.0.1:{port}"):
            pass
        answer.join()
    silent = rf"{port}: nothing answers there.* ray start --head --port={port}"
    with pytest.raises(HilumError, match=silent), connected(f"127.0.0.1:{port}"):
        pass
    assert time.monotonic() - start < 10


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="cluster"), connected("local"):
        pass
