"""The one write that ends an attempt, made until the database has answered, and never twice.

A COMMIT whose answer was lost may have happened: before it is tried again, the attempt's own row says whether it did.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy.orm import Session

from core import db, jobs
from core.errors import JobFailure
from core.jobs import Claim, NewArtifact
from worker.outage import patiently
from worker.watch import Halt

log = logging.getLogger(__name__)


class Ending:
    """Ends one attempt. `check` raises LeaseLost to give up; `log_tail` gives the end of the child's output."""

    def __init__(self, claim: Claim, check: Callable[[], None], log_tail: Callable[[], str]) -> None:
        self._claim = claim
        self._check = check
        self._log_tail = log_tail

    def succeed(self, result: dict[str, Any], artifacts: Sequence[NewArtifact]) -> None:
        """The student is there."""
        tail = self._log_tail()
        self._write(
            "succeeded",
            lambda session: jobs.succeed(session, self._claim, result=result, artifacts=artifacts, log=tail),
        )

    def fail(self, failure: JobFailure, exit_code: int | None) -> None:
        """It ends badly; core.jobs decides whether it is tried again."""
        tail = self._log_tail()
        self._write("failed", lambda session: jobs.fail(session, self._claim, failure, exit_code=exit_code, log=tail))

    def stop(self, halt: Halt, result: dict[str, Any] | None = None, artifacts: Sequence[NewArtifact] = ()) -> None:
        """It was asked to stop. Result and artifacts of a student that is not done show where the job is cancelled."""
        tail = self._log_tail()
        self._write(
            halt.value,
            lambda session: jobs.stop(
                session, self._claim, outcome=halt.value, artifacts=artifacts, log=tail, result=result
            ),
        )

    def _write(self, outcome: str, write: Callable[[Session], object]) -> None:
        tries = 0

        def once() -> None:
            nonlocal tries
            tries += 1
            with db.session() as session:
                if tries > 1 and self._is_written(session, outcome):
                    return
                write(session)

        patiently("the end of the attempt", once, self._check)
        log.info("ended: %s", outcome)

    def _is_written(self, session: Session, outcome: str) -> bool:
        attempt = jobs.attempt_of(session, self._claim.token, self._claim.job_id)
        return attempt is not None and attempt.outcome == outcome
