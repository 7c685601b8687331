"""`hilum dicom`: a run as a node of the PACS, and films fetched from it."""

from __future__ import annotations

import importlib.util
import logging
import signal
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hilum.cli.console import terminal
from hilum.cli.run import EngineName
from hilum.cli.serve import DATABASE, FOLDER, STORE, need_serve
from hilum.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hilum.serve.dicom.node import Node
    from hilum.serve.dicom.settings import NodeSettings

app = typer.Typer(no_args_is_help=True, help="Films in from a PACS, reports and maps back to it. Research use only.")

TITLE = Annotated[str, typer.Option("--title", help="This node's own AE title.")]
ALLOW = Annotated[list[str] | None, typer.Option("--allow", help="Who may call: TITLE, or TITLE@ADDRESS. Repeatable.")]
SEND_TO = Annotated[
    list[str] | None,
    typer.Option(
        "--send-to", help="Who gets the answers: TITLE@HOST:PORT, with /tls over TLS, or https://HOST/PATH. Repeatable."
    ),
]
CERTIFICATE = Annotated[Path | None, typer.Option("--certificate", help="This node's TLS certificate, PEM.")]
CERTIFICATE_KEY = Annotated[Path | None, typer.Option("--certificate-key", help="Its key, PEM.")]
AUTHORITY = Annotated[
    Path | None,
    typer.Option("--authority", help="PEM of who signs certificates of other nodes; callers must then show one."),
]


@app.command()
def listen(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Runs, cross-validations or ensembles.")],
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 is any that is free.")] = 11112,
    store: STORE = FOLDER,
    database: DATABASE = "",
    host: Annotated[
        str, typer.Option("--host", help="Address; any but this machine's own needs --allow.")
    ] = "127.0.0.1",
    title: TITLE = "HILUM",
    allow: ALLOW = None,
    send_to: SEND_TO = None,
    certificate: CERTIFICATE = None,
    certificate_key: CERTIFICATE_KEY = None,
    authority: AUTHORITY = None,
    keep: Annotated[str, typer.Option("--keep", help="How long films are kept: none, forever, or hours.")] = "24",
    engine: Annotated[EngineName, typer.Option("--engine", help="As of hilum predict.")] = EngineName.AUTO,
    lungs: Annotated[
        bool, typer.Option("--lungs/--no-lungs", help="Look for the lungs; a film without them is not predicted.")
    ] = True,
) -> None:
    """Receive films by C-STORE, predict them, and send a report and a map of each to other nodes.

    For example: hilum dicom listen runs/demo --port 11112 --send-to ORTHANC@127.0.0.1:4242
    """
    need_dicom()
    from hilum.serve.server import opened
    from hilum.serve.settings import Settings, keep_of

    settings = node_settings(port, host, title, allow, send_to, (certificate, certificate_key, authority))
    settings.check()
    server = opened(
        Settings(
            runs=tuple(runs),
            store=store,
            database=database,
            keep_hours=keep_of(keep),
            engine=engine.value,
            lungs=lungs,
        )
    )
    try:
        for model in server.models:
            terminal.say(f"{model.name}: {', '.join(model.classes)}; {model.verdict_line}")
        with node(server, settings):
            terminal.say("Ctrl-C stops")
            _until_stopped()
    finally:
        server.close()


