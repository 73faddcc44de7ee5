"""Where queued jobs stand: how many come before, for how long they have waited, and why they wait.

The place is that of core.queue_order as far as it can be told: higher priorities first, owners in turn, the oldest.
Each count reads an index from its front and stops at FURTHEST, so that a poll does not grow with the queue.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, text
from sqlalchemy.orm import Session

from api.schemas import Queue
from core.settings import settings
from models.spec.job import PRIORITIES

#: Places in the queue are told up to this one, which then says "or later": the count must not grow with the queue.
FURTHEST = 1000

# A job of priority p has rank r or more once it has waited for (r - p) steps; see core.queue_order.
_STANDINGS = text("""
WITH RECURSIVE owners AS (
    (SELECT owner FROM jobs WHERE status = 'queued' ORDER BY owner LIMIT 1)
    UNION ALL
    SELECT leap.owner FROM owners, LATERAL (
        SELECT owner FROM jobs WHERE status = 'queued' AND owner > owners.owner ORDER BY owner LIMIT 1
    ) AS leap
), priorities AS (
    SELECT generate_series(0, :highest) AS p
), workers_now AS (
    SELECT (SELECT coalesce(sum(jsonb_array_length(devices)), 0) FROM workers WHERE expected_by > now()) AS devices,
        (SELECT max(seen_at) FROM workers) AS last_seen,
        (SELECT count(*) FROM jobs WHERE status IN ('running', 'pausing', 'cancelling')) AS busy
)
SELECT job.id, job.queued_at, now() AS now, higher.n AS higher, own.n + others.n AS beside, workers_now.*,
    (SELECT count(*) FROM jobs
     WHERE jobs.owner = job.owner AND status IN ('running', 'pausing', 'cancelling')) AS running,
    (SELECT error ->> 'code' FROM attempts
     WHERE attempts.job_id = job.id AND attempts.number = job.attempt) AS failed_with
FROM workers_now, jobs AS job, LATERAL (
    SELECT CAST(least(:highest, job.priority + greatest(
        0, floor(extract(epoch FROM now() - job.queued_at) / :step_s))) AS integer) AS rank
) AS mine, LATERAL (
    SELECT count(*) AS n FROM (
        SELECT 1 FROM priorities, LATERAL (
            SELECT 1 FROM jobs
            WHERE status = 'queued' AND priority = p AND mine.rank < :highest
                AND queued_at <= now() - make_interval(secs => greatest(0, mine.rank + 1 - p) * :step_s)
            LIMIT :furthest
        ) AS each LIMIT :furthest
    ) AS counted
) AS higher, LATERAL (
    SELECT count(*) AS n FROM (
        SELECT 1 FROM priorities, LATERAL (
            SELECT 1 FROM jobs
            WHERE status = 'queued' AND owner = job.owner AND priority = p
                AND queued_at <= now() - make_interval(secs => greatest(0, mine.rank - p) * :step_s)
                AND (mine.rank = :highest
                     OR queued_at > now() - make_interval(secs => greatest(0, mine.rank + 1 - p) * :step_s))
                AND (queued_at, id) < (job.queued_at, job.id)
            LIMIT :furthest
        ) AS each LIMIT :furthest
    ) AS counted
) AS own, LATERAL (
    SELECT count(*) AS n FROM owners, LATERAL (
        SELECT queued_at, id, row_number() OVER (ORDER BY queued_at, id) AS place FROM (
            SELECT first.queued_at, first.id FROM priorities, LATERAL (
                SELECT queued_at, id FROM jobs
                WHERE status = 'queued' AND owner = owners.owner AND priority = p
                    AND queued_at <= now() - make_interval(secs => greatest(0, mine.rank - p) * :step_s)
                    AND (mine.rank = :highest
                         OR queued_at > now() - make_interval(secs => greatest(0, mine.rank + 1 - p) * :step_s))
                ORDER BY queued_at, id LIMIT own.n + 1
            ) AS first ORDER BY queued_at, id LIMIT own.n + 1
        ) AS line
    ) AS turn
    WHERE owners.owner <> job.owner
        AND (turn.place <= own.n OR (turn.queued_at, turn.id) < (job.queued_at, job.id))
) AS others
WHERE job.status = 'queued' AND job.id = ANY(:ids)""")


def standings(session: Session | Connection, job_ids: Sequence[str]) -> dict[str, Queue]:
    """Where those of the jobs stand that are queued."""
    if not job_ids:
        return {}
    given = {
        "ids": list(job_ids),
        "highest": len(PRIORITIES) - 1,
        "step_s": settings().priority_step_s,
        "furthest": FURTHEST,
    }
    return {row.id: _standing(row) for row in session.execute(_STANDINGS, given)}


def _standing(row: Row[Any]) -> Queue:
    ahead = min(FURTHEST - 1, int(row.higher) + int(row.beside))
    reason, message = _reason(row, ahead)
    waited_s = max(0.0, (row.now - row.queued_at).total_seconds())
    return Queue(position=ahead + 1, ahead=ahead, age_s=_coarse(waited_s), reason=reason, message=message)


def _coarse(seconds: float) -> int:
    """In steps, so that a poll is answered with 304 most of the time: ten seconds, after ten minutes a minute."""
    step = 10 if seconds < 600 else 60
    return int(seconds // step) * step


def _reason(row: Row[Any], ahead: int) -> tuple[str, str]:
    """The first of all reasons that holds, as a word and a sentence."""
    most = settings().max_running_per_owner
    if row.queued_at > row.now:
        why = f" with `{row.failed_with}`" if row.failed_with else ""
        return "backing_off", f"The last attempt failed{why}; the next may begin at {_moment(row.queued_at)}."
    if row.devices == 0:
        seen = f"since {_moment(row.last_seen)}" if row.last_seen else "so far"
        return "no_worker", f"No worker has been seen {seen}; the job begins when one is there."
    if most and row.running >= most:
        return "owner_limit", f"{row.running} of your jobs run, and {most} may at once; it waits for one to end."
    free = int(row.devices) - int(row.busy)
    if free > ahead:
        return "starting", "A device is free; the job begins within seconds."
    if row.higher:
        return "higher_priority", f"{_counted(int(row.higher))} of a higher priority, or of a longer wait, come first."
    return "no_free_device", f"All devices are busy ({row.devices}), and {_counted(ahead) if ahead else 'no job'} " + (
        "comes before it." if ahead <= 1 else "come before it."
    )


def _counted(number: int) -> str:
    return "1 job" if number == 1 else f"{number} jobs"


def _moment(at: datetime) -> str:
    """To the second, upwards, so that it is not told too early."""
    whole = at.astimezone(UTC).replace(microsecond=0) + timedelta(seconds=1)
    return whole.isoformat().replace("+00:00", "Z")
