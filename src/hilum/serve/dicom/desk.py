"""From an object on disk to its answers: the input gate, the models, the report and the capture.

Every step is saved before the next one, so that a node that is killed goes on where it was.
"""

from __future__ import annotations

import logging
import threading
import time
import warnings
from collections.abc import Callable, Sequence

import pydicom
import sqlalchemy as sa

from hilum.errors import FilmError, HilumError
from hilum.image.dicom import read_header, why_not_a_chest_film
from hilum.image.facts import reason
from hilum.image.gate import warnings_of_header
from hilum.predict.members import members_of
from hilum.recipe.schema import Prepare
from hilum.serve.decoding import Decoder
from hilum.serve.dicom import objects
from hilum.serve.dicom.capture import LONGEST_PX, capture_of
from hilum.serve.dicom.guard import unforeseen
from hilum.serve.dicom.index import Answer
from hilum.serve.dicom.objects import Received
from hilum.serve.dicom.report import Said, report_of
from hilum.serve.dicom.source import source_of, written
from hilum.serve.errors import GoneError, ServeError, StoreDownError
from hilum.serve.models import Model
from hilum.serve.records import ResultRecord, film_record
from hilum.serve.server import Server
from hilum.serve.store import films as stored
from hilum.serve.store import log
from hilum.serve.store.database import Change, T, reading
from hilum.serve.store.folder import StoreFolder
from hilum.serve.store.people import Person
from hilum.training.environment import sha256_of

_LOG = logging.getLogger("hilum.serve.dicom")
_METHOD = "grad-cam"
_AT_ONCE = 16
# What the gate says of a film that is none of a whole frontal chest; its other doubts are told and the film predicted.
_NOT_APPLICABLE = ("no lungs:", "not frontal:")
_POLL_SECONDS = 0.25
_SWEEP_SECONDS = 60.0


