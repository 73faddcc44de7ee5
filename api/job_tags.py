"""The ETag of a job without the job: what a poll asks, answered by one look at one row, and a few counts
while it is queued.

It is strong, so it must change with every byte of the answer. A job's row has a version that each change of it makes
larger; what else the answer holds is in the tag beside it, the shape of the answer included.
"""

import hashlib
import json
from functools import cache

from sqlalchemy import bindparam, select

from api.deps import is_id
from api.schemas import JobView, Queue
from api.standing import standings
from core import db
from models.status import JobStatus
from models.tables import Job


def tag(version: int, retry_of: str | None, queue: Queue | None) -> str:
    """The ETag of a job in this state."""
    stands = "0" if queue is None else hashlib.sha256(queue.model_dump_json().encode()).hexdigest()[:12]
    return f'"{version}-{stands}{"r" if retry_of else ""}-{_shape()}"'


def same_version(given: str, current: str) -> bool:
    """Whether If-Match means this version: the place in the queue, which others change, does not count."""
    return (
        given.partition("-")[0] == current.partition("-")[0] and given.rpartition("-")[2] == current.rpartition("-")[2]
    )


def stored_tag(owner: str, job_id: str) -> str | None:
    """The ETag as the database has it now; None where the owner has no such job."""
    if not is_id(job_id):
        return None
    # A transaction for one statement would be two more messages to the database.
    with db.engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        found = connection.execute(_STATE, {"job_id": job_id, "owner": owner}).one_or_none()
        if found is None:
            return None
        queue = standings(connection, [job_id]).get(job_id) if found.status is JobStatus.QUEUED else None
    return tag(found.version, found.retry_of, queue)


_STATE = select(Job.version, Job.retry_of, Job.status).where(
    Job.id == bindparam("job_id"), Job.owner == bindparam("owner")
)


@cache
def _shape() -> str:
    """Two versions of the service that answer differently must not take each other's tags for theirs."""
    schema = json.dumps(JobView.model_json_schema(), sort_keys=True)
    return hashlib.sha256(schema.encode()).hexdigest()[:8]
