"""A zip or tar of class folders: `cat/1.png`, with train, val and test folders above or not, in a wrapping folder or
not. The folder under the split is the class; folders below it do not matter.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray

from core.errors import Rejected
from worker.readers.base import labels as label_forms
from worker.readers.base import splits
from worker.readers.base.case import Case
from worker.readers.base.compression import DAMAGE
from worker.readers.base.content import IMAGE_SUFFIXES, Content
from worker.readers.base.files import Entry, Files, head, read
from worker.readers.base.images import Images, Mask, Pixels, check_volume, settle_size
from worker.readers.base.kinds import Kind, kind_of
from worker.readers.base.pictures import BadPicture, looks, pixels

#: What the files of the format are, by content.
KIND: Kind = "image"

_Parts = tuple[str, ...]
#: A folder in which pictures have no label, where the spec says that some have none.
_UNLABELLED = frozenset({"unlabelled", "unlabeled"})


def read_images(content: Content, case: Case) -> Images:
    """Raises: Rejected where there are no class folders, or one of them holds no picture."""
    rows = _Layout(content, case).rows()
    if not rows:
        raise Rejected("No class folder holds a picture.", code="empty")
    return FolderImages(content.files, rows, case)


class _Layout:
    """Tells what each folder level means."""

    def __init__(self, content: Content, case: Case) -> None:
        self._files, self._case = content.files, case
        files = [entry.parts for entry in content.files.entries]
        pictures = [parts for parts in files if _suffix(parts) in IMAGE_SUFFIXES] or files
        folders = [(*name.split("/"), "") for name in content.files.folders]
        self._labels = case.spec.labels
        # What stands below the wrapping: a class folder and a picture in it, or the picture alone.
        self._wrapping = _num_wrapping(pictures, folders, 2 if self._labels == "required" else 1)
        tops = [self._inner(parts) for parts in (*pictures, *folders)]
        self._has_splits = _are_splits({parts[0] for parts in tops if len(parts) > 1 and not self._is_aside(parts[0])})
        places = (self._place(self._inner(parts)) for parts in (*files, *folders))
        self._named = {place[1] for place in places if place is not None}

    def rows(self) -> list[tuple[int, str, Entry]]:
        """(split, class or "", file) sorted, so that the order of the archive does not matter."""
        rows = []
        for entry in self._files.entries:
            place = self._place(self._inner(entry.parts))
            if place is None:
                self._case.ignored.add(entry.name, "not inside a class folder")
            elif _is_picture(self._files, entry):
                rows.append((*place, entry))
            else:
                self._case.ignored.add(entry.name, "not a picture, by name and by content")
        rows.sort(key=lambda row: (row[0], row[1] == "", row[1], row[2].name))
        if self._labels != "none":
            self._check_classes({name for _, name, _ in rows} - {""})
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
        if not self._named:
            raise Rejected(
                "The archive has no class folders. Put each class's pictures into a folder of its name: cat/1.png, or "
                "train/cat/1.png. If the pictures have no labels, set labels to none.",
                code="layout",
            )
        if self._labels == "required" and (found := sorted(name for name in filled if name.casefold() in _UNLABELLED)):
            raise Rejected.at(
                "/labels",
                f"A folder is called {found[0]!r}. If its pictures have no label, set labels to partial; if that is "
                "the name of a class, call it something else.",
                code="labels",
            )
        if empty := sorted(self._named - filled):
            raise Rejected(
                f"Class folders without a picture: {_listed(empty)}. Fill or remove them.", code="empty_class"
            )
        spellings = Counter(name.casefold() for name in filled)
        if twice := sorted(name for name in filled if spellings[name.casefold()] > 1):
            raise Rejected(
                f"Class folders that differ only in upper and lower case: {_listed(twice)}. Give each class one "
                "spelling.",
                code="class_case",
            )


class FolderImages:
    """See worker.readers.base.images.Images."""

    def __init__(self, files: Files, rows: Sequence[tuple[int, str, Entry]], case: Case) -> None:
        self._files, self._case = files, case
        self._entries = [entry for _, _, entry in rows]
        self.split = np.array([split for split, _, _ in rows], np.uint8)
        self.labels = label_forms.of_strings(name for _, name, _ in rows)
        heights, widths, has_colour = self._survey()
        self._readable = heights > 0
        if not self._readable.any():
            case.judge_bad_rows(0)
        size = settle_size(heights[self._readable], widths[self._readable], case)
        self.shape: tuple[int, int, int] = (case.spec.image.channels or (3 if has_colour else 1), *size)
        check_volume(len(rows), self.shape, case)

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

    def _decode(self, row: int, out: Pixels) -> bool:
        """Writes a picture's pixels into `out`; False, and noted, where it cannot be read."""
        try:
            data = read(self._files, self._entries[row], self._case.limits.max_image_bytes)
            out[:] = pixels(data, self.shape, self._case.limits)
        except BadPicture as error:
            return self._bad(row, str(error))
        except (*DAMAGE, Rejected) as error:
            return self._bad(row, f"damaged in the archive ({error})")
        return True

    def _survey(self) -> tuple[NDArray[np.int64], NDArray[np.int64], bool]:
        """Heights and widths (N,), 0 where a picture cannot be read, and whether any is stored in colour."""
        sides, any_colour = np.zeros((2, len(self._entries)), np.int64), False
        for row, entry in enumerate(self._entries):
            try:
                with self._files.open(entry) as stream:
                    height, width, has_colour = looks(stream, self._case.limits)
            except BadPicture as error:
                self._bad(row, str(error))
            except DAMAGE as error:
                self._bad(row, f"damaged in the archive ({error})")
            else:
                sides[:, row] = height, width
                any_colour = any_colour or has_colour
        return sides[0], sides[1], any_colour

    def _bad(self, row: int, reason: str) -> bool:
        self._case.bad_rows.add(self.row_name(row), reason)
        return False


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


def _is_picture(files: Files, entry: Entry) -> bool:
    """By its name, else by its content: a file that only calls itself a picture is a broken row, not a stray file."""
    return _suffix(entry.parts) in IMAGE_SUFFIXES or kind_of(head(files, entry)) == "image"


def _suffix(parts: _Parts) -> str:
    return PurePath(parts[-1]).suffix.lower()


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(repr(name) for name in names[:20]) + more
