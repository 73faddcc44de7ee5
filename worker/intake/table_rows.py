"""A table to the canonical file: target and split first, then what each column is, then the features."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.errors import Rejected
from models.canonical import SPLITS, Column, DatasetMeta, Target
from worker.intake import classes, split
from worker.intake import target as targets
from worker.intake.canonical_file import RawTensor, write_canonical
from worker.intake.columns import Moments, Profile, settle_columns
from worker.intake.counts import count_labelled, count_splits, name_first_rows
from worker.intake.encoding import encode
from worker.readers.base.case import Case
from worker.readers.base.labels import KEPT_BY, MISSING, Labels, none
from worker.readers.base.splits import TRAIN
from worker.readers.base.table import RecordBatch, Table

_BINS = 20


@dataclass(frozen=True, slots=True)
class Rows:
    """Which rows count (N,), and of those the target and the split (n,)."""

    keep: NDArray[np.bool_]
    y: NDArray[np.generic]
    has_label: NDArray[np.bool_]
    split: NDArray[np.uint8]
    classes: list[str]
    target: Target | None


def convert(table: Table, case: Case, target: Path) -> DatasetMeta:
    """Writes `target`. Raises: Rejected where target, classes, columns or too many bad rows forbid it."""
    name, features = _roles(table, case)
    told = f"The target is column {name!r}" if name is not None else "There is no target"
    case.passed("target", f"{told}; {len(features)} columns are looked at for features.")
    settle_rows = _regression if case.spec.task == "tabular_regression" else classification
    rows = settle_rows(table, name, case)
    columns = settle_columns(_profile(table, features, rows, case), case)
    shape = (len(rows.y), sum(column.num_features for column in columns))
    if 4 * shape[0] * shape[1] > case.limits.max_canonical_bytes:
        raise Rejected(
            f"{shape[0]} rows of {shape[1]} features make {4 * shape[0] * shape[1]} bytes.", code="too_large"
        )
    raw = case.new_scratch(".x")
    with raw.open("wb") as out:
        names = [column.name for column in columns]
        for batch, _ in kept(table, names, rows, case.limits.block_bytes // (4 * shape[1])):
            out.write(encode(batch, columns, case).data)
    write_canonical(target, RawTensor(raw, "float32", shape), rows.y, rows.split)
    name_first_rows(np.flatnonzero(rows.keep), case, table.row_name)
    return _meta(rows, columns, case)


def _meta(rows: Rows, columns: list[Column], case: Case) -> DatasetMeta:
    return DatasetMeta(
        task="tabular_classification" if rows.target is None else "tabular_regression",
        counts=count_splits(rows.split, case),
        labelled=count_labelled(rows.split, rows.has_label, case),
        input_shape=(sum(column.num_features for column in columns),),
        num_outputs=len(rows.classes) or 1,
        classes=rows.classes,
        columns=columns,
        target=rows.target,
    )


def _roles(table: Table, case: Case) -> tuple[str | None, list[str]]:
    """(target, feature columns); no target where no row has a label.

    Raises: Rejected where the spec names a column that is not there.
    """
    options, by = case.spec.table, case.spec.split.column
    check_named(table, case)
    aside = {*options.ignore, by}
    if table.index is not None and table.index not in (options.target, *options.ignore, *options.categorical, by):
        aside.add(table.index)
        case.warned(
            "index_column",
            f"Column {table.index!r} has no name of its own, as a program's row numbers have; it is left out. Name it "
            "to keep it.",
        )
    if options.target is not None and options.target in aside:
        raise Rejected.at(
            "/table/target", f"Column {options.target!r} cannot be the target and left out.", code="target"
        )
    rest = [name for name in table.columns if name not in aside]
    if case.spec.labels == "none" and rest:
        return None, rest
    last = table.default_target if table.default_target not in aside else None
    if len(rest) < 2:
        raise Rejected("The table needs a target and at least one more column.", code="columns")
    target = options.target or last or rest[-1]
    return target, [name for name in rest if name != target]


def check_named(table: Table, case: Case, more: Mapping[str, str | None] | None = None) -> None:
    """Raises: Rejected where the spec names a column that is not there. `more`: by where in the spec they are named."""
    options = case.spec.table
    wanted = {
        "/table/target": options.target,
        "/split/column": case.spec.split.column,
        **{f"/table/ignore/{place}": name for place, name in enumerate(options.ignore)},
        **{f"/table/categorical/{place}": name for place, name in enumerate(options.categorical)},
        **(more or {}),
    }
    for pointer, name in wanted.items():
        if name is not None and name not in table.columns:
            shown = ", ".join(table.columns[:50]) + (" ..." if len(table.columns) > 50 else "")
            raise Rejected.at(pointer, f"There is no column {name!r}. The columns are: {shown}.", code="columns")


def classification(
    table: Table, name: str | None, case: Case, lacking: NDArray[np.bool_] | None = None, why: str = ""
) -> Rows:
    """Which rows count, with class and split. `lacking` (N,): rows that cannot be used, and why.

    Raises: Rejected where classes, splits or too many bad rows forbid it.
    """
    official, placed = targets.official_split(table, case.spec.split.column, case)
    if lacking is not None:
        targets.note_bad(table, placed & lacking, why, case)
        placed = placed & ~lacking
    labels, keep = none(len(official)), placed
    if name is not None:
        labels = targets.without_dots(targets.read_labels(table, name, case), official, name, case)
        keep = _kept_labels(table, name, labels, placed, case)
    case.judge_bad_rows(int(keep.sum()))
    if name is not None:
        targets.check_are_classes(labels, int((keep & (labels.codes != MISSING)).sum()), name)
    names, codes = classes.settle(labels, case)
    y = codes[keep]
    settled = split.settle(official[keep], *split.class_strata(y, names), case)
    classes.check_presence(names, y, settled, case)
    return Rows(keep, y, y != MISSING, settled, names, None)


def _kept_labels(table: Table, name: str, labels: Labels, placed: NDArray[np.bool_], case: Case) -> NDArray[np.bool_]:
    """Which rows (N,) count: all that have a place, but for those without a label where each has to have one."""
    if case.spec.labels != "required":
        return placed
    keep: NDArray[np.bool_] = placed & (labels.codes != MISSING)
    targets.note_bad(table, placed & ~keep, f"target {name!r} is missing ({KEPT_BY})", case)
    return keep


def _regression(table: Table, name: str | None, case: Case) -> Rows:
    if case.spec.classes is not None:
        raise Rejected.at("/classes", "A regression has no classes; leave `classes` out.", code="classes")
    official, placed = targets.official_split(table, case.spec.split.column, case)
    values, keep = np.full(len(official), np.nan), placed
    if name is not None:
        values, keep = _kept_values(table, name, placed, case)
    case.judge_bad_rows(int(keep.sum()))
    values = values[keep]
    has_label = np.isfinite(values)
    if name is not None and not has_label.any():
        raise Rejected.at("/labels", "No row has a label. If that is meant, set labels to none.", code="labels")
    settled = split.settle(official[keep], *split.value_strata(values), case)
    figures = Moments()
    figures.add(values[(settled == TRAIN) & has_label])
    if figures.num == 0:
        case.warned(
            "target_scale",
            "No training row has a label that tells the target's mean and deviation: 0 and 1 are taken, so that a "
            "teacher's values are learnt as they are.",
        )
        mean, std = 0.0, 1.0
    else:
        mean, std = figures.mean, figures.std
        _refuse_constant(name, figures)
    target = Target(name=name or "target", mean=mean, std=std)
    if has_label.any():
        _describe_target(target, figures, values, settled, case)
    y = ((values - mean) / std).astype(np.float32)
    return Rows(keep, y, has_label, settled, [], target)


def _kept_values(
    table: Table, name: str, placed: NDArray[np.bool_], case: Case
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(values, which rows count), (N,) each: rows with a number, and those without a cell where the spec allows it."""
    found = targets.read_values(table, name, case)
    has_value, is_known = np.isfinite(found.values), found.is_known
    keep = placed & (has_value if case.spec.labels == "required" else has_value | ~is_known)
    targets.note_bad(table, placed & ~keep & ~is_known, f"target {name!r} is missing ({KEPT_BY})", case)
    targets.note_bad(table, placed & ~keep & is_known, f"target {name!r} is no finite number", case)
    num_wanted = len(keep) if case.spec.labels == "required" else int(is_known.sum())
    if found.texts and (placed & has_value).sum() < 0.5 * num_wanted:
        raise Rejected.at(
            "/table/target",
            f"The target {name!r} holds text such as {found.texts[0][:60]!r}; tabular_regression predicts numbers. Set "
            "table.target to another column, or take the task tabular_classification.",
            code="target",
        )
    return found.values, keep


