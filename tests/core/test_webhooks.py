"""Messages to users' endpoints as rows: made with the change, claimed by one, tried again, given up."""

import json
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import func, select, text, update

from core import checks, db, jobs, webhooks
from core.addresses import is_public
from core.errors import Infra
from core.settings import settings
from core.webhooks import Answer, Outgoing
from models.status import JobStatus
from models.tables import Job, Webhook, WebhookDelivery
from models.webhooks import EVENT_NAMES, DeliveryStatus, EndpointStatus
from models.work import IntakeResult
from tests.core.conftest import Submit

TAKEN = Answer(200, "ok")
AWAY = Answer(None, error="no answer within 10 s")


def endpoint(*events: str, owner: str = "local") -> str:
    with db.session() as session:
        return webhooks.create(session, owner, "https://example.com/hook", events or EVENT_NAMES, "").id


def claimed() -> Outgoing | None:
    with db.session() as session:
        return webhooks.claim(session)


def record(sent: Outgoing, answer: Answer) -> EndpointStatus | None:
    with db.session() as session:
        return webhooks.record(session, sent, answer)


def deliveries() -> list[WebhookDelivery]:
    with db.session() as session:
        return list(session.scalars(select(WebhookDelivery).order_by(WebhookDelivery.created_at)))


def told() -> list[tuple[str, Any]]:
    return [(each.type, each.data) for each in deliveries()]


def run(job_id: str) -> jobs.Claim:
    with db.session() as session:
        made = jobs.claim(session, worker="w", lease_s=60, job_id=job_id)
    assert made is not None
    return made


def test_each_change_of_a_job_is_told_once(submit: Submit) -> None:
    endpoint()
    job_id = submit(max_attempts=3)
    first = run(job_id)
    with db.session() as session:
        jobs.fail(session, first, Infra("Disk full."), exit_code=1, log="")
    second = run(job_id)
    with db.session() as session:
        jobs.succeed(session, second, result={}, artifacts=[], log="")
    assert told() == [
        ("job.started", {"id": job_id, "status": "started"}),
        ("job.succeeded", {"id": job_id, "status": "succeeded"}),
    ]


def test_a_change_that_is_rolled_back_is_not_told(submit: Submit) -> None:
    endpoint()
    job_id = submit()
    with db.session() as session:
        jobs.request_cancel(session, job_id)
        session.rollback()
    assert told() == []
    with db.session() as session:
        assert session.get_one(Job, job_id).status is JobStatus.QUEUED


def test_only_whoever_asked_and_owns_it_is_told(submit: Submit) -> None:
    mine = endpoint("job.cancelled")
    endpoint("job.succeeded")
    endpoint("job.cancelled", owner="other")
    with db.session() as session:
        jobs.request_cancel(session, submit())
    assert [each.webhook_id for each in deliveries()] == [mine]


def test_verdicts_are_told(submit: Submit) -> None:
    endpoint()
    with db.session() as session:
        session.execute(text("UPDATE teachers SET status = 'checking'"))
        claim = checks.claim_check(session, "teachers", "tch_A", 60)
        assert claim is not None
        assert checks.finish_check(session, claim, IntakeResult(ready=False, report={"checks": []}), None)
    assert told() == [("teacher.rejected", {"id": "tch_A", "status": "rejected"})]


def test_a_message_is_claimed_by_one_and_again_after_its_lease(submit: Submit) -> None:
    endpoint()
    with db.session() as session:
        jobs.request_cancel(session, submit())
    first = claimed()
    assert first is not None
    assert claimed() is None
    with db.session() as session:
        session.execute(update(WebhookDelivery).values(lease_expires_at=func.now() - timedelta(seconds=1)))
    second = claimed()
    assert second is not None
    assert (second.message_id, second.id) == (first.message_id, first.id)
    assert record(first, TAKEN) is None, "its lease is somebody else's"
    assert record(second, TAKEN) is EndpointStatus.ENABLED
    assert [(each.status, each.attempts) for each in deliveries()] == [(DeliveryStatus.DELIVERED, 2)]


def test_an_endpoint_gets_no_more_at_once_than_is_set(submit: Submit) -> None:
    slow, quick = endpoint("job.cancelled"), endpoint("job.cancelled")
    for job_id in [submit() for _ in range(4)]:
        with db.session() as session:
            jobs.request_cancel(session, job_id)
    taken = [claimed() for _ in range(8)]
    with db.session() as session:
        of = {each.id: session.get_one(WebhookDelivery, each.id).webhook_id for each in taken if each is not None}
    assert sorted(of.values()) == sorted([slow, slow, quick, quick])


