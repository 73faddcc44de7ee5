"""The error tree. Each error has a stable code, an HTTP status, a sentence that names the field and the remedy.

DistilleryError
|-- RequestError                  answered to the caller as problem+json
|   |-- Malformed        400      the request itself cannot be read
|   |-- DigestMismatch   400      the body is not what its digest says
|   |-- Unauthorized     401      no key, or none that is good
|   |-- Forbidden        403      the key is good, and its role does not reach
|   |-- NotFound         404
|   |-- TooSlow          408      the body did not come in time
|   |-- Conflict         409      the thing is in a state that does not allow this
|   |   `-- InFlight     409      the same request is being answered
|   |-- Gone             410      it was there, and its time is over
|   |-- PreconditionFailed 412
|   |-- TooLarge         413
|   |-- UnsupportedMedia 415      the body is said to be of another kind
|   |-- RangeNotSatisfiable 416
|   |-- Invalid          422      a field has a value that cannot work
|   |-- Locked           423      another request writes to it
|   |-- TooMany          429      a limit of the owner is reached
|   |-- ChecksumMismatch 460      tus: the part is not what its checksum says
|   `-- Unavailable      503      a part of the service is down; try again
|-- Rejected                      an upload failed a check: the verdict of a teacher or a data set
`-- JobFailure                    stored in `job.error`; `failure` says who can do something about it
    |-- UserInput                 the files: a weak teacher, labels that do not fit
    |-- UserConfig                the spec: a learning rate that diverges, a batch that does not fit in memory
    |-- Infra                     the machine: tried again by itself
    |-- Deadline                  limits.max_seconds reached
    `-- Internal                  ours
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from models.status import FailureClass


@dataclass(frozen=True)
class Problem:
    """One fault of one field: `pointer` is a JSON pointer into the body (`/loss/0/T`)."""

    pointer: str
    message: str

    def as_dict(self) -> dict[str, str]:
        """The form it has in an answer."""
        return {"pointer": self.pointer, "message": self.message}


class DistilleryError(Exception):
    """Base of all: `detail` is a sentence for the user that says what to do."""

    code: str = "error"
    title: ClassVar[str] = "Error"

    def __init__(self, detail: str, *, code: str | None = None, errors: list[Problem] | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = errors or []
        if code is not None:
            self.code = code

    @classmethod
    def at(cls, pointer: str, message: str, *, code: str | None = None) -> Self:
        """The error for one field."""
        return cls(message, code=code, errors=[Problem(pointer, message)])


class RequestError(DistilleryError):
    """Answered to the caller."""

    status: ClassVar[int] = 400
    #: Seconds after which the same request may work, where waiting helps.
    retry_after_s: int | None = None


class Malformed(RequestError):
    """The request cannot be read."""

    code = "malformed"
    title = "The request cannot be read"


class DigestMismatch(RequestError):
    """The body is not what its digest says."""

    code = "digest_mismatch"
    title = "The body does not match its digest"


class Unauthorized(RequestError):
    """No key, or none that is good. The codes tell the bearer of a true token more than they tell a stranger."""

    code = "key_missing"
    title = "A key is needed"
    status = 401


class Forbidden(RequestError):
    """The key is good, and does not reach so far."""

    code = "forbidden"
    title = "Not allowed with this key"
    status = 403


class NotFound(RequestError):
    """No such thing, or not the caller's."""

    code = "not_found"
    title = "Not found"
    status = 404


class TooSlow(RequestError):
    """The body did not come in time."""

    code = "too_slow"
    title = "The request came too slowly"
    status = 408


class Conflict(RequestError):
    """The thing is in a state that does not allow this."""

    code = "conflict"
    title = "The current state does not allow this"
    status = 409


class InFlight(Conflict):
    """Another request with the same Idempotency-Key is being answered."""

    code = "request_in_flight"
    title = "The same request is being answered"
    retry_after_s = 1


class Gone(RequestError):
    """It was there, and its time is over."""

    code = "gone"
    title = "Not there any more"
    status = 410


class PreconditionFailed(RequestError):
    """If-Match or If-Range named another version."""

    code = "precondition_failed"
    title = "The thing has changed"
    status = 412


class TooLarge(RequestError):
    """More bytes than a limit allows."""

    code = "too_large"
    title = "Too large"
    status = 413


class UnsupportedMedia(RequestError):
    """The body is said to be of a kind that is not taken here."""

    code = "unsupported_media_type"
    title = "The body is of another kind"
    status = 415


class RangeNotSatisfiable(RequestError):
    """A byte range outside the file."""

    code = "range_not_satisfiable"
    title = "The range lies outside the file"
    status = 416


class Invalid(RequestError):
    """A field has a value that cannot work."""

    code = "invalid"
    title = "The request is not valid"
    status = 422


class Locked(RequestError):
    """Another request writes to the thing."""

    code = "locked"
    title = "Another request is at it"
    status = 423
    retry_after_s = 1


class ChecksumMismatch(RequestError):
    """A part of an upload is not what its checksum says; the status is tus's own."""

    code = "checksum_mismatch"
    title = "The part does not match its checksum"
    status = 460


class TooMany(RequestError):
    """A limit of the owner is reached; after so many seconds it is worth asking again."""

    code = "too_many_requests"
    title = "A limit is reached"
    status = 429

    def __init__(self, detail: str, *, code: str, retry_after_s: int) -> None:
        super().__init__(detail, code=code)
        self.retry_after_s = retry_after_s


class Unavailable(RequestError):
    """A part of the service is down."""

    code = "unavailable"
    title = "A part of the service is not available"
    status = 503
    retry_after_s = 5


class Rejected(DistilleryError):
    """An uploaded file failed a check; `code` names the check."""

    code = "rejected"
    title = "The file was rejected"


class JobFailure(DistilleryError):
    """Why a job ended without a student. `extra` holds figures that help (the batch size that was tried)."""

    code = "job_failed"
    title = "The job failed"
    failure: ClassVar[FailureClass] = FailureClass.INTERNAL

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        errors: list[Problem] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(detail, code=code, errors=errors)
        self.extra = extra or {}

    def as_dict(self) -> dict[str, Any]:
        """The shape of `job.error`: that of a problem, plus its class."""
        return {
            "type": f"/docs/errors#{self.code}",
            "title": self.title,
            "class": self.failure.value,
            "code": self.code,
            "detail": self.detail,
            "errors": [problem.as_dict() for problem in self.errors],
            **self.extra,
        }


class UserInput(JobFailure):
    """The files are at fault."""

    code = "user_input"
    title = "The teacher or the data cannot be used"
    failure = FailureClass.USER_INPUT


class UserConfig(JobFailure):
    """The spec is at fault."""

    code = "user_config"
    title = "The job cannot run as it is specified"
    failure = FailureClass.USER_CONFIG


class Infra(JobFailure):
    """The machine is at fault; the service tries again."""

    code = "infra"
    title = "The machine failed the job"
    failure = FailureClass.INFRA


class Deadline(JobFailure):
    """The job ran for as long as it was allowed to."""

    code = "deadline"
    title = "The time limit was reached"
    failure = FailureClass.DEADLINE


class Internal(JobFailure):
    """A fault of ours."""

    code = "internal"
    title = "The service has a fault"
    failure = FailureClass.INTERNAL
