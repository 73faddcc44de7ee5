"""Class folders of text files, `pos/1.txt`, as a table of texts and labels; see worker.readers.base.class_folders."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import PurePath

import numpy as np
import pyarrow as pa

from worker.readers.base.case import Case
from worker.readers.base.class_folders import Row, Sought, find_rows
from worker.readers.base.compression import DAMAGE
from worker.readers.base.content import Content
from worker.readers.base.files import read
from worker.readers.base.table import RecordBatch, Table
from worker.readers.base.text import text_of

TEXT, LABEL = "text", "label"
_SUFFIX = ".txt"
#: Files that are read at once.
_AT_ONCE = 1024


class _SoughtTexts(Sought):
    """Files that call themselves text; what else is text by its content is a readme or the like."""

    __slots__ = ()

    def is_named(self, parts: tuple[str, ...]) -> bool:
        """By the suffix alone."""
        return PurePath(parts[-1]).suffix.lower() == _SUFFIX


_SOUGHT = _SoughtTexts("text", "text file", "1.txt")


def are_folders(content: Content) -> bool:
    """Whether an upload is folders of texts and not tables: two folders at least with two `.txt` files at least."""
    texts = Counter(entry.parts[:-1] for entry in content.files.entries if _SOUGHT.is_named(entry.parts))
    return sum(bool(folder) and num > 1 for folder, num in texts.items()) > 1


def read_folders(content: Content, case: Case) -> Table:
    """A row a file. Raises: Rejected where there are no class folders, or one of them holds no text."""
    rows = find_rows(content, case, _SOUGHT)
    case.facts["format"], case.facts["packing"] = "class folders of text", content.packing
    case.passed("format", f"Read as class folders of text files, packing: {content.packing}.")
    return Table(
        columns=(TEXT, LABEL),
        split=np.array([row.split for row in rows], np.uint8),
        batches=lambda names: _batches(rows, names, content, case),
        row_name=lambda row: rows[row].entry.name,
        default_target=LABEL,
    )


def _batches(rows: Sequence[Row], names: Sequence[str], content: Content, case: Case) -> Iterator[RecordBatch]:
    for start in range(0, len(rows), _AT_ONCE):
        some = rows[start : start + _AT_ONCE]
        cells = {LABEL: [row.label for row in some]}
        if TEXT in names:
            cells[TEXT] = [_text(row, content, case) for row in some]
        yield pa.RecordBatch.from_pydict({name: pa.array(cells[name], pa.string()) for name in names})


def _text(row: Row, content: Content, case: Case) -> str:
    """Empty where the file is damaged, or no text."""
    try:
        data = read(content.files, row.entry, case.limits.max_cell_bytes)
    except DAMAGE:
        return ""
    return text_of(data) or ""
