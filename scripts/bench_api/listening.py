"""A thousand listeners of event streams at one process: when each event reaches each, and what they cost in memory."""

import asyncio
import json
import time
from statistics import quantiles

from core import db, jobs
from core.jobs import Claim
from scripts.bench_api.service import Served, claimed, submitted
from scripts.bench_api.wire import Connection

_JOBS = 10
_EVERY_S = 0.5


def measure(api: Served, listeners: int, events: int) -> tuple[float, float, float]:
    """Seconds until the median and the 99th of a hundred got an event, and kilobytes that a listener takes."""
    return asyncio.run(_measure(api, listeners, events))


async def _measure(api: Served, listeners: int, events: int) -> tuple[float, float, float]:
    claims = [claimed(submitted()) for _ in range(_JOBS)]
    before = api.megabytes("VmRSS")
    streams = [asyncio.create_task(_listen(api.port, claims[at % _JOBS].job_id)) for at in range(listeners)]
    await asyncio.sleep(0)
    await _until_all_listen(api, listeners)
    each_kb = 1024 * (api.megabytes("VmRSS") - before) / listeners
    for _ in range(events):
        await asyncio.to_thread(_tell, claims)
        await asyncio.sleep(_EVERY_S)
    await asyncio.to_thread(_end, claims)
    delays = [delay for found in await asyncio.gather(*streams) for delay in found]
    assert len(delays) == listeners * events, "every listener got every event"
    at = quantiles(delays, n=100, method="inclusive")
    return at[49], at[98], each_kb


async def _listen(port: int, job_id: str) -> list[float]:
    """Seconds between the writing of an event and its arrival here, for all that tell when they were written."""
    client = await Connection.to(port)
    client.ask(f"/jobs/{job_id}/events", accept="text/event-stream")
    status, _ = await client.head()
    assert status == 200
    _listening.add(client)
    delays = []
    while line := await client.reader.readline():
        if line.startswith(b"data: ") and (sent := json.loads(line[6:])["data"].get("sent")) is not None:
            delays.append(time.time() - sent)
    client.close()
    return delays


_listening: set[Connection] = set()


async def _until_all_listen(api: Served, listeners: int) -> None:
    until = time.monotonic() + 60
    while len(_listening) < listeners:
        if time.monotonic() > until:
            raise TimeoutError(f"only {len(_listening)} of {listeners} streams came up at process {api.pid}")
        await asyncio.sleep(0.1)
    await asyncio.sleep(1)


def _tell(claims: list[Claim]) -> None:
    for claim in claims:
        with db.session() as session:
            jobs.record(session, claim, [("notice", {"code": "bench", "message": "", "sent": time.time()})])


def _end(claims: list[Claim]) -> None:
    for claim in claims:
        with db.session() as session:
            jobs.succeed(session, claim, result={}, artifacts=[], log="")
