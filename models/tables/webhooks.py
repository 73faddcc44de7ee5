"""Endpoints of users that are told of changes, and the messages to them. Written by `core.webhooks` alone."""

from datetime import datetime

from sqlalchemy import ARRAY, BigInteger, ForeignKey, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from models.tables.base import Base, Json, created_now, owner_of_it, word
from models.webhooks import DeliveryStatus, EndpointStatus


class Webhook(Base):
    """An address that is told of changes of its owner's things."""

    __tablename__ = "webhooks"

    id: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str] = owner_of_it()
    url: Mapped[str] = mapped_column(Text)
    events: Mapped[list[str]] = mapped_column(ARRAY(String))
    description: Mapped[str] = mapped_column(Text, default="")
    #: whsec_...: kept as it is, because each message is signed with it.
    secret: Mapped[str] = mapped_column(Text)
    #: After a rotation the old one signs as well, for a while.
    old_secret: Mapped[str | None] = mapped_column(Text)
    old_secret_until: Mapped[datetime | None]
    status: Mapped[EndpointStatus] = mapped_column(word(EndpointStatus), default=EndpointStatus.ENABLED)
    #: Why the service disabled it; None where the user did, or where it is enabled.
    notice: Mapped[str | None] = mapped_column(Text)
    #: Since when every message has failed; None where the last one arrived.
    failing_since: Mapped[datetime | None]
    #: Grows with each change by the user: the ETag.
    version: Mapped[int] = mapped_column(BigInteger, default=1)
    created_at: Mapped[datetime] = created_now()

    __table_args__ = (Index("ix_webhooks_owner_created_at_id", "owner", "created_at", "id"),)


class WebhookDelivery(Base):
    """One message to one endpoint: made in the transaction of the change that it tells of, sent by a worker."""

    __tablename__ = "webhook_deliveries"

    id: Mapped[str] = mapped_column(primary_key=True)
    webhook_id: Mapped[str] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"))
    #: The header webhook-id: the same for each attempt and each replay, so that a receiver knows what it has seen.
    message_id: Mapped[str]
    type: Mapped[str] = mapped_column(String(32))
    #: {"id", "status"} of what has changed.
    data: Mapped[Json]
    status: Mapped[DeliveryStatus] = mapped_column(word(DeliveryStatus), default=DeliveryStatus.PENDING)
    attempts: Mapped[int] = mapped_column(default=0)
    next_at: Mapped[datetime] = created_now()
    lease_token: Mapped[str | None]
    lease_expires_at: Mapped[datetime | None]
    #: Of the last attempt: the status of the answer, the start of its body, and what kept it from arriving.
    answer_status: Mapped[int | None]
    answer_body: Mapped[str | None] = mapped_column(Text)
    error: Mapped[str | None] = mapped_column(Text)
    #: When the change was.
    occurred_at: Mapped[datetime] = created_now()
    created_at: Mapped[datetime] = created_now()
    #: When it arrived, or was given up.
    ended_at: Mapped[datetime | None]

    __table_args__ = (
        Index("ix_webhook_deliveries_webhook_id_created_at_id", "webhook_id", "created_at", "id"),
        Index(
            "ix_webhook_deliveries_pending", "webhook_id", "next_at", "id", postgresql_where=text("status = 'pending'")
        ),
        Index("ix_webhook_deliveries_ended_at", "ended_at", postgresql_where=text("ended_at IS NOT NULL")),
    )
