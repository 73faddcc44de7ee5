"""npz: arrays x and y under their usual names, for all rows or one pair a split. Pickled objects are never loaded.

An array's key is taken apart at `_`: one word may name the split (`x_train`, `test_labels`), the rest says what it is.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core.errors import Rejected
from worker.readers.base import labels as label_forms
from worker.readers.base import splits
from worker.readers.base.array_images import ArrayImages, Part
from worker.readers.base.arrays import ArrayFile, open_npy
from worker.readers.base.case import Case
from worker.readers.base.content import Content
from worker.readers.base.files import Entry, extract
from worker.readers.base.given import Given, row_numbers
from worker.readers.base.images import Images
from worker.readers.base.kinds import Kind
from worker.readers.base.table import RecordBatch, Table, check_table_size

#: What the files of the format are, by content.
KIND: Kind = "npy"

_IMAGES = ("x", "images", "image", "imgs", "data", "inputs", "features", "arr_0")
_FEATURES = ("x", "data", "features", "inputs", "images", "arr_0")
_LABELS = ("y", "labels", "label", "targets", "target", "arr_1")
_OUTPUTS, _ROWS = "logits", "rows"


@dataclass(frozen=True, slots=True)
class Pair:
    """One split's arrays."""

    split: int
    x: ArrayFile
    #: None where its rows have no labels.
    y: ArrayFile | None


def read_images(content: Content, case: Case) -> Images:
    """Raises: Rejected where no pair of images and labels is found."""
    pairs = _pairs(content, case, _IMAGES)
    parts = [Part(pair.x, pair.split) for pair in pairs]
    return ArrayImages(parts, _labels(pairs, case), case)


def read_table(content: Content, case: Case) -> Table:
    """Raises: Rejected where x is no (N, D) array of numbers with a y for each row."""
    pairs = _pairs(content, case, _FEATURES)
    num_rows, width = sum(len(pair.x) for pair in pairs), pairs[0].x.shape[-1]
    for pair in pairs:
        if len(pair.x.shape) != 2 or pair.x.shape[1] != width or pair.x.dtype.kind not in "biuf":
            raise Rejected.at(
                "/task",
                f"{pair.x.name} has shape {pair.x.shape} of {pair.x.dtype}; a table is (N, {width}) numbers. Images "
                "belong to the task image_classification.",
                code="shapes",
            )
    check_table_size(width, num_rows, case)
    target = next((_key(pair.y.name, _LABELS)[0] for pair in pairs if pair.y is not None), _LABELS[0])
    values = _target_values(pairs, case)
    features = tuple(f"x{place}" for place in range(width))
    return Table(
        columns=features if case.spec.labels == "none" else (*features, target),
        split=np.concatenate([splits.constant(pair.split, len(pair.x)) for pair in pairs]),
        batches=lambda columns: _batches(pairs, values, columns, target, case.limits.block_bytes),
        row_name=lambda row: f"row {row}",
        default_target=target,
    )


def read_outputs(content: Content, case: Case) -> Given:
    """Raises: Rejected where there is no array `logits` (M, C) of numbers, or `rows` does not go with it."""
    found: dict[str, Entry] = {}
    for entry in content.of_kind(KIND, case):
        key = _plain_key(entry.parts[-1])
        if key not in (_OUTPUTS, _ROWS) or key in found:
            case.ignored.add(entry.name.removesuffix(".npy"), "this key is not read")
        found.setdefault(key, entry)
    if _OUTPUTS not in found:
        raise Rejected(
            f"The npz has no array `{_OUTPUTS}`; its keys are {', '.join(list(found)[:20])}. Save the outputs, (M, C), "
            f"under that name, and the numbers of their rows, (M,), as `{_ROWS}`.",
            code="keys",
        )
    logits = _open(found[_OUTPUTS], content, case)
    if len(logits.shape) != 2 or logits.dtype.kind not in "biuf":
        raise Rejected(
            f"{logits.name} has shape {logits.shape} of {logits.dtype}; outputs are (M, C) numbers, a row for each row "
            "of the data set that they are of.",
            code="shapes",
        )
    rows = np.arange(len(logits), dtype=np.int64)
    if _ROWS in found:
        array = _open(found[_ROWS], content, case)
        if array.shape != (len(logits),):
            raise Rejected(
                f"{array.name} has shape {array.shape}, {logits.name} {logits.shape}: one row number for each row of "
                "outputs.",
                code="pairs",
            )
        rows = row_numbers(array.whole(), array.name, case)
    elif len(logits) > case.limits.max_rows:
        raise Rejected(f"{logits.name} has {len(logits)} rows; the limit is {case.limits.max_rows}.", code="too_large")
    return Given(
        num_outputs=logits.shape[1],
        rows=rows,
        blocks=lambda: (block.astype(np.float64) for _, block in logits.blocks(case.limits.block_bytes)),
        row_name=lambda row: f"{logits.name}[{row}]",
    )


def _open(entry: Entry, content: Content, case: Case) -> ArrayFile:
    return open_npy(extract(content.files, entry, case), entry.name.removesuffix(".npy"), case)


def _pairs(content: Content, case: Case, x_names: Sequence[str]) -> list[Pair]:
    found: dict[tuple[bool, int], tuple[int, Entry]] = {}
    entries = content.of_kind(KIND, case)
    kinds = [(False, x_names), (True, _LABELS)][: 1 if case.spec.labels == "none" else 2]
    for entry in entries:
        for is_label, names in kinds:
            name, split = _key(entry.parts[-1], names)
            if name in names:
                best = found.get((is_label, split))
                if best is None or names.index(name) < best[0]:
                    found[is_label, split] = (names.index(name), entry)
    keys = [entry.name.removesuffix(".npy") for entry in entries]
    chosen = _complete(found, keys, x_names, need_labels=case.spec.labels == "required")
    used = {entry.name for pair in chosen.values() for entry in pair if entry is not None}
    for entry in entries:
        if entry.name not in used:
            case.ignored.add(entry.name.removesuffix(".npy"), "this key is not read")
    return [_opened(split, *chosen[split], content, case) for split in sorted(chosen)]


