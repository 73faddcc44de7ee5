"""Finds the reader for an upload: by the format that the user names, else by what the file holds.

A format of the menu is the module of that name under worker.readers. A module has `fits` and, for the kinds of data
that it gives, `read_images` and `read_table`.
"""

from importlib import import_module
from types import ModuleType
from typing import get_args

from core.errors import Rejected
from models.spec.data import Format
from worker.readers.base.case import Case
from worker.readers.base.content import Content

_WANTED = "Images come as a zip or tar of class folders, as npz or IDX; tables as CSV, Parquet or npz."


def reader_for(content: Content, case: Case) -> ModuleType:
    """Raises: Rejected where no reader fits, or not the one that the user names."""
    fitting = [name for name in get_args(Format) if name != "auto" and reader(name).fits(content)]
    named = case.spec.format
    if named not in ("auto", *fitting):
        found = f"looks like {fitting[0]}" if fitting else "is of no known kind"
        raise Rejected.at(
            "/format", f"The upload is not {named}: it {found}. Set format to auto or to what it is.", code="format"
        )
    if not fitting:
        raise Rejected(f"The content of the upload is of no kind that is read here. {_WANTED}", code="format")
    chosen = named if named != "auto" else fitting[0]
    case.facts["format"], case.facts["packing"] = chosen, content.packing
    case.passed("format", f"Read as {chosen}, packing: {content.packing}.")
    return reader(chosen)


def reader(name: str) -> ModuleType:
    """The module of a format."""
    return import_module(f"worker.readers.{name}")


def mismatch(case: Case) -> Rejected:
    """The error of a task whose data the upload's format cannot give."""
    return Rejected.at(
        "/task",
        f"The upload is {case.facts['format']}, which does not go with the task {case.spec.task}. {_WANTED}",
        code="task",
    )
