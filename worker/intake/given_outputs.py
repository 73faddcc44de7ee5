"""Outputs that a teacher gave somewhere else to their canonical file: rows ascending, probabilities as logarithms.

Shapes: M rows as uploaded, G of them with outputs, n rows of a block, C outputs.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from core.errors import Rejected
from models.canonical import MIN_PROBABILITY, OutputsMeta
from models.spec.data import ImageOptions, Split, TableOptions
from worker.intake.canonical_file import RawTensor, write_tensors
from worker.intake.given_table import given_of
from worker.intake.reading import reader_for
from worker.readers.base.case import Case
from worker.readers.base.content import Content
from worker.readers.base.given import Given

_LARGEST = float(np.finfo(np.float32).max)
_SUM_TOLERANCE = 1e-3
#: Past this many outputs, the report does not list them.
_MAX_LISTED = 1000


@dataclass(slots=True)
class _Look:
    """What the first look at all rows tells. has_outputs (M,): which rows are used."""

    has_outputs: NDArray[np.bool_]
    num_silent: int
    are_probabilities: bool


def convert(content: Content, case: Case, target: Path) -> OutputsMeta:
    """Writes `target`. Raises: Rejected where the outputs are not those of one teacher for rows of one data set."""
    _warn_of_unused(case)
    reader = reader_for(content, ("read_outputs", "read_table"), case)
    if hasattr(reader, "read_outputs"):
        given: Given = reader.read_outputs(content, case)
    else:
        given = given_of(reader.read_table(content, case), case)
    look = _look(given, case)
    classes = _classes(given.num_outputs, case)
    rows = np.sort(given.rows[look.has_outputs])
    shape = (len(rows), given.num_outputs)
    if 4 * shape[0] * shape[1] > case.limits.max_canonical_bytes:
        raise Rejected(f"{shape[0]} rows of {shape[1]} outputs make {4 * shape[0] * shape[1]} bytes.", code="too_large")
    case.passed("rows", f"Outputs of {len(rows)} rows, {rows[0]} to {rows[-1]}, {shape[1]} a row.")
    raw = case.new_scratch(".logits")
    _write(given, look, raw, classes, case)
    write_tensors(target, {"rows": rows, "logits": RawTensor(raw, "float32", shape)})
    _describe(look, rows, classes, shape, case)
    return OutputsMeta(num_rows=shape[0], num_outputs=shape[1], classes=classes, last_row=int(rows[-1]))


def _warn_of_unused(case: Case) -> None:
    spec = case.spec
    told = {
        "image": spec.image != ImageOptions(),
        "split": spec.split != Split(),
        "labels": spec.labels != "required",
        "table.target": spec.table.target is not None,
        "table.categorical": spec.table.categorical != TableOptions().categorical,
    }
    for name in (name for name, is_told in told.items() if is_told):
        case.warned("unused", f"What `{name}` says has no meaning for the task {spec.task}.")


def _look(given: Given, case: Case) -> _Look:
    """Which rows have outputs; those that are broken go to the bad rows."""
    good, num_silent, are_probabilities, start = [], 0, given.num_outputs > 1, 0
    for block in given.blocks():
        with np.errstate(invalid="ignore"):
            is_good = (np.abs(block) <= _LARGEST).all(axis=1)
        is_silent = np.isnan(block).all(axis=1)
        for place in np.flatnonzero(~is_good & ~is_silent):
            case.bad_rows.add(
                given.row_name(start + int(place)), "outputs that are missing, infinite or beyond float32"
            )
        num_silent += int(is_silent.sum())
        good.append(is_good)
        start += len(block)
        are_probabilities = are_probabilities and _sum_to_one(block[is_good])
    has_outputs = np.concatenate([np.zeros(0, np.bool_), *good])
    assert len(has_outputs) == len(given.rows), "a reader gives the same rows each time"
    if num_silent and not has_outputs.any() and not case.bad_rows.count:
        raise Rejected(f"None of the {num_silent} rows has outputs: all are NaN or empty.", code="empty")
    case.judge_bad_rows(int(has_outputs.sum()))
    if num_silent:
        case.passed("without_outputs", f"{num_silent} rows without outputs (NaN or empty throughout) are left out.")
    if are_probabilities:
        case.warned(
            "probabilities",
            "Each row is of probabilities: none below 0, and they sum to 1. Their logarithm is taken, as losses want "
            "it; the logits themselves are better, as they lose nothing to rounding.",
        )
    return _Look(has_outputs, num_silent, are_probabilities)


def _sum_to_one(block: NDArray[np.float64]) -> bool:
    return bool((block >= 0).all() and (np.abs(block.sum(axis=1) - 1) < _SUM_TOLERANCE).all())


def _classes(num_outputs: int, case: Case) -> list[str]:
    names = case.spec.classes or []
    if twice := sorted(name for name, num in Counter(names).items() if num > 1):
        raise Rejected.at(
            "/classes", f"classes names {', '.join(map(repr, twice[:20]))} more than once.", code="classes"
        )
    if names and len(names) != num_outputs:
        raise Rejected.at(
            "/classes",
            f"classes has {len(names)} names, and a row has {num_outputs} outputs: one name for each, in their order.",
            code="classes",
        )
    return list(names)


def _write(given: Given, look: _Look, raw: Path, classes: list[str], case: Case) -> None:
    """The used rows as float32 in ascending order of their numbers; figures of them into the report."""
    places = np.empty(int(look.has_outputs.sum()), np.int64)
    places[np.argsort(given.rows[look.has_outputs])] = np.arange(len(places))
    predicted = np.zeros(given.num_outputs, np.int64)
    low, high, total, done = np.inf, -np.inf, 0.0, 0
    with raw.open("wb") as out:
        for block in _used(given, look):
            _put(out, block, places[done : done + len(block)])
            done += len(block)
            predicted += np.bincount(block.argmax(axis=1), minlength=given.num_outputs)
            low, high = min(low, float(block.min())), max(high, float(block.max()))
            total += float(block.sum(dtype=np.float64))
    case.facts["figures"] = {"min": low, "max": high, "mean": total / (done * given.num_outputs)}
    if 1 < given.num_outputs <= _MAX_LISTED:
        names = classes or [str(place) for place in range(given.num_outputs)]
        case.facts["predicted"] = dict(zip(names, predicted.tolist(), strict=True))


def _used(given: Given, look: _Look) -> Iterator[NDArray[np.float32]]:
    start = 0
    for block in given.blocks():
        chosen = block[look.has_outputs[start : start + len(block)]]
        start += len(block)
        if look.are_probabilities:
            chosen = np.log(np.maximum(chosen, MIN_PROBABILITY))
        if len(chosen):
            yield chosen.astype(np.float32)


def _put(out: BinaryIO, block: NDArray[np.float32], places: NDArray[np.int64]) -> None:
    """Writes row i of the block (n, C) as row places[i] of the file: runs of neighbours at once."""
    row_bytes = block.shape[1] * block.itemsize
    starts = np.flatnonzero(np.diff(places, prepend=places[0] - 2) != 1)
    for first, last in zip(starts, [*starts[1:], len(places)], strict=True):
        out.seek(int(places[first]) * row_bytes)
        out.write(np.ascontiguousarray(block[first:last]).data)


def _describe(look: _Look, rows: NDArray[np.int64], classes: list[str], shape: tuple[int, int], case: Case) -> None:
    case.facts["counts"] = {"with_outputs": len(rows), "without_outputs": look.num_silent}
    case.facts["shape"] = list(shape)
    case.facts["rows"] = {"first": int(rows[0]), "last": int(rows[-1])}
    case.facts["kind"] = "logarithms of probabilities" if look.are_probabilities else "logits or values"
    if classes:
        case.facts["classes"] = classes
