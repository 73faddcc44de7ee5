"""What a webhook may be told of, and the states of an endpoint and of a delivery."""

from enum import StrEnum
from typing import Literal, get_args

EventName = Literal[
    "job.started",
    "job.paused",
    "job.succeeded",
    "job.failed",
    "job.cancelled",
    "teacher.ready",
    "teacher.rejected",
    "dataset.ready",
    "dataset.rejected",
]
EVENT_NAMES: tuple[str, ...] = get_args(EventName)
#: What a test by hand sends; no endpoint asks for it.
TEST = "webhook.test"


class EndpointStatus(StrEnum):
    """Whether anything is sent to an endpoint."""

    ENABLED = "enabled"
    DISABLED = "disabled"


class DeliveryStatus(StrEnum):
    """Where a message to one endpoint stands. Only `pending` changes."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
