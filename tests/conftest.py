"""Real servers for the tests: one PostgreSQL and one Redis a run, and a fresh migrated database a test."""

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis
from sqlalchemy import make_url

from core import db
from core.embedded import Embedded
from core.settings import settings

_TEMPLATE = "distillery"
_numbers = itertools.count(1)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No setting of the person who runs the tests reaches them; files go to the test's own folder."""
    for name in ("DATABASE_URL", "REDIS_URL", "STORAGE_URL", "LOG_JSON", "LOG_LEVEL"):
        monkeypatch.delenv(f"DISTILLERY_{name}", raising=False)
    monkeypatch.setenv("DISTILLERY_DATA_DIR", str(tmp_path / "var"))
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.fixture(scope="session")
def servers() -> Iterator[tuple[str, str]]:
    """(database_url, redis_url) of servers that this run started; the database is migrated and stays empty."""
    # Not pytest's tmp_path: another run closes that to the user that PostgreSQL has where root runs the tests.
    folder = tempfile.mkdtemp(prefix="distillery-tests-")
    with Embedded(folder) as (database_url, redis_url):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DISTILLERY_DATABASE_URL", database_url)
            settings.cache_clear()
            db.upgrade()
            settings.cache_clear()
        yield database_url, redis_url
    shutil.rmtree(folder)


@pytest.fixture
def database(servers: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an empty, migrated database of this test alone; core.db uses it."""
    url = make_url(servers[0])
    name = f"test_{next(_numbers)}"
    with _admin(servers[0]) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE}")
    address = url.set(database=name).render_as_string(hide_password=False)
    monkeypatch.setenv("DISTILLERY_DATABASE_URL", address)
    settings.cache_clear()
    db.engine.cache_clear()
    yield address
    db.engine().dispose()
    db.engine.cache_clear()
    with _admin(servers[0]) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def redis_url(servers: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of an empty Redis; core.queue uses it."""
    with redis.Redis.from_url(servers[1]) as client:
        client.flushall()
    monkeypatch.setenv("DISTILLERY_REDIS_URL", servers[1])
    settings.cache_clear()
    return servers[1]


def _admin(url: str) -> psycopg.Connection[tuple[object, ...]]:
    plain = make_url(url).set(drivername="postgresql", database="postgres")
    return psycopg.connect(plain.render_as_string(hide_password=False), autocommit=True)
