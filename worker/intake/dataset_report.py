"""The report of a data set: the checks in the order they were made, the figures, and what was left out."""

from core.errors import Rejected
from models.canonical import CheckLine, DatasetMeta, OutputsMeta
from models.work import IntakeResult
from worker.plain import plain_record
from worker.readers.base.case import Case, Tally


def accepted(case: Case, meta: DatasetMeta | OutputsMeta, file: str) -> IntakeResult:
    """The verdict in favour."""
    _warn_of_ignored(case)
    if isinstance(meta, DatasetMeta):
        case.facts["shape"] = list(meta.input_shape)
        if meta.mean:
            case.facts["mean"], case.facts["std"] = meta.mean, meta.std
    return IntakeResult(ready=True, report=_report(case), meta=plain_record(meta.model_dump(mode="json")), file=file)


def rejected(case: Case, error: Rejected) -> IntakeResult:
    """The verdict against: the failed check comes last."""
    _warn_of_ignored(case)
    case.checks.append(CheckLine(id=error.code, result="fail", detail=error.detail))
    case.facts["errors"] = [problem.as_dict() for problem in error.errors]
    return IntakeResult(ready=False, report=_report(case))


def _warn_of_ignored(case: Case) -> None:
    if case.ignored.count:
        case.warned("ignored", f"{case.ignored.count} files of the upload are not used; the first are listed.")


def _report(case: Case) -> dict[str, object]:
    counts = case.facts.get("counts")
    num_good = sum(counts.values()) if isinstance(counts, dict) else 0
    report: dict[str, object] = {
        "checks": [line.model_dump() for line in case.checks],
        **case.facts,
        "bad_rows": {**_listed(case.bad_rows), "share": case.bad_rows.count / max(1, case.bad_rows.count + num_good)},
        "ignored": _listed(case.ignored),
    }
    return plain_record(report)


def _listed(tally: Tally) -> dict[str, object]:
    return {"count": tally.count, "listed": tally.listed}
