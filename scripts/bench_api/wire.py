"""HTTP/1.1 as bytes on a socket: a client that costs less than what it measures."""

import asyncio
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes


class Connection:
    """One connection that is kept open. `await Connection.to(port)`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self._writer = writer

    @classmethod
    async def to(cls, port: int) -> Self:
        """Connect."""
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def get(self, path: str, **headers: str) -> Answer:
        """GET and read the whole answer."""
        self.ask(path, **headers)
        status, found = await self.head()
        return Answer(status, found, await self.reader.readexactly(int(found.get("content-length", 0))))

    def ask(self, path: str, **headers: str) -> None:
        """Send a request; `if_none_match` is If-None-Match."""
        lines = [
            f"GET {path} HTTP/1.1",
            "Host: localhost",
            *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items()),
        ]
        self._writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())

    async def head(self) -> tuple[int, dict[str, str]]:
        """The status and the headers of the next answer."""
        text = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        first, *rest = text.strip().split("\r\n")
        fields = (line.partition(": ") for line in rest)
        return int(first.split()[1]), {name.lower(): value for name, _, value in fields}

    def close(self) -> None:
        """Hang up."""
        self._writer.close()
