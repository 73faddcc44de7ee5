"""How many polls of a job a second, beside a bare FastAPI endpoint that does one SELECT."""

import asyncio
import time
from statistics import median

from scripts.bench_api.service import Served
from scripts.bench_api.wire import Connection

_CONNECTIONS = 8


def measure(api: Served, bare: Served, job_id: str, rounds: int, seconds: float) -> tuple[float, float, float, float]:
    """Polls a second: the bare endpoint, ours unchanged (304), ours whole (200); the ratio of the first two."""
    return asyncio.run(_measure(api, bare, job_id, rounds, seconds))


async def _measure(
    api: Served, bare: Served, job_id: str, rounds: int, seconds: float
) -> tuple[float, float, float, float]:
    path = f"/jobs/{job_id}"
    client = await Connection.to(api.port)
    etag = (await client.get(path)).headers["etag"]
    client.close()
    found: list[tuple[float, float, float]] = []
    for each in range(rounds + 1):
        rates = (
            await _rate(bare.port, path, 200, seconds),
            await _rate(api.port, path, 304, seconds, if_none_match=etag),
            await _rate(api.port, path, 200, seconds),
        )
        if each:  # the first round warms up
            found.append(rates)
    plain, polls, whole = (median(each) for each in zip(*found, strict=True))
    return plain, polls, whole, median(ours / theirs for theirs, ours, _ in found)


async def _rate(port: int, path: str, status: int, seconds: float, **headers: str) -> float:
    clients = [await Connection.to(port) for _ in range(_CONNECTIONS)]
    start = time.monotonic()
    counts = await asyncio.gather(*(_poll(client, path, status, start + seconds, headers) for client in clients))
    took_s = time.monotonic() - start
    for client in clients:
        client.close()
    return sum(counts) / took_s


async def _poll(client: Connection, path: str, status: int, until: float, headers: dict[str, str]) -> int:
    count = 0
    while time.monotonic() < until:
        answer = await client.get(path, **headers)
        assert answer.status == status, answer
        count += 1
    return count
