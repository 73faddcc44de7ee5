"""A proxy that cuts the connection whenever so many bytes have gone up: what a bad network does to an upload."""

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

_CHUNK = 1 << 16


class Cutting:
    """Listens on `port` within a `with` block. `after`: totals of bytes at which it cuts, ascending."""

    def __init__(self, target: int, after: list[int]) -> None:
        self.target = target
        self._after = list(after)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.cuts = 0
        self.passed = 0
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError), socket.create_connection(("127.0.0.1", self.target)) as server:
            down = threading.Thread(target=_pump, args=(server, client), daemon=True)
            down.start()
            while chunk := client.recv(_CHUNK):
                server.sendall(chunk)
                self.passed += len(chunk)
                if self._after and self.passed >= self._after[0]:
                    self._after.pop(0)
                    self.cuts += 1
                    for end in (client, server):
                        end.shutdown(socket.SHUT_RDWR)
                    return
            server.shutdown(socket.SHUT_WR)
            down.join()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while chunk := source.recv(_CHUNK):
            target.sendall(chunk)
        target.shutdown(socket.SHUT_WR)
