"""Sessions that commit at the edge, limits that the server keeps, and text that it can store."""

import json
import math
import os

import pytest
from sqlalchemy import exc, text

from core import db
from core.errors import Unavailable
from core.settings import settings


def test_a_session_commits_at_its_end_and_rolls_back_on_an_error(database: str) -> None:
    def insert(key: str, *, fails: bool) -> None:
        with db.session() as session:
            columns = "key, route, body_sha256, status, headers, body"
            session.execute(
                text(f"INSERT INTO idempotency_keys ({columns}) VALUES (:key, 'r', '', 201, '{{}}', '')"),
                {"key": key},
            )
            if fails:
                raise RuntimeError(key)

    insert("kept", fails=False)
    with pytest.raises(RuntimeError):
        insert("lost", fails=True)
    with db.session() as session:
        assert session.scalars(text("SELECT key FROM idempotency_keys")).all() == ["kept"]


def test_the_server_ends_what_is_stuck(database: str) -> None:
    with db.session() as session:
        shown = {name: session.scalar(text(f"SHOW {name}")) for name in ("statement_timeout", "lock_timeout")}
        assert shown == {"statement_timeout": "20s", "lock_timeout": "10s"}
        assert session.scalar(text("SHOW idle_in_transaction_session_timeout")) == "30s"
        assert session.scalar(text("SHOW fsync")) == "on"


def test_a_connection_that_was_cut_is_made_anew(database: str) -> None:
    with db.session() as session:
        mine = session.scalar(text("SELECT pg_backend_pid()"))
    with pytest.raises(exc.OperationalError), db.session() as session:
        session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
    with db.session() as session:
        assert session.scalar(text("SELECT pg_backend_pid()")) != mine
    db.ping()


def test_a_fork_leaves_the_connections_to_the_parent(database: str) -> None:
    def backend() -> int:
        with db.session() as session:
            return int(session.scalar(text("SELECT pg_backend_pid()")))

    mine = backend()
    reads, writes = os.pipe()
    if (child := os.fork()) == 0:
        os.write(writes, str(backend()).encode())
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    theirs = int(os.read(reads, 20))
    os.close(reads)
    os.close(writes)
    assert theirs != mine
    assert backend() == mine


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_spelling_of_the_address_is_psycopg_3(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    monkeypatch.setenv("DISTILLERY_DATABASE_URL", f"{scheme}://user:pw@host:5433/name")
    settings.cache_clear()
    url = db.database_url()
    assert (url.drivername, url.host, url.port, url.database) == ("postgresql+psycopg", "host", 5433, "name")


def test_without_an_address_it_says_what_to_set() -> None:
    with pytest.raises(Unavailable, match="DISTILLERY_DATABASE_URL"):
        db.database_url()


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ({"loss": math.nan, "lr": [math.inf, -math.inf, 0.5]}, {"loss": None, "lr": [None, None, 0.5]}),
        ({"a\x00": "b\x00", "c": ("\ud800", "ü😀")}, {"a\ufffd": "b\ufffd", "c": ["\ufffd", "ü😀"]}),
        ({"text": "a backslash and u0000: \\u0000 \\ud800"}, {"text": "a backslash and u0000: \\u0000 \\ud800"}),
        ({"n": None, "t": True, "i": 2**60}, {"n": None, "t": True, "i": 2**60}),
    ],
)
def test_whatever_a_child_writes_can_be_stored(database: str, value: object, stored: object) -> None:
    encoded = db.to_json(value)
    assert json.loads(encoded) == stored
    with db.session() as session:
        assert session.scalar(text("SELECT CAST(:given AS jsonb)"), {"given": encoded}) == stored
