"""Whether the service lives, whether all its parts answer, and what Prometheus wants to know."""

import logging
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import select
from starlette.responses import Response

from api.errors import documented, of_error
from api.schemas import Health, Readiness
from core import db, fleet, queue
from core.errors import Problem, Unavailable
from core.storage import storage
from models.tables import Job

router = APIRouter(tags=["health"])

log = logging.getLogger("distillery.api")


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
def get_readiness() -> Any:
    """503 names the parts that are down: `database`, `redis`, `storage`."""
    found = {name: _state(name, check) for name, check in _PARTS.items()}
    down = {name: state for name, state in found.items() if state != "ok"}
    if not down:
        with db.session() as session:
            return Readiness(checks=found, workers=fleet.count(session))
    problems = [Problem(name, state) for name, state in down.items()]
    return of_error(Unavailable(f"Not ready: {', '.join(down)} down", errors=problems))


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
    """Jobs by state, the age of the oldest queued one, requests by route."""
    return Response(generate_latest(request.app.state.observed.registry), media_type=CONTENT_TYPE_LATEST)
