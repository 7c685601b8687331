"""What a server is started with."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from hilum.errors import RequestError


@dataclass(frozen=True)
class Limits:
    """What a request may bring; counted as it arrives, not by what it says of itself.

    file_bytes: of one film. body_bytes: of one request. unzipped_bytes, files: of what one request holds, ZIPs opened.
    idle_seconds: between two pieces of a body. least_rate: bytes a second on average, after the first `grace_seconds`.
    held_bytes: of all films that wait in memory at once. small_bytes: of a request that brings no film.
    a_minute: requests of one person or program; logins: attempts of one address or name in a minute.
    """

    file_bytes: int = 64 * 2**20
    body_bytes: int = 2 * 2**30
    unzipped_bytes: int = 4 * 2**30
    files: int = 2000
    idle_seconds: float = 20.0
    grace_seconds: float = 20.0
    least_rate: int = 8 * 2**10
    held_bytes: int = 512 * 2**20
    small_bytes: int = 64 * 2**10
    a_minute: int = 1200
    logins: int = 5


@dataclass(frozen=True)
class Settings:
    """keep_hours: how long films' files are kept; 0 is not at all, None for ever. coverage: of prediction sets.

    lungs: whether the input gate looks for the lungs. most_waiting: films whose clients wait. most_later: films that
    were accepted and not done yet. identify: patient numbers as they are, not as keyed hashes. hide_names: keyed hashes
    in place of file names. neighbours: whether readers may see the runs' training films. behind_proxy: a proxy ends TLS
    and passes the client's address on.
    """

    runs: tuple[Path, ...]
    store: Path
    database: str = ""
    host: str = "127.0.0.1"
    port: int = 8000
    keep_hours: float | None = 24.0
    coverage: float = 0.9
    engine: str = "auto"
    lungs: bool = True
    most_waiting: int = 256
    most_later: int = 20_000
    decoders: int | None = None
    identify: bool = False
    hide_names: bool = False
    neighbours: bool = False
    certificate: Path | None = None
    certificate_key: Path | None = None
    behind_proxy: bool = False
    limits: Limits = field(default_factory=Limits)

    @property
    def local(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host) and not self.behind_proxy


def is_loopback(host: str) -> bool:
    """
    >>> [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "hospital.example")]
    [True, True, True, False, False]
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def keep_of(text: str) -> float | None:
    """Hours that films are kept, of what stands after --keep. Refused with RequestError: anything else.

    >>> keep_of("none"), keep_of("forever"), keep_of("48")
    (0.0, None, 48.0)
    """
    if text in ("none", "forever"):
        return 0.0 if text == "none" else None
    try:
        hours = float(text)
        if 0 < hours < 1e6:
            return hours
    except ValueError:
        pass
    raise RequestError(
        f"--keep {text}: films are kept so long not at all", next_step="Write none, forever, or hours, as --keep 24."
    )


def check_address(settings: Settings, *, has_users: bool) -> None:
    """RequestError where others can reach the server, but there is no user yet, or passwords would go in the clear."""
    if settings.local:
        return
    where = f"--host {settings.host}"
    if not has_users:
        raise RequestError(
            "others can reach this address, and there is no user yet",
            where=where,
            next_step="Make one with: hilum serve users add NAME --role admin",
        )
    if settings.certificate is None and not settings.behind_proxy:
        raise RequestError(
            "others can reach this address, and passwords would go in the clear",
            where=where,
            next_step="Give --certificate and --certificate-key, or --behind-proxy where a proxy ends TLS.",
        )
