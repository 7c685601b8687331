"""`hilum serve`: a run in the browser and over REST; its users, tokens and log."""

from __future__ import annotations

import importlib.util
import sys
from contextlib import AbstractContextManager, nullcontext, suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from hilum.cli.console import terminal
from hilum.cli.run import EngineName, need_torch
from hilum.errors import MissingExtraError

if TYPE_CHECKING:
    import sqlalchemy as sa

    from hilum.serve.store.folder import StoreFolder


class _StartsByDefault(TyperGroup):
    """`hilum serve RUN` is `hilum serve start RUN`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = ["start", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_StartsByDefault,
    no_args_is_help=True,
    help="Open runs in the browser and over REST: hilum serve RUN. Research use only.",
)
users_app = typer.Typer(no_args_is_help=True, help="Who may log in, where others can reach the server.")
tokens_app = typer.Typer(no_args_is_help=True, help="Secrets with which programs ask.")
app.add_typer(users_app, name="users")
app.add_typer(tokens_app, name="tokens")

STORE = Annotated[Path, typer.Option("--store", help="Folder of the database, the films and the server's key.")]
DATABASE = Annotated[
    str,
    typer.Option(
        "--database", envvar="HILUM_DATABASE", help="postgresql+psycopg://USER@HOST/NAME; default: SQLite in --store."
    ),
]
FOLDER = Path("hilum-store")


class RoleName(StrEnum):
    """What a user may do."""

    READER = "reader"
    ADMIN = "admin"


@app.command()
def start(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Runs, cross-validations or ensembles.")],
    store: STORE = FOLDER,
    database: DATABASE = "",
    host: Annotated[str, typer.Option("--host", help="Address; any but this machine's own needs users and TLS.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 is any that is free.")] = 8000,
    keep: Annotated[
        str, typer.Option("--keep", help="How long films' files are kept: none, forever, or hours.")
    ] = "24",
    coverage: Annotated[
        float, typer.Option("--coverage", min=0.5, max=0.999, help="How often prediction sets hold the true class.")
    ] = 0.9,
    engine: Annotated[EngineName, typer.Option("--engine", help="As of hilum predict.")] = EngineName.AUTO,
    lungs: Annotated[
        bool, typer.Option("--lungs/--no-lungs", help="Look for the lungs, to warn of films that are none of a chest.")
    ] = True,
    queue: Annotated[int, typer.Option("--queue", min=1, help="Films whose clients wait; one more gets 503.")] = 256,
    identify: Annotated[
        bool, typer.Option("--identify", help="Keep patient numbers of DICOM as they are, not as keyed hashes.")
    ] = False,
    hide_names: Annotated[
        bool, typer.Option("--hide-names", help="Keep file names as keyed hashes, where they bear patients' names.")
    ] = False,
    neighbours: Annotated[
        bool, typer.Option("--neighbours", help="Show the training films nearest to a film, where they can be read.")
    ] = False,
    certificate: Annotated[Path | None, typer.Option("--certificate", help="TLS certificate, PEM.")] = None,
    certificate_key: Annotated[Path | None, typer.Option("--certificate-key", help="Its key, PEM.")] = None,
    behind_proxy: Annotated[
        bool, typer.Option("--behind-proxy", help="A proxy on this machine ends TLS and passes requests on.")
    ] = False,
    dicom: Annotated[
        int | None, typer.Option("--dicom", min=0, max=65535, help="Be a DICOM node at this port too: hilum dicom.")
    ] = None,
    dicom_web: Annotated[
        bool, typer.Option("--dicom-web", help="Offer DICOMweb at /dicom-web, for what comes from now on.")
    ] = False,
    dicom_title: Annotated[str, typer.Option("--dicom-title", help="The node's own AE title.")] = "HILUM",
    dicom_allow: Annotated[
        list[str] | None, typer.Option("--dicom-allow", help="Who may call: TITLE, or TITLE@ADDRESS. Repeatable.")
    ] = None,
    dicom_send_to: Annotated[
        list[str] | None, typer.Option("--dicom-send-to", help="Node that gets answers: TITLE@HOST:PORT. Repeatable.")
    ] = None,
    dicom_authority: Annotated[
        Path | None, typer.Option("--dicom-authority", help="PEM of who signs other nodes' certificates.")
    ] = None,
) -> None:
    """Open runs in the browser and over REST: films in, probabilities with their doubt, maps and a record out.

    For example: hilum serve runs/demo
    """
    need_serve()
    from hilum.serve.app import run
    from hilum.serve.server import opened
    from hilum.serve.settings import Settings, keep_of

    settings = Settings(
        runs=tuple(runs),
        store=store,
        database=database,
        host=host,
        port=port,
        keep_hours=keep_of(keep),
        coverage=coverage,
        engine=engine.value,
        lungs=lungs,
        most_waiting=queue,
        identify=identify,
        hide_names=hide_names,
        neighbours=neighbours,
        certificate=certificate,
        certificate_key=certificate_key,
        behind_proxy=behind_proxy,
    )
    server = opened(settings)
    for model in server.models:
        terminal.say(f"{model.name}: {', '.join(model.classes)}; {model.verdict_line}")
        for note in model.predictor.notes:
            terminal.say(f"note: {note}")

    def ready(address: str) -> None:
        terminal.say(f"open {address} (REST under {address}api/v1); Ctrl-C stops")
        terminal.say("Research use only: this is not a medical device.")
        terminal.answer({"address": address, "models": [model.model_id for model in server.models]})
        sys.stdout.flush()  # whoever started this waits for the line

    node: AbstractContextManager[Any] = nullcontext()
    if dicom is not None or dicom_web:
        from hilum.cli import dicom as nodes

        tls = (certificate, certificate_key, dicom_authority)
        asked = nodes.node_settings(dicom, host, dicom_title, dicom_allow, dicom_send_to, tls, web=dicom_web)
        node = nodes.node(server, asked)
    with suppress(KeyboardInterrupt), node as made:
        run(server, ready, made if dicom_web else None)


@app.command("verify-log")
def verify_log(
    store: STORE = FOLDER,
    database: DATABASE = "",
    expect: Annotated[str, typer.Option("--expect", help="A mark noted earlier, which must be in the log.")] = "",
) -> None:
    """Go through the log of who saw what: is every record there, and as it was written?

    For example: hilum serve verify-log --store hilum-store
    """
    from hilum.errors import DataError

    folder, engine = _opened(store, database)
    from hilum.serve.store.database import reading
    from hilum.serve.store.log import verify

    found = reading(engine, lambda connection: verify(connection, folder.key, expect=expect))
    terminal.answer({"records": found.records, "last_mark": found.last_mark, "broken_at": found.broken_at})
    if found.broken_at is not None:
        raise DataError(
            f"the log was changed: record {found.broken_at} is not the one that was written there",
            where=str(store),
            next_step="Compare it with a copy of the database.",
        )
    terminal.say(f"{found.records} records, each as it was written; the last mark is {found.last_mark}")
    terminal.say("Note the mark elsewhere: --expect MARK then finds out if newer records were cut off.")


@users_app.command("add")
def add_user(
    name: Annotated[str, typer.Argument(help="Letters, digits, dots and hyphens.")],
    role: Annotated[RoleName, typer.Option("--role", help="An admin also deletes and chooses.")] = RoleName.READER,
    no_password: Annotated[bool, typer.Option("--no-password", help="A program, which asks by token only.")] = False,
    store: STORE = FOLDER,
    database: DATABASE = "",
) -> None:
    """Make a user, or give one another password or role. The password is asked for, or read from standard input."""
    folder, engine = _opened(store, database)
    from hilum.serve.store import log, people

    password: str | None = None
    if not no_password:
        if sys.stdin.isatty():
            password = typer.prompt("password", hide_input=True, confirmation_prompt=True)
        else:
            password = sys.stdin.readline().rstrip("\n")
    with engine.begin() as connection:
        people.save_user(connection, name, role.value, password)
        log.add(connection, folder.key, "command line", "save user", about=f"{name} {role.value}")
    terminal.say(
        f"{name} is {'an' if role is RoleName.ADMIN else 'a'} {role.value}; a server that runs knows it after a restart"
    )


@users_app.command("remove")
def remove_user(name: str, store: STORE = FOLDER, database: DATABASE = "") -> None:
    """Delete a user with sessions and tokens; what was recorded of it stays."""
    folder, engine = _opened(store, database)
    from hilum.serve.store import log, people

    with engine.begin() as connection:
        people.remove_user(connection, name)
        log.add(connection, folder.key, "command line", "remove user", about=name)
    terminal.say(f"{name} is no user any more")


@users_app.command("list")
def list_users(store: STORE = FOLDER, database: DATABASE = "") -> None:
    """Who may log in."""
    _, engine = _opened(store, database)
    import sqlalchemy as sa

    from hilum.serve.store.tables import tokens, users

    with engine.connect() as connection:
        found = connection.execute(sa.select(users).order_by(users.c.name)).all()
        titles = connection.execute(sa.select(tokens.c.user, tokens.c.title)).all()
    rows = [
        {
            "name": row.name,
            "role": row.role,
            "password": row.password_hash is not None,
            "tokens": [token.title for token in titles if token.user == row.name],
        }
        for row in found
    ]
    for row in rows:
        terminal.say(f"{row['name']:20} {row['role']:8} {' '.join(row['tokens'])}")
    terminal.answer(rows)


@tokens_app.command("add")
def add_token(
    user: str,
    title: Annotated[str, typer.Argument(help="What it is for.")],
    store: STORE = FOLDER,
    database: DATABASE = "",
) -> None:
    """Make a token, which is shown this once."""
    folder, engine = _opened(store, database)
    from hilum.serve.store import log, people

    with engine.begin() as connection:
        secret = people.make_token(connection, user, title[:64])
        log.add(connection, folder.key, "command line", "make token", about=f"{user} {title[:64]}")
    terminal.say(secret)
    terminal.answer({"token": secret})


@tokens_app.command("remove")
def remove_token(user: str, title: str, store: STORE = FOLDER, database: DATABASE = "") -> None:
    """Refuse a token from now on."""
    folder, engine = _opened(store, database)
    from hilum.serve.store import log, people

    with engine.begin() as connection:
        people.remove_token(connection, user, title)
        log.add(connection, folder.key, "command line", "remove token", about=f"{user} {title}")
    terminal.say(f"the token {title} of {user} is refused from now on")


def need_serve() -> None:
    """Refuse with the command that installs what serving needs."""
    need_torch()
    for package in ("fastapi", "uvicorn", "sqlalchemy", "alembic", "argon2", "python_multipart", "prometheus_client"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError("serve")


def _opened(store: Path, database: str) -> tuple[StoreFolder, sa.Engine]:
    need_serve()
    from hilum.serve.store.database import open_database
    from hilum.serve.store.folder import StoreFolder

    folder = StoreFolder.open(store)
    return folder, open_database(database or folder.database_url)
