"""Rows as answers, and the ETags of answers."""

import hashlib
from collections.abc import Sequence
from typing import TypeVar
from urllib.parse import quote

from fastapi import Request
from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.responses import Response

from api.ranges import not_modified
from api.schemas import (
    ArtifactView,
    CheckedView,
    JobEstimate,
    JobFailureView,
    JobView,
    Progress,
    Queue,
    Range,
    Report,
    UploadView,
)
from api.standing import standings
from models.canonical import RULES
from models.status import CheckStatus, JobStatus
from models.tables import Artifact, Dataset, Job, Teacher, Upload

View = TypeVar("View", bound=CheckedView)


def upload_view(upload: Upload) -> UploadView:
    """An upload."""
    return UploadView.model_validate(upload)


def checked_view(view: type[View], row: Teacher | Dataset) -> View:
    """A teacher or a data set."""
    return view(
        id=row.id,
        name=row.name,
        status=CheckStatus(row.status),
        is_rechecking=row.recheck_at is not None,
        upload=row.upload_id,
        spec=row.spec,
        report=_report(row),
        sha256=row.sha256,
        size=row.size,
        created_at=row.created_at,
        checked_at=row.checked_at,
    )


def _report(row: Teacher | Dataset) -> Report:
    report = Report.model_validate(row.report)
    report.outdated = row.checked_at is not None and report.rules != RULES
    return report


def artifact_view(artifact: Artifact) -> ArtifactView:
    """A file of a job."""
    return ArtifactView(
        name=artifact.name,
        size=artifact.size,
        sha256=artifact.sha256,
        media_type=artifact.media_type,
        url=f"/jobs/{artifact.job_id}/artifacts/{quote(artifact.name)}",
        created_at=artifact.created_at,
    )


def job_view(session: Session, job: Job) -> JobView:
    """One job."""
    return job_views(session, [job])[0]


def job_views(session: Session, jobs: Sequence[Job]) -> list[JobView]:
    """Jobs, with three queries however many they are."""
    artifacts: dict[str, list[ArtifactView]] = {job.id: [] for job in jobs}
    made = select(Artifact).where(Artifact.job_id.in_(artifacts)).order_by(Artifact.job_id, Artifact.name)
    for artifact in session.scalars(made):
        artifacts[artifact.job_id].append(artifact_view(artifact))
    queued = standings(session, [job.id for job in jobs if job.status == JobStatus.QUEUED])
    return [_job_view(job, artifacts[job.id], queued.get(job.id)) for job in jobs]


def _job_view(job: Job, artifacts: list[ArtifactView], queue: Queue | None) -> JobView:
    status = JobStatus(job.status)
    return JobView(
        id=job.id,
        name=job.name,
        labels=job.labels,
        status=status,
        phase=job.phase,
        is_terminal=status.is_terminal,
        progress=Progress.model_validate(job.progress),
        queue=queue,
        attempt=job.attempt,
        error=JobFailureView.model_validate(job.error) if job.error else None,
        spec=job.spec,
        result=job.result,
        estimate=_estimate(job),
        artifacts=artifacts,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        retry_of=job.retry_of,
    )


def _estimate(job: Job) -> JobEstimate | None:
    if job.estimate is None:
        return None
    told = JobEstimate.model_validate(job.estimate)
    if job.status != JobStatus.SUCCEEDED:
        return told
    ran_s, expected = round(job.ran_s, 1), told.seconds
    peak_bytes = ((job.result or {}).get("memory") or {}).get("peak_bytes")
    off = {
        "ran_s": ran_s,
        "ratio": _ratio(job.ran_s, expected),
        "within": None if expected is None else expected.low <= ran_s <= expected.high,
        "peak_bytes": peak_bytes,
        "memory_ratio": None if peak_bytes is None else _ratio(peak_bytes, told.memory_bytes),
    }
    return told.model_copy(update=off)


def _ratio(found: float, expected: Range | None) -> float | None:
    return round(found / expected.likely, 3) if expected and expected.likely else None


def tag_of(view: BaseModel) -> str:
    """The strong ETag of a view: its bytes."""
    return f'"{hashlib.sha256(view.model_dump_json().encode()).hexdigest()[:32]}"'


def with_etag(request: Request, view: BaseModel, etag: str | None = None) -> Response:
    """The view with a strong ETag, of its bytes where none is given; 304 where the caller has these already."""
    body = view.model_dump_json().encode()
    etag = etag or tag_of(view)
    if not_modified(request.headers, etag):
        return unchanged(etag)
    return Response(body, media_type="application/json", headers=_headers(etag))


def unchanged(etag: str) -> Response:
    """304."""
    return Response(status_code=304, headers=_headers(etag))


def _headers(etag: str) -> dict[str, str]:
    return {"ETag": etag, "Cache-Control": "private, no-cache"}
