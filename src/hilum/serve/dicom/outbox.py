"""Sending: answers go to their nodes until they arrived; what is not there yet survives a restart.

An answer's UID is made of its source's and the model's, so that one that arrives twice, because the node's reply was
lost, is the same object to the node: it arrives once, as far as DICOM can tell.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

import sqlalchemy as sa

from hilum.serve.dicom import objects
from hilum.serve.dicom.delivery import Deliver, delivering
from hilum.serve.dicom.guard import unforeseen
from hilum.serve.dicom.objects import Due
from hilum.serve.dicom.settings import NodeSettings, Peer, WebPeer
from hilum.serve.store.database import Writer, reading
from hilum.serve.store.folder import StoreFolder

_LOG = logging.getLogger("hilum.serve.dicom")
_AT_ONCE = 100
_LEAST_WAIT, _MOST_WAIT = 1.0, 60.0
# Refusals of one object after which it is left to a person; a node that does not answer is tried for ever.
MOST_TRIES = 8
_IDLE_SECONDS = 1.0


class Outbox:
    """A thread for each node. kept: whether answers stay here when every node has them, until the desk clears them."""

    def __init__(
        self, engine: sa.Engine, writer: Writer, answers: StoreFolder, settings: NodeSettings, *, kept: bool
    ) -> None:
        self._engine, self._writer, self._answers, self._settings = engine, writer, answers, settings
        self._kept = kept
        self._closed = threading.Event()
        self._wakes = {target: threading.Event() for target in settings.targets}
        self._threads = [
            threading.Thread(target=self._live, args=(target,), name=f"dicom-to-{target.title}", daemon=True)
            for target in settings.targets
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """Answers are due."""
        for each in self._wakes.values():
            each.set()

    def close(self) -> None:
        """End after the answer in hand."""
        self._closed.set()
        self.wake()
        for thread in self._threads:
            thread.join(timeout=10.0)

    def _live(self, target: Peer | WebPeer) -> None:
        wait = _LEAST_WAIT
        while not self._closed.is_set():
            try:
                there = reading(self._engine, partial(objects.due, target=str(target), most=_AT_ONCE))
                reached = not there or self._send(target, there)
            except Exception as error:  # the store is away: this thread must not end
                _LOG.warning("the outbox waits: %s", unforeseen(error))
                there, reached = [], False
            if reached:
                wait = _LEAST_WAIT
                if not there:
                    self._wakes[target].wait(_IDLE_SECONDS)
                    self._wakes[target].clear()
            else:
                _LOG.warning("%s does not take answers now; the next try is in %.0f s", target.title, wait)
                self._closed.wait(wait * random.uniform(0.8, 1.2))
                wait = min(2 * wait, _MOST_WAIT)

    def _send(self, target: Peer | WebPeer, there: Sequence[Due]) -> bool:
        """Send one after the other; False where the node cannot be reached, or went away."""
        with delivering(self._settings, target) as deliver:
            for each in there:
                if self._closed.is_set():
                    break
                if deliver is None or not self._send_one(deliver, target, each):
                    return False
        return True

    def _send_one(self, deliver: Deliver, target: Peer | WebPeer, one: Due) -> bool:
        name = objects.answer_name(one.instance_uid)
        try:
            data = self._answers.film(name).read_bytes()
        except FileNotFoundError:
            self._refused(target, one, "its file is gone from the store", for_good=True)
            return True
        why = deliver(data)
        if why is None:
            return False
        if why:
            self._refused(target, one, why)
            return True
        everywhere = self._writer.now(partial(objects.sent, instance_uid=one.instance_uid, target=str(target)))
        if everywhere and not self._kept:
            self._answers.delete(name)
        _LOG.info("answer %s arrived at %s", name, target.title)
        return True

    def _refused(self, target: Peer | WebPeer, one: Due, why: str, *, for_good: bool = False) -> None:
        tries = one.tries + 1
        wait = min(_LEAST_WAIT * 2**tries, _MOST_WAIT)
        again = (datetime.now(UTC) + timedelta(seconds=wait)).isoformat(timespec="microseconds")
        last = for_good or tries >= MOST_TRIES
        _LOG.warning("answer %s was refused by %s: %s", objects.answer_name(one.instance_uid), target.title, why)
        self._writer.now(
            partial(
                objects.refused,
                instance_uid=one.instance_uid,
                target=str(target),
                why=why,
                tries=tries,
                again_at=None if last else again,
            )
        )
