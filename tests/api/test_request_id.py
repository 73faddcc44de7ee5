"""Each request has an id, which its answer, its problem and its line in the log share."""

import logging

import httpx
import pytest

from tests.api.made import problem


def test_the_answer_the_problem_and_the_log_share_it(api: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "distillery.api"):
        first, second = api.get("/jobs/job_0"), api.get("/jobs/job_0")
    ids = [problem(answer, 404, "not_found")["request_id"] for answer in (first, second)]
    assert ids[0] != ids[1]
    lines = [line for line in caplog.messages if "/jobs/job_0" in line]
    assert [line.rpartition(", ")[2] for line in lines] == ids
    assert api.get("/healthz").headers["x-request-id"]


def test_a_caller_may_send_its_own(api: httpx.Client) -> None:
    assert api.get("/healthz", headers={"X-Request-Id": "trace-1.a_B"}).headers["x-request-id"] == "trace-1.a_B"
    for none_of_ours in ("", "a b", "x" * 65, "a;b"):
        given = api.get("/healthz", headers={"X-Request-Id": none_of_ours}).headers["x-request-id"]
        assert given.startswith("req_")
