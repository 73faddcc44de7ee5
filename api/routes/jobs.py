"""Jobs: made of a spec, watched, steered, deleted. Their history is in events.py, their files in artifacts.py."""

import re
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Query, Request, Response
from pydantic import Field, ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from api import examples, files, job_tags, quotas, submission
from api.body import JsonRoute, parsed_body
from api.callers import Who
from api.conditions import ON_GET, IfMatch, require_match
from api.deps import get
from api.errors import documented, not_json
from api.fitting.fault import Fault
from api.idempotency import Once, Post
from api.paging import Cursor, Limit, page
from api.pairs import Paired
from api.pointers import pointer_to, problems
from api.ranges import not_modified
from api.schemas import Estimate, JobList, JobView, PairView, RetryBody, Validation, ValidationProblem
from api.views import job_view, job_views, unchanged, with_etag
from core import db, jobs, queue
from core.errors import Invalid
from models.spec.job import JobSpec
from models.status import JobStatus
from models.tables import Job

router = APIRouter(prefix="/jobs", tags=["jobs"], route_class=JsonRoute)

_LABEL = re.compile(r"^([A-Za-z0-9][A-Za-z0-9_./-]{0,62})[:=]([^\x00]{0,200})$")
#: The pattern is told in the document and not kept by pydantic, whose sentence would say less than ours.
Label = Annotated[str, Field(json_schema_extra={"pattern": _LABEL.pattern})]

#: validate_job reads the body by itself, to answer with the faults; the page shows what the body is.
_SPEC_BODY: dict[str, Any] = {
    "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/JobSpec"}}}}
}


@router.post(
    "",
    status_code=201,
    operation_id="create_job",
    summary="Distil a student",
    response_model=JobView,
    responses=documented(400, 409, 413),
)
def create_job(
    spec: Annotated[JobSpec, Body(openapi_examples=examples.JOBS)],
    request: Request,
    who: Who,
    once: Post,
) -> Any:
    """The job is stored with every default filled in and waits in the queue.

    Only `teacher`, `dataset`, `student` and `loss` are required. Whatever can be known to fail is refused now, with the
    field named: 422 where the spec must change, 409 (`not_ready`) where the teacher or the data is still being checked.
    """
    with once.transaction() as session:
        job = submission.submit(session, who.owner, spec, parsed_body(request))
        answer = _answer(session, job, once, is_new=True)
    queue.wake_job(job.id)
    return answer


def _answer(session: Session, job: Job, once: Once, *, is_new: bool = False) -> Response:
    view = job_view(session, job)
    return once.answer(view, location=f"/jobs/{job.id}" if is_new else None, etag=_etag(job, view))


def _etag(job: Job, view: JobView) -> str:
    return job_tags.tag(job.version, job.retry_of, view.queue)


@router.post(
    "/validate",
    operation_id="validate_job",
    summary="Check a job without making it",
    responses=documented(400, 413),
    openapi_extra={
        "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/JobSpec"}}}}
    },
)
def validate_job(body: Annotated[Any, Body(openapi_examples=examples.JOBS)], who: Who) -> Validation:
    """The same body as POST /jobs; every fault is listed, and `resolved` is the job as it would run.

    `pairs` shows which points of the student would be compared with which of the teacher where a loss reads features.
    `estimate` is what it would take, from what this fleet has measured.
    """
    if isinstance(body, bytes):
        raise not_json()
    try:
        spec = JobSpec.model_validate(body)
    except ValidationError as error:
        found = problems(error.errors(include_url=False), body, JobSpec)
        return Validation(
            valid=False, problems=[_problem(p.pointer, p.message, "invalid") for p in found], resolved=None
        )
    with db.session() as session:
        resolved, faults = submission.checked(session, who.owner, spec)
        paired = submission.paired(session, who.owner, spec)
        estimate = None if faults else submission.estimated(session, who.owner, resolved)
    return Validation(
        valid=not faults,
        problems=[_of_fault(fault, body) for fault in faults],
        resolved=None if faults else resolved.model_dump(mode="json"),
        pairs={each.pointer: _pairs(each) for each in paired},
        estimate=estimate and Estimate.model_validate(estimate),
    )


def _pairs(found: Paired) -> list[PairView] | None:
    """The points of one term, with what is known of their shapes."""
    if found.pairs is None:
        return None
    return [
        PairView(
            student=pair.student,
            teacher=pair.teacher,
            student_shape=found.student.shape(pair.student),
            teacher_shape=found.teacher.shape(pair.teacher),
        )
        for pair in found.pairs
    ]


def _of_fault(fault: Fault, body: Any) -> ValidationProblem:
    return _problem(pointer_to(fault.loc, body), fault.message, fault.code)


def _problem(pointer: str, message: str, code: str) -> ValidationProblem:
    return ValidationProblem(pointer=pointer, message=message, code=code)


