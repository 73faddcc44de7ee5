"""What the API answers with. Bodies that it takes are the specs of models.spec; here only what is around them."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from models.spec.base import Name
from models.spec.data import DatasetSpec
from models.spec.teachers import TeacherSpec
from models.status import CheckStatus, JobStatus

UploadId = Annotated[str, Field(pattern=r"^upl_[A-Za-z0-9]+$", max_length=64, description="An id from POST /uploads.")]


class Answer(BaseModel):
    """An answer; later versions may add fields."""

    model_config = ConfigDict(from_attributes=True)


class FieldProblem(Answer):
    """One fault of one field."""

    pointer: str = Field(
        description="JSON pointer into the body; `?name` is a query parameter, `Name:` a header, empty the whole body."
    )
    message: str


class Problem(Answer):
    """An error, as RFC 9457 describes it. /docs/errors lists the codes."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": "/docs/errors#invalid",
                "title": "The request is not valid",
                "status": 422,
                "detail": "/loss/T: Input should be greater than 0",
                "code": "invalid",
                "errors": [{"pointer": "/loss/T", "message": "Input should be greater than 0"}],
            }
        }
    )

    type: str
    title: str
    status: int
    detail: str = Field(description="What is wrong and what to do about it.")
    code: str = Field(description="Stable, for programs.")
    errors: list[FieldProblem] = []
    request_id: str = Field(default="", description="As in the header X-Request-Id; the service's log has it too.")


class UploadView(Answer):
    """Bytes that were handed in."""

    id: str
    filename: str
    size: int
    sha256: str
    created_at: datetime


class TeacherCreate(TeacherSpec):
    """A teacher: an uploaded checkpoint or graph, and what it is."""

    name: Name
    upload: UploadId


class DatasetCreate(DatasetSpec):
    """A data set: an uploaded archive or table, and what it is for."""

    name: Name
    upload: UploadId


class CheckLineView(Answer):
    """One check and its verdict."""

    id: str
    result: Literal["pass", "warn", "fail"] | str
    detail: str


class Report(Answer):
    """What the check found. Figures beside `checks` differ by kind: parameters, FLOPs, taps, counts, histogram ..."""

    model_config = ConfigDict(extra="allow")

    checks: list[CheckLineView] = []
    rules: int | None = Field(default=None, description="The number of the rules that it was checked by.")
    tools: dict[str, str] = Field(default={}, description="What opened the file, with versions.")
    outdated: bool = Field(
        default=False, description="The rules have changed since: POST .../recheck gives a verdict by those of today."
    )


class CheckedView(Answer):
    """A teacher or a data set, and the verdict on it."""

    id: str
    name: str
    status: CheckStatus
    is_rechecking: bool = Field(
        default=False, description="Another check was asked for; until its verdict is there, this one counts."
    )
    upload: str
    spec: dict[str, Any] = Field(description="As it was posted, defaults filled in.")
    report: Report
    sha256: str | None = Field(description="Of the converted form, which jobs read.")
    size: int | None
    created_at: datetime
    checked_at: datetime | None


class TeacherView(CheckedView):
    """A teacher. It can be used once its status is `ready`."""


class DatasetView(CheckedView):
    """A data set. It can be used once its status is `ready`."""


class TeacherList(Answer):
    """Teachers, newest first."""

    items: list[TeacherView]
    next_cursor: str | None = None


class DatasetList(Answer):
    """Data sets, newest first."""

    items: list[DatasetView]
    next_cursor: str | None = None


class Progress(Answer):
    """How far a job is."""

    model_config = ConfigDict(extra="allow")

    epoch: int | None = None
    epochs: int | None = None
    step: int | None = None
    steps: int | None = None
    percent: float | None = None
    eta_s: float | None = None
    samples_per_s: float | None = None
    metrics: dict[str, Any] = {}


class Queue(Answer):
    """Where a queued job stands, as far as it can be told: others may be handed in with a higher priority."""

    position: int = Field(description="1 is next; 1000 says that it is the thousandth or later.")
    ahead: int = Field(description="Jobs that come before it; 999 says so many or more.")
    age_s: int = Field(
        description="Seconds since it was queued, rounded down to tens, and after ten minutes to minutes."
    )
    reason: (
        Literal["starting", "no_free_device", "higher_priority", "owner_limit", "backing_off", "no_worker"] | str
    ) = Field(description="Why it waits, for programs; docs/jobs.md explains each word.")
    message: str = Field(description="Why it waits, for people.")


class ArtifactView(Answer):
    """A file that a job made."""

    name: str
    size: int
    sha256: str
    media_type: str
    url: str
    created_at: datetime


class ArtifactList(Answer):
    """The files of a job."""

    items: list[ArtifactView]
    next_cursor: str | None = None


