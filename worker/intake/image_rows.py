"""Images to the canonical file: pixels go straight to the disk, and their sums are kept for mean and deviation."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.canonical import DatasetMeta
from models.spec.data import TaskName
from worker.intake import classes, split
from worker.intake.canonical_file import RawTensor, write_canonical
from worker.intake.counts import count_labelled, count_splits, name_first_rows
from worker.readers.base.case import Case
from worker.readers.base.images import Images, Pixels
from worker.readers.base.labels import KEPT_BY, MISSING
from worker.readers.base.splits import TRAIN


@dataclass(slots=True)
class _Sums:
    """Of each image and channel: the sum of its bytes and that of their squares, (n, C) int64 a block."""

    rows: list[NDArray[np.int64]] = field(default_factory=list)
    plain: list[NDArray[np.int64]] = field(default_factory=list)
    squared: list[NDArray[np.int64]] = field(default_factory=list)
    any_colour: bool = False

    def add(self, rows: NDArray[np.int64], pixels: Pixels) -> None:
        flat = pixels.reshape(*pixels.shape[:2], -1)
        self.rows.append(rows)
        self.plain.append(flat.sum(axis=2, dtype=np.int64))
        self.squared.append(np.square(flat, dtype=np.uint16).sum(axis=2, dtype=np.int64))
        self.any_colour = self.any_colour or (flat.shape[1] == 3 and bool(np.any(flat[:, 0] != flat[:, 1])))


def convert(images: Images, case: Case, target: Path, task: TaskName = "image_classification") -> DatasetMeta:
    """Writes `target`. Raises: Rejected where classes, splits or too many bad rows forbid it."""
    names, codes = classes.settle(images.labels, case)
    wanted = np.ones(len(codes), np.bool_)
    if case.spec.labels == "required":
        wanted = codes != MISSING
    for row in np.flatnonzero(~wanted):
        case.bad_rows.add(images.row_name(int(row)), f"no label ({KEPT_BY})")
    raw, sums = case.new_scratch(".x"), _Sums()
    with raw.open("wb") as out:
        for rows, pixels in images.blocks(wanted):
            out.write(np.ascontiguousarray(pixels).data)
            sums.add(rows, pixels)
    rows = np.concatenate(sums.rows) if sums.rows else np.zeros(0, np.int64)
    case.judge_bad_rows(len(rows))
    if images.shape[0] == 3 and not sums.any_colour:
        case.warned(
            "colour", "All images are grey though stored with three channels. Set image.channels to 1 to save room."
        )
    y = codes[rows]
    splits = split.settle(images.split[rows], *split.class_strata(y, names), case)
    classes.check_presence(names, y, splits, case)
    mean, std = _moments(sums, splits == TRAIN, images.shape, case)
    write_canonical(target, RawTensor(raw, "uint8", (len(rows), *images.shape)), y, splits)
    name_first_rows(rows, case, images.row_name)
    return DatasetMeta(
        task=task,
        counts=count_splits(splits, case),
        labelled=count_labelled(splits, y != MISSING, case),
        input_shape=images.shape,
        num_outputs=len(names),
        classes=names,
        mean=mean,
        std=std,
    )


def _moments(
    sums: _Sums, in_train: NDArray[np.bool_], shape: tuple[int, int, int], case: Case
) -> tuple[list[float], list[float]]:
    """Mean and population deviation of each channel over the training pixels, in 0..1."""
    plain, squared = (np.concatenate(blocks)[in_train].sum(axis=0) for blocks in (sums.plain, sums.squared))
    num = int(in_train.sum()) * shape[1] * shape[2]
    mean = plain / num
    std = np.sqrt(np.maximum(squared / num - mean**2, 0.0)) / 255
    if not std.all():
        case.warned(
            "constant_pixels", "A channel has one value throughout the training images; its deviation is taken as 1."
        )
    std[std == 0.0] = 1.0
    return (mean / 255).tolist(), std.tolist()
