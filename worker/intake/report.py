"""What a check finds out, line by line: the verdict that the user reads."""

from dataclasses import dataclass, field
from typing import Any

from core.errors import Rejected
from models.canonical import CheckLine, TeacherMeta
from models.work import IntakeResult
from worker.plain import plain_record


@dataclass
class Report:
    """Checks in the order in which they were made, and figures by name."""

    checks: list[CheckLine] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    def passed(self, id_: str, detail: str) -> None:
        """Note a check that went well."""
        self.checks.append(CheckLine(id=id_, result="pass", detail=detail))

    def warn(self, id_: str, detail: str) -> None:
        """Note what the user should look at, though it rejects nothing."""
        self.checks.append(CheckLine(id=id_, result="warn", detail=detail))

    def accepted(self, meta: TeacherMeta, file: str) -> IntakeResult:
        """The verdict in favour."""
        return IntakeResult(ready=True, report=self.as_dict(), meta=meta.model_dump(mode="json"), file=file)

    def rejected(self, error: Rejected) -> IntakeResult:
        """The verdict against: the failed check comes last."""
        self.checks.append(CheckLine(id=error.code, result="fail", detail=error.detail))
        if error.errors:
            self.figures["errors"] = [problem.as_dict() for problem in error.errors]
        return IntakeResult(ready=False, report=self.as_dict())

    def as_dict(self) -> dict[str, object]:
        """The form it is stored in."""
        return plain_record({"checks": [line.model_dump() for line in self.checks], **self.figures})
