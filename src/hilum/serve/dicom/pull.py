"""Fetching films from a PACS into a folder: what is there by C-FIND, and what is missing here by C-GET or C-MOVE.

FOLDER/films/*.dcm      the films; a name is the object's UID, or its keyed hash
FOLDER/left-out.json    why an object is not among them, by name
FOLDER/manifest.parquet what the reader `dicom` reads of them
"""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import pydicom
from pydicom.uid import UID
from pynetdicom import AE, build_role, evt

from hilum.data.manifest import write_manifest
from hilum.data.readers import dicom as reader
from hilum.errors import DataError, FilmError, RequestError
from hilum.files import whole_file, write_json
from hilum.image.dicom import read_header
from hilum.progress import SILENT, Progress
from hilum.serve.dicom import accepted, index
from hilum.serve.dicom.anonymise import anonymised, name_of
from hilum.serve.dicom.listening import listen, silence
from hilum.serve.dicom.settings import Caller, NodeSettings, Peer
from hilum.serve.settings import is_loopback

# PS3.4 C.6.2, the study root.
FIND, GET, MOVE = (UID(f"1.2.840.10008.5.1.4.1.2.2.{number}") for number in (1, 3, 2))
QUERY_CLASSES: Final[Mapping[str, str]] = {
    FIND: "Study Root Query/Retrieve Information Model - FIND",
    GET: "Study Root Query/Retrieve Information Model - GET",
    MOVE: "Study Root Query/Retrieve Information Model - MOVE",
}
DATES = re.compile(r"\d{8}|\d{8}-(\d{8})?|-\d{8}")
# Objects asked for by one request.
_TOGETHER = 50
_PENDING = (0xFF00, 0xFF01)


@dataclass(frozen=True)
class Wanted:
    """Which films. dates: DICOM's range, YYYYMMDD-YYYYMMDD, or "" for all. body_part: "" for any.

    What a PACS does not say of a series is no reason to leave it out.
    """

    dates: str = ""
    modalities: tuple[str, ...] = ("CR", "DX")
    body_part: str = "CHEST"

    def check(self) -> None:
        """RequestError for dates that are none."""
        if self.dates and not DATES.fullmatch(self.dates):
            raise RequestError(
                f"{self.dates!r} is no range of dates",
                where="--date",
                next_step="Write it as 20240101-20241231, 20240305, 20240101- or -20241231.",
            )


@dataclass(frozen=True)
class Series:
    """One series of the PACS, and its objects."""

    study_uid: str
    series_uid: str
    instance_uids: tuple[str, ...]


@dataclass
class Pulled:
    """What came of it: how many were there before, came now, bear marks, and were left out by reason."""

    found: int = 0
    before: int = 0
    came: int = 0
    marked: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


class Films:
    """The folder that films come into. key: of the hashes, where films are anonymised."""

    def __init__(self, folder: Path, key: bytes | None) -> None:
        self.folder, self._key = folder, key
        self._path = folder / "left-out.json"
        self._left_out: dict[str, str] = json.loads(self._path.read_text()) if self._path.exists() else {}
        self._lock = threading.Lock()
        self.pulled = Pulled()
        (folder / "films").mkdir(parents=True, exist_ok=True)

    def has(self, instance_uid: str) -> bool:
        """Whether the object is here, or was looked at and left out."""
        name = self._name(instance_uid)
        return name in self._left_out or (self.folder / "films" / f"{name}.dcm").exists()

    def keep(self, event: evt.Event) -> int:
        """Answer a C-STORE."""
        if event.request.DataSet is None:
            return accepted.NOT_UNDERSTOOD
        instance_uid = str(event.request.AffectedSOPInstanceUID)
        if not index.UID.fullmatch(instance_uid):
            return accepted.NOT_MATCHING
        name, data = self._name(instance_uid), event.encoded_dataset()
        try:
            header = read_header(data)
            if header.sop_uid != instance_uid:
                return accepted.NOT_MATCHING
            if self._key is not None:
                made = anonymised(data, header, self._key)
                name, data = made.name, made.data
                self.pulled.marked += made.marked
        except FilmError as error:
            with self._lock:
                self._left_out[name] = error.what if self._key is None else _without_values(error)
                self.pulled.left_out[self._left_out[name]] += 1
                write_json(self._path, self._left_out)
            return accepted.OK
        try:
            with whole_file(self.folder / "films" / f"{name}.dcm") as part:
                part.write_bytes(data)
        except OSError:
            return accepted.OUT_OF_RESOURCES
        self.pulled.came += 1
        return accepted.OK

    def _name(self, instance_uid: str) -> str:
        return instance_uid if self._key is None else name_of(self._key, instance_uid)


