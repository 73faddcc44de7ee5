"""Webhooks over HTTP: made, changed, tested, replayed, and nobody else's."""

from typing import Any

import httpx
import pytest
from sqlalchemy import select, update

from core import db, jobs, webhooks
from core.settings import settings
from core.webhooks import Answer
from models.tables import Webhook, WebhookDelivery
from models.webhooks import EndpointStatus
from tests.api.made import Made, claim, gone, problem, succeed

URL = "https://example.com/hook"


def make(api: httpx.Client, **fields: Any) -> dict[str, Any]:
    answer = api.post("/webhooks", json={"url": URL, "events": ["job.succeeded"], **fields})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def test_a_webhook_is_made_and_shows_its_secret_once(api: httpx.Client) -> None:
    answer = api.post(
        "/webhooks", json={"url": URL, "events": ["job.failed", "job.failed"], "description": "for the release"}
    )
    made = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (201, f"/webhooks/{made['id']}")
    assert made["secret"].startswith("whsec_")
    assert (made["events"], made["status"], made["notice"]) == (["job.failed"], "enabled", None)
    again = api.get(f"/webhooks/{made['id']}")
    assert again.json() == {**made, "secret": None}
    assert again.headers["etag"] == answer.headers["etag"]
    assert api.get("/webhooks").json()["items"] == [again.json()]


def test_a_repeated_post_makes_one_and_does_not_show_the_secret_again(api: httpx.Client) -> None:
    body, key = {"url": URL, "events": ["job.failed"]}, {"Idempotency-Key": "one"}
    first, second = (api.post("/webhooks", json=body, headers=key) for _ in range(2))
    assert first.json()["id"] == second.json()["id"]
    assert first.json()["secret"]
    assert second.json()["secret"] is None
    assert len(api.get("/webhooks").json()["items"]) == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "ftp://example.com/",
        "https://localhost/",
        "https://127.0.0.1/",
        "https://2130706433/",
        "https://0177.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://169.254.169.254/latest",
        "https://user:password@example.com/",
        "https://example.com/#part",
        "https://example.com:99999/",
        "https://ex ample.com/",
        "https:///path",
        "nothing",
    ],
)
def test_a_url_that_nothing_is_sent_to_is_refused(api: httpx.Client, url: str) -> None:
    problem(api.post("/webhooks", json={"url": url, "events": ["job.failed"]}), 422, "webhook_url", "/url")
    made = make(api)
    problem(api.patch(f"/webhooks/{made['id']}", json={"url": url}), 422, "webhook_url", "/url")


