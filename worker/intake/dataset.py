"""An uploaded data set to its canonical form: one file that every job reads, and a report for its owner.

WORKDIR/upload goes in; WORKDIR/out/data.safetensors (models.canonical) comes out where the verdict is good.
"""

import shutil
from pathlib import Path

from pydantic import ValidationError

from core.errors import Rejected
from models.canonical import DatasetMeta, OutputsMeta
from models.spec.base import Entry
from models.spec.data import AudioOptions, DatasetSpec, ImageOptions, TableOptions, TextOptions
from models.work import IntakeOrder, IntakeResult
from worker.intake import given_outputs, image_rows, table_rows, text_rows, vocabulary
from worker.intake.dataset_report import accepted, rejected
from worker.intake.reading import reader_for
from worker.readers.base import text_files
from worker.readers.base.case import Case
from worker.readers.base.content import open_upload
from worker.readers.base.limits import LIMITS, Limits

FILE = "data.safetensors"
#: What a spec says of each kind of data where it says nothing.
_OPTIONS: dict[str, Entry] = {
    "image": ImageOptions(),
    "audio": AudioOptions(),
    "text": TextOptions(),
    "table": TableOptions(),
}


def convert(order: IntakeOrder, workdir: Path, limits: Limits = LIMITS) -> IntakeResult:
    """The verdict. What lies beyond the limits of memory or disk is raised, for the door to tell."""
    scratch, out = workdir / "scratch", workdir / "out"
    for folder in (scratch, out):
        folder.mkdir(exist_ok=True)
    case = Case(_spec(order), scratch, limits)
    try:
        with case.exits:
            meta = _convert(workdir / "upload", order.filename, case, out / FILE)
    except Rejected as error:
        (out / FILE).unlink(missing_ok=True)
        return rejected(case, error)
    finally:
        shutil.rmtree(scratch)
    return accepted(case, meta, FILE)


def _spec(order: IntakeOrder) -> DatasetSpec:
    try:
        return DatasetSpec.model_validate(order.spec)
    except ValidationError as error:
        raise Rejected(f"The stored spec of the data set is no longer valid: {error}", code="spec") from error


def _convert(upload: Path, filename: str, case: Case, target: Path) -> DatasetMeta | OutputsMeta:
    content = open_upload(upload, filename, case)
    if case.spec.task == "teacher_outputs":
        return given_outputs.convert(content, case, target)
    if case.spec.task == "image_classification":
        _warn_of_unused(case, "image")
        _refuse_column(case)
        reader = reader_for(content, ["read_images"], case)
        return image_rows.convert(reader.read_images(content, case), case, target)
    if case.spec.task == "audio_classification":
        _warn_of_unused(case, "audio")
        _refuse_column(case)
        sounds = reader_for(content, ["read_sounds"], case).read_sounds(content, case)
        meta = image_rows.convert(sounds, case, target, case.spec.task)
        return meta.model_copy(update={"spectrum": sounds.spectrum})
    if case.spec.task == "text_classification":
        _warn_of_unused(case, "text", "table")
        content, given = vocabulary.take_file(content, case)
        if case.spec.format == "auto" and text_files.are_folders(content):
            return text_rows.convert(text_files.read_folders(content, case), given, case, target)
        texts = reader_for(content, ["read_table"], case).read_table(content, case)
        return text_rows.convert(texts, given, case, target)
    _warn_of_unused(case, "table")
    reader = reader_for(content, ["read_table"], case)
    return table_rows.convert(reader.read_table(content, case), case, target)


def _warn_of_unused(case: Case, *used: str) -> None:
    for name, default in _OPTIONS.items():
        if name not in used and getattr(case.spec, name) != default:
            case.warned("unused", f"What `{name}` says has no meaning for the task {case.spec.task}.")


def _refuse_column(case: Case) -> None:
    if case.spec.split.column is not None:
        raise Rejected.at(
            "/split/column", f"split.column is for tables; leave it out for {case.spec.task}.", code="split"
        )
