"""A job's history: as a list, as a stream that neither repeats nor skips, as curves and as text."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import psycopg
from sqlalchemy import event, make_url, text

from api.streams import Pace
from core import db
from tests.api.made import Made, Server, claim, problem, record, succeed

STREAM = {"Accept": "text/event-stream"}


@dataclass
class Sent:
    """One event of a stream; a comment has only `comment`."""

    id: str = ""
    event: str = ""
    data: str = ""
    comment: str = ""


def sent(answer: httpx.Response) -> Iterator[Sent]:
    """The blocks of a stream, as they come."""
    block = Sent()
    for line in answer.iter_lines():
        if not line:
            yield block
            block = Sent()
        elif line.startswith(":"):
            block.comment = line
        else:
            name, _, value = line.partition(": ")
            setattr(block, name, value)


@contextmanager
def opened(api: httpx.Client, job: str, query: str = "", **headers: str) -> Iterator[Iterator[Sent]]:
    with api.stream("GET", f"/jobs/{job}/events{query}", headers={**STREAM, **headers}) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        yield (block for block in sent(answer) if block.event)


@contextmanager
def talking_to(pace: Pace) -> Iterator[httpx.Client]:
    """A client of a server of its own, with this pace."""
    with Server(pace) as server, httpx.Client(base_url=server.url, timeout=10) as api:
        yield api


def test_events_are_numbered_from_one(api: httpx.Client, made: Made) -> None:
    job = made.job()
    record(claim(job), ("phase", {"phase": "training"}), ("notice", {"code": "x", "message": "y"}))
    listed = api.get(f"/jobs/{job}/events").json()
    assert [(event["seq"], event["type"]) for event in listed["items"]] == [
        (1, "queued"), (2, "started"), (3, "phase"), (4, "notice"),
    ]  # fmt: skip
    assert listed["items"][2]["data"] == {"phase": "training"}
    assert listed["next_after"] == 4
    part = api.get(f"/jobs/{job}/events?after=1&limit=2").json()
    assert [event["seq"] for event in part["items"]] == [2, 3]
    assert api.get(f"/jobs/{job}/events?after=4").json() == {"items": [], "next_after": 4}
    problem(api.get(f"/jobs/{job}/events?after=-1"), 422, "invalid", "?after")


def test_a_stream_sends_what_was_and_closes_after_the_last(api: httpx.Client, made: Made) -> None:
    job = made.job()
    succeed(claim(job))
    with opened(api, job) as events:
        got = list(events)  # ends by itself
    listed = api.get(f"/jobs/{job}/events").json()["items"]
    assert [json.loads(event.data) for event in got] == listed
    assert [event.id for event in got] == ["1", "2", "3"]
    assert [event.event for event in got] == ["queued", "started", "succeeded"]


def test_a_stream_goes_on_after_the_event_that_was_seen_last(api: httpx.Client, made: Made) -> None:
    job = made.job()
    succeed(claim(job))
    for query, header in [("", {"Last-Event-ID": "2"}), ("?after=2", {}), ("?after=1", {"Last-Event-ID": "2"})]:
        with opened(api, job, query, **header) as events:
            assert [event.id for event in events] == ["3"]
    seen = api.get(f"/jobs/{job}/events", headers={**STREAM, "Last-Event-ID": "3"})
    assert seen.status_code == 204  # tells a browser not to connect again
    problem(api.get(f"/jobs/{job}/events", headers={**STREAM, "Last-Event-ID": "x"}), 422, "invalid", "Last-Event-ID:")


def test_a_new_event_comes_at_once_to_every_stream(made: Made) -> None:
    job = made.job()
    with talking_to(Pace(heartbeat_s=60, poll_s=60)) as api, opened(api, job) as first, opened(api, job) as second:
        assert (next(first).event, next(second).event) == ("queued", "queued")
        began_at = time.monotonic()
        claimed = claim(job)
        assert (next(first).event, next(second).event) == ("started", "started")
        succeed(claimed)
        assert [event.event for event in first] == ["succeeded"]
        assert [event.event for event in second] == ["succeeded"]
    assert time.monotonic() - began_at < 5, "the notification woke them, not a poll"


def test_many_streams_of_a_job_share_a_look_at_the_table(made: Made) -> None:
    job, looks = made.job(), 0

    def count(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        nonlocal looks
        looks += "FROM events" in statement

    with talking_to(Pace(heartbeat_s=60, poll_s=60)) as api, ExitStack() as stack:
        streams = [stack.enter_context(opened(api, job)) for _ in range(12)]
        assert [next(stream).event for stream in streams] == ["queued"] * 12
        event.listen(db.engine(), "before_cursor_execute", count)
        succeed(claim(job))
        for stream in streams:
            assert [found.event for found in stream] == ["started", "succeeded"]
    event.remove(db.engine(), "before_cursor_execute", count)
    # A change each; the second may come while the first is being read.
    assert looks <= 6


def test_a_lost_notification_costs_one_poll(made: Made) -> None:
    job = made.job()
    with talking_to(Pace(poll_s=0.2)) as api, opened(api, job) as events:
        next(events)
        cut_off_listeners()
        claim(job)
        assert next(events).event == "started"


def cut_off_listeners() -> None:
    with db.session() as session:
        session.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'distillery-events'")
        )


def test_a_stream_outlives_a_database_that_is_away_for_a_while(made: Made, servers: tuple[str, str]) -> None:
    job = made.job()
    with (
        talking_to(Pace(poll_s=0.1, heartbeat_s=0.1)) as api,
        away(servers[0]) as (go_away, come_back),
        api.stream("GET", f"/jobs/{job}/events", headers=STREAM) as answer,
    ):
        blocks = sent(answer)
        assert [next(blocks).event, next(blocks).event] == ["", "queued"]
        go_away()
        assert next(blocks).comment == ": still here"
        come_back()
        claim(job)
        assert next(block.event for block in blocks if block.event) == "started"


@contextmanager
def away(url: str) -> Iterator[tuple[Callable[[], None], Callable[[], None]]]:
    """What sends the database of these tests away, and what brings it back."""
    plain = make_url(url).set(drivername="postgresql", database="postgres").render_as_string(hide_password=False)
    name = db.engine().url.database

    def allow(yes: bool) -> None:
        admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS {yes}")
        if not yes:
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])

    with psycopg.connect(plain, autocommit=True) as admin:
        try:
            yield lambda: allow(False), lambda: allow(True)
        finally:
            allow(True)


def test_a_quiet_stream_says_that_it_lives(made: Made) -> None:
    job = made.job()
    with (
        talking_to(Pace(heartbeat_s=0.1)) as api,
        api.stream("GET", f"/jobs/{job}/events", headers=STREAM) as answer,
    ):
        comments = [block.comment for block, _ in zip(sent(answer), range(5), strict=False) if block.comment]
    assert comments[1:] == [": still here"] * (len(comments) - 1)
    assert len(comments) >= 3


def test_a_shutdown_does_not_wait_for_streams(made: Made) -> None:
    job = made.job()
    with Server() as server, httpx.Client(base_url=server.url, timeout=10) as api, opened(api, job) as events:
        next(events)
        server.stop()
        assert list(events) == []


def test_a_job_of_a_thousand_events_is_streamed_whole(api: httpx.Client, made: Made) -> None:
    job = made.job()
    claimed = claim(job)
    record(claimed, *[("progress", {"step": step}) for step in range(1200)])
    succeed(claimed)
    with opened(api, job) as events:
        assert [int(event.id) for event in events] == list(range(1, 1204))


def metrics(run: str, epochs: int) -> list[tuple[str, dict[str, Any]]]:
    return [
        ("metrics", {"epoch": epoch, "step": epoch * 10, "run": run, "train": {"loss": 1.0}, "val": {"accuracy": 0.5}})
        for epoch in range(1, epochs + 1)
    ]


def test_curves_are_thinned_out_evenly(api: httpx.Client, made: Made) -> None:
    job = made.job()
    record(claim(job), *metrics("student", 100), *metrics("control", 3))
    whole = api.get(f"/jobs/{job}/metrics").json()
    assert (whole["total"], len(whole["points"])) == (103, 103)
    assert whole["points"][0]["val"] == {"accuracy": 0.5}
    thin = api.get(f"/jobs/{job}/metrics?points=10").json()
    epochs = {run: [p["epoch"] for p in thin["points"] if p["run"] == run] for run in ("student", "control")}
    assert epochs == {"student": list(range(10, 101, 10)), "control": [1, 2, 3]}
    assert thin["total"] == 103


def test_an_epoch_that_was_run_again_counts_once(api: httpx.Client, made: Made) -> None:
    job = made.job()
    record(claim(job), *metrics("student", 3), *metrics("student", 2))
    points = api.get(f"/jobs/{job}/metrics").json()["points"]
    assert [(point["epoch"], point["seq"]) for point in points] == [(1, 6), (2, 7), (3, 5)]


def test_the_log_is_the_tail_of_the_newest_attempt(api: httpx.Client, made: Made) -> None:
    job = made.job()
    assert api.get(f"/jobs/{job}/logs").text == ""
    succeed(claim(job), log="".join(f"line {n}\n" for n in range(500)))
    answer = api.get(f"/jobs/{job}/logs?lines=2")
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.text == "line 498\nline 499\n"
    assert len(api.get(f"/jobs/{job}/logs").text.splitlines()) == 200
