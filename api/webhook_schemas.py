"""What the routes of webhooks take and answer with."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from api.schemas import Answer
from api.webhook_urls import FORM
from models.webhooks import DeliveryStatus, EndpointStatus, EventName

Url = Annotated[
    str,
    Field(
        min_length=1,
        max_length=2000,
        description="https, on the public internet. It is called by POST.",
        # What else makes a URL fit to be called is told with its reason.
        json_schema_extra={"format": "uri", "pattern": FORM, "examples": ["https://example.com/hook"]},
    ),
]
Events = Annotated[
    list[EventName], Field(min_length=1, max_length=32, description="What to tell of, of all that the owner has.")
]
Description = Annotated[str, Field(max_length=500, pattern=r"^[^\x00]*$", description="For people.")]


class WebhookCreate(BaseModel):
    """An endpoint that wants to be told."""

    model_config = ConfigDict(extra="forbid")

    url: Url
    events: Events
    description: Description = ""


class WebhookChange(BaseModel):
    """What to change; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    url: Url | None = None
    events: Events | None = None
    description: Description | None = None
    status: EndpointStatus | None = Field(
        default=None, description="`disabled` drops what waits to be sent; `enabled` starts without a past."
    )


class WebhookView(Answer):
    """An endpoint."""

    id: str
    url: str
    events: list[str]
    description: str
    status: EndpointStatus
    notice: str | None = Field(description="Why the service disabled it.")
    failing_since: datetime | None = Field(
        description="Since when no message has arrived; null where the last one did."
    )
    secret: str | None = Field(
        default=None, description="To verify messages with. Shown once: by the POST that made it, or rotated it."
    )
    created_at: datetime


class WebhookList(Answer):
    """Endpoints, newest first."""

    items: list[WebhookView]
    next_cursor: str | None = None


class DeliveryView(Answer):
    """One message to one endpoint."""

    id: str
    webhook: str
    message_id: str = Field(description="The header `webhook-id`: the same in each attempt and each replay.")
    type: str
    data: dict[str, Any]
    status: DeliveryStatus
    attempts: int
    next_at: datetime | None = Field(description="When it is sent next; null where it has ended.")
    answer_status: int | None = Field(description="Of the last attempt; null where there was no answer.")
    answer_body: str | None = Field(description="The start of that answer, 500 characters at most.")
    error: str | None
    occurred_at: datetime = Field(description="When the change was that it tells of.")
    created_at: datetime
    ended_at: datetime | None


class DeliveryList(Answer):
    """Messages, newest first."""

    items: list[DeliveryView]
    next_cursor: str | None = None