def _complete(
    found: dict[tuple[bool, int], tuple[int, Entry]], keys: list[str], x_names: Sequence[str], *, need_labels: bool
) -> dict[int, tuple[Entry, Entry | None]]:
    """split -> (x, y), or x alone where rows need no labels. A pair of no split beside x_test is the training set."""
    seen = {split for _, split in found}
    for split in seen:
        if (False, split) not in found or (need_labels and (True, split) not in found):
            missing = "images or features" if (False, split) not in found else "labels"
            where = "" if split == splits.UNKNOWN else f" for {('train', 'val', 'test')[split]}"
            remedy = " If rows have no labels, set labels to partial or none." if missing == "labels" else ""
            raise Rejected(f"The npz has no {missing}{where}. {_expected(keys, x_names)}{remedy}", code="keys")
    if not seen:
        raise Rejected(f"The npz has no array of a known name. {_expected(keys, x_names)}", code="keys")
    if {splits.UNKNOWN, splits.TRAIN} <= seen:
        seen.remove(splits.UNKNOWN)  # `x` beside `x_train` is the whole before it was split
    return {
        split: (found[False, split][1], found[True, split][1] if (True, split) in found else None) for split in seen
    }


def _expected(keys: list[str], x_names: Sequence[str]) -> str:
    return (
        f"Its keys are {', '.join(keys[:20])}. Name the arrays x and y, or x_train, y_train, x_test and y_test; also "
        f"read are {', '.join(x_names[1:])} and {', '.join(_LABELS[1:])}."
    )


def _key(name: str, names: Sequence[str]) -> tuple[str, int]:
    """(what an array is, its split) by its key, in lower case: `X_train.npy` is ("x", TRAIN)."""
    key = _plain_key(name)
    if key in names:
        return key, splits.UNKNOWN
    words = key.split("_")
    for place, word in enumerate(words):
        split = splits.of_word(word)
        if split is not None:
            return "_".join(words[:place] + words[place + 1 :]), split
    return key, splits.UNKNOWN


def _plain_key(name: str) -> str:
    return name.rpartition("/")[2].removesuffix(".npy").lower()


def _opened(split: int, x_entry: Entry, y_entry: Entry | None, content: Content, case: Case) -> Pair:
    x = _open(x_entry, content, case)
    y = _open(y_entry, content, case) if y_entry is not None else None
    if y is not None and len(x) != len(y):
        raise Rejected(f"{x.name} has {len(x)} rows, {y.name} {len(y)}.", code="pairs")
    return Pair(split, x, y)


def _stacked_labels(pairs: list[Pair]) -> tuple[NDArray[np.generic], str, NDArray[np.bool_]] | None:
    """(the arrays of labels as one, its name, which of all rows (N,) they are of); None where there are none."""
    found = [pair.y for pair in pairs if pair.y is not None]
    if not found:
        return None
    arrays = [y.whole() for y in found]
    if len({(array.dtype.kind in "US", array.shape[1:]) for array in arrays}) > 1:
        shapes = ", ".join(f"{y.name} {y.shape} {y.dtype}" for y in found)
        raise Rejected(f"The label arrays of the splits differ in kind: {shapes}.", code="labels")
    known = np.concatenate([np.full(len(pair.x), pair.y is not None) for pair in pairs])
    return np.concatenate(arrays), found[0].name, known


def _labels(pairs: list[Pair], case: Case) -> label_forms.Labels:
    stacked = _stacked_labels(pairs)
    if stacked is None:
        return label_forms.none(sum(len(pair.x) for pair in pairs))
    values, name, known = stacked
    labels = label_forms.of_array(values, name)
    return (labels.without("-1") if case.spec.labels == "partial" else labels).among(known)


def _target_values(pairs: list[Pair], case: Case) -> pa.Array:
    """y as one Arrow column: numbers for a regression, class names for a classification."""
    if case.spec.task == "tabular_regression":
        return _target_numbers(pairs)
    labels = _labels(pairs, case)
    codes = pa.array(labels.codes, mask=labels.codes == label_forms.MISSING)
    return pa.array(labels.names, pa.string()).take(codes)


def _target_numbers(pairs: list[Pair]) -> pa.Array:
    stacked = _stacked_labels(pairs)
    if stacked is None:
        return pa.nulls(sum(len(pair.x) for pair in pairs), pa.float64())
    values, name, known = stacked
    if values.dtype.kind not in "biuf" or values.size != len(values):
        raise Rejected.at(
            "/task",
            f"{name} has shape {values.shape} of {values.dtype}; tabular_regression wants one number a row.",
            code="target",
        )
    numbers = np.full(len(known), np.nan)
    numbers[known] = values.reshape(-1)
    return pa.array(numbers)


def _batches(
    pairs: list[Pair], target_values: pa.Array, columns: Sequence[str], target: str, block_bytes: int
) -> Iterator[RecordBatch]:
    offset = 0
    for pair in pairs:
        for first, x in pair.x.blocks(block_bytes):
            y = target_values.slice(offset + first, len(x))
            arrays = [y if name == target else pa.array(x[:, int(name[1:])].astype(np.float64)) for name in columns]
            yield pa.RecordBatch.from_arrays(arrays, names=list(columns))
        offset += len(pair.x)
