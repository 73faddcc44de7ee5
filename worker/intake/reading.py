"""Finds the reader for an upload: by the format that the user names, else by what the file holds.

A format of the menu is the module of that name under worker.readers. A module says by `KIND` what its files are, and
has a function for each form of data that it gives: `read_images`, `read_sounds`, `read_table`, `read_outputs`.
"""

from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import get_args

from core.errors import Rejected
from models.spec.data import Format
from worker.readers.base.case import Case
from worker.readers.base.content import Content

_WANTED = (
    "Images come as a zip or tar of class folders, as npz or IDX; sounds as class folders of WAV files; tables, "
    "texts and outputs of a teacher as CSV or Parquet, tables and outputs as npz too."
)


def reader_for(content: Content, forms: Sequence[str], case: Case) -> ModuleType:
    """The module that reads the upload by a function of one of the `forms`. Of several that could, the one for the
    commonest kind of file.

    Raises: Rejected where there is none, or not the one that the user names.
    """
    formats = {reader(name).KIND: name for name in get_args(Format) if name != "auto"}
    found = [formats[kind] for kind in content.kinds if kind in formats]
    named = case.spec.format
    if named not in ("auto", *found):
        looks = f"looks like {found[0]}" if found else "is of no known kind"
        raise Rejected.at(
            "/format", f"The upload is not {named}: it {looks}. Set format to auto or to what it is.", code="format"
        )
    if not found:
        raise Rejected(f"The content of the upload is of no kind that is read here. {_WANTED}", code="format")
    chosen = named if named != "auto" else next((name for name in found if _gives(name, forms)), found[0])
    case.facts["format"], case.facts["packing"] = chosen, content.packing
    if not _gives(chosen, forms):
        raise Rejected.at(
            "/task",
            f"The upload is {chosen}, which does not go with the task {case.spec.task}. {_WANTED}",
            code="task",
        )
    case.passed("format", f"Read as {chosen}, packing: {content.packing}.")
    return reader(chosen)


def _gives(name: str, forms: Sequence[str]) -> bool:
    return any(hasattr(reader(name), form) for form in forms)


def reader(name: str) -> ModuleType:
    """The module of a format."""
    return import_module(f"worker.readers.{name}")
