"""Films on their way in: bodies, multipart forms and ZIPs, counted as they arrive; nothing is taken on its word."""

from __future__ import annotations

import asyncio
import io
import struct
import tempfile
import time
import zipfile
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, MultipartState, parse_options_header
from starlette.requests import ClientDisconnect

from hilum.serve.errors import BadRequestError, BusyError, SlowClientError, TooLargeError
from hilum.serve.settings import Limits

ZIP_MARKS = (b"PK\x03\x04", b"PK\x05\x06")
_IN_MEMORY = 2**20
_MULTIPART_OVERHEAD = 64 * 2**10
_MOST_DIRECTORY_BYTES = 8 * 2**20
_LONGEST_NAME = 160
_IGNORED = {".ds_store", "thumbs.db", "desktop.ini", "dicomdir"}


def shown_name(name: str) -> str:
    """A file's name as a client sent it, to be shown and never to be opened.

    >>> shown_name("../../etc/pass\\x00wd"), shown_name("C:\\\\films\\\\a.png"), shown_name("..")
    ('passwd', 'a.png', 'film')
    """
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    clean = "".join(letter for letter in last if letter.isprintable()).strip()
    return clean[:_LONGEST_NAME] if clean.strip(".") else "film"


@dataclass
class Room:
    """The bytes that films in memory may take together."""

    most_bytes: int
    taken: int = 0

    def take(self, count: int) -> None:
        """BusyError where there is no room for so many more."""
        if self.taken + count > self.most_bytes:
            raise BusyError("too many large films wait", next_step="Come back after the seconds of Retry-After.")
        self.taken += count

    def give_back(self, count: int) -> None:
        self.taken -= count


@dataclass
class Upload:
    """One file of a form. too_large: whether it went over its limit; what came after was counted and dropped."""

    name: str
    file: IO[bytes]
    size: int = 0
    too_large: bool = False


async def pieces(request: Request, limits: Limits, most_bytes: int) -> AsyncIterator[bytes]:
    """The body as it arrives. TooLargeError over its limit, SlowClientError for one that trickles."""
    said = request.headers.get("content-length", "")
    if said.isdecimal() and int(said) > most_bytes:
        raise _too_large("the request", most_bytes)
    stream, start, count = request.stream(), time.monotonic(), 0
    while True:
        try:
            async with asyncio.timeout(limits.idle_seconds):
                piece = await anext(stream, None)
        except ClientDisconnect:
            raise SlowClientError("the client went away", next_step="Send it again.") from None
        except TimeoutError:
            raise SlowClientError(f"nothing came for {limits.idle_seconds:.0f} s", next_step="Send it again.") from None
        if piece is None:
            return
        count += len(piece)
        if count > most_bytes:
            raise _too_large("the request", most_bytes)
        late = time.monotonic() - start - limits.grace_seconds
        if late > 0 and count < late * limits.least_rate:
            raise SlowClientError(f"under {limits.least_rate} bytes a second came", next_step="Send it again.")
        yield piece