@router.get("", operation_id="list_jobs", summary="Jobs, newest first", responses=documented())
def list_jobs(
    who: Who,
    status: Annotated[list[JobStatus] | None, Query(description="Repeat it for any of several.")] = None,
    label: Annotated[
        list[Label] | None, Query(description="`key:value`; repeat it for jobs that have all of several.")
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> JobList:
    """A page of jobs; `next_cursor` leads to the next one and is null on the last."""
    query = select(Job)
    if status:
        query = query.where(Job.status.in_(status))
    if label:
        query = query.where(Job.labels.contains(_labels(label)))
    with db.session() as session:
        found = page(session, Job, who.owner, query, limit, cursor)
        return JobList(items=job_views(session, found.rows), next_cursor=found.next_cursor)


def _labels(given: list[str]) -> dict[str, str]:
    found = [_LABEL.match(label) for label in given]
    if not all(found):
        raise Invalid.at("?label", "must be `key:value`, as in ?label=team:vision")
    return {match[1]: match[2] for match in found if match}


@router.get(
    "/{job_id}",
    operation_id="get_job",
    summary="One job",
    response_model=JobView,
    responses={304: {"description": "Not changed since the ETag in If-None-Match"}, **documented(404, 412)},
    openapi_extra=ON_GET,
)
def get_job(job_id: str, request: Request, who: Who) -> Any:
    """Poll it with If-None-Match: the answer is 304 and empty until something has changed."""
    if "if-none-match" in request.headers:
        tag = job_tags.stored_tag(who.owner, job_id)
        if tag is not None and not_modified(request.headers, tag):
            return unchanged(tag)
    with db.session() as session:
        job = get(session, Job, who.owner, job_id)
        view = job_view(session, job)
    return with_etag(request, view, _etag(job, view))


def _held(session: Session, owner: str, job_id: str, if_match: str | None) -> Job:
    """The job, its row locked. NotFound, and PreconditionFailed where If-Match means another version."""
    job = get(session, Job, owner, job_id)
    session.refresh(job, with_for_update=True)
    if if_match is not None:
        require_match(if_match, _etag(job, job_view(session, job)), same=job_tags.same_version)
    return job


class _Steering:
    """What steering a job takes of a request: whose it is, one answer for it, and the version that is meant."""

    def __init__(self, who: Who, once: Post, if_match: IfMatch = None) -> None:
        self._owner = who.owner
        self._once = once
        self._if_match = if_match

    def do(self, job_id: str, wish: Callable[[Session, str], Job], *, is_new: bool = False) -> tuple[Response, str]:
        """The answer, with the job as the wish leaves it or has made it; and that job's id."""
        with self._once.transaction() as session:
            _held(session, self._owner, job_id, self._if_match)
            job = wish(session, job_id)
            session.flush()
            session.refresh(job)
            return _answer(session, job, self._once, is_new=is_new), job.id


Steering = Annotated[_Steering, Depends()]


@router.post(
    "/{job_id}/cancel",
    status_code=202,
    operation_id="cancel_job",
    summary="Cancel a job",
    response_model=JobView,
    responses=documented(404, 409, 412),
)
def cancel_job(job_id: str, steering: Steering) -> Any:
    """A queued job is cancelled at once, a running one within seconds. A job that has ended answers 409."""
    return steering.do(job_id, jobs.request_cancel)[0]


@router.post(
    "/{job_id}/pause",
    status_code=202,
    operation_id="pause_job",
    summary="Pause a job",
    response_model=JobView,
    responses=documented(404, 409, 412),
)
def pause_job(job_id: str, steering: Steering) -> Any:
    """The job frees its device and waits until it is resumed."""
    return steering.do(job_id, jobs.request_pause)[0]


@router.post(
    "/{job_id}/resume",
    status_code=202,
    operation_id="resume_job",
    summary="Resume a paused job",
    response_model=JobView,
    responses=documented(404, 409, 412),
)
def resume_job(job_id: str, steering: Steering) -> Any:
    """The job goes back into the queue."""
    answer, resumed = steering.do(job_id, jobs.request_resume)
    queue.wake_job(resumed)
    return answer


@router.post(
    "/{job_id}/retry",
    status_code=201,
    operation_id="retry_job",
    summary="Run a job that has ended again, as a new job",
    response_model=JobView,
    responses=documented(400, 404, 409, 412, 413),
)
def retry_job(
    job_id: str,
    steering: Steering,
    body: Annotated[RetryBody | None, Body(openapi_examples=examples.RETRIES)] = None,
) -> Any:
    """The new job has the same spec, and `retry_of` names this one, which stays as it is."""
    wanted = body or RetryBody()

    def again(session: Session, given: str) -> Job:
        made = jobs.retry(session, given, wanted.from_)
        quotas.check_queue(session, made.owner, more=0)
        return made

    answer, made = steering.do(job_id, again, is_new=True)
    queue.wake_job(made)
    return answer


@router.delete(
    "/{job_id}",
    status_code=204,
    response_class=Response,
    operation_id="delete_job",
    summary="Delete a job",
    responses=documented(404, 409, 412),
)
def delete_job(job_id: str, who: Who, if_match: IfMatch = None) -> None:
    """Only a job that has ended can be deleted; its events and files go with it."""
    with db.session() as session:
        _held(session, who.owner, job_id, if_match)
        keys = jobs.delete(session, job_id)
    files.discard(keys)