def test_a_setting_lets_webhooks_stay_inside(api: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILLERY_WEBHOOKS_PRIVATE_HOSTS", "true")
    settings.cache_clear()
    assert make(api, url="http://10.0.0.1:8080/hook")["url"] == "http://10.0.0.1:8080/hook"


def test_an_unknown_event_is_refused(api: httpx.Client) -> None:
    answer = api.post("/webhooks", json={"url": URL, "events": ["job.exploded"]})
    problem(answer, 422, "invalid", "/events/0")


def test_it_is_changed_in_the_version_that_was_seen(api: httpx.Client) -> None:
    made = make(api)
    place = f"/webhooks/{made['id']}"
    seen = api.get(place).headers["etag"]
    changed = api.patch(place, json={"events": ["job.failed"], "status": "disabled"}, headers={"If-Match": seen})
    assert changed.status_code == 200, changed.text
    assert (changed.json()["events"], changed.json()["status"]) == (["job.failed"], "disabled")
    problem(api.patch(place, json={"description": "x"}, headers={"If-Match": seen}), 412, "precondition_failed")
    problem(api.delete(place, headers={"If-Match": seen}), 412, "precondition_failed")
    assert api.get(place, headers={"If-None-Match": changed.headers["etag"]}).status_code == 304
    gone(api.delete(place))
    problem(api.get(place), 404, "not_found")


def test_a_secret_is_rotated(api: httpx.Client) -> None:
    made = make(api)
    new = api.post(f"/webhooks/{made['id']}/rotate")
    assert new.status_code == 200
    assert new.json()["secret"] not in {made["secret"], None}


def test_deliveries_are_listed_page_by_page_and_replayed(api: httpx.Client, made: Made) -> None:
    place = f"/webhooks/{make(api)['id']}"
    job_id = made.job()
    succeed(claim(job_id))
    assert api.post(f"{place}/test").status_code == 202
    first = api.get(f"{place}/deliveries", params={"limit": 1}).json()
    second = api.get(f"{place}/deliveries", params={"limit": 1, "cursor": first["next_cursor"]}).json()
    (test,), (told,) = first["items"], second["items"]
    assert second["next_cursor"] is None
    assert (test["type"], told["type"], told["data"]) == (
        "webhook.test",
        "job.succeeded",
        {"id": job_id, "status": "succeeded"},
    )
    again = api.post(f"{place}/deliveries/{told['id']}/replay")
    assert again.status_code == 202
    assert again.json()["id"] != told["id"]
    assert (again.json()["message_id"], again.json()["data"]) == (told["message_id"], told["data"])
    problem(api.post(f"{place}/deliveries/whd_no/replay"), 404, "not_found")


def test_what_came_of_a_message_is_shown(api: httpx.Client) -> None:
    place = f"/webhooks/{make(api)['id']}"
    api.post(f"{place}/test")
    with db.session() as session:
        sent = webhooks.claim(session)
        assert sent is not None
        webhooks.record(session, sent, Answer(500, "sorry", "answered 500"))
    (shown,) = api.get(f"{place}/deliveries").json()["items"]
    assert (shown["status"], shown["attempts"], shown["answer_status"], shown["answer_body"]) == (
        "pending",
        1,
        500,
        "sorry",
    )
    assert shown["next_at"] is not None
    assert api.get(place).json()["failing_since"] is not None
    figures = api.get("/metrics").text
    assert 'distillery_webhook_deliveries{status="pending"} 1.0' in figures
    assert 'distillery_webhooks{status="enabled"} 1.0' in figures


def test_nothing_is_sent_to_a_webhook_that_is_disabled(api: httpx.Client) -> None:
    place = f"/webhooks/{make(api)['id']}"
    sent = api.post(f"{place}/test").json()
    api.patch(place, json={"status": "disabled"})
    problem(api.post(f"{place}/test"), 409, "webhook_disabled")
    problem(api.post(f"{place}/deliveries/{sent['id']}/replay"), 409, "webhook_disabled")
    assert api.get(f"{place}/deliveries").json()["items"][0]["status"] == "failed"


def test_an_owner_sees_its_own_alone(api: httpx.Client) -> None:
    mine, theirs = make(api), make(api)
    api.post(f"/webhooks/{theirs['id']}/test")
    with db.session() as session:
        session.execute(update(Webhook).where(Webhook.id == theirs["id"]).values(owner="other"))
        delivery = session.scalars(select(WebhookDelivery)).one()
    place = f"/webhooks/{theirs['id']}"
    for answer in (
        api.get(place),
        api.patch(place, json={"description": "x"}),
        api.delete(place),
        api.post(f"{place}/rotate"),
        api.post(f"{place}/test"),
        api.get(f"{place}/deliveries"),
        api.post(f"{place}/deliveries/{delivery.id}/replay"),
    ):
        problem(answer, 404, "not_found")
    problem(api.post(f"/webhooks/{mine['id']}/deliveries/{delivery.id}/replay"), 404, "not_found")
    assert [each["id"] for each in api.get("/webhooks").json()["items"]] == [mine["id"]]


def test_there_is_a_limit(api: httpx.Client) -> None:
    with db.session() as session:
        for _ in range(50):
            webhooks.create(session, "local", URL, ["job.failed"], "")
    problem(api.post("/webhooks", json={"url": URL, "events": ["job.failed"]}), 409, "too_many_webhooks")


def test_a_job_of_another_owner_is_not_told_of(api: httpx.Client, made: Made) -> None:
    webhook_id = make(api, events=["job.cancelled"])["id"]
    job_id = made.job()
    with db.session() as session:
        session.execute(update(Webhook).values(owner="other"))
        jobs.request_cancel(session, job_id)
    with db.session() as session:
        assert session.scalars(select(WebhookDelivery)).all() == []
        assert session.get_one(Webhook, webhook_id).status is EndpointStatus.ENABLED
