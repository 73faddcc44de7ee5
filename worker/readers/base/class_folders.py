"""An archive of class folders, whatever kind of files they hold: `cat/1.png`, with train, val and test folders above or
not, in a wrapping folder or not. The folder under the split is the class; folders below it do not matter.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray

from core.errors import Rejected
from worker.readers.base import labels as label_forms
from worker.readers.base import splits
from worker.readers.base.case import Case
from worker.readers.base.compression import DAMAGE
from worker.readers.base.content import SUFFIXES, Content
from worker.readers.base.files import BadFile, Entry, Files, head, read
from worker.readers.base.images import Mask, Pixels
from worker.readers.base.kinds import Kind, kind_of

_Parts = tuple[str, ...]
#: A folder in which files have no label, where the spec says that some have none.
_UNLABELLED = frozenset({"unlabelled", "unlabeled"})


@dataclass(frozen=True, slots=True)
class Sought:
    """What the class folders hold. noun: what one file is called; example: one of its names."""

    kind: Kind
    noun: str
    example: str

    def is_named(self, parts: _Parts) -> bool:
        """Whether a file calls itself one."""
        return PurePath(parts[-1]).suffix.lower() in SUFFIXES[self.kind]

    def is_one(self, files: Files, entry: Entry) -> bool:
        """By its name, else by its content: a file that only calls itself one is a broken row, not a stray file."""
        return self.is_named(entry.parts) or kind_of(head(files, entry)) == self.kind


@dataclass(frozen=True, slots=True)
class Row:
    """One file. label: its class, "" for none."""

    split: int
    label: str
    entry: Entry


def find_rows(content: Content, case: Case, sought: Sought) -> list[Row]:
    """The files of the class folders, sorted, so that the order of the archive does not matter.

    Raises: Rejected where there are no class folders, or one of them holds nothing that is sought.
    """
    rows = _Layout(content, case, sought).rows()
    if not rows:
        raise Rejected(f"No class folder holds a {sought.noun}.", code="empty")
    return rows


class FolderRows:
    """Rows of class folders as images of one shape; see worker.readers.base.images.Images.

    Who derives from it looks at the files first, says which can be read and of what `shape` they become.
    """

    shape: tuple[int, int, int]

    def __init__(self, files: Files, rows: Sequence[Row], case: Case, max_bytes: int) -> None:
        self._files, self._case, self._max_bytes = files, case, max_bytes
        self._entries = [row.entry for row in rows]
        self._readable = np.ones(len(rows), np.bool_)
        self.split = np.array([row.split for row in rows], np.uint8)
        self.labels = label_forms.of_strings(row.label for row in rows)

    def row_name(self, row: int) -> str:
        """The file's path in the archive."""
        return self._entries[row].name

    def blocks(self, wanted: Mask) -> Iterator[tuple[NDArray[np.int64], Pixels]]:
        """See worker.readers.base.images.Images.blocks."""
        limit = max(1, self._case.limits.block_bytes // int(np.prod(self.shape)))
        rows: list[int] = []
        block = np.empty((limit, *self.shape), np.uint8)
        for row in np.flatnonzero(wanted & self._readable):
            if not self._decode(int(row), block[len(rows)]):
                continue
            rows.append(int(row))
            if len(rows) == limit:
                yield np.array(rows), block
                rows = []
        if rows:
            yield np.array(rows), block[: len(rows)]

    def _pixels(self, data: bytes) -> Pixels:
        """What becomes of one file, (C, H, W). Raises: BadFile."""
        raise NotImplementedError

    def _decode(self, row: int, out: Pixels) -> bool:
        """Writes what becomes of a file into `out`; False, and noted, where it cannot be read."""
        try:
            out[:] = self._pixels(read(self._files, self._entries[row], self._max_bytes))
        except BadFile as error:
            return self._bad(row, str(error))
        except (*DAMAGE, Rejected) as error:
            return self._bad(row, f"damaged in the archive ({error})")
        return True

    def _bad(self, row: int, reason: str) -> bool:
        self._readable[row] = False
        self._case.bad_rows.add(self.row_name(row), reason)
        return False


class _Layout:
    """Tells what each folder level means."""

    def __init__(self, content: Content, case: Case, sought: Sought) -> None:
        self._files, self._case, self._sought = content.files, case, sought
        files = [entry.parts for entry in content.files.entries]
        named = [parts for parts in files if sought.is_named(parts)] or files
        folders = [(*name.split("/"), "") for name in content.files.folders]
        self._labels = case.spec.labels
        # What stands below the wrapping: a class folder and a file in it, or the file alone.
        self._wrapping = _num_wrapping(named, folders, 2 if self._labels == "required" else 1)
        tops = [self._inner(parts) for parts in (*named, *folders)]
        self._has_splits = _are_splits({parts[0] for parts in tops if len(parts) > 1 and not self._is_aside(parts[0])})
        places = (self._place(self._inner(parts)) for parts in (*files, *folders))
        self._named = {place[1] for place in places if place is not None}

    def rows(self) -> list[Row]:
        """Sorted by split, class (those without one last) and path."""
        rows = []
        for entry in self._files.entries:
            place = self._place(self._inner(entry.parts))
            if place is None:
                self._case.ignored.add(entry.name, "not inside a class folder")
            elif self._sought.is_one(self._files, entry):
                rows.append(Row(*place, entry))
            else:
                self._case.ignored.add(entry.name, f"not a {self._sought.noun}, by name and by content")
        rows.sort(key=lambda row: (row.split, row.label == "", row.label, row.entry.name))
        if self._labels != "none":
            self._check_classes({row.label for row in rows} - {""})
        return rows

    def _inner(self, parts: _Parts) -> _Parts:
        return parts[self._wrapping :]

    def _place(self, parts: _Parts) -> tuple[int, str] | None:
        """(split, class or "" for none) of a path inside the wrapping folder."""
        split: int | None = splits.UNKNOWN
        if self._has_splits and parts and self._is_aside(parts[0]):
            return splits.TRAIN, ""
        if self._has_splits:
            split, parts = splits.of_word(parts[0]) if len(parts) > 1 else None, parts[1:]
        if split is None or not parts:
            return None
        if self._labels == "none" or (self._labels == "partial" and (len(parts) == 1 or self._is_aside(parts[0]))):
            return split, ""
        return (split, parts[0]) if len(parts) > 1 else None

    def _is_aside(self, folder: str) -> bool:
        return self._labels == "partial" and folder.casefold() in _UNLABELLED

    def _check_classes(self, filled: set[str]) -> None:
        self._named.discard("")
        noun, example = self._sought.noun, self._sought.example
        if not self._named:
            raise Rejected(
                f"The archive has no class folders. Put each class's {noun}s into a folder of its name: cat/{example}, "
                f"or train/cat/{example}. If the {noun}s have no labels, set labels to none.",
                code="layout",
            )
        if self._labels == "required" and (found := sorted(name for name in filled if name.casefold() in _UNLABELLED)):
            raise Rejected.at(
                "/labels",
                f"A folder is called {found[0]!r}. If its {noun}s have no label, set labels to partial; if that is "
                "the name of a class, call it something else.",
                code="labels",
            )
        if empty := sorted(self._named - filled):
            raise Rejected(
                f"Class folders without a {noun}: {_listed(empty)}. Fill or remove them.", code="empty_class"
            )
        spellings = Counter(name.casefold() for name in filled)
        if twice := sorted(name for name in filled if spellings[name.casefold()] > 1):
            raise Rejected(
                f"Class folders that differ only in upper and lower case: {_listed(twice)}. Give each class one "
                "spelling.",
                code="class_case",
            )


def _num_wrapping(files: Sequence[_Parts], folders: Sequence[_Parts], least: int) -> int:
    """How many outermost folders merely wrap: everything is in them, and below each file still has `least` parts."""
    first, num = files[0], 0
    while (
        len(first) > num + least
        and splits.of_word(first[num]) is None
        and all(len(parts) > num + least and parts[num] == first[num] for parts in files)
        and all(len(parts) <= num + 1 or parts[num] == first[num] for parts in folders)
    ):
        num += 1
    return num


def _are_splits(tops: set[str]) -> bool:
    """Whether the outermost folders are splits: all are named so, or at least train and another one are.

    A single folder called `train` beside `car` and `bus` is a class.
    """
    found = {split for top in tops if (split := splits.of_word(top)) is not None}
    every = all(splits.of_word(top) is not None for top in tops)
    return bool(tops) and (every or (splits.TRAIN in found and len(found) > 1))


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(repr(name) for name in names[:20]) + more