def pull(
    peer: Peer,
    folder: Path,
    wanted: Wanted,
    settings: NodeSettings,
    *,
    key: bytes | None = None,
    move: bool = False,
    progress: Progress = SILENT,
) -> Pulled:
    """Fetch the films that are wanted and not here yet, and write the manifest of all that are.

    settings: how this node calls itself, its TLS, and with `move` the port at which the PACS reaches it. Stopped at any
    moment, the next call fetches the rest. RequestError where the PACS cannot be reached or refuses; DataError where no
    film of the chest is here afterwards.
    """
    wanted.check()
    silence()
    films = Films(folder, key)
    with _associated(peer, settings, {FIND: accepted.ANSWER_SYNTAXES}) as association:
        there = list(_series(association, wanted))
    films.pulled.found = sum(len(each.instance_uids) for each in there)
    missing = [
        replace(each, instance_uids=tuple(uid for uid in each.instance_uids if not films.has(uid))) for each in there
    ]
    films.pulled.before = films.pulled.found - sum(len(each.instance_uids) for each in missing)
    fetch = _moved if move else _got
    with progress.task("fetching", films.pulled.found - films.pulled.before) as advance:
        for count in fetch(peer, settings, films, missing):
            advance(count)
    write_manifest(reader.read(folder / "films", name=folder.resolve().name), folder / "manifest.parquet")
    return films.pulled


def _series(association: Any, wanted: Wanted) -> Iterator[Series]:
    """The series that are wanted, of every study in the range of dates."""
    study = _identifier("STUDY", StudyDate=wanted.dates, StudyInstanceUID="")
    if wanted.modalities:
        study.ModalitiesInStudy = list(wanted.modalities)
    for found in list(_found(association, study)):
        series = _identifier(
            "SERIES", StudyInstanceUID=found.StudyInstanceUID, SeriesInstanceUID="", Modality="", BodyPartExamined=""
        )
        for one in list(_found(association, series)):
            body_part = str(one.get("BodyPartExamined") or "")
            if wanted.modalities and str(one.get("Modality") or "") not in ("", *wanted.modalities):
                continue
            if body_part and wanted.body_part not in body_part.upper():
                continue
            image = _identifier(
                "IMAGE",
                StudyInstanceUID=found.StudyInstanceUID,
                SeriesInstanceUID=one.SeriesInstanceUID,
                SOPInstanceUID="",
            )
            uids = [str(each.SOPInstanceUID) for each in _found(association, image) if "SOPInstanceUID" in each]
            yield Series(
                str(found.StudyInstanceUID),
                str(one.SeriesInstanceUID),
                tuple(uid for uid in uids if index.UID.fullmatch(uid)),
            )


def _found(association: Any, identifier: pydicom.Dataset) -> Iterator[pydicom.Dataset]:
    """What the PACS answers to a query. RequestError where it refuses it or goes away."""
    for status, answer in association.send_c_find(identifier, FIND):
        code = status.get("Status")
        if code in _PENDING and answer is not None:
            yield answer
        elif code != accepted.OK:
            raise RequestError(
                f"the PACS refused the query: {'no answer' if code is None else f'status {code:04X}'}",
                next_step="Look at its log; give the same command again.",
            )


