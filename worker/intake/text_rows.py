"""A table of texts to the canonical file: columns and classes first, then the vocabulary, then the tokens' ids."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from core.errors import Rejected
from models.canonical import DatasetMeta, TextFacts
from worker.intake import table_rows
from worker.intake.canonical_file import RawTensor, write_tensors
from worker.intake.cells import Array, is_text
from worker.intake.counts import count_labelled, count_splits, name_first_rows
from worker.intake.table_rows import Rows
from worker.intake.vocabulary import Vocabulary, settle
from worker.readers.base.case import Case
from worker.readers.base.splits import TRAIN
from worker.readers.base.table import Table
from worker.tokenizers.framing import FIRST, LAST, SPECIALS, UNKNOWN, framed

#: Rows that are read at once.
_ROWS = 4096
#: From this share of unknown tokens on there is a warning.
_MANY_UNKNOWN = 0.2
_SHOWN_TOKENS = 100

Tokenize = Callable[[str], Iterator[int]]


@dataclass
class _Encoder:
    """Texts to ids, and what is to be told of them. lengths (in tokens): how often each is met."""

    tokenize: Tokenize
    vocabulary: Vocabulary
    length: int
    lengths: Counter[int] = field(default_factory=Counter)
    num_cut: int = 0
    num_unknown: int = 0

    def __call__(self, texts: Sequence[str]) -> NDArray[np.int32]:
        """(n, length), filled up with 0."""
        ids, out = self.vocabulary.ids, np.zeros((len(texts), self.length), np.int32)
        unknown = ids[UNKNOWN]
        for row, text in enumerate(texts):
            found = list(islice(self.tokenize(text), self.length - 1))  # one more than there is room for
            self.num_cut += len(found) > self.length - 2
            whole = framed(found, ids[FIRST], ids[LAST], self.length)
            self.num_unknown += whole.count(unknown)
            self.lengths[len(whole)] += 1
            out[row, : len(whole)] = whole
        return out


def convert(table: Table, given: Vocabulary | None, case: Case, target: Path) -> DatasetMeta:
    """Writes `target`. Raises: Rejected where columns, classes, the vocabulary or too many bad rows forbid it."""
    text, label = _roles(table, case)
    told = f"the target is column {label!r}" if label is not None else "there is no target"
    case.passed("target", f"The texts are in column {text!r}; {told}.")
    rows = table_rows.classification(table, label, case, _empty(table, text, case), f"column {text!r} holds no text")
    vocabulary = settle(given, _training(table, text, rows), case)
    encoder = _Encoder(_tokenizer(vocabulary, case), vocabulary, case.spec.text.max_length)
    x = _trimmed(_encoded(table, text, rows, encoder, case), max(encoder.lengths), case)
    tensors: dict[str, RawTensor | NDArray[np.generic]] = {"y": rows.y, "x": x, "split": rows.split}
    if vocabulary.size == len(vocabulary.tokens):
        tensors["vocabulary"] = vocabulary.as_bytes
    write_tensors(target, tensors)
    name_first_rows(np.flatnonzero(rows.keep), case, table.row_name)
    facts = TextFacts(tokenizer=case.spec.text.tokenizer, vocabulary=vocabulary.size, length=x.shape[1], column=text)
    _describe(facts, encoder, case)
    return DatasetMeta(
        task="text_classification",
        counts=count_splits(rows.split, case),
        labelled=count_labelled(rows.split, rows.has_label, case),
        input_shape=(vocabulary.size, x.shape[1]),
        num_outputs=len(rows.classes),
        classes=rows.classes,
        text=facts,
    )


def _roles(table: Table, case: Case) -> tuple[str, str | None]:
    """(the column of texts, the target); no target where no row has a label.

    Raises: Rejected where the spec names a column that is not there, or one for both.
    """
    named, options, by = case.spec.text.column, case.spec.table, case.spec.split.column
    table_rows.check_named(table, case, {"/text/column": named})
    if named is not None and named in (options.target, by, *options.ignore):
        raise Rejected.at("/text/column", f"Column {named!r} cannot be the text and something else.", code="columns")
    aside = {*options.ignore, by, table.index if table.index not in (named, options.target) else None}
    rest = [name for name in table.columns if name not in aside]
    text = named or _longest_winded(table, [name for name in rest if name != options.target], case)
    others = [name for name in rest if name != text]
    if case.spec.labels == "none":
        return text, None
    if not others:
        raise Rejected("The table needs a target beside the column of texts.", code="columns")
    last = table.default_target if table.default_target in others else others[-1]
    return text, options.target or last


def _longest_winded(table: Table, names: Sequence[str], case: Case) -> str:
    """The column of the longest texts, by the first rows."""
    first = next(iter(table.batches(names)), None) if names else None
    if names and first is None:
        case.judge_bad_rows(0)  # which says why no row is left to look at
    lengths = {
        name: pc.mean(pc.fill_null(pc.utf8_length(_plain(array, name, case)), 0)).as_py() or 0.0
        for name, array in zip(names, first.columns if first is not None else [], strict=True)
        if is_text(array)
    }
    if not lengths:
        raise Rejected.at("/text/column", "No column holds texts. Name the one in text.column.", code="columns")
    return max(lengths, key=lambda name: lengths[name])


def _plain(array: Array, name: str, case: Case) -> Array:
    """Texts without blanks around them. Raises: Rejected for one that is too long, and for cells that are no text."""
    if not is_text(array):
        raise Rejected.at("/text/column", f"Column {name!r} holds {array.type}, not text.", code="columns")
    text = pc.utf8_trim_whitespace(pc.cast(array, pa.large_string()))
    longest, limit = pc.max(pc.binary_length(text)).as_py() or 0, case.limits.max_cell_bytes
    if longest > limit:
        raise Rejected(
            f"Column {name!r} has a text of {longest} bytes; the limit is {limit}. Shorten it, or see whether a quote "
            "is never closed.",
            code="too_large",
        )
    return text


def _empty(table: Table, name: str, case: Case) -> NDArray[np.bool_]:
    """Rows (N,) without a text."""
    empty = [
        ~np.asarray(pc.fill_null(pc.greater(pc.binary_length(_plain(batch.column(0), name, case)), 0), False))
        for batch in table.batches([name])
    ]
    return np.concatenate([np.zeros(0, np.bool_), *empty])


def _texts(table: Table, name: str, rows: Rows) -> Iterator[tuple[list[str], slice]]:
    """Texts of the rows that count, some at a time, and which of those they are."""
    for batch, places in table_rows.kept(table, [name], rows, _ROWS):
        yield [text.strip() for text in pc.cast(batch.column(0), pa.large_string()).to_pylist()], places


def _training(table: Table, name: str, rows: Rows) -> Iterator[list[str]]:
    for texts, places in _texts(table, name, rows):
        trains = rows.split[places] == TRAIN
        yield [text for text, is_train in zip(texts, trains, strict=True) if is_train]


def _tokenizer(vocabulary: Vocabulary, case: Case) -> Tokenize:
    """The tokenizer of the spec, which stops where no more can be used."""
    spec = case.spec.text
    module = import_module(f"worker.tokenizers.{spec.tokenizer.type}")
    how: Mapping[str, bool] = spec.tokenizer.how()
    ids, wanted = vocabulary.ids, spec.max_length - 1
    return lambda text: module.tokenize(text, ids, max_tokens=wanted, **how)


def _encoded(table: Table, name: str, rows: Rows, encoder: _Encoder, case: Case) -> RawTensor:
    """The ids of all rows, as wide as they may be."""
    shape = (len(rows.y), encoder.length)
    if (size := 4 * shape[0] * shape[1]) > case.limits.max_canonical_bytes:
        raise Rejected.at(
            "/text/max_length",
            f"{shape[0]} texts of {shape[1]} tokens make {size} bytes; the limit is {case.limits.max_canonical_bytes}. "
            "Lower text.max_length.",
            code="too_large",
        )
    raw = case.new_scratch(".x")
    with raw.open("wb") as out:
        for texts, _ in _texts(table, name, rows):
            out.write(encoder(texts).data)
    return RawTensor(raw, "int32", shape)


def _trimmed(x: RawTensor, length: int, case: Case) -> RawTensor:
    """The same as wide as the longest text needs."""
    if length == x.shape[1]:
        return x
    raw, wide = case.new_scratch(".x"), np.memmap(x.path, np.int32, "r", shape=x.shape)
    with raw.open("wb") as out:
        for start in range(0, x.shape[0], _ROWS):
            out.write(np.ascontiguousarray(wide[start : start + _ROWS, :length]).data)
    return RawTensor(raw, "int32", (x.shape[0], length))


def _describe(facts: TextFacts, encoder: _Encoder, case: Case) -> None:
    num_texts = encoder.lengths.total()
    num_tokens = sum(length * count for length, count in encoder.lengths.items())
    unknown = encoder.num_unknown / num_tokens
    case.facts["text"] = {
        **facts.model_dump(mode="json"),
        "ids": {special: encoder.vocabulary.ids[special] for special in SPECIALS},
        "tokens": list(encoder.vocabulary.tokens[:_SHOWN_TOKENS]),
        "mean_length": num_tokens / num_texts,
        "cut": encoder.num_cut,
        "unknown": unknown,
    }
    if encoder.num_cut:
        case.warned(
            "text_cut",
            f"{encoder.num_cut} of {num_texts} texts have more than {encoder.length} tokens and are cut off. Raise "
            "text.max_length if their ends matter.",
        )
    if unknown > _MANY_UNKNOWN:
        case.warned(
            "unknown_tokens",
            f"{unknown:.1%} of the tokens are {UNKNOWN}: the vocabulary is too small for these texts, or of another "
            "language or case.",
        )
