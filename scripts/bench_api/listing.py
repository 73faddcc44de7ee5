"""How long a page of jobs takes where there are few and where there are many, request by request in turn."""

import asyncio
import json
import time
from collections.abc import Sequence
from statistics import quantiles

from scripts.bench_api.service import Served
from scripts.bench_api.wire import Connection

#: Ways to list: the newest, by state, by a label that half of the jobs have, by both.
_QUERIES = ("", "status=failed", "label=team:a", "status=queued&status=running", "status=failed&label=team:b")
#: Pages of each that are turned before it starts anew.
_PAGES = 8


def measure(few: Served, many: Served, rounds: int) -> tuple[float, float]:
    """Milliseconds of the 99th of a hundred pages."""
    return asyncio.run(_measure([few, many], rounds))


async def _measure(sides: Sequence[Served], rounds: int) -> tuple[float, float]:
    readers = [_Reader(await Connection.to(side.port)) for side in sides]
    for reader in readers * 2 * len(_QUERIES):
        await reader.page("", None)
    for _ in range(rounds):
        for query in _QUERIES:
            cursors: list[str | None] = [None, None]
            for _ in range(_PAGES):
                for at, reader in enumerate(readers):
                    cursors[at] = await reader.page(query, cursors[at], counts=True)
    few, many = (quantiles(reader.took_ms, n=100, method="inclusive")[-1] for reader in readers)
    return few, many


class _Reader:
    def __init__(self, client: Connection) -> None:
        self._client = client
        self.took_ms: list[float] = []

    async def page(self, query: str, cursor: str | None, *, counts: bool = False) -> str | None:
        path = f"/jobs?limit=50&{query}" + (f"&cursor={cursor}" if cursor else "")
        start = time.perf_counter()
        answer = await self._client.get(path)
        took_ms = 1000 * (time.perf_counter() - start)
        assert answer.status == 200, answer
        page = json.loads(answer.body)
        # The pages of a thousand jobs come to an end: what is compared is full pages.
        if counts and len(page["items"]) == 50:
            self.took_ms.append(took_ms)
        found: str | None = page["next_cursor"]
        return found
