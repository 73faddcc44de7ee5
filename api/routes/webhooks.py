"""Webhooks: endpoints that are told of changes, and what came of each message. Workers send; no request does."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Request, Response
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from api import examples
from api.body import JsonRoute
from api.callers import Who
from api.conditions import ON_GET, IfMatch, require_match
from api.deps import get, is_id
from api.errors import documented
from api.idempotency import Post
from api.paging import Cursor, Limit, page, page_of_all
from api.views import tag_of, with_etag
from api.webhook_schemas import (
    DeliveryList,
    DeliveryView,
    WebhookChange,
    WebhookCreate,
    WebhookList,
    WebhookView,
)
from api.webhook_urls import require_fit
from core import db, webhooks
from core.errors import Conflict, NotFound
from models.tables import Webhook, WebhookDelivery
from models.webhooks import DeliveryStatus, EndpointStatus

router = APIRouter(prefix="/webhooks", tags=["webhooks"], route_class=JsonRoute)

_SHOWN_ONCE = frozenset({"secret"})
#: Each change of a thing costs a row for each of them.
_MOST = 50


def _view(row: Webhook, secret: str | None = None) -> WebhookView:
    return WebhookView(
        id=row.id,
        url=row.url,
        events=row.events,
        description=row.description,
        status=row.status,
        notice=row.notice,
        failing_since=row.failing_since,
        secret=secret,
        created_at=row.created_at,
    )


def _delivery_view(row: WebhookDelivery) -> DeliveryView:
    return DeliveryView(
        id=row.id,
        webhook=row.webhook_id,
        message_id=row.message_id,
        type=row.type,
        data=row.data,
        status=row.status,
        attempts=row.attempts,
        next_at=row.next_at if row.status is DeliveryStatus.PENDING else None,
        answer_status=row.answer_status,
        answer_body=row.answer_body,
        error=row.error,
        occurred_at=row.occurred_at,
        created_at=row.created_at,
        ended_at=row.ended_at,
    )


def _held(session: Session, owner: str, webhook_id: str, if_match: str | None = None) -> Webhook:
    """The endpoint, its row locked against other changes, in the version that the caller means."""
    row = get(session, Webhook, owner, webhook_id)
    session.refresh(row, with_for_update={"key_share": True})
    require_match(if_match, tag_of(_view(row)))
    return row


def _require_enabled(row: Webhook) -> None:
    if row.status is EndpointStatus.DISABLED:
        message = f"The webhook {row.id} is disabled, so nothing is sent to it. Enable it first"
        raise Conflict(message, code="webhook_disabled")


@router.post(
    "",
    status_code=201,
    operation_id="create_webhook",
    summary="Be told of changes",
    response_model=WebhookView,
    responses=documented(400, 409, 413),
)
def create_webhook(
    body: Annotated[WebhookCreate, Body(openapi_examples=examples.WEBHOOKS)], who: Who, once: Post
) -> Any:
    """Each change is told by a POST of `{type, timestamp, data: {id, status}}`, signed as Standard Webhooks has it.

    `secret` is in this answer and in no other: keep it, the receiver verifies messages with it. POST
    /webhooks/{webhook_id}/test sends one by hand.
    """
    require_fit(body.url)
    with once.transaction() as session:
        count = session.scalar(select(func.count()).select_from(Webhook).where(Webhook.owner == who.owner)) or 0
        if count >= _MOST:
            raise Conflict(
                f"There are {count} webhooks, the most that there may be. Delete one", code="too_many_webhooks"
            )
        row = webhooks.create(session, who.owner, body.url, list(dict.fromkeys(body.events)), body.description)
        return once.answer(
            _view(row, row.secret), location=f"/webhooks/{row.id}", etag=tag_of(_view(row)), secret=_SHOWN_ONCE
        )


@router.get("", operation_id="list_webhooks", summary="Webhooks, newest first", responses=documented())
def list_webhooks(who: Who, limit: Limit = 50, cursor: Cursor = None) -> WebhookList:
    """A page of webhooks; `next_cursor` leads to the next one and is null on the last."""
    with db.session() as session:
        found = page(session, Webhook, who.owner, select(Webhook), limit, cursor)
        return WebhookList(items=[_view(row) for row in found.rows], next_cursor=found.next_cursor)


@router.get(
    "/{webhook_id}",
    operation_id="get_webhook",
    summary="One webhook",
    response_model=WebhookView,
    responses={304: {"description": "Not changed since the ETag in If-None-Match"}, **documented(404, 412)},
    openapi_extra=ON_GET,
)
def get_webhook(webhook_id: str, request: Request, who: Who) -> Any:
    """`status` and `notice` say whether it is served; its secret is never shown again."""
    with db.session() as session:
        view = _view(get(session, Webhook, who.owner, webhook_id))
    return with_etag(request, view)


@router.patch(
    "/{webhook_id}",
    operation_id="change_webhook",
    summary="Change a webhook, or enable it again",
    responses=documented(400, 404, 412, 413),
)
def change_webhook(
    webhook_id: str,
    body: Annotated[WebhookChange, Body(openapi_examples=examples.WEBHOOK_CHANGES)],
    response: Response,
    who: Who,
    if_match: IfMatch = None,
) -> WebhookView:
    """What is left out stays as it is. What waits already goes to the new URL."""
    if body.url is not None:
        require_fit(body.url)
    with db.session() as session:
        row = _held(session, who.owner, webhook_id, if_match)
        given = {name: value for name, value in body.model_dump().items() if value is not None}
        if given.get("status") is row.status:
            del given["status"]
        if given:
            webhooks.change(session, row, **given)
        view = _view(row)
    response.headers["ETag"] = tag_of(view)
    return view


@router.delete(
    "/{webhook_id}",
    status_code=204,
    response_class=Response,
    operation_id="delete_webhook",
    summary="Delete a webhook",
    responses=documented(404, 412),
)
def delete_webhook(webhook_id: str, who: Who, if_match: IfMatch = None) -> None:
    """Its messages go with it, those too that wait to be sent."""
    with db.session() as session:
        session.delete(_held(session, who.owner, webhook_id, if_match))


@router.post(
    "/{webhook_id}/rotate",
    operation_id="rotate_webhook",
    summary="Give a webhook a new secret",
    response_model=WebhookView,
    responses=documented(404, 409, 412),
)
def rotate_webhook(webhook_id: str, who: Who, once: Post, if_match: IfMatch = None) -> Any:
    """For a day messages are signed with both, the new one first; `secret` is in this answer and in no other."""
    with once.transaction() as session:
        row = _held(session, who.owner, webhook_id, if_match)
        webhooks.rotate(session, row)
        return once.answer(_view(row, row.secret), etag=tag_of(_view(row)), secret=_SHOWN_ONCE)


@router.post(
    "/{webhook_id}/test",
    status_code=202,
    operation_id="test_webhook",
    summary="Send a message by hand",
    response_model=DeliveryView,
    responses=documented(404, 409),
)
def test_webhook(webhook_id: str, who: Who, once: Post) -> Any:
    """A message of the type `webhook.test`; GET .../deliveries says what came of it."""
    with once.transaction() as session:
        row = get(session, Webhook, who.owner, webhook_id)
        _require_enabled(row)
        return once.answer(_delivery_view(webhooks.send_test(session, row)))


@router.get(
    "/{webhook_id}/deliveries",
    operation_id="list_deliveries",
    summary="Messages to a webhook, newest first",
    responses=documented(404),
)
def list_deliveries(webhook_id: str, who: Who, limit: Limit = 50, cursor: Cursor = None) -> DeliveryList:
    """What was sent, what came of it, and what waits. Messages that have ended are kept for DISTILLERY_KEEP_S."""
    with db.session() as session:
        row = get(session, Webhook, who.owner, webhook_id)
        query = select(WebhookDelivery).where(WebhookDelivery.webhook_id == row.id)
        found = page_of_all(session, WebhookDelivery, query, limit, cursor)
        return DeliveryList(items=[_delivery_view(each) for each in found.rows], next_cursor=found.next_cursor)


@router.post(
    "/{webhook_id}/deliveries/{delivery_id}/replay",
    status_code=202,
    operation_id="replay_delivery",
    summary="Send a message again",
    response_model=DeliveryView,
    responses=documented(404, 409),
)
def replay_delivery(webhook_id: str, delivery_id: str, who: Who, once: Post) -> Any:
    """A new delivery of the same message under the same `webhook-id`, whether it arrived before or not."""
    with once.transaction() as session:
        row = get(session, Webhook, who.owner, webhook_id)
        delivery = session.get(WebhookDelivery, delivery_id) if is_id(delivery_id) else None
        if delivery is None or delivery.webhook_id != row.id:
            where = f"GET /webhooks/{row.id}/deliveries lists them"
            raise NotFound(f"There is no delivery `{delivery_id[:100]}` of this webhook; {where}")
        _require_enabled(row)
        return once.answer(_delivery_view(webhooks.replay(session, delivery)))
