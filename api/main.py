"""The API's door: `python -m api.main` listens on settings.host and settings.port.

With port 0 the system chooses a free port. The address is logged and written to data_dir/api.url, where whoever started
the process finds it. Nothing here imports torch.
"""

import asyncio
import logging
import os
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from sqlalchemy.exc import SQLAlchemyError
from starlette.middleware.cors import CORSMiddleware

from api import arriving, docs, ending, errors, idempotency
from api.bell import Bell
from api.door import DoorMiddleware, OriginMiddleware, Service, is_loopback
from api.ending import EndingServer
from api.gate import Gate, GateMiddleware
from api.observe import Observed, ObserveMiddleware
from api.protocol import BoundedProtocol
from api.rates import Rates, RatesMiddleware
from api.routes import artifacts, catalog, datasets, events, health, jobs, resumable, teachers, uploads, webhooks
from api.routes import keys as key_routes
from api.seats import Seats
from api.streams import Pace, Reader
from core import db, keys, logs
from core.errors import Unavailable
from core.settings import settings

log = logging.getLogger("distillery.api")


def create_app(pace: Pace | None = None) -> FastAPI:
    """The application. `pace` says how often event streams act by themselves."""
    app = Service(
        title="Distillery",
        lifespan=_lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.bell = Bell()
    app.state.pace = pace or Pace()
    app.state.reader = Reader(app.state.pace)
    app.state.observed = Observed()
    app.state.seats = Seats()
    app.state.gate = Gate()
    app.state.rates = Rates()
    app.state.found = health.Finder()
    errors.install(app)
    idempotency.install(app)
    _guard(app)
    nouns = (
        jobs,
        events,
        artifacts,
        teachers,
        datasets,
        resumable,
        uploads,
        catalog,
        webhooks,
        key_routes,
        health,
        docs,
    )
    routers = [part.router for part in nouns]
    for router in routers:
        app.include_router(router)
    app.state.routes = [route for router in routers for route in router.routes]
    docs.install(app)
    return app


def _guard(app: FastAPI) -> None:
    """What a request passes before its route, from the inside to the outside."""
    app.add_middleware(RatesMiddleware, rates=app.state.rates)
    app.add_middleware(OriginMiddleware)
    app.add_middleware(GateMiddleware, gate=app.state.gate)
    if origins := [origin.strip() for origin in settings().cors_origins.split(",") if origin.strip()]:
        app.add_middleware(
            CORSMiddleware, allow_origins=origins, allow_methods=["*"], allow_headers=["*"], expose_headers=["*"]
        )
    app.add_middleware(DoorMiddleware)
    app.add_middleware(ObserveMiddleware, observed=app.state.observed)


def served(app: FastAPI) -> uvicorn.Config:
    """How the application is served."""
    return uvicorn.Config(
        app,
        http=BoundedProtocol,
        ws="none",
        log_config=None,
        # Its line for each request costs as much as a poll; api.observe counts them all and logs those that matter.
        access_log=False,
        server_header=False,
        # Nothing is decided by a caller's address, so that no header of a caller needs to be believed.
        proxy_headers=False,
        timeout_graceful_shutdown=settings().shutdown_s * ending.GRACE,  # type: ignore[arg-type] # it takes fractions
    )


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.bell.start()
    tidying = asyncio.create_task(arriving.tidy_on_and_on())
    yield
    tidying.cancel()
    with suppress(TimeoutError):
        async with asyncio.timeout(settings().shutdown_s / 10):
            await app.state.bell.stop()
            await app.state.rates.close()
            await app.state.gate.stop()


class _Server(EndingServer):
    """Publishes its address once it answers, and ends in time."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, url: str) -> None:
        super().__init__(config, app)
        self._url = url

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then say where."""
        await super().startup(sockets)
        if not self.should_exit:
            _publish(self._url)
            log.info("the API answers; its docs page is %s/docs", self._url)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Be found no more, then end."""
        ending.end_by_force()
        _unpublish(self._url)
        await super().shutdown(sockets)


def _address_file() -> Path:
    return settings().data_dir / "api.url"


def _publish(url: str) -> None:
    """Write the address so that a reader sees either all of it or no file."""
    target = _address_file()
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=".api.url.")
    with os.fdopen(descriptor, "w") as file:
        file.write(url)
    Path(temporary).replace(target)


def _unpublish(url: str) -> None:
    """Remove the address, unless another process has put its own there."""
    target = _address_file()
    if target.exists() and target.read_text() == url:
        target.unlink()


def refuse_open_host(host: str) -> None:
    """Without keys, whoever reaches the port may do everything: only this machine may reach it."""
    if is_loopback(host) or _any_keys():
        return
    raise SystemExit(
        f"DISTILLERY_HOST={host} would let other machines in, and the service has no keys. Make one with `make key` or "
        "`python -m core.keys --owner NAME --role admin`, or set DISTILLERY_HOST=127.0.0.1."
    )


def _any_keys() -> bool:
    try:
        with db.session() as session:
            return keys.exist(session)
    except (SQLAlchemyError, Unavailable) as error:
        raise SystemExit(f"cannot ask the database whether there are keys: {error}") from None


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise SystemExit(
            f"cannot listen on {host}:{port}: {error.strerror}. Set DISTILLERY_PORT, or 0 for a free one"
        ) from None


def main() -> int:
    """Serve until a signal comes."""
    host = settings().host
    refuse_open_host(host)
    listener = _listen(host, settings().port)
    logs.configure()
    app = create_app()
    port = listener.getsockname()[1]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    _Server(served(app), app, url).run(sockets=[listener])
    return 0


if __name__ == "__main__":
    sys.exit(main())
