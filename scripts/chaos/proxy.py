"""`python -m scripts.chaos.proxy LISTEN TARGET`: stands between the service and PostgreSQL, on Unix sockets.

It passes everything on. Told `TABLE after` on its input, it cuts the next connection that commits an INSERT into the
table once the server has committed: the answer is lost. `TABLE before` cuts it before the server hears of the COMMIT.
It prints `cut` then. The messages are those of the frontend/backend protocol 3.0 (PostgreSQL documentation, chapter
"Message Formats"): a type byte, a length that counts itself, a body; the first message of a connection has no type.
"""

import asyncio
import re
import sys
from dataclasses import dataclass, field

_INSERT = re.compile(rb"INSERT INTO (\w+)")


@dataclass
class Order:
    """What to cut; nothing while `table` is None."""

    table: str | None = None
    after: bool = True


@dataclass
class Connection:
    """What one client has said: the SQL of its prepared statements, the tables that its transaction has added to."""

    order: Order
    held: bytes = b""
    is_started: bool = False
    statements: dict[bytes, bytes] = field(default_factory=dict)
    tables: set[str] = field(default_factory=set)
    #: Set between a COMMIT that was passed on and the server's answer, which is then not.
    doomed: bool = False

    def heard(self, data: bytes) -> bool:
        """Follow what the client says; True where this holds the COMMIT to cut at."""
        self.held += data
        hit = False
        while (message := self._next()) is not None:
            hit = self._follow(*message) or hit
        return hit

    def _next(self) -> tuple[bytes, bytes] | None:
        head = 1 if self.is_started else 0
        if len(self.held) < head + 4:
            return None
        end = head + int.from_bytes(self.held[head : head + 4], "big")
        if len(self.held) < end:
            return None
        kind, body = self.held[:head], self.held[head + 4 : end]
        self.held, self.is_started = self.held[end:], True
        return kind, body

    def _follow(self, kind: bytes, body: bytes) -> bool:
        sql = b""
        if kind == b"Q":
            sql = body.rstrip(b"\0")
        elif kind == b"P":
            name, _, rest = body.partition(b"\0")
            self.statements[name] = rest.partition(b"\0")[0]
        elif kind == b"B":
            sql = self.statements.get(body.partition(b"\0")[2].partition(b"\0")[0], b"")
        self.tables |= {found.decode() for found in _INSERT.findall(sql)}
        if sql not in {b"COMMIT", b"ROLLBACK"}:
            return False
        hit = sql == b"COMMIT" and self.order.table in self.tables
        self.tables.clear()
        return hit


async def serve(listen: str, target: str) -> None:
    """Until the input ends."""
    order = Order()

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            back_reader, back_writer = await asyncio.open_unix_connection(target)
        except OSError:
            writer.close()
            return
        connection = Connection(order)
        ways = (_forth(connection, reader, back_writer), _back(connection, back_reader, writer))
        tasks = [asyncio.create_task(way) for way in ways]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        writer.close()
        back_writer.close()

    async with await asyncio.start_unix_server(meet, listen):
        print("ready", flush=True)
        await _obey(order)


async def _forth(connection: Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        if connection.heard(data):
            connection.order.table = None
            print("cut", flush=True)
            if not connection.order.after:
                return
            connection.doomed = True
        writer.write(data)
        await writer.drain()


async def _back(connection: Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        if connection.doomed:
            return
        writer.write(data)
        await writer.drain()


async def _obey(order: Order) -> None:
    while line := await asyncio.to_thread(sys.stdin.readline):
        order.table, _, when = line.strip().partition(" ")
        order.after = when == "after"


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2]))
