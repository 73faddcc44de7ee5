"""Job states, their legal moves, phases and failure classes: the words that every part of the service agrees on.

docs/jobs.md tells the same in prose. Only `core.jobs` writes a state, and only along `MOVES`.
"""

from enum import StrEnum


class JobStatus(StrEnum):
    """Where a job stands. `is_terminal` states never change."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    SUCCEEDED = "succeeded"
    FAILED = "failed"

    @property
    def is_terminal(self) -> bool:
        """True where the job has its final state."""
        return self in TERMINAL


TERMINAL = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED})

#: States in which an attempt holds (or held, until its lease ends) the job.
LEASED = frozenset({JobStatus.RUNNING, JobStatus.PAUSING, JobStatus.CANCELLING})

MOVES: dict[JobStatus, frozenset[JobStatus]] = {
    JobStatus.QUEUED: frozenset({JobStatus.RUNNING, JobStatus.PAUSED, JobStatus.CANCELLED, JobStatus.FAILED}),
    JobStatus.RUNNING: frozenset(
        {JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.QUEUED, JobStatus.CANCELLING, JobStatus.PAUSING}
    ),
    # A job may end by itself before the wish reaches it.
    JobStatus.CANCELLING: frozenset({JobStatus.CANCELLED, JobStatus.SUCCEEDED, JobStatus.FAILED}),
    JobStatus.PAUSING: frozenset(
        {JobStatus.PAUSED, JobStatus.CANCELLING, JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.QUEUED}
    ),
    JobStatus.PAUSED: frozenset({JobStatus.QUEUED, JobStatus.CANCELLED}),
    JobStatus.SUCCEEDED: frozenset(),
    JobStatus.FAILED: frozenset(),
    JobStatus.CANCELLED: frozenset(),
}


class Desired(StrEnum):
    """What the user wishes of a job; the owner of the lease makes it so."""

    RUN = "run"
    PAUSE = "pause"
    CANCEL = "cancel"


class Phase(StrEnum):
    """What a running job is doing."""

    STAGING = "staging"
    CHECKING = "checking"
    CACHING = "caching"
    TRAINING = "training"
    EVALUATING = "evaluating"
    EXPORTING = "exporting"
    PUBLISHING = "publishing"


class FailureClass(StrEnum):
    """Who can do something about a failure. Only `infra` is tried again by the service."""

    USER_INPUT = "user_input"
    USER_CONFIG = "user_config"
    INFRA = "infra"
    DEADLINE = "deadline"
    INTERNAL = "internal"


class CheckStatus(StrEnum):
    """Where an uploaded teacher or data set stands."""

    CHECKING = "checking"
    READY = "ready"
    REJECTED = "rejected"
