"""The tables. Times are the database's own clock (`now()`), ids are prefixed and unguessable (`core.ids`)."""

from models.tables.access import IdempotencyKey, Key
from models.tables.base import LOCAL_OWNER, Base, Json
from models.tables.intake import Dataset, Teacher, Upload
from models.tables.jobs import Artifact, Attempt, Event, Job, JobOutputs, JobTeacher

__all__ = [
    "LOCAL_OWNER",
    "Artifact",
    "Attempt",
    "Base",
    "Dataset",
    "Event",
    "IdempotencyKey",
    "Job",
    "JobOutputs",
    "JobTeacher",
    "Json",
    "Key",
    "Teacher",
    "Upload",
]