def _got(peer: Peer, settings: NodeSettings, films: Films, missing: Sequence[Series]) -> Iterator[int]:
    """Fetch over the association that asks (C-GET)."""
    contexts = {GET: accepted.ANSWER_SYNTAXES, **dict.fromkeys(accepted.FILM_CLASSES, accepted.FILM_SYNTAXES)}
    with _associated(
        peer,
        settings,
        contexts,
        ext_neg=[build_role(sop_class, scp_role=True) for sop_class in accepted.FILM_CLASSES],
        evt_handlers=[(evt.EVT_C_STORE, films.keep)],
    ) as association:
        for identifier, count in _requests(missing):
            _carried_out(association.send_c_get(identifier, GET))
            yield count


def _moved(peer: Peer, settings: NodeSettings, films: Films, missing: Sequence[Series]) -> Iterator[int]:
    """Have the PACS send to a port of ours (C-MOVE); only its title may call there."""
    own = replace(
        settings,
        host="127.0.0.1" if is_loopback(peer.host) else "0.0.0.0",
        allowed=(Caller(peer.title),),
    )
    listening = listen(films.keep, own)
    try:
        with _associated(peer, settings, {MOVE: accepted.ANSWER_SYNTAXES}) as association:
            for identifier, count in _requests(missing):
                _carried_out(association.send_c_move(identifier, settings.title, MOVE))
                yield count
    finally:
        listening.shutdown()


def _requests(missing: Sequence[Series]) -> Iterator[tuple[pydicom.Dataset, int]]:
    for series in missing:
        for at in range(0, len(series.instance_uids), _TOGETHER):
            uids = list(series.instance_uids[at : at + _TOGETHER])
            yield (
                _identifier(
                    "IMAGE",
                    StudyInstanceUID=series.study_uid,
                    SeriesInstanceUID=series.series_uid,
                    SOPInstanceUID=uids,
                ),
                len(uids),
            )


def _carried_out(answers: Iterator[tuple[pydicom.Dataset, pydicom.Dataset | None]]) -> None:
    """DataError where objects did not come; what came stays."""
    code: int | None = None
    for status, _ in answers:
        code = status.get("Status")
    if code != accepted.OK:
        raise DataError(
            f"the PACS did not send all: {'it went away' if code is None else f'status {code:04X}'}",
            next_step="What came is kept. Give the same command again for the rest.",
        )


@contextmanager
def _associated(
    peer: Peer, settings: NodeSettings, contexts: Mapping[Any, Mapping[str, str]], **more: Any
) -> Iterator[Any]:
    """An association while the block runs. RequestError where the PACS does not agree to one."""
    ae = AE(ae_title=settings.title)
    ae.connection_timeout = ae.acse_timeout = 10.0
    ae.network_timeout = ae.dimse_timeout = 2 * settings.limits.idle_seconds
    for sop_class, syntaxes in contexts.items():
        ae.add_requested_context(sop_class, list(syntaxes))
    tls = (settings.calling(), peer.host) if peer.tls else None
    association = ae.associate(peer.host, peer.port, ae_title=peer.title, tls_args=tls, **more)
    if not association.is_established:
        why = "it refuses this node's title or what it asks for" if association.is_rejected else "nothing answers there"
        raise RequestError(
            f"no association: {why}", where=str(peer), next_step="Compare title, address and port with the PACS's own."
        )
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def _identifier(level: str, **values: Any) -> pydicom.Dataset:
    made = pydicom.Dataset()
    made.QueryRetrieveLevel = level
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def _without_values(error: FilmError) -> str:
    """A reason as `anonymised` words it; what else may have been told may hold values of the object."""
    known = ("by its header", "its picture", "it has no UID")
    return error.what if error.what.startswith(known) else "it cannot be read"