def _refuse_constant(name: str | None, figures: Moments) -> None:
    if figures.low == figures.high or not np.isfinite(figures.std):
        raise Rejected.at(
            "/table/target",
            f"The target {name!r} runs from {figures.low:g} to {figures.high:g} in training: nothing to predict.",
            code="target",
        )


def _describe_target(
    target: Target, figures: Moments, values: NDArray[np.float64], settled: NDArray[np.uint8], case: Case
) -> None:
    known = np.isfinite(values)
    edges = np.histogram_bin_edges(values[known], _BINS)
    counts = {
        split_name: np.histogram(values[(settled == place) & known], edges)[0].tolist()
        for place, split_name in enumerate(SPLITS)
    }
    case.facts["histogram"] = {"edges": edges.tolist(), **counts}
    case.facts["target"] = {**target.model_dump(), "min": figures.low, "max": figures.high}


def _profile(table: Table, features: Sequence[str], rows: Rows, case: Case) -> list[Profile]:
    profiles = [Profile(name, name in case.spec.table.categorical) for name in features]
    for batch, places in kept(table, features, rows, case.limits.block_bytes // (8 * len(features))):
        in_train = rows.split[places] == TRAIN
        for profile, array in zip(profiles, batch.columns, strict=True):
            profile.add(array, in_train, case)
    return profiles


def kept(table: Table, names: Sequence[str], rows: Rows, max_rows: int) -> Iterator[tuple[RecordBatch, slice]]:
    """(batch of rows that count, which of them it holds), at most `max_rows` a batch."""
    start, done = 0, 0
    for whole in table.batches(names):
        for first in range(0, whole.num_rows, max(1, max_rows)):
            batch = whole.slice(first, max(1, max_rows))
            mask = rows.keep[start : start + batch.num_rows]
            start += batch.num_rows
            chosen = batch if mask.all() else batch.take(np.flatnonzero(mask))
            yield chosen, slice(done, done + chosen.num_rows)
            done += chosen.num_rows
    assert start == len(rows.keep), "a reader gives the same rows each time"
