"""The way to a Ray cluster: what answers at an address, and whether each node can do the work."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hilum.errors import DataError, HilumError, MissingExtraError, RequestError
from hilum.files import cores

LOCAL = "local"
_ANSWER_SECONDS = 5.0
# A node that has just joined starts its first Python process, which imports torch.
_CHECK_SECONDS = 120.0
# With other versions of these the same film may give other digits.
_SAME = ("hilum", "numpy", "opencv-python-headless", "torch", "timm", "openvino")
# Of each collection so many files are looked for on each node before the work begins.
_LOOKED_FOR = 64
# How HTTP/2 begins, which Ray's servers speak, and an empty frame of settings (RFC 9113, 3.4 and 6.5).
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5)


@dataclass(frozen=True)
class Node:
    """A machine of the cluster, or a part of one, as `ray start` made it."""

    id: str
    name: str
    cpus: int
    gpus: int


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Connected to the cluster at HOST:PORT, or, for "local", to one of this machine that ends with the block.

    A program that is connected to Ray already stays so. Refused with RequestError: an address that is none; with
    MissingExtraError: Ray is not installed; with HilumError, within seconds: nothing answers there, what answers is not
    Ray, this machine is no node of the cluster, or other versions of Ray or Python.
    """
    if importlib.util.find_spec("ray") is None:
        raise MissingExtraError("cluster")
    # A thread that still waits for the cluster when it is left would start another one.
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_ENABLE_AUTO_CONNECT="0")
    # Of the nodes that are started here: Ray lets all else on the machine go before its work.
    os.environ.setdefault("RAY_worker_niceness", "0")
    import ray

    if address != LOCAL:
        _need_answer(address)
    if ray.is_initialized():
        yield
        return
    # It prints on standard output, where the answer of --json stands, that a node was lost; hilum says so itself.
    ray._private.worker.print_to_stdstream = lambda *_, **__: None
    how: dict[str, Any] = {"num_cpus": cores(), "include_dashboard": False} if address == LOCAL else {}
    try:
        ray.init(address=address, log_to_driver=False, logging_level="critical", **how)
    except (RuntimeError, ValueError, OSError, ray.exceptions.RayError) as error:
        raise HilumError(
            f"the cluster does not take this machine: {str(error).strip().splitlines()[0]}",
            where=f"--cluster {address}",
            next_step=f"Let it join with: ray start --address={address}   (same versions of Python and Ray), "
            "or give the command on a node of the cluster.",
        ) from None
    try:
        yield
    finally:
        ray.shutdown()


def _need_answer(address: str) -> None:
    host, colon, port = address.rpartition(":")
    if address.startswith("ray://"):
        raise RequestError(
            "the command runs on a node of the cluster, not through Ray's client",
            where=f"--cluster {address}",
            next_step="Give it on the head node, with the address HOST:6379, or there as a job: ray job submit",
        )
    if not colon or not host or not port.isdigit() or not 0 < int(port) < 2**16:
        raise RequestError(
            "this is no address of a cluster",
            where=f"--cluster {address}",
            next_step="Write HOST:PORT, as ray start --head names it (port 6379), or local.",
        )
    try:
        with socket.create_connection((host, int(port)), timeout=_ANSWER_SECONDS) as line:
            line.sendall(_GREETING)
            answer = line.recv(9)
    except OSError as error:
        raise HilumError(
            f"nothing answers there: {error.strerror or error}",
            where=f"--cluster {address}",
            next_step=f"Start the cluster with: ray start --head --port={port}   or correct the address.",
        ) from None
    if answer[3:4] != b"\x04":
        raise HilumError(
            "what answers there is not Ray",
            where=f"--cluster {address}",
            next_step="Name the port that ray start --head names, 6379 where none was chosen.",
        )


def nodes() -> list[Node]:
    """The nodes that are alive and take work."""
    import ray

    return [
        Node(
            each["NodeID"],
            named(each["NodeManagerHostname"], each["NodeManagerAddress"], each["NodeID"]),
            int(each["Resources"].get("CPU", 0)),
            int(each["Resources"].get("GPU", 0)),
        )
        for each in ray.nodes()
        if each["Alive"] and each["Resources"].get("CPU", 0) >= 1
    ]


def named(host: str, address: str, node: str) -> str:
    """A node, as errors name it: several may be on one machine."""
    return f"{host} ({address}, node {node[:8]})"


def here() -> str:
    """The node that this process works on."""
    import ray

    return named(socket.gethostname(), ray.util.get_node_ip_address(), ray.get_runtime_context().get_node_id())


def check_nodes(paths: Sequence[Path]) -> list[Node]:
    """The nodes, all of which have this hilum and can read the files, of which some are looked for.

    Refused with HilumError: no node, one that does not answer, or has other versions than this machine; with DataError:
    one that lacks a file which this machine can read. Each names the node.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    found = nodes()
    if not found:
        raise HilumError(
            "no node of the cluster takes work", next_step="Let some join with: ray start --address=ADDRESS"
        )
    step = max(1, len(paths) // _LOOKED_FOR)
    wanted = [path for path in (*paths[::step], *paths[-1:]) if path.is_file()]
    task = ray.remote(num_cpus=0, max_retries=0)(_told_of)
    asked = {
        task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)).remote(wanted): node
        for node in found
    }
    answered, silent = ray.wait(list(asked), num_returns=len(asked), timeout=_CHECK_SECONDS)
    mine, _ = _told_of([])
    for answer in answered:
        _check(asked[answer], answer, mine)
    if silent:
        raise HilumError(
            f"the node {asked[silent[0]].name} does not answer",
            next_step="Take it out with `ray stop` there, or start it again; then give the same command again.",
        )
    return found


def _check(node: Node, answer: Any, mine: dict[str, str]) -> None:
    import ray

    try:
        versions, absent = ray.get(answer)
    except ray.exceptions.RayTaskError as error:
        if not isinstance(error.cause, ImportError):
            raise
        versions, absent = {}, None
    except ray.exceptions.RayError:  # it has just been lost; what it would have done goes to the others
        return
    for package, version in mine.items():
        if versions.get(package) != version:
            raise HilumError(
                f"the node {node.name} has {package} {versions.get(package, 'not')} installed, and this machine "
                f"{version}: results could differ",
                next_step=f"Install the same there: pip install '{package}=={version}'",
            )
    if absent is not None:
        raise no_data(node.name, absent)


def no_data(node: str, path: Path) -> DataError:
    """The error for a node that cannot read a file which this machine can."""
    return DataError(
        f"the node {node} cannot read this file, and this machine can",
        where=str(path),
        next_step="Mount the storage of the films on every node under the same path, or take the node out with "
        "`ray stop` there; then give the same command again.",
    )


def _told_of(paths: Sequence[Path]) -> tuple[dict[str, str], Path | None]:
    """On a node: the versions there, and the first file that cannot be read."""
    versions = {}
    for package in _SAME:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions, next((path for path in paths if not os.access(path, os.R_OK)), None)
