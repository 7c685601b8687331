"""Units of work on a cluster: each is done wherever there is room, and again where what did it was lost.

A unit is `job(item, tell)`: a function of a module, by whose name the nodes find it, of a value that says all it needs.
It changes nothing outside its node, and its value comes back to the driver, which alone writes results. So a unit may
be done twice, or a half of it, and nothing is wrong; and the values are those of one machine.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

from hilum.errors import HilumError
from hilum.progress import SILENT, Progress, in_lines
from hilum.scale.connect import Node, here, nodes

Tell = Callable[[Any], None]
Job = Callable[[Any, Tell], Any]
# A unit that kills its process so often is to blame itself. A lost node is never its fault.
ATTEMPTS = 3
# How long no node at all may be left before the work is given up.
_ALONE_SECONDS = 120.0
_POLL_SECONDS = 5.0


class ClusterError(HilumError):
    """The cluster cannot go on, whatever the unit."""


@dataclass(frozen=True)
class Size:
    """What a unit takes of a node. threads: of its computation, on which the last digits of a training depend."""

    threads: int
    gpus: int = 0


def room(found: Sequence[Node], size: Size) -> int:
    """How many units of a size the nodes can do at once, each on as many cores as it has threads.

    >>> room([Node("1", "one", cpus=8, gpus=2), Node("2", "other", cpus=3, gpus=0)], Size(threads=2))
    5
    >>> room([Node("1", "one", cpus=8, gpus=2), Node("2", "other", cpus=3, gpus=0)], Size(threads=2, gpus=1))
    2
    """
    units = [node.cpus // size.threads for node in found]
    if size.gpus:
        units = [min(some, node.gpus // size.gpus) for some, node in zip(units, found, strict=True)]
    return sum(units)


@dataclass
class Cluster:
    """The cluster that this process is connected to, for units of one size. progress: hears of what was lost."""

    size: Size
    nodes: list[Node]
    progress: Progress = SILENT
    stopped: threading.Event = field(default_factory=threading.Event)

    @property
    def cpus(self) -> int:
        """Cores that a unit asks for: as many as it has threads, or all of the smallest node."""
        return max(1, min(self.size.threads, *(node.cpus for node in self.nodes)))

    @property
    def at_once(self) -> int:
        """How many units there is room for."""
        return max(1, room(self.nodes, Size(self.cpus, self.size.gpus)))

    @cached_property
    def task(self) -> Any:
        """What Ray runs for a unit. hilum itself does it again where it was lost, and says so."""
        import ray

        return ray.remote(num_cpus=self.cpus, num_gpus=self.size.gpus, max_retries=0, num_returns="streaming")(_work)

    @property
    def threads(self) -> int:
        """How many threads wait for units: twice as many as there is room for, so that a node which joins has work."""
        return 2 * self.at_once


def map_units(
    cluster: Cluster,
    job: Job,
    items: Iterable[Any],
    *,
    name: Callable[[int], str],
    hear: Callable[[int, Any], None] = lambda index, event: None,
) -> Iterator[tuple[int, Any]]:
    """(index, job(item)) of every item as they are done, in any order; the values are those of one machine.

    name: what a unit is called where something is said of it. hear: is given what a unit told, from a thread. What a
    unit raises is raised here, and the others are stopped; so they are when the loop ends early, as by Ctrl-C.
    """
    done: queue.Queue[tuple[int, Any] | BaseException | None] = queue.Queue()
    waiting, lock = iter(enumerate(items)), threading.Lock()

    def serve() -> None:
        try:
            while not cluster.stopped.is_set():
                with lock:
                    taken = next(waiting, None)
                if taken is None:
                    break
                index, item = taken
                done.put((index, run_unit(cluster, job, item, name=name(index), hear=partial(hear, index))))
        except BaseException as error:
            done.put(error)
        else:
            done.put(None)

    left = cluster.threads
    for _ in range(left):
        threading.Thread(target=serve, daemon=True).start()
    try:
        while left:
            found = done.get()
            if isinstance(found, BaseException):
                raise found
            if found is None:
                left -= 1
            else:
                yield found
    finally:
        cluster.stopped.set()


def in_threads(cluster: Cluster, work: Callable[[], None]) -> None:
    """work() in as many threads as the cluster has room for units; what one raises is raised here and ends the others.

    Ctrl-C ends them too: what they wait for on the cluster raises KeyboardInterrupt in each.
    """
    with ThreadPoolExecutor(cluster.at_once) as pool:
        try:
            for ended in as_completed([pool.submit(work) for _ in range(cluster.at_once)]):
                ended.result()
        except BaseException:
            cluster.stopped.set()
            raise


def run_unit(cluster: Cluster, job: Job, item: Any, *, name: str, hear: Tell = lambda event: None) -> Any:
    """job(item, tell) on a node; `hear` is given what it tells, and may end it by raising.

    Where its node is lost it is done again on another; where its process dies, at most `ATTEMPTS` times. Refused with
    HilumError: what the job raised, a unit that killed its process too often; with ClusterError: no room for what it
    gave back, no node left.
    """
    import ray

    crashes = 0
    while True:
        stream = cluster.task.remote(job, item, cluster.size.threads)
        try:
            return _value(cluster, stream, hear)
        except _full() as error:
            raise ClusterError(
                "the cluster has no room for the result: its object store and the disk behind it are full",
                where=name,
                next_step="Free the disk of the node's /tmp/ray, or start the nodes with a larger "
                "--object-store-memory; then give the same command again.",
            ) from error
        except _lost() as error:
            why = _why(error)
            crashes += not isinstance(error, ray.exceptions.NodeDiedError | ray.exceptions.ObjectLostError)
            if crashes == ATTEMPTS:
                raise HilumError(
                    f"its process died {crashes} times: {why}",
                    where=name,
                    next_step="Look at the nodes' memory and their /tmp/ray/session_latest/logs; what was finished "
                    "is kept.",
                ) from None
            cluster.progress.say(f"{name}: {why}; it is done again")
        except BaseException:
            ray.cancel(stream, force=True)  # nothing where it has ended
            raise


def _value(cluster: Cluster, stream: Any, hear: Tell) -> Any:
    import ray

    alone = 0.0
    while True:
        ready, _ = ray.wait([stream], timeout=_POLL_SECONDS, fetch_local=False)
        if cluster.stopped.is_set():
            raise KeyboardInterrupt
        if not ready:
            alone = 0.0 if nodes() else alone + _POLL_SECONDS
            if alone >= _ALONE_SECONDS:
                raise ClusterError(
                    "no node of the cluster is left",
                    next_step="Start some; then give the same command again: what was finished is kept.",
                )
            continue
        kind, value = ray.get(next(stream))
        if kind == "done":
            return value
        if kind == "failed":
            raise value
        hear(value)


def _lost() -> tuple[type[BaseException], ...]:
    from ray import exceptions

    return (
        exceptions.NodeDiedError,
        exceptions.ObjectLostError,
        exceptions.WorkerCrashedError,
        exceptions.OutOfMemoryError,
    )


def _full() -> tuple[type[BaseException], ...]:
    from ray import exceptions

    return exceptions.ObjectStoreFullError, exceptions.OutOfDiskError


def _why(error: BaseException) -> str:
    from ray import exceptions

    if isinstance(error, exceptions.NodeDiedError | exceptions.ObjectLostError):
        return "its node was lost"
    if isinstance(error, exceptions.OutOfMemoryError):
        return "its node had no memory left"
    return "its process was killed or crashed"


def _work(job: Job, item: Any, threads: int) -> Iterator[tuple[str, Any]]:
    """On a node: what the job tells, then ("done", its value) or ("failed", the HilumError).

    The job runs in a thread, so that what it tells leaves while it works.
    """
    told: queue.SimpleQueue[tuple[str, Any] | None] = queue.SimpleQueue()
    raised: list[BaseException] = []

    def do() -> None:
        os.environ["OMP_NUM_THREADS"] = str(threads)
        if "torch" in sys.modules:
            import torch

            torch.set_num_threads(threads)  # of this thread; Ray's own number is that of the node's cores
        try:
            told.put(("done", job(item, lambda event: told.put(("told", event)))))
        except HilumError as error:
            told.put(("failed", error))
        except OSError as error:
            told.put(("failed", of_the_node(error)))
        except BaseException as error:
            raised.append(error)
        told.put(None)

    threading.Thread(target=do, daemon=True).start()
    while (event := told.get()) is not None:  # Ray sends values into the generator, which an iterator cannot take
        yield event
    if raised:
        raise raised[0]


@dataclass(frozen=True)
class Telling(Progress):
    """On a node: progress as lines that are told to the driver, of each task at most one in ten seconds."""

    tell: Tell
    every_seconds: float = 10.0

    @contextmanager
    def task(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        yield in_lines(what, total, self.tell, self.every_seconds)

    def say(self, message: str) -> None:
        self.tell(message)


def of_the_node(error: OSError) -> HilumError:
    """A disk's or a file's error on this node, with its name."""
    return HilumError(
        f"{error.strerror or error}",
        where=f"{error.filename or 'a file'} on the node {here()}",
        next_step="Mend this and give the same command again; what was finished is kept.",
    )
