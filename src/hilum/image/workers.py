"""The same function over many films, on all cores, when any film may break the decoder.

Decoders are C code that reads files of unknown origin: one may crash or loop. Each worker is therefore a Python process
of its own that is sent a few films at a time over a pipe. When it dies or takes too long, its films are tried again one
by one, so that exactly the one to blame is reported, and the others are not lost.

Why not multiprocessing or joblib: forking is unsafe once torch runs; spawning runs the user's script again, and fails
where it has no `if __name__ == "__main__"`; and neither tells which film killed a worker. A worker here ends when its
pipe does, so none outlives its parent, however that ends.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import queue
import select
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from hilum.errors import FilmError, HilumError
from hilum.files import cores

Job = Callable[[Any], Any]
_CHUNK = 8
# Below this, starting processes takes longer than the work.
FEW = 32
SECONDS_PER_FILM = 120.0
SECONDS_TO_START = 120.0
# glibc gives memory of over 128 KiB back after each film and gets it anew, page by page, in a quarter of a film's time.
_KEEPS_MEMORY = {"MALLOC_TRIM_THRESHOLD_": str(64 * 2**20), "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20)}
_START = "import sys; sys.path[:] = sys.argv[1:]; from hilum.image.workers import serve; serve()"


def map_films(
    job: Job, items: Sequence[Any], *, workers: int | None, seconds_per_film: float = SECONDS_PER_FILM
) -> Iterator[tuple[int, Any]]:
    """(index, job(item)) of every item as they are done, in any order; or (index, FilmError) where job raised one.

    job: a function of a module, by whose name the workers find it; it must not raise anything but FilmError.
    workers: processes; None is one per core. Up to `FEW` items, and one worker, are done in this process.
    A film that kills its worker or takes longer than `seconds_per_film` gives a FilmError that says so.
    """
    count = min(workers or cores(), -(-len(items) // _CHUNK))
    if len(items) <= FEW or count <= 1:
        return _here(job, items)
    return _Pool(job, items, count, seconds_per_film).results()


def _here(job: Job, items: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    for index, item in enumerate(items):
        yield index, _tried(job, item)


def _tried(job: Job, item: Any) -> Any:
    try:
        return job(item)
    except FilmError as error:
        return error


def alone(job: Job, item: Any, *, seconds: float = SECONDS_PER_FILM) -> Any:
    """job(item) in a process of its own, for decoders that are known to abort the process on broken films.

    The process is kept for the next call. FilmError where it dies or takes longer than `seconds`. A worker may die
    anyway: see `in_a_worker`.
    """
    with _lone_lock:
        worker = _lone_worker()
        overdue = threading.Timer(seconds, worker.process.kill)
        overdue.start()
        try:
            (answer,) = worker.ask(job, [item])
        except (OSError, EOFError):
            worker.end()
            raise _to_blame() from None
        finally:
            overdue.cancel()
    if isinstance(answer, FilmError):
        raise answer
    return answer


def in_a_worker() -> bool:
    """Whether this process is one of `map_films` or `alone`, and may die over a film."""
    return _in_a_worker


_in_a_worker = False
_lone: dict[int, Worker] = {}  # by process, because a fork must not share its parent's
_lone_lock = threading.Lock()


def _lone_worker() -> Worker:
    worker = _lone.get(os.getpid())
    if worker is None or worker.process.poll() is not None:
        worker = _lone[os.getpid()] = Worker.start()
        atexit.register(worker.end)
        worker.greet()
    return worker


def _to_blame() -> FilmError:
    return FilmError("the decoder crashed on this film, or took too long and was stopped")


@dataclass
class Worker:
    """A process that does what it is asked."""

    process: subprocess.Popen[bytes]
    deadline: float = float("inf")

    @classmethod
    def start(cls) -> Worker:
        return cls(
            subprocess.Popen(
                [sys.executable, "-c", _START, *sys.path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                # What C libraries print there would spoil the user's progress bars.
                stderr=subprocess.DEVNULL,
                env={**_KEEPS_MEMORY, **os.environ, "OMP_NUM_THREADS": "1"},
            )
        )

    def greet(self) -> None:
        """Wait until it is ready; HilumError where it ends before."""
        try:
            _receive(self.process.stdout)
        except (OSError, EOFError):
            raise HilumError(
                "the processes that decode films do not start",
                next_step="Free some memory, or set training.workers = 1.",
            ) from None

    def ask(self, job: Job, items: list[Any], *, seconds: float | None = None) -> list[Any]:
        """The answers, in order; EOFError or OSError where it dies over them, or is killed after so many seconds."""
        _send(self.process.stdin, (job, items))
        if seconds is not None and self.process.stdout is not None:
            answered = select.poll()
            answered.register(self.process.stdout, select.POLLIN)
            if not answered.poll(1000 * seconds):
                self.process.kill()
        answer = _receive(self.process.stdout)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # what it had not read yet
                    pipe.close()


class _Pool:
    """Feeds `count` processes by a thread each; open only while `results` is iterated."""

    def __init__(self, job: Job, items: Sequence[Any], count: int, seconds_per_film: float) -> None:
        self._job, self._items, self._seconds = job, items, seconds_per_film
        self._lock = threading.Lock()
        chunks = [list(range(at, min(at + _CHUNK, len(items)))) for at in range(0, len(items), _CHUNK)]
        self._waiting: deque[list[int]] = deque(chunks)
        # Bounded, so that results do not pile up in memory where they are written slower than made.
        self._done: queue.Queue[list[tuple[int, Any]] | BaseException] = queue.Queue(maxsize=4 * count)
        self._workers: list[Worker] = []
        self._stopped = False
        self._threads = [threading.Thread(target=self._feed, daemon=True) for _ in range(count)]

    def results(self) -> Iterator[tuple[int, Any]]:
        left = len(self._items)
        try:
            for thread in self._threads:
                thread.start()
            while left:
                self._kill_overdue()
                try:
                    done = self._done.get(timeout=1.0)
                except queue.Empty:
                    continue
                if isinstance(done, BaseException):
                    raise done
                left -= len(done)
                yield from done
        finally:
            self._stop()

    def _feed(self) -> None:
        """The life of one thread: takes chunks, has a worker do them, and starts another one where it died."""
        try:
            worker = self._started()
            while (chunk := self._next()) is not None:
                done = self._ask(worker, chunk)
                if done is None:
                    worker.end()
                    worker = self._started()
                    done = self._blamed(chunk)
                self._put(done)
            worker.end()
        except BaseException as error:
            self._put(error)

    def _started(self) -> Worker:
        worker = Worker.start()
        worker.deadline = time.monotonic() + SECONDS_TO_START
        with self._lock:
            self._workers.append(worker)
            if self._stopped:
                worker.process.kill()
        worker.greet()
        worker.deadline = float("inf")
        return worker

    def _next(self) -> list[int] | None:
        with self._lock:
            return self._waiting.popleft() if self._waiting and not self._stopped else None

    def _ask(self, worker: Worker, chunk: list[int]) -> list[tuple[int, Any]] | None:
        """The results of a chunk, or None where the worker died over it."""
        worker.deadline = time.monotonic() + self._seconds * len(chunk)
        try:
            answer = worker.ask(self._job, [self._items[index] for index in chunk])
        except (OSError, EOFError):
            return None
        finally:
            worker.deadline = float("inf")
        return list(zip(chunk, answer, strict=True))

    def _blamed(self, chunk: list[int]) -> list[tuple[int, Any]]:
        if len(chunk) == 1:
            return [(chunk[0], _to_blame())]
        with self._lock:
            self._waiting.extendleft([index] for index in chunk)
        return []

    def _put(self, done: list[tuple[int, Any]] | BaseException) -> None:
        while not self._stopped:
            try:
                return self._done.put(done, timeout=0.5)
            except queue.Full:
                continue
        return None

    def _kill_overdue(self) -> None:
        now = time.monotonic()
        with self._lock:
            for worker in self._workers:
                if now > worker.deadline:
                    worker.process.kill()

    def _stop(self) -> None:
        with self._lock:
            self._stopped = True
            for worker in self._workers:
                worker.process.kill()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout=5.0)
        for worker in self._workers:
            worker.end()


def serve() -> None:
    """The life of a worker: chunks from standard input, results to standard output, until the pipe ends."""
    global _in_a_worker
    _in_a_worker = True
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its workers
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not mix with the answers
    import cv2

    cv2.setNumThreads(1)
    _send(answers, "ready")
    while True:
        try:
            job, items = _receive(sys.stdin.buffer)
        except EOFError:
            return
        except BaseException as error:
            _send(answers, RuntimeError(f"a worker cannot load its work: {error!r}"))
            return
        try:
            answer: Any = [_tried(job, item) for item in items]
        except Exception as error:
            answer = RuntimeError(f"{type(error).__name__} while reading films: {error}")
        _send(answers, answer)


def _send(pipe: BinaryIO | Any, value: Any) -> None:
    data = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    # In one piece, as its reader would else be woken for the size alone.
    pipe.write(len(data).to_bytes(8, "little") + data)
    pipe.flush()


def _receive(pipe: BinaryIO | Any) -> Any:
    size = pipe.read(8)
    if len(size) < 8:
        raise EOFError
    data = pipe.read(int.from_bytes(size, "little"))
    if len(data) < int.from_bytes(size, "little"):
        raise EOFError
    return pickle.loads(data)
