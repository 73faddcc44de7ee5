"""Whether the service lives, whether all its parts answer, and what Prometheus wants to know."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import select
from starlette.responses import Response

from api.errors import documented, of_error
from api.schemas import Health, Readiness
from core import db, fleet, queue
from core.errors import Problem, Unavailable
from core.settings import Settings, settings
from core.storage import storage
from models.tables import Job

router = APIRouter(tags=["health"])

log = logging.getLogger("distillery.api")

_FRESH_S = 1.0


@router.get("/healthz", operation_id="get_health", summary="Does the process live?")
def get_health() -> Health:
    """Says nothing of the parts: a restart of the API does not help where a part is down."""
    return Health()


@router.get(
    "/readyz",
    operation_id="get_readiness",
    summary="Do all parts answer?",
    response_model=Readiness,
    responses=documented(),
)
def get_readiness(request: Request) -> Any:
    """503 names the parts that are down: `database`, `redis`, `storage`. An answer is given for a second."""
    found: Found = request.app.state.found.now()
    down = {name: state for name, state in found.checks.items() if state != "ok"}
    if not down:
        return Readiness(checks=found.checks, workers=found.workers)
    problems = [Problem(name, state) for name, state in down.items()]
    return of_error(Unavailable(f"Not ready: {', '.join(down)} down", errors=problems))


@dataclass(frozen=True)
class Found:
    """The state of each part, the workers, and when and with which settings that was."""

    checks: dict[str, str]
    workers: int
    at: float
    config: Settings


class Finder:
    """Looks at the parts once a second at most, whoever asks: no key is needed to ask."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._found: Found | None = None

    def now(self) -> Found:
        """What is so, or was a moment ago; who asks meanwhile waits for the same answer."""
        with self._turn:
            known = self._found
            if known is None or time.monotonic() - known.at > _FRESH_S or known.config is not settings():
                known = self._found = _look()
            return known


def _look() -> Found:
    found = {name: _state(name, check) for name, check in _PARTS.items()}
    workers = 0
    if all(state == "ok" for state in found.values()):
        with db.session() as session:
            workers = fleet.count(session)
    return Found(found, workers, time.monotonic(), settings())


def _state(name: str, check: Callable[[], object]) -> str:
    try:
        check()
    # Whatever a part throws, the answer is that it is down; the reason may hold addresses and stays in the log.
    except Exception as error:
        log.warning("%s is not ready", name, exc_info=error)
        return f"does not answer ({error.__class__.__name__})"
    return "ok"


def _database() -> None:
    # A table and not SELECT 1: a database without its tables is not ready either.
    with db.session() as session:
        session.scalar(select(Job.id).limit(1))


_PARTS: dict[str, Callable[[], object]] = {
    "database": _database,
    "redis": queue.ping,
    "storage": lambda: storage().ping(),
}


@router.get(
    "/metrics",
    operation_id="get_prometheus_metrics",
    summary="Figures for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Text exposition"}},
)
def get_prometheus_metrics(request: Request) -> Response:
    """Jobs by state, the age of the oldest queued one, workers and devices, requests by route."""
    return Response(generate_latest(request.app.state.observed.registry), media_type=CONTENT_TYPE_LATEST)
