"""What Prometheus sees: requests as they are answered, and the jobs as the database has them when it is asked."""

import logging
import time
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import extract, func, select
from sqlalchemy.exc import SQLAlchemyError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import request_id
from api.webhook_metrics import Webhooks
from core import db, fleet
from core.errors import Unavailable
from models.status import JobStatus
from models.tables import Job

log = logging.getLogger("distillery.api")


class _Jobs(Collector):
    """Read from the database at each scrape, so that every copy of the API says the same."""

    def collect(self) -> Iterable[Metric]:
        """Jobs by state, how long the oldest has waited, and who there is to run them."""
        up = GaugeMetricFamily("distillery_database_up", "1 where the database answers.")
        try:
            counts, oldest = _read_jobs()
            workers, devices = _read_fleet()
        except (SQLAlchemyError, Unavailable):
            up.add_metric([], 0)
            yield up
            return
        up.add_metric([], 1)
        yield up
        jobs = GaugeMetricFamily("distillery_jobs", "Jobs by state.", labels=["status"])
        for status in JobStatus:
            jobs.add_metric([status.value], counts.get(status.value, 0))
        yield jobs
        age = GaugeMetricFamily(
            "distillery_oldest_queued_seconds", "How long the job that has waited longest has been queued; 0 if none."
        )
        age.add_metric([], oldest)
        yield age
        yield GaugeMetricFamily("distillery_workers", "Workers that are heard of.", value=workers)
        held = GaugeMetricFamily(
            "distillery_devices", "Their devices by kind; running jobs hold one each.", labels=["kind"]
        )
        for kind, number in devices.items():
            held.add_metric([kind], number)
        yield held


def _read_jobs() -> tuple[dict[str, int], float]:
    with db.session() as session:
        counted = session.execute(select(Job.status, func.count()).group_by(Job.status))
        counts = {str(status): number for status, number in counted}
        waited = extract("epoch", func.now() - func.min(Job.queued_at))
        oldest = session.scalar(select(waited).where(Job.status == JobStatus.QUEUED))
    return counts, float(oldest or 0.0)


def _read_fleet() -> tuple[int, dict[str, int]]:
    with db.session() as session:
        return fleet.count(session), fleet.devices(session)


class Observed:
    """Counts and times requests by route. Its registry is the app's own, so that two apps in one process get along."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_Jobs())
        self.registry.register(Webhooks())
        labels = ["method", "route", "status"]
        self.requests = Counter("distillery_requests", "Requests answered.", labels, registry=self.registry)
        self.seconds = Histogram(
            "distillery_request_seconds",
            "Time until the answer began.",
            ["method", "route"],
            registry=self.registry,
        )


class ObserveMiddleware:
    """Sees every answer begin. The route and not the path is the label, so that ids do not become series."""

    def __init__(self, app: ASGIApp, observed: Observed) -> None:
        self.app = app
        self.observed = observed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and note when its answer begins."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began_at = time.perf_counter()

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._note(scope, message["status"], time.perf_counter() - began_at)
            await send(message)

        try:
            await self.app(scope, receive, noting)
        except Exception:
            # The answer to it is made further out.
            self._note(scope, 500, time.perf_counter() - began_at)
            raise

    def _note(self, scope: Scope, status: int, took_s: float) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        method = (
            scope["method"] if scope["method"] in {"GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS"} else "other"
        )
        self.observed.requests.labels(method, route, str(status)).inc()
        self.observed.seconds.labels(method, route).observe(took_s)
        # Polls and downloads are many and say nothing; what changes something, or goes wrong, is worth a line.
        if method not in {"GET", "HEAD"} or status >= 400:
            said = scope["method"], scope["path"], status, took_s, request_id.current()
            log.info("%s %s: %d after %.3f s, %s", *said)
