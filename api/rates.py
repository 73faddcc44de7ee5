"""How often an owner may ask: counted in Redis over a sliding minute, so that all copies of the API count together.

Where Redis does not answer nobody is kept waiting or refused: requests go on uncounted, and the log says so once a
minute.
"""

import logging
import math
import time
from typing import Any

from limits import RateLimitItemPerMinute
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from redis.asyncio import ConnectionPool
from redis.exceptions import RedisError
from starlette.types import ASGIApp, Receive, Scope, Send

from api.callers import Caller
from api.errors import of_error
from core import queue
from core.errors import TooMany, Unavailable
from core.settings import settings

log = logging.getLogger("distillery.api")

#: Redis is on the next machine or it is away; a request does not wait longer to find out.
_PATIENCE_S = 0.5
#: After a failure Redis is left alone for so long: one request finds out for all.
_PAUSE_S = 5.0
_SAY_AGAIN_S = 60.0


class Rates:
    """Counts the requests of each owner. Used from one event loop."""

    def __init__(self) -> None:
        self._url = ""
        self._limiter: SlidingWindowCounterRateLimiter | None = None
        self._pool: ConnectionPool | None = None
        self._away_until = 0.0
        self._said_at = -math.inf

    async def count(self, owner: str) -> None:
        """One request more. TooMany with the time to wait where the owner has sent too many."""
        limit = settings().max_requests_per_minute
        if not limit or time.monotonic() < self._away_until:
            return
        item = RateLimitItemPerMinute(limit, namespace="distillery")
        try:
            limiter = await self._on(queue.redis_url())
            if await limiter.hit(item, owner):
                return
            again_at = (await limiter.get_window_stats(item, owner)).reset_time
        except (RedisError, OSError, Unavailable) as error:
            self._away(error)
            return
        wait_s = max(1, math.ceil(again_at - time.time()))
        message = f"`{owner}` may send {limit} requests a minute (DISTILLERY_MAX_REQUESTS_PER_MINUTE) and has; wait"
        raise TooMany(f"{message} {wait_s} s", code="too_many_requests", retry_after_s=wait_s)

    async def _on(self, url: str) -> SlidingWindowCounterRateLimiter:
        if self._limiter is None or url != self._url:
            await self.close()
            pool = ConnectionPool.from_url(url, socket_timeout=_PATIENCE_S, socket_connect_timeout=_PATIENCE_S)
            address = f"async+redis+{url}" if url.startswith("unix") else f"async+{url}"
            own: dict[str, Any] = {"connection_pool": pool}
            storage = RedisStorage(address, implementation="redispy", key_prefix="distillery:rate", **own)
            self._url, self._pool, self._limiter = url, pool, SlidingWindowCounterRateLimiter(storage)
        return self._limiter

    def resume(self) -> None:
        """Ask Redis again, and complain again where it is away."""
        self._away_until, self._said_at = 0.0, -math.inf

    async def close(self) -> None:
        """Close the connections: an event loop that ends with open ones waits for them."""
        if self._pool is not None:
            await self._pool.aclose()
        self._pool = self._limiter = None

    def _away(self, error: Exception) -> None:
        now = time.monotonic()
        self._away_until = now + _PAUSE_S
        if now - self._said_at >= _SAY_AGAIN_S:
            self._said_at = now
            log.warning("requests are not counted until Redis answers: %s", error.__class__.__name__)


class RatesMiddleware:
    """Counts what the gate has let in with a key."""

    def __init__(self, app: ASGIApp, rates: Rates) -> None:
        self.app = app
        self.rates = rates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count it, then go on or answer 429."""
        caller: Caller | None = scope.get("caller")
        if caller is not None and caller.key_id is not None:
            try:
                await self.rates.count(caller.owner)
            except TooMany as error:
                await of_error(error)(scope, receive, send)
                return
        await self.app(scope, receive, send)
