"""One data set on its way in: what the user said of it, where to work, and what was found so far."""

from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from core.errors import Rejected
from models.canonical import CheckLine
from models.spec.data import DatasetSpec
from worker.readers.base.limits import LIMITS, Limits

#: A report names this many broken rows and this many files left aside; the rest is only counted.
LISTED = 100


@dataclass(slots=True)
class Tally:
    """Things that were left out: all are counted, the first are named."""

    count: int = 0
    listed: list[dict[str, str]] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, name: str, reason: str) -> None:
        """Notes one."""
        self.count += 1
        if len(self.listed) < LISTED:
            self.listed.append({"name": name, "reason": reason})
        # Reasons may quote the file; a hostile set must not make as many of them as it has rows.
        if reason in self.reasons or len(self.reasons) < LISTED:
            self.reasons[reason] += 1

    def commonest(self) -> str:
        """The three most frequent reasons, with how often each was met."""
        return "; ".join(f"{num} x {reason}" for reason, num in self.reasons.most_common(3))


@dataclass(slots=True)
class Case:
    """What a reader is handed beside the upload's content."""

    spec: DatasetSpec
    scratch: Path
    limits: Limits = LIMITS
    checks: list[CheckLine] = field(default_factory=list)
    bad_rows: Tally = field(default_factory=Tally)
    ignored: Tally = field(default_factory=Tally)
    facts: dict[str, object] = field(default_factory=dict)
    #: What has to be closed once the verdict is there.
    exits: ExitStack = field(default_factory=ExitStack)
    _num_scratch: int = 0

    def passed(self, check: str, detail: str) -> None:
        """A check that went well."""
        self.checks.append(CheckLine(id=check, result="pass", detail=detail))

    def warned(self, check: str, detail: str) -> None:
        """Something that the user should look at and that does not stop the set."""
        self.checks.append(CheckLine(id=check, result="warn", detail=detail))

    def new_scratch(self, suffix: str = "") -> Path:
        """A path in the scratch folder that nothing uses yet. Names from the upload never become paths."""
        self._num_scratch += 1
        return self.scratch / f"{self._num_scratch}{suffix}"

    def judge_bad_rows(self, num_good: int) -> float:
        """The share of rows left out.

        Raises: Rejected where it is above `max_bad_share`, or where no row is left.
        """
        num_all = num_good + self.bad_rows.count
        if num_all == 0:
            raise Rejected("The data set has no rows.", code="empty")
        share = self.bad_rows.count / num_all
        if share > self.spec.max_bad_share:
            raise Rejected.at(
                "/max_bad_share",
                f"{self.bad_rows.count} of {num_all} rows ({share:.2%}) cannot be used; max_bad_share allows "
                f"{self.spec.max_bad_share:.2%}. Why: {self.bad_rows.commonest()}. Repair or remove them, or raise "
                "max_bad_share.",
                code="bad_rows",
            )
        if num_good == 0:
            raise Rejected(f"No row can be used. Why: {self.bad_rows.commonest()}.", code="empty")
        if self.bad_rows.count:
            self.warned("bad_rows", f"{self.bad_rows.count} of {num_all} rows left out: {self.bad_rows.commonest()}.")
        else:
            self.passed("bad_rows", f"All {num_all} rows can be used.")
        return share
