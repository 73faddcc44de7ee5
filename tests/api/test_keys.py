"""Keys: how they are made, what they open, how they end; and that none is ever written down."""

import logging
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from sqlalchemy import event, func, select, update

from core import db, keys
from models.roles import Role
from models.tables import Key
from tests.api.conftest import Doors
from tests.api.made import Made, Server, claim, gone, problem

ROOT = Path(__file__).resolve().parents[2]


def token_of(client: httpx.Client) -> str:
    return client.headers["authorization"].removeprefix("Bearer ")


def test_while_there_is_no_key_nobody_needs_one_and_from_then_on_everybody(api: httpx.Client, doors: Doors) -> None:
    assert api.get("/jobs").status_code == 200
    client = doors("vision")
    problem(api.get("/jobs"), 401, "key_missing")
    problem(api.get("/nothing"), 401, "key_missing")
    assert client.get("/jobs").status_code == 200
    assert client.get("/nothing").status_code == 404


def test_what_was_made_without_a_key_is_of_the_owner_local(made: Made, doors: Doors) -> None:
    upload = made.upload()
    assert doors("vision").get(f"/uploads/{upload}").status_code == 404
    assert doors("local").get(f"/uploads/{upload}").status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        "dk_aaaaaaaaaa_" + "a" * 43,
        "Bearer",
        "Bearer dk_short",
        "Bearer dk_aaaaaaaaaa_" + "a" * 43,
        "Basic dXNlcjpwYXNz",
        "Bearer \xff",
    ],
)
def test_what_is_no_key_opens_nothing(server: Server, doors: Doors, header: str) -> None:
    doors("vision")
    answer = httpx.get(f"{server.url}/jobs", headers=[(b"Authorization", header.encode("latin-1"))])
    assert answer.headers["www-authenticate"] == "Bearer"
    problem(answer, 401, "key_unknown")


def test_a_true_start_with_another_secret_is_an_unknown_key(doors: Doors) -> None:
    token = token_of(doors("vision"))
    wrong = token[:-1] + ("a" if token[-1] != "a" else "b")
    problem(doors.with_token(wrong).get("/jobs"), 401, "key_unknown")


def test_a_key_expires(doors: Doors) -> None:
    client = doors("vision", days=1 / 86_400)
    assert client.get("/jobs").status_code == 200
    time.sleep(1.1)
    problem(client.get("/jobs"), 401, "key_expired")


def test_a_key_that_is_revoked_opens_nothing_two_seconds_later(doors: Doors) -> None:
    client = doors("vision")
    assert client.get("/jobs").status_code == 200
    with db.session() as session:  # as another process does it
        keys.revoke(session, token_of(client)[:13])
    until = time.monotonic() + 3
    while client.get("/jobs").status_code == 200:
        assert time.monotonic() < until
        time.sleep(0.05)
    problem(client.get("/jobs"), 401, "key_revoked")


def test_an_admin_makes_lists_and_revokes(doors: Doors) -> None:
    admin = doors("operations", Role.ADMIN)
    made = admin.post("/keys", json={"owner": "vision", "name": "ci", "days": 1})
    assert made.status_code == 201
    assert made.headers["cache-control"] == "no-store"
    token, key_id = made.json()["token"], made.json()["id"]
    client = doors.with_token(token)
    assert client.get("/jobs").status_code == 200
    listed = admin.get("/keys", params={"owner": "vision"})
    assert [item["id"] for item in listed.json()["items"]] == [key_id]
    assert token not in listed.text
    assert token.startswith(listed.json()["items"][0]["prefix"])
    assert len(admin.get("/keys", params={"limit": 1}).json()["items"]) == 1
    for _ in range(2):
        gone(admin.delete(f"/keys/{key_id}"))
    problem(client.get("/jobs"), 401, "key_revoked")
    problem(admin.delete("/keys/key_0"), 404, "not_found")
    problem(admin.post("/keys", json={"owner": "a b"}), 422, "invalid", "/owner")


def test_the_last_use_is_written_once_a_minute_and_beside_the_request(doors: Doors, server: Server) -> None:
    client = doors("vision")
    written: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "UPDATE keys" in statement:
            written.append(statement)

    event.listen(db.engine(), "before_cursor_execute", note)
    for _ in range(5):
        client.get("/jobs")
    while server.app.state.gate.is_busy:
        time.sleep(0.01)
    with db.session() as session:
        assert session.scalar(select(Key.last_used_at)) is not None
    assert len(written) == 1


def test_a_poll_is_one_query(doors: Doors) -> None:
    client = doors("vision")
    job = Made(client).job()
    claim(job)  # the place of one that waits is a second look
    tag = client.get(f"/jobs/{job}").headers["etag"]
    time.sleep(0.1)
    asked: list[str] = []
    event.listen(db.engine(), "before_cursor_execute", lambda *given: asked.append(given[2]))
    assert client.get(f"/jobs/{job}", headers={"If-None-Match": tag}).status_code == 304
    assert len(asked) == 1, asked


def test_only_the_hash_is_stored(doors: Doors) -> None:
    token = token_of(doors("vision"))
    with db.engine().connect() as connection:
        row = str(connection.exec_driver_sql("SELECT row_to_json(keys)::text FROM keys").scalar_one())
    assert token not in row
    assert token.rpartition("_")[2] not in row


def test_no_token_reaches_a_log_or_an_answer(doors: Doors, caplog: pytest.LogCaptureFixture) -> None:
    client = doors("vision", Role.ADMIN)
    made = Made(client)
    strangers = "dk_strange000_" + "s" * 43
    with caplog.at_level(logging.DEBUG):
        job = made.job()
        texts = [client.get(path).text for path in (f"/jobs/{job}", f"/jobs/{job}/events", "/keys", "/metrics", "/no")]
        texts.append(doors.with_token(strangers).get("/jobs").text)
        token = client.post("/keys", json={"owner": "vision"}).json()["token"]
        client.post("/jobs", content=b"{", headers={"Content-Type": "application/json"})
    written = [*texts, caplog.text]
    for secret in (token_of(client), strangers, token):
        assert not [text for text in written if secret.rpartition("_")[2] in text]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "core.keys", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_command_makes_lists_and_revokes(doors: Doors) -> None:
    made = run("--owner", "vision", "--role", "viewer", "--name", "wall", "--days", "2")
    token = made.stdout.strip()
    assert made.returncode == 0, made.stderr
    assert token not in made.stderr
    client = doors.with_token(token)
    assert client.get("/jobs").status_code == 200
    problem(client.post("/jobs/job_0/cancel"), 403, "forbidden")
    listed = run("--list", "--owner", "vision").stdout
    assert all(word in listed for word in (token[:13], "viewer", "wall", "expires"))
    assert run("--revoke", token[:13]).returncode == 0
    assert "revoked" in run("--list").stdout


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [(["--owner", "a b"], "letters"), (["--days", "-1"], "above 0"), (["--revoke", "key_0"], "no key")],
)
def test_the_command_says_what_is_wrong(database: str, arguments: list[str], reason: str) -> None:
    refused = run(*arguments)
    assert refused.returncode == 1
    assert reason in refused.stderr
    assert "Traceback" not in refused.stderr


def test_keys_of_many_are_looked_up_by_an_index(database: str) -> None:
    with db.session() as session:
        made = keys.make(session, "vision", Role.USER)
        session.execute(update(Key).values(expires_at=func.now()))
        found = keys.look_up(session, made.token)
        assert found is not None
        assert found.expires_in_s == 0
        assert keys.look_up(session, made.token[:-1] + "!") is None