class Desk:
    """Threads that look at what was received and answer what was predicted. post: told when answers are due.

    kept: whether answers are made for DICOMweb too, and stay as long as their film.
    """

    def __init__(
        self,
        server: Server,
        received: StoreFolder,
        answers: StoreFolder,
        targets: Sequence[str],
        post: Callable[[], None],
        *,
        kept: bool,
    ) -> None:
        self._server, self._received, self._answers = server, received, answers
        self._targets, self._post, self._kept = tuple(targets), post, kept
        self._swept = time.monotonic()
        self._weights = {model.model_id: _weights(model) for model in server.models}
        self._in_hand: set[str] = set()
        self._lock = threading.Lock()
        self._wake, self._closed = threading.Event(), threading.Event()
        count = (server.settings.decoders or 1) if server.settings.lungs else 0
        self._decoders = [Decoder([Prepare(side_px=256)], lungs=True) for _ in range(count)]
        jobs = [self._gating(decoder) for decoder in self._decoders] or [self._gating(None)]
        self._threads = [threading.Thread(target=self._live, args=(job,), daemon=True) for job in (*jobs, self._answer)]

    def start(self) -> None:
        """Clear what was left half done, and begin."""
        for folder, needed in ((self._received, objects.needed_objects), (self._answers, objects.needed_answers)):
            folder.clear_parts()
            self._sweep(folder, needed)
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """An object came."""
        self._wake.set()

    def close(self) -> None:
        """End after the objects in hand; the others stay where they are."""
        self._closed.set()
        self._wake.set()
        for thread in self._threads:
            thread.join(timeout=10.0)
        for decoder in self._decoders:
            decoder.close()

    def _ask(self, question: Change[T]) -> T:
        return reading(self._server.engine, question)

    def _save(self, change: Change[T]) -> T:
        return self._server.writer.now(change)

    def _live(self, job: Callable[[], bool]) -> None:
        """Do a job as long as there is one."""
        while not self._closed.is_set():
            try:
                busy = job()
            except Exception as error:  # the store is away or full: this thread must not end
                _LOG.warning("the node waits: %s", unforeseen(error))
                self._closed.wait(1.0)
                continue
            if not busy:
                self._wake.wait(_POLL_SECONDS)
                self._wake.clear()

    def _gating(self, decoder: Decoder | None) -> Callable[[], bool]:
        def gate_one() -> bool:
            with self._lock:
                there = self._ask(lambda connection: objects.ungated(connection, most=1, but=sorted(self._in_hand)))
                if not there:
                    return False
                self._in_hand.add(there[0].object_id)
            try:
                self._gate(there[0], decoder)
            except (ServeError, OSError):
                raise  # the object waits
            except Exception as error:
                _LOG.error("object %s could not be judged: %s", there[0].object_id, unforeseen(error))
                self._end(there[0], "failed", f"the node failed on it: {type(error).__name__}")
            finally:
                with self._lock:
                    self._in_hand.discard(there[0].object_id)
            return True

        return gate_one

    def _gate(self, one: Received, decoder: Decoder | None) -> None:
        data = self._bytes(one)
        if data is None:
            return
        try:
            why = why_not(data, decoder)
        except FilmError as error:
            self._end(one, "failed", reason(error))
            return
        if why:
            self._end(one, "not-applicable", why)
            return
        who = Person(f"dicom {one.caller}", "reader")
        film_id = self._server.accept(who, f"{one.object_id[:12]}.dcm", data, one.object_id).film_id
        self._save(lambda connection: objects.asked(connection, one.object_id, film_id))

    def _sweep(self, folder: StoreFolder, needed: Change[set[str]]) -> None:
        there = self._ask(needed)
        for name in folder.lying():
            if name not in there:
                folder.delete(name)

    def _answer(self) -> bool:
        if time.monotonic() - self._swept > _SWEEP_SECONDS:  # here, so that no answer is half made
            self._sweep(self._answers, objects.needed_answers)
            self._swept = time.monotonic()
        there = self._ask(lambda connection: objects.unanswered(connection, most=_AT_ONCE))
        for one in there:
            if self._closed.is_set():
                break
            self._answer_one(one)
        return bool(there)

    def _answer_one(self, one: Received) -> None:
        film = self._ask(lambda connection: stored.film_of(connection, one.film_id or ""))
        if film is None:  # deleted meanwhile, and the object with it
            return
        if film["state"] == "failed":
            self._end(one, "failed", film["error"])
            return
        data = self._bytes(one)
        if data is None:
            return
        record = film_record(film, self._server.models, self._server.points)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # highdicom warns of names with the name
                made = [
                    each
                    for result in record.results
                    for each in self._answers_of(data, one.film_id or "", result, record.doubts)
                ]
        except (StoreDownError, OSError):
            raise
        except Exception as error:
            # highdicom refuses values that came with the object with nearly every kind of error.
            _LOG.error("object %s could not be answered: %s", one.object_id, unforeseen(error))
            told = str(error) if isinstance(error, HilumError) else type(error).__name__
            self._end(one, "failed", f"the answer could not be written: {told}")
            return
        for answer, content in made:
            self._answers.write(objects.answer_name(answer.instance_uid), content)
        answers = [answer for answer, _ in made]

        def change(connection: sa.Connection) -> None:
            objects.post(connection, one.object_id, answers, self._targets)
            log.add(connection, self._server.folder.key, f"dicom {one.caller}", "answer", film_id=one.film_id)

        self._save(change)
        self._received.delete(one.object_id)
        _LOG.info("object %s is answered, %d answers to %d nodes", one.object_id, len(answers), len(self._targets))
        self._post()

    def _answers_of(
        self, data: bytes, film_id: str, result: ResultRecord, doubts: Sequence[str]
    ) -> list[tuple[Answer, bytes]]:
        """The report, and the capture where the film is kept, with their bytes; nothing where nobody gets them."""
        if not (self._targets or self._kept) or result.model_id not in self._weights:
            return []
        model = self._server.model(result.model_id)
        said = Said(
            result,
            self._weights[model.model_id],
            model.sets.coverage if model.sets else None,
            point_in_words(model, self._server.points.get(model.model_id)),
            (model.verdict_line, *model.predictor.notes),
            doubts,
        )
        source = source_of(data)
        made = [report_of(source, said)]
        if self._server.settings.keep_hours == 0:
            return [(_answer_of(each), written(each)) for each in made]
        try:
            mapped = self._server.pictures.overlay(film_id, model, _METHOD, result.predicted, longest_px=LONGEST_PX)
            made.append(capture_of(source, said, mapped, _METHOD))
        except GoneError:
            _LOG.info("a film is not kept any more, so its map is not made")
        return [(_answer_of(each), written(each)) for each in made]

    def _bytes(self, one: Received) -> bytes | None:
        try:
            return self._received.film(one.object_id).read_bytes()
        except FileNotFoundError:
            self._end(one, "failed", "its file is gone from the store")
            return None

    def _end(self, one: Received, state: objects.State, why: str) -> None:
        """An object that gets no answer. The reason may hold what the object says, so it goes to the store only."""
        self._save(lambda connection: objects.end(connection, one.object_id, state, why))
        self._received.delete(one.object_id)
        _LOG.info("object %s: %s", one.object_id, state)


def why_not(data: bytes, decoder: Decoder | None) -> str | None:
    """Why an object is no frontal film of a chest, or None. FilmError where it cannot be read.

    decoder: looks for the lungs; None asks the header only.
    """
    header = read_header(data)
    if found := why_not_a_chest_film(header):
        return found
    if warned := warnings_of_header(header):
        return str(warned[0])
    doubts = decoder(data).doubts if decoder is not None else ()
    return next((doubt for doubt in doubts if doubt.startswith(_NOT_APPLICABLE)), None)


def point_in_words(model: Model, wished: float | None) -> str:
    """The operating point in use, with its thresholds."""
    if wished is None:
        return "none chosen; the most probable class is told"
    thresholds = ", ".join(
        f"{name} from {point['threshold']:.3f}"
        for name, point in model.points[wished].items()
        if point["threshold"] is not None
    )
    return f"sensitivity {wished:g} wished on validation: {thresholds}"


def _answer_of(made: pydicom.Dataset) -> Answer:
    return Answer(
        str(made.SOPInstanceUID),
        str(made.SeriesInstanceUID),
        str(made.SOPClassUID),
        str(made.file_meta.TransferSyntaxUID),
        str(made.Modality),
        made.get("Rows"),
        made.get("Columns"),
    )


def _weights(model: Model) -> str:
    return "+".join(sha256_of(path) for path in members_of(model.path).weights)
