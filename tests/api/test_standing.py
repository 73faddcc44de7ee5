"""Where a queued job stands and why it waits; and that a poll stays cheap and unchanged while nothing changes."""

from typing import Any

import httpx
import pytest
from sqlalchemy import func, text, update

from api import job_tags, standing
from core import db, fleet, jobs
from core.errors import Infra
from core.settings import settings
from models.tables import Job, Worker
from tests.api.made import Made, claim

CPU = [{"name": "cpu", "kind": "cpu"}]


def worker(devices: int = 1) -> None:
    with db.session() as session:
        fleet.show(session, "w", CPU * devices, 60)


def queue(api: httpx.Client, job_id: str) -> dict[str, Any]:
    found: dict[str, Any] = api.get(f"/jobs/{job_id}").json()["queue"]
    return found


def give(job_id: str, **values: Any) -> None:
    with db.session() as session:
        session.execute(update(Job).where(Job.id == job_id).values(**values))


@pytest.fixture
def body(made: Made) -> dict[str, Any]:
    return made.body()


def post(api: httpx.Client, body: dict[str, Any], **more: Any) -> str:
    made: str = api.post("/jobs", json={**body, **more}).json()["id"]
    return made


def test_without_a_worker_it_says_so(api: httpx.Client, body: dict[str, Any]) -> None:
    job = post(api, body)
    assert queue(api, job)["reason"] == "no_worker"
    worker()
    assert queue(api, job)["reason"] == "starting"
    assert api.get("/readyz").json()["workers"] == 1
    with db.session() as session:
        session.execute(update(Worker).values(expected_by=func.now(), seen_at=text("'2026-01-02 03:04:05+00'")))
    assert "2026-01-02T03:04:06Z" in queue(api, job)["message"]


def test_a_worker_that_leaves_is_gone_at_once(api: httpx.Client, body: dict[str, Any]) -> None:
    worker()
    with db.session() as session:
        fleet.leave(session, "w")
    assert queue(api, post(api, body))["reason"] == "no_worker"


def test_busy_devices_and_higher_priorities_are_told_apart(api: httpx.Client, body: dict[str, Any]) -> None:
    worker()
    claim(post(api, body))
    waiting = post(api, body)
    assert (queue(api, waiting)["reason"], queue(api, waiting)["ahead"]) == ("no_free_device", 0)
    high = post(api, body, priority="high")
    found = queue(api, waiting)
    assert (found["reason"], found["position"], found["ahead"]) == ("higher_priority", 2, 1)
    assert queue(api, high)["position"] == 1
    assert api.get(f"/jobs/{high}").json()["spec"]["priority"] == "high"


def test_a_limit_and_a_wait_after_a_failure_are_told(
    api: httpx.Client, body: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILLERY_MAX_RUNNING_PER_OWNER", "1")
    monkeypatch.setenv("DISTILLERY_RETRY_WAIT_S", "90")
    settings.cache_clear()
    worker(2)
    failing = claim(post(api, body))
    assert queue(api, post(api, body))["reason"] == "owner_limit"
    with db.session() as session:
        jobs.fail(session, failing, Infra("Disk full.", code="disk"), exit_code=1, log="")
    found = queue(api, failing.job_id)
    assert found["reason"] == "backing_off"
    assert "`disk`" in found["message"]


def test_places_are_those_of_owners_in_turn(api: httpx.Client, body: dict[str, Any]) -> None:
    ids = [post(api, body) for _ in range(5)]
    for number, job_id in enumerate(ids):
        age = func.now() - func.make_interval(0, 0, 0, 0, 0, 0, 100 - number)
        give(job_id, owner="b" if number > 2 else "a", queued_at=age)
    with db.session() as session:
        found = standing.standings(session, ids)
    assert [found[job_id].position for job_id in ids] == [1, 3, 5, 2, 4]
    taken = []
    for _ in ids:
        with db.session() as session:
            made = jobs.claim(session, worker="w", lease_s=60)
        assert made is not None
        taken.append(made.job_id)
    assert [taken.index(job_id) + 1 for job_id in ids] == [1, 3, 5, 2, 4]


def test_age_and_rank_grow_with_the_wait(api: httpx.Client, body: dict[str, Any]) -> None:
    job, younger = post(api, body, priority="low"), post(api, body)
    give(job, queued_at=func.now() - func.make_interval(0, 0, 0, 0, 0, 0, 605))
    assert (queue(api, job)["age_s"], queue(api, job)["position"]) == (600, 2)
    give(job, queued_at=func.now() - func.make_interval(0, 0, 0, 0, 0, 0, settings().priority_step_s + 5))
    assert (queue(api, job)["position"], queue(api, younger)["position"]) == (1, 2)


def test_a_poll_is_unchanged_while_nothing_changes_and_sees_why_it_waits(
    api: httpx.Client, body: dict[str, Any]
) -> None:
    job = post(api, body)
    give(job, queued_at=func.now() - func.make_interval(0, 0, 0, 0, 0, 0, 1201))
    tag = api.get(f"/jobs/{job}").headers["etag"]
    assert tag == job_tags.stored_tag("local", job)
    assert api.get(f"/jobs/{job}", headers={"If-None-Match": tag}).status_code == 304
    worker()
    again = api.get(f"/jobs/{job}", headers={"If-None-Match": tag})
    assert (again.status_code, again.json()["queue"]["reason"]) == (200, "starting")


def test_counts_read_indexes_alone(api: httpx.Client, body: dict[str, Any]) -> None:
    job = post(api, body)
    columns = ", ".join(
        column.name for column in Job.__table__.columns if column.name not in {"id", "queued_at", "owner", "priority"}
    )
    with db.session() as session:
        session.execute(
            text(
                f"INSERT INTO jobs (id, queued_at, owner, priority, {columns}) "
                f"SELECT 'job_' || n, now() - n * interval '0.1 s', 'o' || n % 5, n % 3, {columns} "
                "FROM jobs, generate_series(1, 5000) n"
            )
        )
    with db.engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE jobs"))
        given = {"ids": [job], "highest": 2, "step_s": 21600.0, "furthest": standing.FURTHEST}
        plan = "\n".join(connection.scalars(text(f"EXPLAIN {standing._STANDINGS.text}"), given))
    assert "Seq Scan on jobs" not in plan
    assert queue(api, job)["position"] > 1
