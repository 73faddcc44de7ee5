"""The examples of POST /jobs, filled with teachers and data sets that are there.

So a person who opens the page after handing in a teacher and a data set can press Execute and gets a job.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice, permutations, product
from typing import Any

from fastapi.openapi.models import Example
from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from api import fit
from api.examples import JOBS
from api.fitting.parts import members
from api.fitting.rows import Rows
from models.canonical import TeacherMeta
from models.spec.job import JobSpec
from models.status import CheckStatus
from models.tables import Dataset, Teacher

#: How many of the newest teachers and data sets are looked through for those that fit.
_NEWEST = 10
#: How many choices of them are tried for one example: the page must not wait for it.
_MOST_TRIED = 300


def filled(session: Session, owner: str) -> dict[str, Example]:
    """The examples of POST /jobs: first those that work as they stand, with real ids; then the rest."""
    there = _there(session, owner)
    ready: dict[str, Example] = {}
    for name, example in JOBS.items():
        if value := next(_fitting(example["value"], there), None):
            ready[name] = {**example, "value": value}
    return {**ready, **{name: example for name, example in JOBS.items() if name not in ready}}


@dataclass(frozen=True)
class _There:
    """The newest of what can be used, newest first, by id."""

    teachers: Mapping[str, Teacher]
    datasets: Mapping[str, Dataset]
    outputs: Mapping[str, Dataset]


def _there(session: Session, owner: str) -> _There:
    is_outputs = Dataset.meta["task"].astext == "teacher_outputs"
    datasets = _ready(Dataset, owner)
    return _There(
        {row.id: row for row in session.scalars(_ready(Teacher, owner))},
        {row.id: row for row in session.scalars(datasets.where(~is_outputs))},
        {row.id: row for row in session.scalars(datasets.where(is_outputs))},
    )


def _ready(table: type[Teacher] | type[Dataset], owner: str) -> Select[Any]:
    return (
        select(table)
        .where(table.owner == owner, table.status == CheckStatus.READY)
        .order_by(table.created_at.desc(), table.id.desc())
        .limit(_NEWEST)
    )


def _fitting(value: Any, there: _There) -> Iterator[dict[str, Any]]:
    """The example with the ids of all that it would run with."""
    for names in islice(_choices(value, there), _MOST_TRIED):
        body = _renamed(value, names)
        rows = Rows(there.datasets[body["dataset"]], there.teachers, there.outputs)
        body["loss"] = _with_points(body, rows)
        if not fit.faults(JobSpec.model_validate(body), rows):
            yield body


def _choices(value: Any, there: _There) -> Iterator[dict[str, str]]:
    """Real ids for those in the example: its first data set is to train on, a second one has given outputs."""
    named = sorted(set(re.findall(r"(?:tch|dst)_\d", json.dumps(value))))
    teachers = [name for name in named if name.startswith("tch")]
    outputs = [name for name in named if name.startswith("dst") and name != "dst_1"]
    chosen = product(
        permutations(there.teachers, len(teachers)), there.datasets, permutations(there.outputs, len(outputs))
    )
    for some_teachers, dataset, some_outputs in chosen:
        real = (*some_teachers, dataset, *some_outputs)
        yield dict(zip([*teachers, "dst_1", *outputs], real, strict=True))


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """The same with other ids."""
    match value:
        case dict():
            return {key: _renamed(inner, names) for key, inner in value.items()}
        case list():
            return [_renamed(inner, names) for inner in value]
    return names.get(value, value) if isinstance(value, str) else value


def _with_points(body: Mapping[str, Any], rows: Rows) -> Any:
    """The losses, with the last feature point of this student and of its teacher where the example names any."""
    spec = JobSpec.model_validate(body)
    stages, handed_in = spec.student.stage_names(), members(spec)
    teacher = rows.of(handed_in[0]) if handed_in else None
    if not stages or not isinstance(teacher, TeacherMeta) or not teacher.taps or not isinstance(body["loss"], list):
        return body["loss"]
    points = [{"student": stages[-1], "teacher": teacher.taps[-1].name}]
    return [{**term, "taps": points} if "taps" in term else term for term in body["loss"]]