class JobFailureView(Answer):
    """Why a job failed: a problem, and who can do something about it."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    code: str
    detail: str
    errors: list[FieldProblem] = []


class Range(Answer):
    """Between what and what, and where in between most probably."""

    low: float
    likely: float
    high: float


class Estimate(Answer):
    """What a job takes, from what jobs on these machines took: running alone, without the wait in the queue."""

    seconds: Range | None = Field(
        description="All networks of the job together. Null where nothing was measured that it could be told from."
    )
    memory_bytes: Range | None = Field(description="The most that the training process holds.")
    device_memory_bytes: int | None = Field(description="The most on a GPU in the jobs that it is told from.")
    basis: Literal["measured", "scaled", "none"] | str = Field(
        description="`measured`: this work was, with other rows or epochs perhaps. `scaled`: other work was, and the "
        "range is as wide as scaling is off. `none`: `reason` says what is missing."
    )
    measured: int = Field(description="Jobs that it is told from.")
    reason: str


class JobEstimate(Estimate):
    """What a job was expected to take when it was handed in, and how far that was off."""

    ran_s: float | None = Field(default=None, description="Seconds that it ran, once it has succeeded.")
    ratio: float | None = Field(default=None, description="`ran_s` over `seconds.likely`: 1 is exact, 2 twice as long.")
    within: bool | None = Field(default=None, description="Whether `ran_s` lay between `seconds.low` and `.high`.")
    peak_bytes: int | None = Field(default=None, description="The most that it held, once it has succeeded.")
    memory_ratio: float | None = Field(default=None, description="`peak_bytes` over `memory_bytes.likely`.")


class JobView(Answer):
    """A job."""

    id: str
    name: str | None
    labels: dict[str, str]
    status: JobStatus
    phase: str | None = Field(description="What a running job is doing.")
    is_terminal: bool
    progress: Progress
    queue: Queue | None = Field(description="Only while the job is queued.")
    attempt: int = Field(description="Attempts started so far.")
    error: JobFailureView | None
    spec: dict[str, Any] = Field(description="The job as it runs, every default filled in.")
    result: dict[str, Any] | None
    estimate: JobEstimate | None = Field(
        description="Of a retry, for what its checkpoint leaves. Null where what the job reads was rejected since."
    )
    artifacts: list[ArtifactView]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    retry_of: str | None


class JobList(Answer):
    """Jobs, newest first."""

    items: list[JobView]
    next_cursor: str | None = None


class RetryBody(BaseModel):
    """Where the new job starts from."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    from_: Literal["start", "checkpoint"] = Field(default="start", alias="from")


class ValidationProblem(FieldProblem):
    """Why a job would be refused."""

    code: str


class PairView(Answer):
    """A point of the student and the teacher's that it will be compared with. Shapes are without the batch."""

    student: str
    teacher: str
    student_shape: list[int] | None = Field(description="Null where only the built network can say.")
    teacher_shape: list[int] | None = Field(description="Null where only the built network can say.")


class Validation(Answer):
    """What POST /jobs would say."""

    valid: bool
    problems: list[ValidationProblem]
    resolved: dict[str, Any] | None = Field(description="The job as it would run; null where it would be refused.")
    pairs: dict[str, list[PairView] | None] = Field(
        default={},
        description="For each loss that reads features, by its place (`/loss/0`, `/assistants/0/loss/0`): the points "
        "it will compare, given or paired by `auto`. Null where they are paired at the start of the job: with an "
        "architecture of timm, a graph that takes any size, or peers.",
    )
    estimate: Estimate | None = Field(default=None, description="Null where the job would be refused.")


class EventView(Answer):
    """One line of a job's history."""

    seq: int
    at: datetime
    attempt: int
    type: str
    data: dict[str, Any]


class EventList(Answer):
    """Events in order."""

    items: list[EventView]
    next_after: int = Field(description="Give it as `after` to go on.")


class MetricPoint(Answer):
    """The figures of one epoch of one run."""

    model_config = ConfigDict(extra="allow")

    seq: int
    at: datetime
    epoch: float | None = None
    step: int | None = None
    run: str | None = None
    train: dict[str, Any] = {}
    val: dict[str, Any] = {}


class Metrics(Answer):
    """The learning curves of a job, thinned out to the number of points that was asked for."""

    points: list[MetricPoint]
    total: int = Field(description="Points that there are in all.")


class CatalogEntry(Answer):
    """One choice on a menu."""

    model_config = ConfigDict(extra="allow", populate_by_name=True)

    type: str
    title: str
    description: str
    formula: str = ""
    paper: str = ""
    use_when: str = ""
    defaults: dict[str, Any] = {}
    json_schema: dict[str, Any] = Field(default={}, alias="schema")


class CatalogList(Answer):
    """A menu."""

    items: list[CatalogEntry]


class Health(Answer):
    """The process lives."""

    status: Literal["ok"] = "ok"


class Readiness(Answer):
    """Every part answers."""

    status: Literal["ready"] = "ready"
    checks: dict[str, str]
    workers: int = Field(default=0, description="Workers that show themselves; without one, jobs are taken and wait.")
