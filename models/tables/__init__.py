"""The tables. Times are the database's own clock (`now()`), ids are prefixed and unguessable (`core.ids`)."""

from models.tables.access import IdempotencyKey, Key
from models.tables.base import LOCAL_OWNER, Base, Json
from models.tables.fleet import Measurement, Worker
from models.tables.intake import Dataset, ResumableUpload, Teacher, Upload
from models.tables.jobs import Artifact, Attempt, Event, Job, JobInput, JobOutputs, JobTeacher
from models.tables.webhooks import Webhook, WebhookDelivery

__all__ = [
    "LOCAL_OWNER",
    "Artifact",
    "Attempt",
    "Base",
    "Dataset",
    "Event",
    "IdempotencyKey",
    "Job",
    "JobInput",
    "JobOutputs",
    "JobTeacher",
    "Json",
    "Key",
    "Measurement",
    "ResumableUpload",
    "Teacher",
    "Upload",
    "Webhook",
    "WebhookDelivery",
    "Worker",
]