def test_failures_wait_longer_each_time_and_end_after_three_days(submit: Submit) -> None:
    endpoint()
    with db.session() as session:
        jobs.request_cancel(session, submit())
    waits = []
    for _ in range(40):
        with db.session() as session:
            before = session.scalar(select(func.now()))
        sent = claimed()
        assert sent is not None
        record(sent, AWAY)
        one = deliveries()[0]
        if one.status is DeliveryStatus.FAILED:
            break
        assert before is not None
        wait_s = (one.next_at - before).total_seconds()
        waits.append(wait_s)
        with db.session() as session:
            by = timedelta(seconds=wait_s + 1)
            moved = {"next_at": WebhookDelivery.next_at - by, "created_at": WebhookDelivery.created_at - by}
            session.execute(update(WebhookDelivery).values(**moved))
    assert one.status is DeliveryStatus.FAILED
    assert (one.error, one.answer_status) == (AWAY.error, None)
    assert 3 < waits[0] < 7
    assert all(2.3 * early < late < 6.7 * early for early, late in pairwise(waits) if late < 15_000)
    assert max(waits) <= 1.25 * 6 * 3600
    assert 2 * 86_400 < sum(waits) <= 3 * 86_400


def test_an_endpoint_that_is_gone_is_disabled_and_what_waits_is_dropped(submit: Submit) -> None:
    webhook_id = endpoint("job.cancelled")
    for job_id in [submit() for _ in range(3)]:
        with db.session() as session:
            jobs.request_cancel(session, job_id)
    sent = claimed()
    assert sent is not None
    assert record(sent, Answer(410)) is EndpointStatus.DISABLED
    assert {each.status for each in deliveries()} == {DeliveryStatus.FAILED}
    with db.session() as session:
        row = session.get_one(Webhook, webhook_id)
        assert "410" in (row.notice or "")
        webhooks.change(session, row, status=EndpointStatus.ENABLED)
        assert row.notice is None
    with db.session() as session:
        jobs.request_cancel(session, submit())
    assert claimed() is not None


def test_days_of_failure_disable_an_endpoint_and_one_success_forgives(submit: Submit) -> None:
    webhook_id = endpoint("job.cancelled")
    for job_id in [submit() for _ in range(3)]:
        with db.session() as session:
            jobs.request_cancel(session, job_id)

    def after_days(days: float, answer: Answer) -> EndpointStatus | None:
        with db.session() as session:
            since = func.now() - timedelta(days=days)
            session.execute(update(Webhook).values(failing_since=since))
        sent = claimed()
        assert sent is not None
        return record(sent, answer)

    assert after_days(2.9, AWAY) is EndpointStatus.ENABLED
    assert after_days(3.1, TAKEN) is EndpointStatus.ENABLED
    assert after_days(3.1, AWAY) is EndpointStatus.DISABLED
    with db.session() as session:
        notice = session.get_one(Webhook, webhook_id).notice
    assert notice is not None
    assert AWAY.error in notice


def test_what_an_endpoint_answers_is_cut_and_storable(submit: Submit) -> None:
    endpoint()
    with db.session() as session:
        jobs.request_cancel(session, submit())
    sent = claimed()
    assert sent is not None
    record(sent, Answer(500, "\x00" + "x" * 5000, "answered 500"))
    assert len(deliveries()[0].answer_body or "") == 500


def test_an_endpoint_that_is_deleted_meanwhile_fails_no_change(submit: Submit) -> None:
    webhook_id, job_id = endpoint(), submit()
    with db.session() as session:
        session.execute(text("SET LOCAL lock_timeout = '5s'"))
        jobs.request_cancel(session, job_id)
        with db.engine().connect() as other:
            other.execute(text("SET lock_timeout = '100ms'"))
            with pytest.raises(Exception, match="lock timeout"):
                other.execute(text("DELETE FROM webhooks WHERE id = :id"), {"id": webhook_id})
    assert len(deliveries()) == 1


def test_a_rotated_secret_signs_beside_the_new_one(submit: Submit) -> None:
    webhook_id = endpoint()
    with db.session() as session:
        row = session.get_one(Webhook, webhook_id)
        old = row.secret
        webhooks.rotate(session, row)
        webhooks.send_test(session, row)
    sent = claimed()
    assert sent is not None
    assert sent.secrets[1:] == (old,)
    assert json.dumps(sent.data)
    with db.session() as session:
        session.execute(update(Webhook).values(old_secret_until=func.now() - timedelta(seconds=1)))
        webhooks.send_test(session, session.get_one(Webhook, webhook_id))
    later = claimed()
    assert later is not None
    assert len(later.secrets) == 1


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700:4700::1111", True),
        ("::ffff:8.8.8.8", True),
        *((inside, False) for inside in ("127.0.0.1", "10.1.2.3", "192.168.0.1", "169.254.169.254", "0.0.0.0", "::1")),
        *((inside, False) for inside in ("::ffff:127.0.0.1", "::ffff:a9fe:a9fe", "64:ff9b::7f00:1", "2002:7f00:1::")),
        *((inside, False) for inside in ("fe80::1%lo", "fd00:ec2::254", "100.64.0.1", "224.0.0.1", "ff02::1", "name")),
    ],
)
def test_only_the_public_internet_is_called(address: str, public: bool) -> None:
    assert is_public(address) is public


def test_the_settings_are_those_of_the_page() -> None:
    assert not settings().webhooks_private_hosts
    assert (settings().webhook_timeout_s, settings().webhook_give_up_s) == (10, 3 * 86_400)
