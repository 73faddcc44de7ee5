"""What the end of a confined child means, and what is believed of its answer: nothing that is not looked at first.

The child may have been taken over by the file that it read. Its answer is data of limited size; the report has to be
lines and figures, the record of the canonical file one that its readers know, the file a plain one of its own.
"""

import os
import signal
import stat
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from models.canonical import CheckLine, DatasetMeta, OutputsMeta, TeacherMeta
from models.work import IntakeExit, IntakeResult
from worker.intake_limits import Limits
from worker.plain import plain_record

Verdict = Literal["done", "too_much_memory", "too_much_disk", "too_slow", "crashed"]

_MAX_RESULT_BYTES = 64 * 2**20
_METAS: dict[str, TypeAdapter[TeacherMeta] | TypeAdapter[DatasetMeta | OutputsMeta]] = {
    "teacher": TypeAdapter(TeacherMeta),
    "dataset": TypeAdapter(Annotated[DatasetMeta | OutputsMeta, Field(discriminator="task")]),
}
_REMEDY = "Hand in a smaller file, or the same content in another format."


class _Report(BaseModel, extra="allow"):
    """What every report has."""

    checks: list[CheckLine]


def judge(
    workdir: Path, kind: str, exit_code: int | None, log: str, limits: Limits
) -> tuple[Verdict, IntakeResult, Path | None]:
    """The verdict by exit code (None: out of time), the end of the log, and what was left in out/."""
    if exit_code == IntakeExit.DONE and (answer := _answer(workdir, kind)) is not None:
        return "done", *answer
    verdict, detail = _reason(exit_code, log, limits)
    line = CheckLine(id=verdict, result="fail", detail=detail)
    return verdict, IntakeResult(ready=False, report={"checks": [line.model_dump()]}), None


def _reason(exit_code: int | None, log: str, limits: Limits) -> tuple[Verdict, str]:
    if exit_code is None or exit_code == -signal.SIGXCPU:
        return "too_slow", f"The check did not end within {limits.wall_s:,.0f} s. {_REMEDY}"
    out_of_memory = exit_code == -signal.SIGABRT and "bad_alloc" in log
    if exit_code in (IntakeExit.MEMORY, -signal.SIGKILL) or out_of_memory:
        gib = limits.memory_bytes / 2**30
        return "too_much_memory", f"The check needs more than the {gib:,.1f} GiB of memory that it may use. {_REMEDY}"
    if exit_code in (IntakeExit.DISK, -signal.SIGXFSZ):
        gib = limits.file_bytes / 2**30
        return "too_much_disk", f"The file unpacks to more than the {gib:,.1f} GiB that one file may have. {_REMEDY}"
    return (
        "crashed",
        "The program that reads the file broke down. The file may be damaged: write it again and upload it anew.",
    )


def _answer(workdir: Path, kind: str) -> tuple[IntakeResult, Path | None] | None:
    """What the child answered; None where it makes no sense."""
    path = _plain_file(workdir, "result.json")
    if path is None or path.stat().st_size > _MAX_RESULT_BYTES:
        return None
    try:
        result = IntakeResult.model_validate_json(path.read_bytes())
        report = plain_record(result.report)
        _Report.model_validate(report)
        meta = _METAS[kind].validate_python(result.meta).model_dump(mode="json") if result.ready else None
    except (ValidationError, RecursionError):
        return None
    if meta is not None and plain_record(meta) != meta:
        return None
    file = _plain_file(workdir, result.file) if result.ready and result.file is not None else None
    if result.ready and file is None:
        return None
    return IntakeResult(ready=result.ready, report=report, meta=meta, file=result.file), file


def _plain_file(workdir: Path, name: str) -> Path | None:
    """The file of that name in out/, where it is a regular file and no link of any kind, and out/ neither."""
    path = workdir / "out" / name
    try:
        folder, file = os.lstat(path.parent), os.lstat(path)
    except (OSError, ValueError):
        return None
    genuine = stat.S_ISDIR(folder.st_mode) and stat.S_ISREG(file.st_mode) and file.st_nlink == 1
    return path if genuine and Path(name).name == name else None
