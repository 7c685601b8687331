"""The work on films: decoded in processes, prepared, predicted in batches; a bounded queue in front.

Films whose clients wait go first. What was accepted to be worked on later lies in the store until it is done, so the
store is its queue, and a server that was killed goes on with it.
"""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hilum.errors import FilmError
from hilum.files import cores
from hilum.image.facts import reason
from hilum.serve.decoding import Decoder, Examined
from hilum.serve.errors import BusyError, UnreadableError
from hilum.serve.models import Model
from hilum.serve.store.films import Found, NewResult

BATCH = 16
SOON, LATER = 0, 1


@dataclass(frozen=True)
class Outcome:
    """What came of a film: what its file is, and what each model says. seconds: from the queue to here."""

    found: Found
    made: tuple[NewResult, ...]
    seconds: float


@dataclass(order=True)
class _Job:
    place: tuple[int, int]
    data: bytes | Callable[[], bytes] = field(compare=False)
    keep: Callable[[], None] | None = field(compare=False)
    done: Future[Outcome] = field(compare=False)
    since: float = field(compare=False)


class Work:
    """Decoders and the predictor, each a thread; `ask` puts a film before them.

    most_waiting: films whose clients wait; one more is refused with BusyError.
    """

    def __init__(
        self,
        models: Sequence[Model],
        keyed: Callable[[str], str],
        *,
        lungs: bool = True,
        most_waiting: int = 256,
        decoders: int | None = None,
        identify: bool = False,
    ) -> None:
        self.models = tuple(models)
        # How the store keeps a patient's number.
        self.patient_key: Callable[[str], str] = (lambda text: text[:64]) if identify else keyed
        self._most_waiting = most_waiting
        self._waiting: queue.PriorityQueue[_Job] = queue.PriorityQueue()
        self._decoded: queue.Queue[tuple[_Job, Examined] | None] = queue.Queue(maxsize=2 * BATCH)
        self._count = itertools.count()
        self._closed = False
        hows = tuple(dict.fromkeys(how for model in models for how in model.predictor.preparations))
        self._places = [[hows.index(how) for how in model.predictor.preparations] for model in models]
        self._decoders = [Decoder(hows, lungs=lungs) for _ in range(decoders or cores())]
        self._threads = [threading.Thread(target=self._decode, args=(each,), daemon=True) for each in self._decoders]
        self._threads.append(threading.Thread(target=self._predict, daemon=True))
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Films that are not decoded yet."""
        return self._waiting.qsize()

    def ask(
        self, data: bytes | Callable[[], bytes], *, rank: int = SOON, keep: Callable[[], None] | None = None
    ) -> Future[Outcome]:
        """What the models say of a film's bytes. The future holds UnreadableError where they are no film.

        keep: called before it is done, once they are known to be one, by the decoder's thread, which may wait for a
        disk. BusyError, at once, where so many wait that its turn would come late.
        """
        if rank == SOON and self._waiting.qsize() >= self._most_waiting:
            raise BusyError("too many films wait", next_step="Come back after the seconds of Retry-After.")
        job = _Job((rank, next(self._count)), data, keep, Future(), time.monotonic())
        self._waiting.put(job)
        return job.done

    def close(self) -> None:
        """End; what waits in memory is left, and what was accepted lies in the store."""
        self._closed = True
        for _ in self._decoders:
            self._waiting.put(_Job((-1, next(self._count)), b"", None, Future(), 0.0))
        for thread in self._threads[:-1]:
            thread.join(timeout=5.0)
        self._decoded.put(None)
        self._threads[-1].join(timeout=5.0)
        for decoder in self._decoders:
            decoder.close()

    def _decode(self, decoder: Decoder) -> None:
        decoder.start()
        while True:
            job = self._waiting.get()
            if self._closed:
                return
            try:
                examined = decoder(job.data if isinstance(job.data, bytes) else job.data())
                if job.keep is not None:
                    job.keep()
            except FilmError as error:
                job.done.set_exception(UnreadableError(reason(error)))
            except Exception as error:
                job.done.set_exception(error)
            else:
                self._decoded.put((job, examined))

    def _predict(self) -> None:
        self._warm_up()
        while (first := self._decoded.get()) is not None:
            group = [first]
            with suppress(queue.Empty):
                while len(group) < BATCH and (another := self._decoded.get_nowait()) is not None:
                    group.append(another)
            try:
                made = self._made([examined for _, examined in group])
            except Exception as error:
                for job, _ in group:
                    job.done.set_exception(error)
                continue
            now = time.monotonic()
            for (job, examined), results in zip(group, made, strict=True):
                job.done.set_result(Outcome(self._found(examined), results, now - job.since))

    def _warm_up(self) -> None:
        """Have the networks converted and compared now, on noise, so that the first film does not wait for it."""
        noise = np.random.default_rng(0)
        for model in self.models:
            sides = [how.side_px for how in model.predictor.preparations]
            model.predictor.probabilities(*(noise.integers(0, 255, (8, side, side), np.uint8) for side in sides))

    def _made(self, examined: Sequence[Examined]) -> list[tuple[NewResult, ...]]:
        by_model = []
        for model, places in zip(self.models, self._places, strict=True):
            p = model.predictor.probabilities(*(np.stack([each.squares[at] for each in examined]) for at in places))
            by_model.append(results_of(model, p))
        return list(zip(*by_model, strict=True))

    def _found(self, examined: Examined) -> Found:
        return Found(
            examined.kind,
            examined.width,
            examined.height,
            examined.view,
            self.patient_key(examined.patient_id) if examined.patient_id else None,
            examined.doubts,
        )


def results_of(model: Model, p: NDArray[np.float64]) -> list[NewResult]:
    """What a model says of films with probabilities p (N, K)."""
    sets = model.sets.sets(p) if model.sets else None
    best = p.argmax(1)
    return [
        NewResult(
            model.model_id,
            dict(zip(model.classes, map(float, row), strict=True)),
            model.classes[best[number]],
            float(row[best[number]]),
            None
            if sets is None
            else [name for name, inside in zip(model.classes, sets[number], strict=True) if inside],
        )
        for number, row in enumerate(p)
    ]
