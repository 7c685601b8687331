"""Fetching films from a PACS into a folder, over DIMSE or DICOMweb: what is there, and of that what is missing here.

FOLDER/films/*.dcm      the films; a name is the object's UID, or its keyed hash
FOLDER/left-out.json    why an object is not among them, by name
FOLDER/manifest.parquet what the reader `dicom` reads of them
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

from hilum.data.manifest import write_manifest
from hilum.data.readers import dicom as reader
from hilum.errors import FilmError, RequestError
from hilum.files import whole_file, write_json
from hilum.image.dicom import read_header
from hilum.progress import SILENT, Progress
from hilum.serve.dicom import accepted, index, pull_dimse, pull_web
from hilum.serve.dicom.anonymise import anonymised, name_of
from hilum.serve.dicom.listening import silence
from hilum.serve.dicom.settings import NodeSettings, Peer, WebPeer
from hilum.serve.dicom.source import meta_of
from hilum.serve.dicom.wanted import Wanted


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

    def keep(self, instance_uid: str, data: bytes) -> int:
        """Keep what came under a UID; the status to answer a C-STORE with."""
        if not index.UID.fullmatch(instance_uid):
            return accepted.NOT_MATCHING
        name = self._name(instance_uid)
        try:
            if meta_of(data)[0] not in accepted.FILM_SYNTAXES:
                raise FilmError("its transfer syntax is not read")
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
    peer: Peer | WebPeer,
    folder: Path,
    wanted: Wanted,
    settings: NodeSettings,
    *,
    key: bytes | None = None,
    move: bool = False,
    progress: Progress = SILENT,
) -> Pulled:
    """Fetch the films that are wanted and not here yet, and write the manifest of all that are.

    settings: how this node calls itself, its TLS, and with `move`, which DICOMweb has not, the port at which the PACS
    reaches it. Stopped at any moment, the next call fetches the rest. RequestError where the PACS cannot be reached or
    refuses; DataError where no film of the chest is here afterwards.
    """
    wanted.check()
    silence()
    films = Films(folder, key)
    if isinstance(peer, WebPeer):
        if move:
            raise RequestError("a DICOMweb service has no C-MOVE", where="--move", next_step="Leave it out.")
        there = pull_web.there(peer, settings, wanted)
    else:
        there = pull_dimse.there(peer, settings, wanted)
    films.pulled.found = sum(len(each.instance_uids) for each in there)
    missing = [
        replace(each, instance_uids=tuple(uid for uid in each.instance_uids if not films.has(uid))) for each in there
    ]
    films.pulled.before = films.pulled.found - sum(len(each.instance_uids) for each in missing)
    with progress.task("fetching", films.pulled.found - films.pulled.before) as advance:
        if isinstance(peer, WebPeer):
            for why in pull_web.got(peer, settings, films.keep, missing):
                if why:
                    films.pulled.left_out[why] += 1
                advance(1)
        else:
            for count in (pull_dimse.moved if move else pull_dimse.got)(peer, settings, films.keep, missing):
                advance(count)
    write_manifest(reader.read(folder / "films", name=folder.resolve().name), folder / "manifest.parquet")
    return films.pulled


def _without_values(error: FilmError) -> str:
    """A reason as `anonymised` words it; what else may have been told may hold values of the object."""
    known = ("by its header", "its picture", "it has no UID", "its transfer syntax")
    return error.what if error.what.startswith(known) else "it cannot be read"
