"""A zip or tar of class folders with pictures in them: `cat/1.png`; see worker.readers.base.class_folders."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from worker.readers.base.case import Case
from worker.readers.base.class_folders import FolderRows, Row, Sought, find_rows
from worker.readers.base.compression import DAMAGE
from worker.readers.base.content import Content
from worker.readers.base.files import BadFile, Files
from worker.readers.base.images import Images, Pixels, check_volume, settle_size
from worker.readers.base.kinds import Kind
from worker.readers.base.pictures import looks, pixels

#: What the files of the format are, by content.
KIND: Kind = "image"
_SOUGHT = Sought(KIND, "picture", "1.png")


def read_images(content: Content, case: Case) -> Images:
    """Raises: Rejected where there are no class folders, or one of them holds no picture."""
    return FolderImages(content.files, find_rows(content, case, _SOUGHT), case)


class FolderImages(FolderRows):
    """Pictures of one size; see worker.readers.base.images.Images."""

    def __init__(self, files: Files, rows: Sequence[Row], case: Case) -> None:
        super().__init__(files, rows, case, case.limits.max_image_bytes)
        heights, widths, has_colour = self._survey()
        if not self._readable.any():
            case.judge_bad_rows(0)
        size = settle_size(heights[self._readable], widths[self._readable], case)
        self.shape = (case.spec.image.channels or (3 if has_colour else 1), *size)
        check_volume(len(rows), self.shape, case)

    def _pixels(self, data: bytes) -> Pixels:
        return pixels(data, self.shape, self._case.limits)

    def _survey(self) -> tuple[NDArray[np.int64], NDArray[np.int64], bool]:
        """Heights and widths (N,), of those that can be read, and whether any is stored in colour."""
        sides, any_colour = np.zeros((2, len(self._entries)), np.int64), False
        for row, entry in enumerate(self._entries):
            try:
                with self._files.open(entry) as stream:
                    height, width, has_colour = looks(stream, self._case.limits)
            except BadFile as error:
                self._bad(row, str(error))
            except DAMAGE as error:
                self._bad(row, f"damaged in the archive ({error})")
            else:
                if not height * width:
                    self._bad(row, "has no pixels")
                sides[:, row] = height, width
                any_colour = any_colour or has_colour
        return sides[0], sides[1], any_colour
