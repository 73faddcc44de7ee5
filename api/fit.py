"""Whether teachers, data, students and losses of a job fit each other: all that is knowable before it runs.

Pure functions of the spec and the rows that it names, so that no accelerator time is spent on what could have been
refused. api/fitting says who teaches and who listens, and finds each kind of fault.
"""

from collections.abc import Iterator
from itertools import chain

from api import pairs
from api.fitting import data as fitting_data
from api.fitting import points, teachers
from api.fitting.fault import Fault
from api.fitting.parts import Part, members, parts
from api.fitting.rows import Rows
from api.fitting.teachers import Speaker
from models.canonical import DatasetMeta, TeacherMeta
from models.spec.job import JobSpec
from models.spec.training import Train


def faults(spec: JobSpec, rows: Rows) -> list[Fault]:
    """All that does not fit, each once."""
    found = [rows.unusable(spec), *(_points(spec, part, rows) for part in parts(spec))]
    if data := rows.data:
        found.append(_with_data(spec, rows, data))
    return list(dict.fromkeys(chain.from_iterable(found)))


def adapted(spec: JobSpec, data: DatasetMeta) -> JobSpec:
    """The spec with batch sizes that the user left open brought down to the number of rows there are."""
    assistants = [
        each.model_copy(update={"train": each.train and _adapted(each.train, data)}) for each in spec.assistants
    ]
    return spec.model_copy(update={"train": _adapted(spec.train, data), "assistants": assistants})


def _adapted(train: Train, data: DatasetMeta) -> Train:
    if "batch_size" in train.model_fields_set or train.batch_size <= data.counts["train"]:
        return train
    return train.model_copy(update={"batch_size": data.counts["train"]})


def _points(spec: JobSpec, part: Part, rows: Rows) -> Iterator[Fault]:
    yield from points.of_student(part)
    for member in members(spec):
        meta = rows.of(member)
        if isinstance(meta, TeacherMeta):
            heard = [term for term in part.terms if part.heard(term, [member])]
            yield from points.of_teacher(part, heard, meta)


def _with_data(spec: JobSpec, rows: Rows, data: DatasetMeta) -> Iterator[Fault]:
    speakers = list(_speakers(spec, rows, data))
    yield from fitting_data.of_teaching(spec, data)
    yield from teachers.of_speakers(speakers)
    for part in parts(spec):
        yield from fitting_data.of_part(part, data)
        yield from teachers.of_terms(part, speakers, data)
    stored = {each.member.key: each.meta for each in speakers if isinstance(each.meta, TeacherMeta)}
    for loc, sentence in pairs.unpaired(spec, stored, data):
        yield Fault(loc, "no_pair", sentence)


def _speakers(spec: JobSpec, rows: Rows, data: DatasetMeta) -> Iterator[Speaker]:
    """The teachers that can be used."""
    handed_in = members(spec)
    for member in handed_in:
        if meta := rows.of(member):
            yield Speaker(member, meta, data, among_others=len(handed_in) > 1)