@asynccontextmanager
async def one_film(request: Request, limits: Limits, room: Room) -> AsyncIterator[tuple[str, bytes]]:
    """Name and bytes of the one film of a request: its body, or the first file of a multipart form.

    They take their room until the block ends.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    taken = 0
    try:
        if kind == b"multipart/form-data":
            form = Form(options.get(b"boundary", b""), limits, folder=None)
            async for piece in pieces(request, limits, limits.file_bytes + _MULTIPART_OVERHEAD):
                room.take(len(piece))
                taken += len(piece)
                form.feed(piece)
            uploads = form.end()
            try:
                if len(uploads) != 1:
                    raise BadRequestError(
                        f"the form holds {len(uploads)} files", next_step="Send one, or many to /api/v1/films."
                    )
                if uploads[0].too_large:
                    raise _too_large("the film", limits.file_bytes)
                name = uploads[0].name
                uploads[0].file.seek(0)
                data = uploads[0].file.read()
            finally:
                for upload in uploads:
                    upload.file.close()
        else:
            name, body = request.query_params.get("name", ""), []
            async for piece in pieces(request, limits, limits.file_bytes):
                room.take(len(piece))
                taken += len(piece)
                body.append(piece)
            data = b"".join(body)
        if not data:
            raise BadRequestError("no film came", next_step="Send its bytes as the body, or a multipart form.")
        yield shown_name(name), data
    finally:
        room.give_back(taken)


def file_name(headers: Mapping[bytes, bytes]) -> str | None:
    """The name of the file that a part of a form is, or None."""
    _, options = parse_options_header(headers.get(b"content-disposition", b""))
    return options[b"filename"].decode("utf-8", "replace") if b"filename" in options else None


@dataclass
class Form:
    """A multipart body, parsed as it arrives; `done` has the files that are whole.

    folder: where files over 1 MiB lie until they are closed, without a name; None keeps them in memory. named: what a
    part is called, of its headers; one without a name is skipped.
    """

    boundary: bytes
    limits: Limits
    folder: Path | None
    done: list[Upload] = field(default_factory=list)
    count: int = 0
    named: Callable[[Mapping[bytes, bytes]], str | None] = file_name

    def __post_init__(self) -> None:
        if not self.boundary or len(self.boundary) > 200:
            raise BadRequestError("the form has no boundary", next_step="Send it as multipart/form-data.")
        self._headers: dict[bytes, bytes] = {}
        self._key = self._value = b""
        self._now: Upload | None = None
        self._parser = MultipartParser(
            self.boundary,
            {
                "on_part_begin": self._begin,
                "on_part_data": self._data,
                "on_part_end": self._end,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
            },
        )

    def feed(self, piece: bytes) -> None:
        """The next bytes of the body. BadRequestError where it is no form, or holds too many files."""
        try:
            self._parser.write(piece)
        except FormParserError:
            raise BadRequestError("this is no whole multipart form", next_step="Send it again.") from None

    def end(self) -> list[Upload]:
        """The files that are whole and not taken out of `done` yet. BadRequestError where the body ended too early."""
        if self._now is not None or self._parser.state != MultipartState.END:
            self.close()
            raise BadRequestError("the form was cut off", next_step="Send it again.")
        return self.done

    def close(self) -> None:
        """Drop what is not done with."""
        for upload in [*self.done, *([self._now] if self._now else [])]:
            upload.file.close()

    def _begin(self) -> None:
        self._headers, self._key, self._value = {}, b"", b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._key += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._key.lower()] = self._value
        self._key = self._value = b""

    def _headers_finished(self) -> None:
        name = self.named(self._headers)
        if name is None:
            return
        self.count += 1
        if self.count > self.limits.files:
            raise TooLargeError(f"at most {self.limits.files} films come at once", next_step="Send them in parts.")
        file: IO[bytes] = io.BytesIO()
        if self.folder is not None:  # closed by whoever takes it
            file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY, dir=str(self.folder))  # noqa: SIM115
        self._now = Upload(name, file)

    def _data(self, data: bytes, start: int, end: int) -> None:
        upload = self._now
        if upload is None:
            return
        if not upload.too_large:
            upload.file.write(data[start:end])
        upload.size += end - start
        if upload.size > self.limits.file_bytes and not _begins_as_zip(upload.file):
            upload.too_large = True
            upload.file.seek(0)
            upload.file.truncate()

    def _end(self) -> None:
        if self._now is not None:
            self.done.append(self._now)
            self._now = None


def _begins_as_zip(file: IO[bytes]) -> bool:
    at = file.tell()
    file.seek(0)
    head = file.read(4)
    file.seek(at)
    return head in ZIP_MARKS


def films_in(upload: Upload, limits: Limits) -> Iterator[tuple[str, bytes | TooLargeError]]:
    """Name and bytes of the film that a file is, or of each that a ZIP holds; an error in place of one too large.

    A ZIP is read and never unpacked to a disk. BadRequestError where it is broken; TooLargeError where it holds too
    many films, or too many bytes.
    """
    if upload.too_large:
        yield shown_name(upload.name), _too_large("the film", limits.file_bytes)
        return
    if not _begins_as_zip(upload.file):
        upload.file.seek(0)
        yield shown_name(upload.name), upload.file.read()
        return
    _check_directory(upload.file, limits)
    total = 0
    try:
        with zipfile.ZipFile(upload.file) as archive:
            members = [each for each in archive.infolist() if _is_film(each)]
            if len(members) > limits.files:
                raise TooLargeError(f"the ZIP holds {len(members)} files; at most {limits.files} are read")
            for member in members:
                if member.flag_bits & 1:
                    raise BadRequestError("the ZIP has a password", next_step="Make one without.")
                with archive.open(member) as file:
                    data = file.read(limits.file_bytes + 1)
                total += len(data)
                if total > limits.unzipped_bytes:
                    raise _too_large("what the ZIP holds", limits.unzipped_bytes)
                too_large = len(data) > limits.file_bytes
                yield shown_name(member.filename), _too_large("the film", limits.file_bytes) if too_large else data
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, struct.error):
        raise BadRequestError("the ZIP is broken, or of a kind that is not read", next_step="Make it again.") from None


def _is_film(member: zipfile.ZipInfo) -> bool:
    path = PurePosixPath(member.filename.replace("\\", "/"))
    hidden = any(part == "__MACOSX" or (part.startswith(".") and part != "..") for part in path.parts)
    return not member.is_dir() and not hidden and path.name.lower() not in _IGNORED


def _check_directory(file: IO[bytes], limits: Limits) -> None:
    """TooLargeError for a ZIP whose table of contents alone would fill the memory (APPNOTE.TXT 4.3.16)."""
    file.seek(0, io.SEEK_END)
    size = file.tell()
    file.seek(max(0, size - 65_557))
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + 22:
        raise BadRequestError("the ZIP is cut off", next_step="Copy it again.")
    entries, directory = struct.unpack("<HL", tail[at + 10 : at + 16])
    if entries == 0xFFFF or directory > _MOST_DIRECTORY_BYTES:
        raise TooLargeError(f"the ZIP holds too many files; at most {limits.files} are read")
    file.seek(0)


def _too_large(what: str, most_bytes: int) -> TooLargeError:
    return TooLargeError(f"{what} is over {most_bytes / 2**20:.0f} MiB", next_step="Send less at once.")
