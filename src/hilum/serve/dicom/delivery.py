"""Handing an answer to a node: by C-STORE, or by STOW-RS where the node is a web address."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import httpx2 as httpx
import pydicom
from pynetdicom import AE

from hilum.serve.dicom import accepted
from hilum.serve.dicom.settings import NodeSettings, Peer, WebPeer

# "" where the node has the object now; None where the node went away; else why it refuses the object.
Deliver = Callable[[bytes], str | None]


@contextmanager
def delivering(settings: NodeSettings, target: Peer | WebPeer) -> Iterator[Deliver | None]:
    """A way to a node while the block runs; None where the node cannot be reached."""
    with (_over_web if isinstance(target, WebPeer) else _by_c_store)(settings, target) as deliver:  # type: ignore[arg-type]
        yield deliver


@contextmanager
def _by_c_store(settings: NodeSettings, target: Peer) -> Iterator[Deliver | None]:
    ae = AE(ae_title=settings.title)
    ae.connection_timeout = ae.acse_timeout = 10.0
    ae.network_timeout = ae.dimse_timeout = settings.limits.idle_seconds
    for sop_class in accepted.ANSWER_CLASSES:
        ae.add_requested_context(sop_class, list(accepted.ANSWER_SYNTAXES))
    tls = (settings.calling(), target.host) if target.tls else None
    association = ae.associate(target.host, target.port, ae_title=target.title, tls_args=tls)

    def deliver(data: bytes) -> str | None:
        try:
            status = association.send_c_store(pydicom.dcmread(BytesIO(data))).get("Status")
        except (ValueError, AttributeError) as error:  # no context was agreed on for this class
            return type(error).__name__
        except RuntimeError:  # the association ended
            return None
        if status is None:
            return None
        return "" if status == accepted.OK or status & 0xF000 == 0xB000 else f"status {status:04X}"

    try:
        yield deliver if association.is_established else None
    finally:
        if association.is_established:
            association.release()


@contextmanager
def _over_web(settings: NodeSettings, target: WebPeer) -> Iterator[Deliver | None]:
    """PS3.18 10.5: one object a request, so that each has an answer of its own."""
    with client_of(settings, target) as client:

        def deliver(data: bytes) -> str | None:
            mark = secrets.token_hex(16)
            body = (
                f"--{mark}\r\nContent-Type: application/dicom\r\n\r\n".encode() + data + f"\r\n--{mark}--\r\n".encode()
            )
            kind = f'multipart/related; type="application/dicom"; boundary={mark}'
            try:
                answer = client.post(
                    f"{target.address}/studies",
                    content=body,
                    headers={"content-type": kind, "accept": "application/dicom+json"},
                )
            except httpx.HTTPError:
                return None
            if answer.status_code in (200, 202):
                return ""
            return None if answer.status_code >= 500 else f"HTTP {answer.status_code}"

        yield deliver


def client_of(settings: NodeSettings, target: WebPeer) -> httpx.Client:
    """What asks a DICOMweb service, over TLS as the settings say, with the user's name and password there."""
    verify: Any = settings.calling() if target.address.startswith("https:") else True
    return httpx.Client(verify=verify, timeout=settings.limits.idle_seconds, auth=_of_netrc())


def _of_netrc() -> httpx.Auth | None:
    """The user's own ~/.netrc, so that no password stands on a command line or in the database."""
    try:
        return httpx.NetRCAuth()
    except OSError:
        return None
