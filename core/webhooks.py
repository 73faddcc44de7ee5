"""Messages to users' endpoints, as rows: made with the change that they tell of, claimed with a lease, sent, recorded.

A message is a row of the transaction that changes the state, so that none is lost and none tells of what did not
happen. Workers send them, at least once. docs/webhooks.md tells it in prose.
"""

import base64
import random
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, select, text, update
from sqlalchemy.orm import Session

from core.db import storable_text, to_json
from core.ids import new_id
from core.settings import settings
from models.tables import Json, Webhook, WebhookDelivery
from models.webhooks import TEST, DeliveryStatus, EndpointStatus

#: The wait after a first failure; four times as long after each next one, up to the longest.
_FIRST_WAIT_S = 5.0
_LONGEST_WAIT_S = 6 * 3600.0
#: An old secret signs so long beside a new one.
ROTATION_S = 86_400.0
_BODY_CHARACTERS = 500
#: Claims are made one after the other, so that an endpoint never gets more at once than it should.
_CLAIM_LOCK = 0x0D157115
#: A sender that dies lets its message go after the longest time that a sending takes, and some more.
_SLACK_S = 20.0
_GONE = 410


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to send now. `secrets`: each of them signs it."""

    id: str
    token: str
    url: str
    secrets: tuple[str, ...]
    message_id: str
    type: str
    occurred_at: datetime
    data: Json


@dataclass(frozen=True, slots=True)
class Answer:
    """What an endpoint said: a status and the start of a body, or why there is none."""

    status: int | None
    body: str = ""
    error: str = ""

    @property
    def is_taken(self) -> bool:
        """Whether the message has arrived."""
        return self.status is not None and 200 <= self.status < 300


# --- the change of a thing ---

# FOR KEY SHARE: an endpoint that is deleted meanwhile is passed over, and never fails the change itself.
_ANNOUNCE = text("""
INSERT INTO webhook_deliveries (id, webhook_id, message_id, type, data, status, attempts)
SELECT 'whd_' || replace(gen_random_uuid()::text, '-', ''), id, 'msg_' || replace(gen_random_uuid()::text, '-', ''),
    CAST(:type AS varchar), CAST(:data AS jsonb), 'pending', 0
FROM webhooks WHERE owner = :owner AND status = 'enabled' AND CAST(:type AS varchar) = ANY(events)
FOR KEY SHARE""")


def announce(session: Session, owner: str, kind: str, thing_id: str, status: str) -> None:
    """Write down for each endpoint that asked for it that a thing has come to a state; one statement."""
    type_ = f"{kind}.{status}"
    session.execute(_ANNOUNCE, {"owner": owner, "type": type_, "data": to_json({"id": thing_id, "status": status})})


# --- an endpoint, as its owner steers it ---


def new_secret() -> str:
    """192 random bits in the form of Standard Webhooks."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()


def create(session: Session, owner: str, url: str, events: Sequence[str], description: str) -> Webhook:
    """A new endpoint."""
    webhook = Webhook(
        id=new_id("whk"), owner=owner, url=url, events=list(events), description=description, secret=new_secret()
    )
    session.add(webhook)
    session.flush()
    session.refresh(webhook)
    return webhook


def change(session: Session, webhook: Webhook, **values: Any) -> None:
    """Change a locked endpoint. One that is disabled drops what waits; one that is enabled starts without a past."""
    status = values.get("status")
    if status is not None:
        values |= {"notice": None, "failing_since": None}
    for name, value in values.items():
        setattr(webhook, name, value)
    webhook.version += 1
    session.flush()
    if status is EndpointStatus.DISABLED:
        _drop_waiting(session, webhook.id)


def rotate(session: Session, webhook: Webhook) -> None:
    """Give a locked endpoint a new secret; the old one signs beside it for ROTATION_S."""
    webhook.old_secret, webhook.secret = webhook.secret, new_secret()
    until: Any = func.now() + timedelta(seconds=ROTATION_S)
    webhook.old_secret_until = until
    webhook.version += 1
    session.flush()
    session.refresh(webhook)


def send_test(session: Session, webhook: Webhook) -> WebhookDelivery:
    """A message that says nothing but that it arrives."""
    return _add(session, webhook.id, new_id("msg"), TEST, {"id": webhook.id, "status": "test"})


def replay(session: Session, delivery: WebhookDelivery) -> WebhookDelivery:
    """The same message once more, under the same webhook-id."""
    data, at = delivery.data, delivery.occurred_at
    return _add(session, delivery.webhook_id, delivery.message_id, delivery.type, data, occurred_at=at)


def _add(session: Session, webhook_id: str, message_id: str, type_: str, data: Json, **more: Any) -> WebhookDelivery:
    delivery = WebhookDelivery(
        id=new_id("whd"), webhook_id=webhook_id, message_id=message_id, type=type_, data=data, **more
    )
    session.add(delivery)
    session.flush()
    session.refresh(delivery)
    return delivery


def forget_ended(session: Session, older_than_s: float) -> None:
    """Remove messages that ended so long ago."""
    old = func.now() - timedelta(seconds=older_than_s)
    session.execute(delete(WebhookDelivery).where(WebhookDelivery.ended_at < old))


# --- the sender ---

