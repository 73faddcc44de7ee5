"""What jobs took, kept for estimates of the next: seconds a row, seconds of all else, and memory.

Equal works take equally long a row, whatever the number of rows and epochs; works that were never measured are set
beside measured ones by their floating point operations. docs/jobs.md tells it in prose.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from models.canonical import DatasetMeta, TeacherMeta
from models.spec.job import JobSpec
from models.tables import Dataset, Job, JobTeacher, Json, Measurement, Teacher

#: Of the training pass of a network, in forward passes: forward, and backward for input and weights.
_PASSES = 3
#: Between "the device is busy" and "the device waits for the program", where operations cost nothing more.
_GROWTH = 0.8
_NEWEST, _NEAREST = 50, 8
_FEW = 3


@dataclass(frozen=True, slots=True)
class Range:
    """Between what and what, and where in between most probably."""

    low: float
    likely: float
    high: float


@dataclass(frozen=True, slots=True)
class Work:
    """What decides how long a job takes: equal keys take equally long a row."""

    key: str
    student: str
    #: Of the teachers' forward passes on one row; None where who teaches is made of the job's own networks.
    teacher_flops: int | None
    #: Of the job's own networks that are trained one beside or after another on each row.
    num_trained: int
    rows: int

    def row_flops(self, student_flops: int | None) -> float | None:
        """Of all networks for one row of training."""
        if self.teacher_flops is None or student_flops is None:
            return None
        return float(self.teacher_flops + _PASSES * self.num_trained * student_flops)


def work_of(spec: JobSpec, data: DatasetMeta, teachers: Sequence[TeacherMeta]) -> Work:
    """The work of a resolved spec."""
    train = spec.train
    student = {"student": spec.student.model_dump(mode="json"), "input": list(data.input_shape)}
    told = spec.model_dump(mode="json", include={"loss", "hard", "assistants"})
    key = {
        **student,
        **told,
        "task": data.task,
        "num_outputs": data.num_outputs,
        "teaching": spec.teacher.model_dump(mode="json", exclude={"id", "teachers", "teacher", "dataset"}),
        "teachers": [[each.architecture.model_dump(mode="json"), each.flops, each.parameters] for each in teachers],
        "train": train.model_dump(mode="json", include={"batch_size", "precision", "augment", "mixup", "control"}),
        "optimizer": train.optimizer.type,
    }
    plain = spec.teacher.handed_in and not spec.assistants and all(each.flops is not None for each in teachers)
    return Work(
        key=_hash(key),
        student=_hash(student),
        teacher_flops=sum(each.flops or 0 for each in teachers) if plain else None,
        num_trained=1 + bool(train.control),
        rows=train.epochs * data.counts["train"],
    )


# --- what a job took ---


def record(session: Session, job: Job) -> None:
    """Keep what a job took that has just succeeded in its first attempt; others have not done all of it at once."""
    figures = _figures(job.result or {}, job.ran_s)
    known = _inputs(session, job)
    if figures is None or known is None or job.attempt != 1 or job.retry_from == "checkpoint":
        return
    try:
        spec = JobSpec.model_validate({name: job.spec[name] for name in job.spec if name in JobSpec.model_fields})
    except ValidationError:
        return  # an older version took it, and this one says nothing of such jobs
    work = work_of(spec, *known)
    rows = figures.pop("epochs") * known[0].counts["train"]
    trained_s = figures.pop("trained_s")
    values = {
        "job_id": job.id,
        "work": work.key,
        "student": work.student,
        "row_flops": work.row_flops(figures["student_flops"]),
        "rows": rows,
        "row_s": trained_s / rows,
        **figures,
    }
    session.execute(insert(Measurement).values(**values).on_conflict_do_nothing())


def _figures(report: Mapping[str, Any], ran_s: float) -> dict[str, Any] | None:
    """Of a whole report; None of one that does not have them all."""
    timings, memory = report.get("timings"), report.get("memory")
    if not timings or not memory or not timings.get("training") or not report.get("last_epoch"):
        return None
    flops = report.get("flops") or {}
    trained_s = timings["training"] + timings.get("caching", 0.0)
    return {
        "device": report.get("device", ""),
        "student_flops": flops.get("student"),
        "epochs": report["last_epoch"],
        "trained_s": trained_s,
        "other_s": max(0.0, ran_s - trained_s),
        "peak_bytes": memory["peak_bytes"],
        "device_peak_bytes": memory.get("device_peak_bytes"),
        "facts": {"timings": timings, "precision": report.get("precision"), "ran_s": round(ran_s, 3)},
    }


def _inputs(session: Session, job: Job) -> tuple[DatasetMeta, list[TeacherMeta]] | None:
    """What the job read; None where another verdict has taken it away."""
    read = select(Teacher.meta).join(JobTeacher, JobTeacher.teacher_id == Teacher.id)
    teachers = session.scalars(read.where(JobTeacher.job_id == job.id).order_by(JobTeacher.place)).all()
    data = session.scalar(select(Dataset.meta).where(Dataset.id == job.dataset_id))
    if not data or not all(teachers):
        return None
    return DatasetMeta.model_validate(data), [TeacherMeta.model_validate(meta) for meta in teachers]


# --- what a job will take ---


def estimate(session: Session, spec: JobSpec, data: DatasetMeta, teachers: Sequence[TeacherMeta]) -> Json:
    """Seconds of running and bytes of memory, from what was measured here; null with a reason where nothing was."""
    work = work_of(spec, data, teachers)
    newest = select(Measurement).where(Measurement.work == work.key).order_by(Measurement.at.desc()).limit(_NEWEST)
    if same := list(session.scalars(newest)):
        return _of_same(work, same)
    flops = work.row_flops(_student_flops(session, work.student))
    if flops is None:
        return _nothing(session)
    if near := _nearest(session, flops):
        return _of_near(work, flops, near)
    return _nothing(session)


def _of_same(work: Work, same: Sequence[Measurement]) -> Json:
    """The same work, perhaps with other rows or epochs: the spread is that of what was measured, and some more."""
    seconds = [each.other_s + each.row_s * work.rows for each in same]
    peaks = [each.peak_bytes for each in same]
    slack = 1.25 if len(same) >= _FEW else 1.5
    reason = (
        f"The same work was measured in {len(same)} {'job' if len(same) == 1 else 'jobs'}; rows and epochs scale it."
    )
    return _told(
        Range(min(seconds) / slack, median(seconds), max(seconds) * slack),
        Range(min(peaks) * 0.9, median(peaks), max(peaks) * 1.2),
        _device_peak(same),
        "same",
        len(same),
        reason,
    )


def _of_near(work: Work, flops: float, near: Sequence[Measurement]) -> Json:
    """Other works: their time a row may stay the same (the device waits) or grow as the operations do (it is busy)."""
    likely, ends, peaks = [], [], []
    for each in near:
        times = flops / (each.row_flops or flops)
        row_s = each.row_s * work.rows
        likely.append(each.other_s + row_s * times**_GROWTH)
        ends += [each.other_s + row_s, each.other_s + row_s * times]
        peaks.append(each.peak_bytes)
    reason = f"Never measured; scaled by operations from the {len(near)} nearest of other jobs, so the range is wide."
    return _told(
        Range(min(ends) / 2, median(likely), max(ends) * 2),
        Range(min(peaks) * 0.7, median(peaks), max(peaks) * 2),
        _device_peak(near),
        "scaled",
        len(near),
        reason,
    )


def _told(seconds: Range, memory: Range, device: int | None, basis: str, measured: int, reason: str) -> Json:
    return {
        "seconds": {name: round(value, 1) for name, value in asdict(seconds).items()},
        "memory_bytes": {name: int(value) for name, value in asdict(memory).items()},
        "device_memory_bytes": device,
        "basis": basis,
        "measured": measured,
        "reason": reason,
    }


def _nothing(session: Session) -> Json:
    some = session.scalar(select(Measurement.job_id).limit(1))
    reason = (
        "No job with this student on inputs of this shape has ended here yet, so there is nothing to scale from."
        if some
        else "No job has ended here yet, so nothing has been measured."
    )
    nothing = dict.fromkeys(("seconds", "memory_bytes", "device_memory_bytes"))
    return {**nothing, "basis": "none", "measured": 0, "reason": reason}


def _device_peak(measured: Sequence[Measurement]) -> int | None:
    return max((each.device_peak_bytes for each in measured if each.device_peak_bytes is not None), default=None)


def _student_flops(session: Session, student: str) -> int | None:
    known = select(Measurement.student_flops).where(
        Measurement.student == student, Measurement.student_flops.is_not(None)
    )
    return session.scalar(known.limit(1))


def _nearest(session: Session, flops: float) -> list[Measurement]:
    """On either side."""
    column = Measurement.row_flops
    above = select(Measurement).where(column >= flops).order_by(column).limit(_NEAREST)
    below = select(Measurement).where(column < flops).order_by(column.desc()).limit(_NEAREST)
    found = [*session.scalars(above), *session.scalars(below)]
    ratios = {each.job_id: max(flops / each.row_flops, each.row_flops / flops) for each in found if each.row_flops}
    return sorted((each for each in found if each.job_id in ratios), key=lambda each: ratios[each.job_id])[:_NEAREST]


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
