"""What a node is started with."""

from __future__ import annotations

import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from hilum.errors import RequestError
from hilum.serve.settings import is_loopback

_TITLE = re.compile(r"[!-\[\]-~](?:[ -\[\]-~]{0,14}[!-\[\]-~])?")  # PS3.5 table 6.2-1, AE: no backslash
_TARGET = re.compile(r"(?P<title>[^@]+)@(?P<host>\[[0-9a-fA-F:.]+\]|[^:/@\[\]]+):(?P<port>\d{1,5})(?P<tls>/tls)?")


@dataclass(frozen=True)
class NodeLimits:
    """What others may take. associations: at once. connections: at once, with those that asked for nothing yet.

    pdu_bytes: the longest PDU that is announced; request_bytes: the longest of any kind that is read. object_bytes: of
    one object; twice of that ends the association. idle_seconds: without a byte, and for one PDU to arrive.
    asking_seconds: from the connection to the request of an association. waiting: objects received and not answered.
    """

    associations: int = 16
    connections: int = 64
    pdu_bytes: int = 128 * 2**10
    request_bytes: int = 2**20
    object_bytes: int = 64 * 2**20
    idle_seconds: float = 30.0
    asking_seconds: float = 5.0
    waiting: int = 20_000


@dataclass(frozen=True)
class Peer:
    """Another node. tls: whether it is spoken to over TLS."""

    title: str
    host: str
    port: int
    tls: bool = False

    @classmethod
    def of(cls, text: str) -> Peer:
        """The node of TITLE@HOST:PORT, or TITLE@HOST:PORT/tls. RequestError for anything else.

        >>> Peer.of("ORTHANC@pacs.example:4242/tls")
        Peer(title='ORTHANC', host='pacs.example', port=4242, tls=True)
        """
        found = _TARGET.fullmatch(text.strip())
        if found is None or not 0 < int(found["port"]) < 65536:
            raise RequestError(
                f"{text!r} is no address of a DICOM node",
                next_step="Write it as TITLE@HOST:PORT, or with /tls after it.",
            )
        return cls(need_title(found["title"]), found["host"].strip("[]"), int(found["port"]), found["tls"] is not None)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.title}@{host}:{self.port}{'/tls' if self.tls else ''}"


@dataclass(frozen=True)
class WebPeer:
    """Another node that takes objects over STOW-RS. address: of its DICOMweb service, to which /studies is added."""

    address: str

    @classmethod
    def of(cls, text: str) -> WebPeer:
        """The node of http://HOST/PATH or https://HOST/PATH. RequestError for a name or password in it.

        >>> WebPeer.of("https://pacs.example/dicom-web/").title
        'pacs.example'
        """
        parts = urlsplit(text.strip())
        if not parts.hostname or parts.username or parts.query or parts.fragment:
            raise RequestError(
                "this is no address of a DICOMweb service",
                where=parts.hostname or "--send-to",
                next_step="Write it as https://HOST/PATH; name and password stand in ~/.netrc.",
            )
        return cls(text.strip().rstrip("/"))

    @property
    def title(self) -> str:
        """What log lines call it."""
        return urlsplit(self.address).hostname or ""

    def __str__(self) -> str:
        return self.address


@dataclass(frozen=True)
class Caller:
    """Who may call. host: the address it must call from, or "" for any."""

    title: str
    host: str = ""

    @classmethod
    def of(cls, text: str) -> Caller:
        """The caller of TITLE or TITLE@ADDRESS.

        >>> Caller.of("ROOM_1@10.0.0.7")
        Caller(title='ROOM_1', host='10.0.0.7')
        """
        title, _, host = text.strip().partition("@")
        return cls(need_title(title), host)


@dataclass(frozen=True)
class NodeSettings:
    """port: of C-STORE, or None for DICOMweb alone; web: whether DICOMweb is offered beside the pages.

    allowed: who may call; empty is anybody, which only this machine's own address is opened for.
    authority: PEM of who signed the certificates of others. With it every caller must show one, and nodes that are
    spoken to over TLS are checked against it; without it against the machine's own authorities.
    """

    port: int | None
    host: str = "127.0.0.1"
    title: str = "HILUM"
    allowed: tuple[Caller, ...] = ()
    targets: tuple[Peer | WebPeer, ...] = ()
    certificate: Path | None = None
    certificate_key: Path | None = None
    authority: Path | None = None
    limits: NodeLimits = field(default_factory=NodeLimits)
    web: bool = False

    def check(self) -> None:
        """RequestError where others can reach the node and anybody may call it."""
        need_title(self.title)
        if self.port is not None and not is_loopback(self.host) and not self.allowed:
            raise RequestError(
                "others can reach this address, and any node may call",
                where=f"--host {self.host}",
                next_step="Name who may, as: --allow ROOM_1@10.0.0.7",
            )

    def accepting(self) -> ssl.SSLContext | None:
        """TLS towards callers, or None where there is no certificate."""
        if self.certificate is None:
            return None
        return tls(self.certificate, self.certificate_key, self.authority, server=True)

    def calling(self) -> ssl.SSLContext:
        """TLS towards other nodes."""
        return tls(self.certificate, self.certificate_key, self.authority, server=False)


def tls(certificate: Path | None, key: Path | None, authority: Path | None, *, server: bool) -> ssl.SSLContext:
    """TLS 1.2 or newer (PS3.15 B.12). RequestError where a file is not there or is no such thing."""
    try:
        purpose = ssl.Purpose.CLIENT_AUTH if server else ssl.Purpose.SERVER_AUTH
        context = ssl.create_default_context(purpose, cafile=authority)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if certificate is not None:
            context.load_cert_chain(certificate, key)
        if server and authority is not None:
            context.verify_mode = ssl.CERT_REQUIRED
        return context
    except (OSError, ssl.SSLError) as error:
        raise RequestError(
            f"TLS cannot be used: {error.strerror or error}",
            where=str(certificate or authority),
            next_step="Give PEM files with --certificate, --certificate-key and --authority.",
        ) from None


def need_title(title: str) -> str:
    """The AE title without blanks around it. RequestError where it is none.

    >>> need_title("HILUM ")
    'HILUM'
    """
    if not _TITLE.fullmatch(title.strip()):
        raise RequestError(f"{title!r} is no AE title", next_step="Use 1 to 16 ASCII characters, no backslash.")
    return title.strip()


def callers_of(texts: Sequence[str]) -> tuple[Caller, ...]:
    """Who may call, of what stands after --allow."""
    return tuple(Caller.of(text) for text in texts)


def peers_of(texts: Sequence[str]) -> tuple[Peer | WebPeer, ...]:
    """Other nodes, of what stands after --send-to; each once."""
    kinds = ((WebPeer if text.strip().startswith(("http://", "https://")) else Peer, text) for text in texts)
    return tuple(dict.fromkeys(kind.of(text) for kind, text in kinds))
