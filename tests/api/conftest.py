"""The running API, and what it is filled with.

One server and one database serve all tests of this folder, which are many and short: each test finds the tables empty.
"""

from collections.abc import Iterator

import httpx
import psycopg
import pytest
from sqlalchemy import make_url, text

from core import db
from core.settings import settings
from models.tables import Base
from tests.api.made import Made, Server

_NAME = "test_api"


@pytest.fixture(scope="package")
def _database(servers: tuple[str, str]) -> Iterator[str]:
    """The address of a migrated database for this folder."""
    url = make_url(servers[0])
    plain = url.set(drivername="postgresql", database="postgres").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {_NAME} TEMPLATE {url.database}")
        yield url.set(database=_NAME).render_as_string(hide_password=False)
        db.engine().dispose()
        db.engine.cache_clear()
        admin.execute(f"DROP DATABASE {_NAME} WITH (FORCE)")


@pytest.fixture(scope="package")
def _running(_database: str, servers: tuple[str, str]) -> Iterator[Server]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTILLERY_DATABASE_URL", _database)
        settings.cache_clear()
        db.engine.cache_clear()
        with Server() as running:
            yield running


@pytest.fixture
def emptied(_database: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of this test name the folder's database, whose tables are empty."""
    monkeypatch.setenv("DISTILLERY_DATABASE_URL", _database)
    settings.cache_clear()
    if db.engine().url.database != _NAME:
        db.engine().dispose()
        db.engine.cache_clear()
    tables = ", ".join(table.name for table in Base.metadata.sorted_tables)
    with db.session() as session:
        session.execute(text(f"TRUNCATE {tables} CASCADE"))


@pytest.fixture
def server(_running: Server, emptied: None) -> Server:
    return _running


@pytest.fixture
def api(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=10) as client:
        yield client


@pytest.fixture
def made(api: httpx.Client) -> Made:
    return Made(api)
