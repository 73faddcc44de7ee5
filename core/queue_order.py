"""Which job is next: higher priority first, then owners in turn, then the oldest. docs/jobs.md tells it in prose.

Partial indexes on queued jobs are read from their fronts, so that a claim does not grow with the length of the queue.
"""

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from core.settings import settings
from models.spec.job import PRIORITIES
from models.status import LEASED, JobStatus
from models.tables import Job

#: So many of each owner's jobs are looked at: more than are claimed in one moment.
_AT_ONCE = 16

# Every owner's line of each priority is found by leaps through the index.
# A job that has waited for :step_s counts as one priority higher, once more after as long again. The order goes by
# whose turn it is: an owner with fewer running jobs, and among those the one whose last job began longest ago.
_NEXT = text("""
WITH RECURSIVE lines AS (
    (SELECT owner, priority FROM jobs WHERE status = 'queued' ORDER BY owner, priority LIMIT 1)
    UNION ALL
    SELECT leap.owner, leap.priority FROM lines, LATERAL (
        SELECT owner, priority FROM jobs
        WHERE status = 'queued' AND (owner, priority) > (lines.owner, lines.priority)
        ORDER BY owner, priority LIMIT 1
    ) AS leap
), owners AS MATERIALIZED (
    SELECT owner,
        (SELECT count(*) FROM jobs
         WHERE jobs.owner = each.owner AND status IN ('running', 'pausing', 'cancelling')) AS running,
        (SELECT max(claimed_at) FROM jobs WHERE jobs.owner = each.owner AND claimed_at IS NOT NULL) AS last_turn
    FROM (SELECT DISTINCT owner FROM lines) AS each
), firsts AS MATERIALIZED (
    SELECT first.id, owners.running, owners.last_turn,
        least(:highest, lines.priority + floor(extract(epoch FROM now() - first.queued_at) / :step_s)) AS rank
    FROM lines JOIN owners USING (owner), LATERAL (
        SELECT id, queued_at FROM jobs
        WHERE status = 'queued' AND owner = lines.owner AND priority = lines.priority AND queued_at <= now()
        ORDER BY queued_at, id LIMIT :at_once
    ) AS first
    -- Whoever is at the limit of running jobs waits; 0 is no limit.
    WHERE :most_running = 0 OR owners.running < :most_running
)
SELECT jobs.* FROM jobs JOIN firsts USING (id)
WHERE jobs.status = 'queued' AND jobs.queued_at <= now()
ORDER BY firsts.rank DESC, firsts.running, firsts.last_turn NULLS FIRST, jobs.queued_at, jobs.id
LIMIT 1
FOR UPDATE OF jobs SKIP LOCKED""")


def take_next(session: Session, job_id: str | None = None) -> Job | None:
    """The next job whose time has come, or the one named, its row locked; rows that others lock are passed over."""
    job = _first(session, job_id)
    return job if job is None or _may_run(session, job.owner) else None


def _may_run(session: Session, owner: str) -> bool:
    """Whether the owner is below its limit, exactly: those who claim for one owner do so one after the other.

    _NEXT has looked already, but what others were about to commit it did not see.
    """
    limit = settings().max_running_per_owner
    if not limit:
        return True
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"runs of {owner}", 0))))
    running = select(func.count()).where(Job.owner == owner, Job.status.in_(LEASED))
    return (session.scalar(running) or 0) < limit


def _first(session: Session, job_id: str | None) -> Job | None:
    if job_id is None:
        given = {"step_s": settings().priority_step_s, "most_running": settings().max_running_per_owner}
        rows = session.scalars(
            select(Job).from_statement(_NEXT).execution_options(populate_existing=True),
            given | {"at_once": _AT_ONCE, "highest": len(PRIORITIES) - 1},
        )
        return rows.one_or_none()
    named = select(Job).where(Job.id == job_id, Job.status == JobStatus.QUEUED, Job.queued_at <= func.now())
    return session.scalars(
        named.with_for_update(skip_locked=True).execution_options(populate_existing=True)
    ).one_or_none()
