"""What jobs took, kept for estimates of the next: seconds of training, seconds of all else, and memory.

Equal works take equally long an operation, whatever the number of rows and epochs; works that were never measured are
set beside measured ones by the operations of their steps. docs/jobs.md tells it in prose.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import exp, log
from statistics import median
from typing import Any

from pydantic import ValidationError
from sqlalchemy import ColumnElement, func, select
from sqlalchemy.dialects.postgresql import array, insert
from sqlalchemy.orm import Session, defer

from core import fleet, scaling
from core.scaling import Measured, Point
from core.workload import GroupWork, Workload, network_key, workload
from models.canonical import DatasetMeta, TeacherMeta
from models.lessons import syllabus
from models.spec.job import JobSpec
from models.tables import Dataset, Job, JobTeacher, Json, Measurement, Teacher

#: Of one work, and of all works: the fleet may have changed since older ones.
_NEWEST, _RECENT = 50, 200
_NEAREST = 8
#: Operations a second that one thread of a processor, or a GPU, reaches at least where it is busy.
_RATES = {"cpu": 2e10, "cuda": 2e12}
#: Beyond the quickest and the slowest of one or two jobs: machines are more or less busy.
_SLACK = {1: 2.0, 2: 1.5}


@dataclass(frozen=True, slots=True)
class Range:
    """Between what and what, and where in between most probably."""

    low: float
    likely: float
    high: float


# --- what a job took ---


def record(session: Session, job: Job) -> None:
    """Keep what a job took that has just succeeded in its first attempt; others have not done all of it at once."""
    figures, known = _figures(job.result or {}, job.ran_s), _inputs(session, job)
    if figures is None or known is None or job.attempt != 1 or job.retry_from == "checkpoint":
        return
    spec = _spec(job)
    if spec is None:
        return  # an older version took it, and this one says nothing of such jobs
    report, data = job.result or {}, known[0]
    counted = report.get("flops") or {}
    plan = syllabus(spec, has_labels=data.num_labelled("train") > 0)
    built = {
        network_key(lesson.student, data.input_shape): int(counted[lesson.name])
        for lesson in plan.lessons
        if counted.get(lesson.name) is not None
    }
    work = workload(spec, *known, known=built, epochs=_epochs(report))
    values = {
        "job_id": job.id,
        "work": work.key,
        "family": work.family,
        "networks": {key: flops for key, flops in work.networks.items() if flops is not None},
        "steps": work.steps,
        "flops": work.work,
        "num_rows": work.num_rows,
        "held_bytes": work.held_bytes,
        **figures,
    }
    session.execute(insert(Measurement).values(**values).on_conflict_do_nothing())


def _figures(report: Mapping[str, Any], ran_s: float) -> dict[str, Any] | None:
    """Of a whole report; None of one that does not have them all."""
    timings, memory = report.get("timings"), report.get("memory")
    if not timings or not memory or not timings.get("training") or not report.get("last_epoch"):
        return None
    trained_s = timings["training"] + timings.get("caching", 0.0)
    precision = report.get("precision") or {}
    device_peak_bytes = memory.get("device_peak_bytes")
    return {
        "device": report.get("device", ""),
        "kind": "cpu" if device_peak_bytes is None else "cuda",
        "precision": precision.get("student", "auto"),
        "trained_s": trained_s,
        "other_s": max(0.0, ran_s - trained_s),
        "peak_bytes": memory["peak_bytes"],
        "device_peak_bytes": device_peak_bytes,
        "facts": {"timings": timings, "precision": precision, "ran_s": round(ran_s, 3)},
    }


def _epochs(report: Mapping[str, Any]) -> dict[str, int]:
    """That were trained, by network."""
    runs = {**(report.get("runs") or {}), **{stage["name"]: stage for stage in report.get("stages") or []}}
    return {"student": report["last_epoch"], **{name: run["last"]["epoch"] for name, run in runs.items()}}


def _spec(job: Job) -> JobSpec | None:
    try:
        return JobSpec.model_validate({name: job.spec[name] for name in job.spec if name in JobSpec.model_fields})
    except ValidationError:
        return None


def _inputs(session: Session, job: Job) -> tuple[DatasetMeta, list[TeacherMeta]] | None:
    """What the job read; None where another verdict has taken it away."""
    read = select(Teacher.meta).join(JobTeacher, JobTeacher.teacher_id == Teacher.id)
    teachers = session.scalars(read.where(JobTeacher.job_id == job.id).order_by(JobTeacher.place)).all()
    data = session.scalar(select(Dataset.meta).where(Dataset.id == job.dataset_id))
    if not data or not all(teachers):
        return None
    return DatasetMeta.model_validate(data), [TeacherMeta.model_validate(meta) for meta in teachers]


# --- what a job will take ---


def estimate(
    session: Session, spec: JobSpec, data: DatasetMeta, teachers: Sequence[TeacherMeta], *, done: float = 0.0
) -> Json:
    """Seconds of running and bytes of memory, from what was measured here; null with a reason where nothing was.

    `done` is the share of the training's steps that a checkpoint has behind it.
    """
    work = _known(session, spec, data, teachers)
    kinds = list(fleet.devices(session))
    here = [Measurement.kind.in_(kinds)] if kinds else []
    newest = select(Measurement).where(Measurement.work == work.key, *here).order_by(Measurement.at.desc())
    left = work.left(done)
    if same := list(session.scalars(newest.limit(_NEWEST))):
        return _of_same(work, left, same, done)
    if work.unknown:
        return _nothing(session, kinds, work.unknown)
    if measured := _recent(session, here):
        return _of_near(work, left, measured, done)
    return _nothing(session, kinds)


def estimate_of_retry(session: Session, job: Job, *, from_checkpoint: bool) -> Json | None:
    """Of a job that is run again: of what its checkpoint leaves, or of all. None where what it read is gone."""
    spec, known = _spec(job), _inputs(session, job)
    if spec is None or known is None:
        return None
    percent = (job.checkpoint or {}).get("percent", 0.0) if from_checkpoint else 0.0
    return estimate(session, spec, *known, done=min(1.0, percent / 100))


def _known(session: Session, spec: JobSpec, data: DatasetMeta, teachers: Sequence[TeacherMeta]) -> Workload:
    """The work, with the operations of networks that only a job before has counted."""
    work = workload(spec, data, teachers)
    missing = [key for key, flops in work.networks.items() if flops is None]
    if not missing:
        return work
    query = select(Measurement.networks).where(Measurement.networks.has_any(array(missing)))
    found: dict[str, int] = {}
    for networks in session.scalars(query.order_by(Measurement.at.desc()).limit(_NEWEST)):
        found |= networks
    return workload(spec, data, teachers, known=found)


def _recent(session: Session, here: Iterable[ColumnElement[bool]]) -> list[Measurement]:
    """The newest of each work that can be scaled from."""
    query = select(Measurement).where(Measurement.flops > 0, *here).order_by(Measurement.at.desc()).limit(_RECENT)
    lean = query.options(defer(Measurement.facts), defer(Measurement.networks))
    return list({each.work: each for each in reversed(session.scalars(lean).all())}.values())


def _of_same(work: Workload, left: Sequence[GroupWork], same: Sequence[Measurement], done: float) -> Json:
    """The same work, perhaps with other rows or epochs: the spread is that of what was measured, and some more."""
    trained = [each.trained_s * _times(left, each) for each in same]
    seconds = [each.other_s + trained_s for each, trained_s in zip(same, trained, strict=True)]
    shortest = [each.other_s + work.least * trained_s for each, trained_s in zip(same, trained, strict=True)]
    peaks = [each.peak_bytes for each in same]
    slack = _SLACK.get(len(same), 1.25)
    reason = f"The same work was measured in {_counted(len(same), 'job')}; rows and epochs scale it.{_of_rest(done)}"
    return _told(
        Range(min(shortest) / slack, median(seconds), max(seconds) * slack),
        Range(min(peaks) * 0.9, median(peaks), max(peaks) * 1.2),
        _device_peak(same),
        "measured",
        len(same),
        reason,
    )


def _times(left: Sequence[GroupWork], each: Measurement) -> float:
    """How much of a measured training there is to do, by operations, or by steps where those are not known."""
    counts = [group.work for group in left]
    if each.flops and None not in counts:
        return sum(count or 0.0 for count in counts) / each.flops
    return sum(group.steps for group in left) / each.steps


def _of_near(work: Workload, left: Sequence[GroupWork], measured: Sequence[Measurement], done: float) -> Json:
    """Another work, by its operations: the range is from how far scaling is off among those that were measured."""
    points = [_point(each) for each in measured]
    rate = max(_RATES[measured[0].kind], *(exp(each.at.flops - each.seconds) for each in points))
    likely, low, high = 0.0, 0.0, 0.0
    nearest, off = 1.0, 1.0
    for group in left:
        at = Point(log((group.work or 1.0) / group.steps), work.family, work.precision)
        seconds, error = scaling.predict(at, points, rate), scaling.error(at, points, rate)
        likely += group.steps * exp(seconds)
        low += group.steps * exp(seconds - error) * work.least
        high += group.steps * exp(seconds + error)
        off = max(off, exp(error))
        nearest = exp(min(points, key=lambda each: at.distance(each.at)).at.flops - at.flops)
    other = _other(work, measured)
    reason = (
        f"This work was never measured here: scaled by operations from {_counted(len(measured), 'other work')}, the "
        f"nearest of which has {nearest:.2g} times as many a step; such scaling is off by a factor of up to {off:.1f}."
        f"{_of_rest(done)}"
    )
    return _told(
        Range(low + other.low, likely + other.likely, high + other.high),
        _memory(work, measured),
        _device_peak(measured),
        "scaled",
        len(measured),
        reason,
    )


def _point(each: Measurement) -> Measured:
    assert each.flops, "only such are read"
    at = Point(log(each.flops / each.steps), each.family, each.precision)
    return Measured(at, log(each.trained_s / each.steps))


def _other(work: Workload, measured: Sequence[Measurement]) -> Range:
    """Seconds of all but training, from the works with the nearest number of rows."""
    near = sorted(measured, key=lambda each: abs(log(each.num_rows / work.num_rows)))[:_NEAREST]
    seconds = [each.other_s for each in near]
    return Range(min(seconds) / 1.5, median(seconds), max(seconds) * 1.5)


def _memory(work: Workload, measured: Sequence[Measurement]) -> Range:
    """What was held besides data, networks and activations, and those of this work."""
    if work.held_bytes is None or not (counted := [each for each in measured if each.held_bytes is not None]):
        peaks = [each.peak_bytes for each in measured]
        return Range(min(peaks) * 0.7, median(peaks), max(peaks) * 2)
    held = work.held_bytes
    near = sorted(counted, key=lambda each: abs(held - (each.held_bytes or 0)))[:_NEAREST]
    besides = [each.peak_bytes - (each.held_bytes or 0) for each in near]
    least = min(each.peak_bytes for each in measured)
    likely = max(least, median(besides) + held)
    return Range(max(0.7 * least, min(besides) + 0.5 * held), likely, 1.25 * max(likely, max(besides) + 1.5 * held))


def _told(seconds: Range, memory: Range, device: int | None, basis: str, measured: int, reason: str) -> Json:
    return {
        "seconds": {name: round(value, 1) for name, value in asdict(seconds).items()},
        "memory_bytes": {name: int(value) for name, value in asdict(memory).items()},
        "device_memory_bytes": device,
        "basis": basis,
        "measured": measured,
        "reason": reason,
    }


def _nothing(session: Session, kinds: Sequence[str], unknown: Sequence[str] = ()) -> Json:
    """No figures, and why."""
    some = session.scalar(select(func.count()).select_from(select(Measurement.job_id).limit(1).subquery()))
    if not some:
        reason = "This fleet is new: no job has ended here yet, so nothing has been measured."
    elif unknown:
        reason = (
            f"How many operations {' and '.join(unknown)} takes is not known before a job with it has ended here, so "
            "this job cannot be set beside those that were measured."
        )
    else:
        reason = f"Nothing has been measured yet on what the workers have now ({', '.join(kinds)})."
    nothing = dict.fromkeys(("seconds", "memory_bytes", "device_memory_bytes"))
    return {**nothing, "basis": "none", "measured": 0, "reason": reason}


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _of_rest(done: float) -> str:
    return f" It is for the {100 * (1 - done):.0f} % of the training that the checkpoint leaves." if done else ""


def _device_peak(measured: Sequence[Measurement]) -> int | None:
    return max((each.device_peak_bytes for each in measured if each.device_peak_bytes is not None), default=None)