@app.command()
def pull(
    peer: Annotated[
        str,
        typer.Argument(
            metavar="PACS", help="TITLE@HOST:PORT, with /tls after it over TLS, or https://HOST/PATH of DICOMweb."
        ),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the films and their manifest.")],
    dates: Annotated[
        str, typer.Option("--date", help="Study dates: 20240305, 20240101-20241231, 20240101- or -20241231.")
    ] = "",
    modality: Annotated[list[str] | None, typer.Option("--modality", help="Repeatable; default CR and DX.")] = None,
    body_part: Annotated[
        str, typer.Option("--body-part", help="In BodyPartExamined, where a series says it; empty is any.")
    ] = "CHEST",
    title: TITLE = "HILUM",
    move_port: Annotated[
        int | None, typer.Option("--move", min=1, max=65535, help="By C-MOVE to this port, in place of C-GET.")
    ] = None,
    anonymise: Annotated[
        bool, typer.Option("--anonymise", help="Keep an allow-list of values, keyed hashes and shifted dates only.")
    ] = False,
    key: Annotated[
        Path | None, typer.Option("--key", help="The hashes' key, made where absent; default: OUT.key beside OUT.")
    ] = None,
    certificate: CERTIFICATE = None,
    certificate_key: CERTIFICATE_KEY = None,
    authority: AUTHORITY = None,
) -> None:
    """Fetch films from a PACS that are not here yet, and write a manifest. Stopped, it goes on where it was.

    For example: hilum dicom pull ORTHANC@127.0.0.1:4242 --date 20240101- --anonymise -o films
    """
    need_dicom()
    from hilum.serve.dicom import pull as pulling
    from hilum.serve.dicom.anonymise import read_key
    from hilum.serve.dicom.settings import peers_of
    from hilum.serve.dicom.wanted import Wanted

    settings = node_settings(move_port or 0, "127.0.0.1", title, [], [], (certificate, certificate_key, authority))
    place = key or out.resolve().with_name(f"{out.resolve().name}.key")
    done = pulling.pull(
        peers_of([peer])[0],
        out,
        Wanted(dates, tuple(modality or ("CR", "DX")), body_part.upper()),
        settings,
        key=read_key(place) if anonymise else None,
        move=move_port is not None,
        progress=terminal.progress(),
    )
    terminal.say(f"{done.found} objects there, {done.before} were here, {done.came} came")
    for why, count in done.left_out.most_common():
        terminal.say(f"left out {count}: {why}")
    if anonymise:
        terminal.say(f"{done.marked} of them bear marks near their edges, which may be text: look at them")
        terminal.say(f"the key of the hashes is {place}: keep it apart from the films")
    terminal.say(f"{out / 'manifest.parquet'} is their manifest")
    terminal.answer({**vars(done), "left_out": dict(done.left_out), "manifest": str(out / "manifest.parquet")})


@app.command()
def status(
    store: STORE = FOLDER,
    database: DATABASE = "",
    retry: Annotated[bool, typer.Option("--retry", help="Send again what other nodes refused.")] = False,
) -> None:
    """How many objects were received, answered and not applicable, and how many answers reached which node."""
    need_dicom()
    from hilum.serve.dicom import objects
    from hilum.serve.store.database import open_database, reading
    from hilum.serve.store.folder import StoreFolder

    engine = open_database(database or StoreFolder.open(store).database_url)
    if retry:
        with engine.begin() as connection:
            again = objects.retry(connection)
        terminal.say(f"{again} answers are sent again by the node that runs on this store")
    received, outbox = reading(engine, objects.counts), reading(engine, objects.outbox_counts)
    for state, count in received.items():
        terminal.say(f"{state:15} {count:8}")
    for target, states in outbox.items():
        terminal.say(f"{target}: " + ", ".join(f"{count} {state}" for state, count in states.items()))
    terminal.answer({"objects": received, "answers": outbox})


def node_settings(
    port: int | None,
    host: str,
    title: str,
    allow: list[str] | None,
    send_to: list[str] | None,
    tls: tuple[Path | None, Path | None, Path | None],
    *,
    web: bool = False,
) -> NodeSettings:
    """The node's settings, of what stands on the command line. port: None for DICOMweb alone; tls: certificate, its
    key, authority."""
    from hilum.serve.dicom.settings import NodeSettings, callers_of, need_title, peers_of

    return NodeSettings(
        port,
        host,
        need_title(title),
        callers_of(allow or ()),
        peers_of(send_to or ()),
        certificate=tls[0],
        certificate_key=tls[1],
        authority=tls[2],
        web=web,
    )


@contextmanager
def node(server: Any, settings: NodeSettings) -> Iterator[Node]:
    """The node of a server while the block runs; it ends with the server."""
    need_dicom()
    from hilum.serve.dicom.node import opened

    _log_to_stderr()
    made = opened(server, settings)
    if made.port is not None:
        terminal.say(f"DICOM node {settings.title} listens at {settings.host}:{made.port}")
    if settings.web:
        terminal.say("DICOMweb is at /dicom-web")
    for target in settings.targets:
        terminal.say(f"answers go to {target}")
    terminal.answer({"title": settings.title, "port": made.port})
    sys.stdout.flush()  # whoever started this waits for the line
    yield made


def need_dicom() -> None:
    """Refuse with the command that installs what a node needs."""
    need_serve()
    for package in ("pynetdicom", "highdicom"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError("serve")


def _log_to_stderr() -> None:
    """What the node tells of its work, a line each; none holds what an object says."""
    told = logging.StreamHandler()
    told.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    ours = logging.getLogger("hilum.serve.dicom")
    ours.handlers, ours.propagate = [told], False
    ours.setLevel(logging.WARNING if terminal.quiet else logging.INFO)
    # pynetdicom's threads end by an error where a connection does what its state machine does not foresee.
    threading.excepthook = lambda about: ours.warning("a connection ended: %s", about.exc_type.__name__)


def _until_stopped() -> None:
    """Wait for Ctrl-C or SIGTERM."""
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    stopped.wait()
