"""The running API, and what it is filled with."""

import time
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from core import db, keys
from models.roles import Role
from tests.api.made import Made, Server


@pytest.fixture(scope="module")
def _running() -> Iterator[Server]:
    """One server for the tests of a file: whatever database the settings name at a request is the one it uses."""
    with Server() as running:
        yield running


@pytest.fixture
def server(_running: Server, database: str, redis_url: str) -> Server:
    _running.app.state.gate.forget()
    return _running


@pytest.fixture
def api(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=10) as client:
        yield client


@pytest.fixture
def made(api: httpx.Client) -> Made:
    return Made(api)


class Doors:
    """Clients with keys of their own: `doors("vision")`, `doors("vision", Role.VIEWER)`."""

    def __init__(self, server: Server, opened: ExitStack) -> None:
        self._server = server
        self._opened = opened

    def __call__(self, owner: str, role: Role = Role.USER, *, days: float | None = None) -> httpx.Client:
        with db.session() as session:
            token = keys.make(session, owner, role, days=days).token
        self._server.app.state.gate.forget()
        return self.with_token(token)

    def with_token(self, token: str | None) -> httpx.Client:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return self._opened.enter_context(httpx.Client(base_url=self._server.url, headers=headers, timeout=10))


@pytest.fixture
def doors(server: Server) -> Iterator[Doors]:
    with ExitStack() as opened:
        yield Doors(server, opened)
    while server.app.state.gate.is_busy:  # it has a connection to this test's database
        time.sleep(0.005)
