"""A job's history as the database holds it: events in order, learning curves thinned out, the tail of its log."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

from api.deps import get
from api.schemas import EventView, MetricPoint, Metrics
from models.status import JobStatus
from models.tables import Attempt, Event, Job


@dataclass(frozen=True)
class Slice:
    """Some events, and whether no more will ever follow the last event of the job."""

    events: Sequence[EventView]
    ended: bool


def events(session: Session, owner: str, job_id: str, after: int, limit: int) -> Slice:
    """At most `limit` events numbered above `after`. NotFound where there is no such job."""
    # The state is read before the events: a terminal state and its event appear in one transaction, so that the event
    # of a state seen here is in what follows.
    job = get(session, Job, owner, job_id)
    query = select(Event).where(Event.job_id == job.id, Event.seq > after).order_by(Event.seq).limit(limit)
    found = [EventView.model_validate(event) for event in session.scalars(query)]
    return Slice(found, ended=JobStatus(job.status).is_terminal and len(found) < limit)


def metrics(session: Session, owner: str, job_id: str, points: int) -> Metrics:
    """The figures of each epoch, at most `points` for each run, spread evenly, the last one always among them.

    An epoch that was run again by a later attempt counts once, with its newest figures.
    """
    job = get(session, Job, owner, job_id)
    run, epoch = Event.data["run"].astext, Event.data["epoch"].astext
    again = func.row_number().over(partition_by=(run, epoch), order_by=Event.seq.desc()).label("again")
    every = select(Event.seq, run.label("run"), again).where(Event.job_id == job.id, Event.type == "metrics").subquery()
    place = func.row_number().over(partition_by=every.c.run, order_by=every.c.seq).label("place")
    count = func.count().over(partition_by=every.c.run).label("count")
    newest = select(every.c.seq, place, count).where(every.c.again == 1).subquery()
    bucket = _share(newest.c.place, newest.c.count, points)
    before = _share(newest.c.place - 1, newest.c.count, points)
    wanted = select(newest.c.seq).where(or_(newest.c.count <= points, bucket != before))
    total = session.scalar(select(func.count()).select_from(newest)) or 0
    found = session.scalars(select(Event).where(Event.job_id == job.id, Event.seq.in_(wanted)))
    points_found = [MetricPoint.model_validate({**event.data, "seq": event.seq, "at": event.at}) for event in found]
    return Metrics(points=sorted(points_found, key=lambda point: (point.epoch or 0, point.seq)), total=total)


def _share(place: ColumnElement[int], count: ColumnElement[int], points: int) -> ColumnElement[int]:
    """Which of `points` equal parts of the run a place is in; the last place is in a part of its own."""
    return place * points // count


def log_tail(session: Session, owner: str, job_id: str, lines: int) -> str:
    """The last lines of the newest attempt that has written any; empty before that."""
    job = get(session, Job, owner, job_id)
    newest = select(Attempt.log).where(Attempt.job_id == job.id, Attempt.log != "").order_by(Attempt.number.desc())
    text = session.scalar(newest.limit(1)) or ""
    return "".join(text.splitlines(keepends=True)[-lines:])
