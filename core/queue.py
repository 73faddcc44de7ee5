"""The Celery app on Redis: it carries hints, "look at this job now", and nothing that may not be lost or repeated.

The rows in PostgreSQL are the truth. A message is acknowledged when it arrives; what recovers a job is its lease.
"""

import logging
from functools import cache
from typing import Any, Literal

import redis
from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError
from sqlalchemy import make_url

from core.errors import Unavailable
from core.settings import settings

RUN_JOB = "distillery.run_job"
CHECK = "distillery.check"

_log = logging.getLogger(__name__)


class _Sheet:
    """Celery's settings. An object, so that the address is read when it is first needed and not at import."""

    task_default_queue = "distillery"
    task_acks_late = False  # recovery comes from the lease, never from the broker
    task_reject_on_worker_lost = False  # a job that kills its worker would come back for ever
    task_ignore_result = True
    result_backend = None
    task_serializer = "json"
    accept_content = ("json",)  # a pickle from the broker would run code
    task_publish_retry = False  # a caller never waits: the sweep sends it again
    worker_prefetch_multiplier = 1
    worker_disable_prefetch = True
    worker_max_tasks_per_child = 50
    worker_cancel_long_running_tasks_on_connection_loss = False  # a job does not depend on the broker
    worker_hijack_root_logger = False
    worker_redirect_stdouts = False
    broker_connection_timeout = 2
    broker_connection_retry_on_startup = True
    broker_connection_max_retries = None  # for ever: Redis may be away for long
    broker_transport_options = {  # noqa: RUF012 - Celery reads it, nobody writes it
        "global_keyprefix": "distillery:",
        "visibility_timeout": 3600,
        "socket_connect_timeout": 2,
        "socket_timeout": 3,  # longer than a worker waits for a message in one read
        "socket_keepalive": True,
        "health_check_interval": 10,
        # Of one publish; a worker's own connection is made again for ever.
        "max_retries": 0,
        "interval_start": 0,
    }

    @property
    def broker_url(self) -> str:
        return broker_url()


app = Celery("distillery")
app.config_from_object(_Sheet())


def redis_url() -> str:
    """Where Redis is. Raises Unavailable where nothing is set."""
    if not settings().redis_url:
        raise Unavailable(
            "No Redis: set DISTILLERY_REDIS_URL, or start everything with `make up`.", code="queue_unavailable"
        )
    return settings().redis_url


def broker_url() -> str:
    """The same address in Celery's words: unix:///run/redis.sock?db=1 is redis+socket:///run/redis.sock."""
    url = make_url(redis_url())
    if url.drivername != "unix":
        return redis_url()
    return f"redis+socket:///{url.database}?virtual_host={url.query.get('db', 0)}"


def wake_job(job_id: str) -> None:
    """Tell a worker to look at a queued job. Call it after the commit; it never raises."""
    _send(RUN_JOB, job_id)


def wake_check(kind: Literal["teachers", "datasets"], id_: str) -> None:
    """Tell a worker to check an upload. Call it after the commit; it never raises."""
    _send(CHECK, kind, id_)


def ping() -> None:
    """Raise whatever keeps us from Redis."""
    _client(redis_url()).ping()


@cache
def _client(url: str) -> "redis.Redis":
    return redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2)


def _send(task: str, *arguments: Any) -> None:
    try:
        app.send_task(task, args=arguments)
    except (OperationalError, RedisError, OSError, Unavailable) as error:
        _log.warning("a message was not sent; the sweep will: task=%s of=%s reason=%s", task, arguments[-1], error)
