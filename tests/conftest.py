"""Real servers for the tests: one PostgreSQL and one Redis a run, and a migrated, empty database for each test."""

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import redis
from sqlalchemy import make_url

from core import db
from core.embedded import Embedded
from core.settings import settings
from models.tables import Base

_numbers = itertools.count(1)
#: Children first. 0.5 ms for all, where a new database a test takes 200 ms and TRUNCATE 30 ms.
_EMPTY = "; ".join(f"DELETE FROM {table.name}" for table in reversed(Base.metadata.sorted_tables))


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
    """(database_url, redis_url) of servers that this run started; the database is migrated."""
    # Not pytest's tmp_path: another run closes that to the user that PostgreSQL has where root runs the tests.
    folder = tempfile.mkdtemp(prefix="distillery-tests-")
    with Embedded(folder) as (database_url, redis_url):
        with pytest.MonkeyPatch.context() as patch, _used(database_url, patch):
            db.upgrade()
        yield database_url, redis_url
    shutil.rmtree(folder)


@pytest.fixture
def database(servers: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a migrated database that is empty and that nobody else uses; core.db uses it."""
    with _used(servers[0], monkeypatch):
        yield servers[0]
    with _connected(servers[0]) as connection:
        # What a test left running must not reach into the next one, nor hold its locks.
        others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        connection.execute(f"{others} AND pid <> pg_backend_pid()")
        connection.execute(_EMPTY)


@pytest.fixture
def bare_database(servers: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a database without a table, for tests of the schema itself."""
    name = f"bare_{next(_numbers)}"
    with _connected(servers[0]) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    address = make_url(servers[0]).set(database=name).render_as_string(hide_password=False)
    with _used(address, monkeypatch):
        yield address
    with _connected(servers[0]) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def redis_url(servers: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of an empty Redis; core.queue uses it."""
    with redis.Redis.from_url(servers[1]) as client:
        client.flushall()
    monkeypatch.setenv("DISTILLERY_REDIS_URL", servers[1])
    settings.cache_clear()
    return servers[1]


@contextmanager
def _used(address: str, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """core.db uses the database of that address."""
    patch.setenv("DISTILLERY_DATABASE_URL", address)
    settings.cache_clear()
    db.engine.cache_clear()
    yield
    db.engine().dispose()
    db.engine.cache_clear()
    settings.cache_clear()


def _connected(url: str) -> psycopg.Connection[tuple[object, ...]]:
    plain = make_url(url).set(drivername="postgresql")
    return psycopg.connect(plain.render_as_string(hide_password=False), autocommit=True)
