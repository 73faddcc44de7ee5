"""Tables of texts and their vocabularies: what costs or is none; good ones, odd characters and formulas among them."""

import csv
import io
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from scripts.corpus.archives import zipped
from scripts.corpus.case import TEXTS, Canary, Case, Trap

_MARKS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
_PIECES: Mapping[str, Any] = {**TEXTS, "text": {"tokenizer": {"type": "wordpiece"}}}
_BYTES: Mapping[str, Any] = {**TEXTS, "text": {"tokenizer": {"type": "bytes"}, "max_length": 64}}


def cases(canary: Canary) -> Iterator[Case]:
    """All of this file."""
    for name, (make, spec) in _bad(canary).items():
        yield Case("texts and vocabularies that are none", name, make, "dataset", spec)
    yield from good()


def good() -> Iterator[Case]:
    """What has to be accepted."""
    for name, (make, spec) in _good().items():
        yield Case("good texts", name, make, "dataset", spec, "accepted")


def table(*texts: str, delimiter: str = ",") -> bytes:
    """Twenty rows or more of these texts in turn, of two classes."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter)
    writer.writerow(["text", "label"])
    for i in range(max(20, 4 * len(texts))):
        writer.writerow([texts[i % len(texts)], "ab"[i // len(texts) % 2]])
    return out.getvalue().encode()


def vocabulary(*tokens: str, marks: tuple[str, ...] = _MARKS) -> bytes:
    """A file with a token a line."""
    return "".join(f"{token}\n" for token in (*marks, *tokens)).encode()


def packed(words: bytes) -> bytes:
    """A table beside its vocabulary."""
    return zipped({"rows.csv": table("a heavy stone", "the light feather"), "vocab.txt": words})


def _bad(canary: Canary) -> dict[str, tuple[Callable[[], bytes], Mapping[str, Any]]]:
    vocabularies: dict[str, Callable[[], bytes]] = {
        "without its marks": partial(vocabulary, "heavy", marks=()),
        "with [PAD] in the second line": partial(vocabulary, marks=("heavy", *_MARKS)),
        "with a token twice": partial(vocabulary, "heavy", "light", "heavy"),
        "with an empty line": partial(vocabulary, "heavy", "", "light"),
        "with NUL characters": partial(vocabulary, "he\0avy"),
        "with a blank in a token": partial(vocabulary, "heavy stone"),
        "with an endless token": partial(vocabulary, "x" * 10_000),
        "with invalid UTF-8": lambda: vocabulary() + b"\xff\xfe\x80\n",
        "in UTF-16": lambda: vocabulary("heavy").decode().encode("utf-16"),
        "of a million tokens": lambda: vocabulary(*(f"w{i}" for i in range(1_000_000))),
        "of one line of 9 MiB": lambda: vocabulary() + b"x" * (9 * 2**20),
        "that is a pickle": lambda: Trap(eval, canary.code).pickled,
        "that is empty": lambda: b"",
    }
    made: dict[str, tuple[Callable[[], bytes], Mapping[str, Any]]] = {
        f"a vocabulary {name}": (lambda make=make: packed(make()), _PIECES)  # type: ignore[misc]
        for name, make in vocabularies.items()
    }
    twice = {"rows.csv": table("a", "b"), "a/vocab.txt": vocabulary(), "b/vocab.txt": vocabulary()}
    numbers = {"text": list(range(40)), "label": ["a", "b"] * 20}
    return made | {
        "no vocabulary where one is needed": (partial(table, "a heavy stone", "the light feather"), _PIECES),
        "two vocabularies": (partial(zipped, twice), _PIECES),
        "a text beyond the limit of a cell": (partial(table, "x " * 40_000, "y"), TEXTS),
        "a text with NUL characters": (lambda: table(*["plain text"] * 300) + b"a\0b,a\n", TEXTS),
        "texts that are all empty": (partial(table, "", " "), TEXTS),
        "words that are met once": (partial(table, *(f"w{i}" for i in range(40))), _rare()),
        "a column that is not there": (partial(table, "a", "b"), {**TEXTS, "text": {"column": "body"}}),
        "numbers for texts": (lambda: _parquet(pa.table(numbers)), {**TEXTS, "text": {"column": "text"}}),
        "Parquet with invalid UTF-8 in its texts": (
            lambda: _parquet(pa.table({"text": pa.array([b"\xff\xfe"] * 40).view(pa.string()), "y": ["a", "b"] * 20})),
            TEXTS,
        ),
        "class folders of files that are no text": (
            lambda: zipped({name: b"\0" + content for name, content in _folders().items()}),
            TEXTS,
        ),
        "a class folder without a text": (lambda: zipped({**_folders(), "c/": b""}), TEXTS),
        "a file of text beyond the limit": (lambda: zipped({**_folders(), "a/z.txt": b"x " * 40_000}), TEXTS),
        "a picture": (lambda: b"\x89PNG\r\n\x1a\n" + bytes(64), TEXTS),
    }


def _folders(num: int = 10) -> dict[str, bytes]:
    return {f"{name}/{i}.txt": f"text {i} of {name}".encode() for name in "ab" for i in range(num)}


def _rare() -> Mapping[str, Any]:
    return {**TEXTS, "text": {"tokenizer": {"type": "words", "min_count": 100_000}}}


def _parquet(made: Any) -> bytes:
    out = io.BytesIO()
    parquet.write_table(made, out)
    return out.getvalue()


def _good() -> dict[str, tuple[Callable[[], bytes], Mapping[str, Any]]]:
    plain = partial(table, "a heavy stone falls", "the light feather floats")
    odd = (
        "\u202egnp.exe",
        "a\u200db \U0001f600",
        "e\u0301 \u00e9",
        "=cmd|' /C calc'!A0",
        "NULL",
        '"quoted", with commas',
    )
    rows = {"text": ["a heavy stone", "the light feather"] * 20, "label": ["a", "b"] * 20}
    return {
        "CSV": (plain, TEXTS),
        "TSV": (partial(plain, delimiter="\t"), TEXTS),
        "CSV as bytes": (plain, _BYTES),
        "CSV with a byte order mark": (lambda: b"\xef\xbb\xbf" + plain(), TEXTS),
        "CSV in UTF-16": (lambda: plain().decode().encode("utf-16"), TEXTS),
        "CSV of Windows": (lambda: table("caf\u00e9 na\u00efve", "plain").decode().encode("cp1252"), TEXTS),
        "marks that turn the writing, joiners, formulas": (partial(table, *odd), _BYTES),
        "the same as words": (partial(table, *odd), TEXTS),
        "lines in texts": (partial(table, "one\ntwo\r\nthree", "four"), TEXTS),
        "one word of 60,000 letters": (partial(table, "x" * 60_000, "y"), TEXTS),
        "Parquet": (lambda: _parquet(pa.table(rows)), TEXTS),
        "Parquet with a dictionary": (
            lambda: _parquet(pa.table({**rows, "text": pa.array(rows["text"]).dictionary_encode()})), TEXTS
        ),
        "class folders of text files": (partial(zipped, _folders()), TEXTS),
        "class folders with a file that is none": (
            partial(zipped, _folders(200) | {"a/x.txt": b"a\0b", "a/y.txt": b"\xff\xfe\xff"}), TEXTS
        ),
        "a vocabulary of pieces": (partial(packed, vocabulary("he", "##avy", "stone")), _PIECES),
        "a vocabulary with CR LF": (partial(packed, vocabulary("heavy").replace(b"\n", b"\r\n")), _PIECES),
        "a vocabulary for words": (partial(packed, vocabulary("heavy", "light")), TEXTS),
        "a vocabulary that bytes do not need": (partial(packed, vocabulary()), _BYTES),
    }  # fmt: skip
