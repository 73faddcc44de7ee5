"""The running API, and what it is filled with."""

from collections.abc import Iterator

import httpx
import pytest

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
