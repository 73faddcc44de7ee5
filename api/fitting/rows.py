"""The rows that a spec names, and whether they can be used at all."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from api.fitting.fault import Fault, Loc
from api.fitting.parts import Member, members
from models.canonical import DatasetMeta, OutputsMeta, TeacherMeta
from models.spec.job import JobSpec
from models.spec.teaching import StoredTeacher
from models.status import CheckStatus
from models.tables import Dataset, Teacher

_OUTPUTS = "teacher_outputs"


@dataclass(frozen=True)
class Rows:
    """What the database has of what a spec names; ids that it does not have are left out."""

    dataset: Dataset | None
    teachers: Mapping[str, Teacher] = field(default_factory=dict)
    #: Data sets of given outputs.
    outputs: Mapping[str, Dataset] = field(default_factory=dict)

    @property
    def data(self) -> DatasetMeta | None:
        """What is known of the data, where it can be trained on."""
        if self.dataset is None or not _is_ready(self.dataset) or _holds_outputs(self.dataset):
            return None
        return DatasetMeta.model_validate(self.dataset.meta)

    def of(self, member: Member) -> TeacherMeta | OutputsMeta | None:
        """What is known of a teacher, where it can teach."""
        row = self._row(member)
        if isinstance(row, Teacher) and _is_ready(row):
            return TeacherMeta.model_validate(row.meta)
        if isinstance(row, Dataset) and _is_ready(row) and _holds_outputs(row):
            return OutputsMeta.model_validate(row.meta)
        return None

    def unusable(self, spec: JobSpec) -> Iterator[Fault]:
        """For each row that cannot be used why."""
        for member in members(spec):
            row, word = self._row(member), "teacher" if isinstance(member.spec, StoredTeacher) else "dataset"
            yield from _standing(member.id_loc, word, member.key, row)
            if isinstance(row, Dataset) and _is_ready(row) and not _holds_outputs(row):
                yield Fault(member.id_loc, "dataset_as_outputs", _no_outputs(row))
        yield from _standing(("dataset",), "dataset", spec.dataset, self.dataset)
        if self.dataset is not None and _is_ready(self.dataset) and _holds_outputs(self.dataset):
            message = (
                f"`{spec.dataset}` holds outputs of a teacher (task `{_OUTPUTS}`) and nothing to train on. Name the "
                f'data set whose rows they are of, and these as `teacher`: {{"type": "outputs", "dataset": '
                f'"{spec.dataset}"}}'
            )
            yield Fault(("dataset",), "outputs_as_dataset", message)

    def _row(self, member: Member) -> Teacher | Dataset | None:
        return self.teachers.get(member.key) if isinstance(member.spec, StoredTeacher) else self.outputs.get(member.key)


def _is_ready(row: Teacher | Dataset) -> bool:
    return row.status == CheckStatus.READY


def _holds_outputs(row: Dataset) -> bool:
    return bool((row.meta or {}).get("task") == _OUTPUTS)


def _no_outputs(row: Dataset) -> str:
    task = (row.meta or {}).get("task")
    return (
        f"`{row.id}` is a data set to train on (task `{task}`), and what a teacher said is in one of task "
        f"`{_OUTPUTS}`: post the outputs as such a one and name that"
    )


def _standing(loc: Loc, word: str, given: str, row: Teacher | Dataset | None) -> Iterator[Fault]:
    """Whether the row can be used at all."""
    if row is None:
        yield Fault(loc, f"unknown_{word}", f"There is no {word} `{given}`; GET /{word}s lists those there are")
    elif row.status == CheckStatus.CHECKING:
        message = f"`{given}` is still being checked; wait until GET /{word}s/{given} says `ready`"
        yield Fault(loc, "not_ready", message, passing=True)
    elif row.status == CheckStatus.REJECTED:
        failed = [line["detail"] for line in row.report.get("checks", []) if line.get("result") == "fail"]
        reason = f": {failed[0]}" if failed else ""
        yield Fault(loc, f"{word}_rejected", f"`{given}` was rejected{reason}. Its report says what to change")
