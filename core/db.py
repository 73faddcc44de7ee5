"""PostgreSQL: the engine, sessions that commit at the edge, and the migrations.

`python -m core.db upgrade` brings the database to the newest schema.
"""

import json
import math
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import URL, Engine, create_engine, make_url, text
from sqlalchemy.orm import Session, sessionmaker

from core.errors import Unavailable
from core.settings import settings

MIGRATIONS = Path(__file__).resolve().parents[1] / "migrations"

#: No statement of ours takes seconds; what does is stuck, and must not hold a lease's row.
_SERVER_OPTIONS = "-c statement_timeout=20s -c lock_timeout=10s -c idle_in_transaction_session_timeout=30s"
#: Any number that no other program locks; two copies that start together migrate one after the other.
_MIGRATION_LOCK = 0x0D157111


def database_url() -> URL:
    """Where the database is, for psycopg 3. Raises Unavailable where nothing is set."""
    if not settings().database_url:
        raise Unavailable(
            "No database: set DISTILLERY_DATABASE_URL, or start everything with `make up`.", code="database_unavailable"
        )
    url = make_url(settings().database_url)
    return url.set(drivername="postgresql+psycopg")


@cache
def engine() -> Engine:
    """The pool of this process. After a fork the child has an empty one: two must not speak on one connection."""
    return create_engine(
        database_url(),
        # Kept open once made: a connection beyond the pool's size would be made and closed for each request.
        pool_size=20,
        max_overflow=0,
        pool_timeout=5,
        pool_pre_ping=True,
        pool_recycle=600,
        json_serializer=to_json,
        connect_args={
            "options": _SERVER_OPTIONS,
            "connect_timeout": 5,
            "application_name": "distillery",
            # A server that vanished without a word is noticed in about half a minute.
            "keepalives_idle": 15,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 30_000,
        },
    )


def to_json(value: Any) -> str:
    """JSON that PostgreSQL stores whatever a child wrote: NaN and infinities become null, NUL and surrogates U+FFFD."""
    try:
        encoded = json.dumps(value, allow_nan=False)
    except ValueError:
        encoded = json.dumps(_storable(value))
    return json.dumps(_storable(value)) if "\\u0000" in encoded or "\\ud" in encoded else encoded


def _storable(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, dict):
        return {_storable(key): _storable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(each) for each in value]
    return value


def storable_text(value: str) -> str:
    """The text without what PostgreSQL has no place for."""
    return re.sub("[\x00\ud800-\udfff]", "\ufffd", value)


def _leave_connections_to_the_parent() -> None:
    if engine.cache_info().currsize:
        engine().dispose(close=False)


os.register_at_fork(after_in_child=_leave_connections_to_the_parent)


@cache
def _sessions(of: Engine) -> sessionmaker[Session]:
    return sessionmaker(of, expire_on_commit=False)


@contextmanager
def session() -> Iterator[Session]:
    """One transaction: committed at the end of the block, rolled back where the block raises."""
    with _sessions(engine())() as opened, opened.begin():
        yield opened


def ping() -> None:
    """Raise whatever keeps us from the database."""
    with engine().connect() as connection:
        connection.execute(text("SELECT 1"))


def upgrade() -> None:
    """Bring the database to the newest schema; nothing happens where it is there."""
    with migrating() as config:
        command.upgrade(config, "head")


@contextmanager
def migrating() -> Iterator[Config]:
    """What Alembic's commands need: a connection in one transaction that no other migration runs beside."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    # A pool and timeouts made for short requests do not suit a migration.
    migrator = create_engine(database_url(), connect_args={"connect_timeout": 5})
    try:
        with migrator.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
            # Who waits for a lock makes every later statement wait as well: better to fail and be run again.
            connection.execute(text("SET LOCAL lock_timeout = '10s'"))
            config.attributes["connection"] = connection
            yield config
    finally:
        migrator.dispose()


def main(arguments: list[str]) -> int:
    """The door of `python -m core.db`."""
    if arguments != ["upgrade"]:
        sys.stderr.write("usage: python -m core.db upgrade\n")
        return 2
    upgrade()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
