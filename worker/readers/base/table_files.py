"""Which files of an upload are the table, and which split each of them holds."""

from collections.abc import Sequence
from dataclasses import dataclass

from core.errors import Rejected
from worker.readers.base import splits
from worker.readers.base.case import Case
from worker.readers.base.files import Entry


@dataclass(frozen=True, slots=True)
class TableFile:
    """A file and its split."""

    entry: Entry
    split: int


def choose(entries: Sequence[Entry], case: Case) -> list[TableFile]:
    """The files that make the table, training rows first.

    One file alone is the table. Of several, those count whose names speak of train, val or test; where none speaks of
    train and a single other file is there, that one is it (`adult.data` beside `adult.test`).

    Raises: Rejected where several files say nothing of their split.
    """
    named = [TableFile(entry, split) for entry in entries if (split := splits.of_name(entry.parts[-1])) is not None]
    silent = [entry for entry in entries if splits.of_name(entry.parts[-1]) is None]
    if len(entries) == 1:
        return [TableFile(entries[0], splits.UNKNOWN)]
    if len(silent) == 1 and named and all(file.split != splits.TRAIN for file in named):
        named.append(TableFile(silent.pop(), splits.TRAIN))
    if not any(file.split == splits.TRAIN for file in named):
        names = ", ".join(entry.name for entry in entries[:20])
        raise Rejected(
            f"Of the files {names}, none is named as the training rows. Pack one table, or files with train, val and "
            "test in their names.",
            code="layout",
        )
    for entry in silent:
        case.ignored.add(entry.name, "its name speaks of no split")
    return sorted(named, key=lambda file: (file.split, file.entry.name))
