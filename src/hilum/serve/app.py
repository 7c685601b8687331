"""The application: API and pages behind one shield. `create_app` makes it, and `run` serves it until it is stopped."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from hilum import __version__
from hilum.serve import api, login_pages, metrics, model_pages, pages
from hilum.serve.access import Rates, Shield
from hilum.serve.answers import add_handlers
from hilum.serve.dicom.web import PREFIX as DICOM_WEB
from hilum.serve.records import RESEARCH
from hilum.serve.server import Server

if TYPE_CHECKING:
    from hilum.serve.dicom.node import Node

UPLOADS = (api.PREDICT, api.FILMS, pages.UPLOAD, f"{DICOM_WEB}/studies", f"{DICOM_WEB}/studies/")


def create_app(server: Server, node: Node | None = None) -> FastAPI:
    """The application around a server, which is closed when the application ends; node: of DICOMweb, if offered."""

    @asynccontextmanager
    async def living(app: FastAPI) -> AsyncIterator[None]:
        yield
        server.close()

    limits = server.settings.limits
    app = FastAPI(
        title="hilum",
        version=__version__,
        description=f"Films in, probabilities with their doubt, maps and a record out. {RESEARCH}",
        openapi_url="/api/v1/openapi.json",
        docs_url=None,  # its page asks another server for its scripts
        redoc_url=None,
        lifespan=living,
    )
    app.state.server = server
    app.state.rates = Rates(limits.a_minute)
    app.state.logins = Rates(limits.logins)
    app.state.metrics = metrics.figures()
    app.include_router(api.router)
    for part in (pages, model_pages, login_pages):
        app.include_router(part.router)
    if node is not None:
        from hilum.serve.dicom.web import api as dicom_web  # with pydicom and pynetdicom, which are slow to import

        app.state.node = node
        app.include_router(dicom_web.router)
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"), name="static")
    add_handlers(app)
    app.add_middleware(metrics.Measured, known=app.state.metrics)
    app.add_middleware(Shield, local=server.settings.local, limits=limits, uploads=UPLOADS)
    return app


def run(server: Server, ready: Callable[[str], None], node: Node | None = None) -> None:
    """Serve until Ctrl-C or SIGTERM; `ready` is told the address once it is open. node: of DICOMweb, if offered."""
    import uvicorn

    from hilum.serve import heads

    settings = server.settings
    scheme = "https" if settings.certificate else "http"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host

    class Announced(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            if self.started:
                ready(f"{scheme}://{host}:{self.servers[0].sockets[0].getsockname()[1]}/")

    config = uvicorn.Config(
        create_app(server, node),
        host=settings.host,
        port=settings.port,
        http=heads.within(settings.limits.idle_seconds),
        log_level="warning",
        access_log=False,  # addresses hold what was searched for; the store's own log has who saw what
        server_header=False,
        proxy_headers=settings.behind_proxy,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=20,
        limit_concurrency=1024,
        ssl_certfile=settings.certificate,
        ssl_keyfile=settings.certificate_key,
    )
    Announced(config).run()