_CLAIM = text("""
UPDATE webhook_deliveries
SET lease_token = :token, lease_expires_at = now() + make_interval(secs => :lease_s), attempts = attempts + 1
WHERE id = (
    SELECT due.id FROM webhooks, LATERAL (
        SELECT id, next_at FROM webhook_deliveries
        WHERE webhook_id = webhooks.id AND status = 'pending' AND next_at <= now()
            AND (lease_expires_at IS NULL OR lease_expires_at < now())
        ORDER BY next_at, id LIMIT 1
        FOR UPDATE SKIP LOCKED
    ) AS due
    WHERE webhooks.status = 'enabled' AND (
        SELECT count(*) FROM webhook_deliveries
        WHERE webhook_id = webhooks.id AND status = 'pending' AND lease_expires_at >= now()
    ) < :at_once
    ORDER BY due.next_at, due.id LIMIT 1
) RETURNING id, webhook_id, message_id, type, occurred_at, data""")


def any_enabled(session: Session) -> bool:
    """Whether there is an endpoint to send to."""
    return session.scalar(select(Webhook.id).where(Webhook.status == EndpointStatus.ENABLED).limit(1)) is not None


def claim(session: Session) -> Outgoing | None:
    """The message that is due for longest and that nobody sends, of an endpoint that can take one more."""
    config, token = settings(), secrets.token_hex(16)
    session.execute(select(func.pg_advisory_xact_lock(_CLAIM_LOCK)))
    given = {
        "token": token,
        "lease_s": config.webhook_timeout_s + _SLACK_S,
        "at_once": config.webhook_at_once,
    }
    row = session.execute(_CLAIM, given).one_or_none()
    if row is None:
        return None
    webhook = session.get_one(Webhook, row.webhook_id)
    old = session.scalar(
        select(Webhook.old_secret).where(Webhook.id == webhook.id, Webhook.old_secret_until > func.now())
    )
    signing = (webhook.secret,) if old is None else (webhook.secret, old)
    return Outgoing(row.id, token, webhook.url, signing, row.message_id, row.type, row.occurred_at, row.data)


def record(session: Session, sent: Outgoing, answer: Answer) -> EndpointStatus | None:
    """Write down what came of it; the state of the endpoint. None where somebody else has the message by now."""
    of_it = select(WebhookDelivery.webhook_id).where(WebhookDelivery.id == sent.id).scalar_subquery()
    webhook = session.scalars(select(Webhook).where(Webhook.id == of_it).with_for_update(key_share=True)).one_or_none()
    if webhook is None:
        return None
    mine = (WebhookDelivery.id == sent.id, WebhookDelivery.lease_token == sent.token)
    delivery = session.scalars(select(WebhookDelivery).where(*mine).with_for_update()).one_or_none()
    if delivery is None or delivery.status is not DeliveryStatus.PENDING:
        return None
    now: datetime = session.execute(select(func.now())).scalar_one()
    delivery.lease_token = delivery.lease_expires_at = None
    delivery.answer_status = answer.status
    delivery.answer_body = storable_text(answer.body[:_BODY_CHARACTERS]) or None
    delivery.error = answer.error or None
    if answer.is_taken:
        delivery.status, delivery.ended_at = DeliveryStatus.DELIVERED, now
        webhook.failing_since = None
    else:
        _try_later(delivery, now)
        webhook.failing_since = webhook.failing_since or now
    session.flush()
    if notice := _why_disabled(webhook, answer, now):
        webhook.status, webhook.notice = EndpointStatus.DISABLED, notice
        webhook.version += 1
        session.flush()
        _drop_waiting(session, webhook.id)
    return webhook.status


def _try_later(delivery: WebhookDelivery, now: datetime) -> None:
    wait_s = wait_after(delivery.attempts)
    if (now - delivery.created_at).total_seconds() + wait_s > settings().webhook_give_up_s:
        delivery.status, delivery.ended_at = DeliveryStatus.FAILED, now
    else:
        delivery.next_at = now + timedelta(seconds=wait_s)


def wait_after(attempts: int) -> float:
    """Seconds until the next attempt; a quarter more or less, so that endpoints that were away are not run over."""
    wait_s = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 4.0 ** min(attempts - 1, 10))
    return wait_s * random.uniform(0.75, 1.25)  # noqa: S311 - nobody gains by guessing it


def _why_disabled(webhook: Webhook, answer: Answer, now: datetime) -> str | None:
    if webhook.status is EndpointStatus.DISABLED:
        return None
    if answer.status == _GONE:
        return "The endpoint answered 410: it wants no more messages. Enable it again once it does."
    since, most_s = webhook.failing_since, settings().webhook_give_up_s
    if since is not None and (now - since).total_seconds() >= most_s:
        said = f"status {answer.status}" if answer.status is not None else answer.error
        return f"Every message has failed since {since:%Y-%m-%d %H:%M} UTC, the last with {said}. Mend it, enable it."
    return None


def _drop_waiting(session: Session, webhook_id: str) -> None:
    waiting = (WebhookDelivery.webhook_id == webhook_id, WebhookDelivery.status == DeliveryStatus.PENDING)
    dropped = {"status": DeliveryStatus.FAILED, "ended_at": func.now(), "lease_token": None, "lease_expires_at": None}
    reason = func.coalesce(WebhookDelivery.error, "The webhook was disabled.")
    change = update(WebhookDelivery).where(*waiting).values(error=reason, **dropped)
    session.execute(change.execution_options(synchronize_session="fetch"))
