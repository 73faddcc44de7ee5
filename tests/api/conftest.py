"""A real API server on a port of its own, and teachers and data sets that a check has found good."""

import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import uvicorn

from api.main import create_app
from api.streams import Pace
from core import checks, db
from core.settings import settings
from core.storage import Stored, storage
from models.work import IntakeResult

IMAGE_CLASSES = ["cat", "dog", "fox"]

Make = Callable[..., str]


class Server:
    """The API in a thread of this process, behind a real socket."""

    def __init__(self, pace: Pace | None = None) -> None:
        app = create_app(pace)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self._server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self.listener]})

    def __enter__(self) -> "Server":
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive(), "the server did not start"
            self._thread.join(0.005)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()
        self.listener.close()


@pytest.fixture
def server(database: str, redis_url: str) -> Iterator[Server]:
    with Server() as running:
        yield running


@pytest.fixture
def api(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=10) as client:
        yield client
