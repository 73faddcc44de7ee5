"""A table of texts to token ids: which columns, which vocabulary, what is cut off, and what is refused."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.worker.readers.uploads import DATA, Ready, accept, refuse, tarred, zipped
from worker.readers.base.limits import LIMITS

TASK = "text_classification"
MARKS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
HEAVY, LIGHT = "a heavy stone falls fast", "the light feather floats"
Row = Sequence[str]


def table(rows: Sequence[Row], header: Row = ("text", "label")) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerows([header, *rows])
    return out.getvalue().encode()


def rows(num: int = 20) -> list[Row]:
    return [(HEAVY, "down") if i % 2 else (LIGHT, "up") for i in range(num)]


def words(ready: Ready, row: int) -> list[str]:
    """The tokens of a row, without padding."""
    return [ready.vocabulary[place] for place in ready.x[row] if place]


def vocabulary(*tokens: str, marks: Row = MARKS) -> bytes:
    return "".join(f"{token}\n" for token in (*marks, *tokens)).encode()


def packed(vocab: bytes, content: bytes | None = None) -> bytes:
    return zipped({"set/rows.csv": table(rows()) if content is None else content, "set/Vocab.TXT": vocab})


def wordpiece(**how: Any) -> dict[str, Any]:
    return {"tokenizer": {"type": "wordpiece", **how}}


def test_a_text_is_its_words_between_two_marks_filled_up_with_zeros(tmp_path: Path) -> None:
    ready = accept(tmp_path, table(rows()), TASK)
    assert ready.x.dtype == np.int32
    assert ready.x.shape == (20, 7)
    assert words(ready, 1) == ["[CLS]", *HEAVY.split(), "[SEP]"]
    assert words(ready, 0) == ["[CLS]", *LIGHT.split(), "[SEP]"]
    assert ready.x[0, -1] == 0
    assert ready.vocabulary[:4] == MARKS
    assert ready.meta.input_shape == (len(ready.vocabulary), 7)
    assert ready.meta.classes == ["down", "up"]
    assert ready.meta.text is not None
    assert (ready.meta.text.column, ready.meta.text.vocabulary, ready.meta.text.length) == ("text", 13, 7)
    said = ready.report["text"]
    assert said["ids"] == {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3}
    assert (said["cut"], said["unknown"], said["mean_length"]) == (0, 0.0, 6.5)


def test_the_vocabulary_is_that_of_the_training_rows_the_commonest_first(tmp_path: Path) -> None:
    found = [(f"b b a a c {i % 2}", "x" if i % 2 else "y", "train") for i in range(10)]
    found += [("b late late late", "x", "val"), ("late c", "y", "test")]
    content = table(found, ("text", "label", "part"))
    ready = accept(tmp_path / "all", content, TASK, split={"column": "part"}, table={"target": "label"})
    assert ready.vocabulary == (*MARKS, "a", "b", "c", "0", "1")  # equal ones by code point
    assert words(ready, 10) == ["[CLS]", "b", "[UNK]", "[UNK]", "[UNK]", "[SEP]"]
    options = {"tokenizer": {"type": "words", "min_count": 6, "size": 16}}
    few = accept(tmp_path / "few", content, TASK, split={"column": "part"}, table={"target": "label"}, text=options)
    assert few.vocabulary == (*MARKS, "a", "b", "c")
    assert "unknown_tokens" not in few.warnings()


def test_what_is_too_long_loses_its_end_and_is_told(tmp_path: Path) -> None:
    found = [("one two three four five", "a"), ("one two", "b")] * 10
    ready = accept(tmp_path, table(found), TASK, text={"max_length": 5})
    assert words(ready, 0) == ["[CLS]", "one", "two", "three", "[SEP]"]
    assert words(ready, 1) == ["[CLS]", "one", "two", "[SEP]"]
    assert ready.report["text"]["cut"] == 10
    assert "10 of 20 texts have more than 5 tokens" in ready.warnings()["text_cut"]
    whole = accept(tmp_path / "exact", table(found), TASK, text={"max_length": 7})
    assert whole.x.shape[1] == 7
    assert whole.report["text"]["cut"] == 0


@pytest.mark.parametrize(
    ("header", "order", "spec", "expected"),
    [
        (("text", "label"), (0, 1), {}, "text"),
        (("label", "text"), (1, 0), {}, "text"),
        (("label", "words", "note"), (1, 0, 2), {"table": {"target": "label"}}, "words"),
        (("words", "note", "label"), (0, 2, 1), {"text": {"column": "words"}}, "words"),
        (("label", "note", "words"), (1, 2, 0), {"table": {"ignore": ["note"]}}, "words"),
    ],
)
def test_the_texts_are_the_longest_column_and_the_target_the_last_of_the_rest(
    tmp_path: Path, header: Row, order: Sequence[int], spec: dict[str, Any], expected: str
) -> None:
    found = [tuple((*row, f"n{i % 3}")[place] for place in order) for i, row in enumerate(rows())]
    ready = accept(tmp_path, table(found, header), TASK, **spec)
    assert ready.meta.text is not None
    assert ready.meta.text.column == expected
    assert ready.meta.classes == ["down", "up"]


def test_cells_are_texts_as_they_stand(tmp_path: Path) -> None:
    strange = ["NA", "=cmd|' /C calc'!A0", "\u202eevil", "3.5", " blank ", "two\nlines", 'a "quote", a comma', "null"]
    found = [(text, "ab"[place % 2]) for place, text in enumerate(strange)] * 3
    ready = accept(tmp_path, table(found), TASK, text={"tokenizer": {"type": "bytes"}})
    for place, text in enumerate(strange):
        ids = [found for found in ready.x[place] if found]
        assert (ids[0], ids[-1]) == (2, 3)
        assert bytes(found - 4 for found in ids[1:-1]).decode() == text.strip()
    assert ready.vocabulary == ()
    assert ready.meta.input_shape[0] == 260


def test_a_row_without_a_text_is_a_bad_row(tmp_path: Path) -> None:
    content = table([*rows(200), ("  ", "up")])
    ready = accept(tmp_path / "few", content, TASK)
    assert ready.report["bad_rows"]["listed"] == [
        {"name": "mine.dat, line 202", "reason": "column 'text' holds no text"}
    ]
    assert len(ready.x) == 200
    many = refuse(tmp_path / "many", table([*rows(20), *[("", "up")] * 5]), TASK)
    assert (many.code, many.pointers) == ("bad_rows", ["/max_bad_share"])


@pytest.mark.parametrize(
    ("content", "code", "why"),
    [
        (table([]), "empty", "no rows"),
        (table([]) + b"three,cells,here\n" * 3, "bad_rows", "3 of 3 rows"),
    ],
)
@pytest.mark.parametrize("spec", [{}, {"text": {"column": "text"}}])
def test_without_a_row_there_is_nothing_to_choose_a_column_by(
    tmp_path: Path, content: bytes, code: str, why: str, spec: dict[str, Any]
) -> None:
    refused = refuse(tmp_path, content, TASK, **spec)
    assert refused.code == code
    assert why in refused.detail


def test_rows_may_lack_labels(tmp_path: Path) -> None:
    some = accept(tmp_path / "some", table([*rows(), (HEAVY, ""), (LIGHT, "?")]), TASK, labels="partial")
    assert some.y.tolist()[-2:] == [-1, -1]
    bare = table([("1", HEAVY), ("2", LIGHT)] * 9, ("id", "text"))
    none = accept(tmp_path / "none", bare, TASK, labels="none", classes=["a", "b"])
    assert set(none.y.tolist()) == {-1}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_encodings_are_those_of_tables(tmp_path: Path, encoding: str) -> None:
    content = table([("caf\u00e9 na\u00efve", "a"), ("plain text", "b")] * 10).decode().encode(encoding)
    ready = accept(tmp_path, content, TASK)
    assert words(ready, 0) == ["[CLS]", "caf\u00e9", "na\u00efve", "[SEP]"]


def test_parquet_gives_the_same_as_a_file_of_text(tmp_path: Path) -> None:
    found = rows()
    columns = {"n": list(range(20)), "text": [row[0] for row in found], "label": [row[1] for row in found]}
    out = io.BytesIO()
    parquet.write_table(pa.table(columns), out)
    ready, other = accept(tmp_path / "a", out.getvalue(), TASK), accept(tmp_path / "b", table(found), TASK)
    assert np.array_equal(ready.x, other.x)
    assert ready.vocabulary == other.vocabulary
    assert ready.meta.classes == other.meta.classes


def test_a_vocabulary_comes_with_the_table(tmp_path: Path) -> None:
    tokens = ("heavy", "st", "##one", "light", "fall", "##s", "a", "the")
    ready = accept(tmp_path / "pieces", packed(vocabulary(*tokens)), TASK, text=wordpiece())
    assert words(ready, 1) == ["[CLS]", "a", "heavy", "st", "##one", "fall", "##s", "[UNK]", "[SEP]"]
    assert ready.vocabulary == (*MARKS, *tokens)
    assert ready.report["ignored"]["count"] == 0
    whole = accept(tmp_path / "words", packed(vocabulary("light", "heavy").replace(b"\n", b"\r\n")), TASK)
    assert words(whole, 0) == ["[CLS]", "[UNK]", "light", "[UNK]", "[UNK]", "[SEP]"]
    assert "of the tokens are [UNK]" in whole.warnings()["unknown_tokens"]
    unused = accept(tmp_path / "bytes", packed(vocabulary()), TASK, text={"tokenizer": {"type": "bytes"}})
    assert unused.report["ignored"]["listed"][0]["name"] == "set/Vocab.TXT"


def test_case_and_accents_count_where_the_vocabulary_has_them(tmp_path: Path) -> None:
    content = table([("\u00c9t\u00e9 chaud", "a"), ("ete chaud", "b")] * 10)
    vocab = vocabulary("\u00c9t\u00e9", "ete", "chaud")
    cased = accept(tmp_path / "cased", packed(vocab, content), TASK, text=wordpiece(lower_case=False))
    plain = accept(tmp_path / "uncased", packed(vocab, content), TASK, text=wordpiece())
    assert words(cased, 0)[1] == "\u00c9t\u00e9"
    assert words(plain, 0)[1] == words(plain, 1)[1] == "ete"


@pytest.mark.parametrize(
    ("vocab", "why"),
    [
        (vocabulary(marks=MARKS[:3]), r"it has no \[SEP\]"),
        (vocabulary(marks=("first", *MARKS)), r"\[PAD\] is in line 2"),
        (vocabulary("a", "b", "a"), "line 7 repeats line 5: 'a'"),
        (vocabulary("a", "", "b"), "line 6 is empty"),
        (vocabulary("a b"), "line 5 holds a blank"),
        (vocabulary("a\x00b"), "line 5 holds a blank or a control character"),
        (vocabulary("x" * 200), "line 5 has 200 characters"),
        (vocabulary() + b"\xff\xfe\n", "it is no UTF-8 at byte 24"),
        (b"", "line 1 is empty"),
        (vocabulary(*(f"w{i}" for i in range(60))), "it has 64 lines; the limit is 50"),
    ],
)
def test_a_vocabulary_is_read_strictly(tmp_path: Path, vocab: bytes, why: str) -> None:
    limits = replace(LIMITS, max_vocabulary=50)
    refused = refuse(tmp_path, packed(vocab), TASK, limits, text=wordpiece())
    assert (refused.code, refused.pointers) == ("vocabulary", ["/text/tokenizer"])
    assert re.search(why, refused.detail), refused.detail


def test_one_vocabulary_is_needed_and_no_more(tmp_path: Path) -> None:
    none = refuse(tmp_path / "none", table(rows()), TASK, text=wordpiece())
    assert (none.code, none.pointers) == ("vocabulary", ["/text/tokenizer"])
    assert "pack a file vocab.txt" in none.detail
    two = zipped({"rows.csv": table(rows()), "a/vocab.txt": vocabulary(), "b/vocab.txt": vocabulary()})
    assert refuse(tmp_path / "two", two, TASK, text=wordpiece()).code == "vocabulary"
    large = refuse(tmp_path / "large", packed(vocabulary()), TASK, replace(LIMITS, max_vocabulary_bytes=9))
    assert large.code == "too_large"
    rare = refuse(tmp_path / "rare", table(rows()), TASK, text={"tokenizer": {"type": "words", "min_count": 99}})
    assert (rare.code, rare.pointers) == ("vocabulary", ["/text/tokenizer/min_count"])


def test_words_are_counted_in_bounded_memory(tmp_path: Path) -> None:
    found = [(f"common {i} {i + 1000}", "ab"[i % 2]) for i in range(5000)]
    ready = accept(tmp_path, table(found), TASK, replace(LIMITS, max_counted_words=500))
    assert ready.vocabulary[4] == "common"
    assert "counts of rare ones are not exact" in ready.warnings()["vocabulary"]


@pytest.mark.parametrize(
    ("content", "spec", "code", "pointers"),
    [
        (table(rows()), {"text": {"column": "body"}}, "columns", ["/text/column"]),
        (table(rows()), {"text": {"column": "text"}, "table": {"target": "text"}}, "columns", ["/text/column"]),
        (table(rows()), {"table": {"target": "class"}}, "columns", ["/table/target"]),
        (table(rows()), {"table": {"ignore": ["label"]}}, "columns", []),
        (table([("x" * 70_000, "a"), (HEAVY, "b")] * 9), {}, "too_large", []),
        (table(rows(400)) + b"a st\0ne,up\n", {}, "encoding", []),
        (table([(HEAVY, "a")] * 20), {}, "classes", []),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_field(
    tmp_path: Path, content: bytes, spec: dict[str, Any], code: str, pointers: list[str]
) -> None:
    refused = refuse(tmp_path, content, TASK, **spec)
    assert (refused.code, refused.pointers) == (code, pointers), refused.detail


def test_numbers_are_no_texts_and_ids_have_a_limit(tmp_path: Path) -> None:
    out = io.BytesIO()
    parquet.write_table(pa.table({"n": list(range(20)), "label": ["a", "b"] * 10}), out)
    named = refuse(tmp_path / "named", out.getvalue(), TASK, text={"column": "n"})
    assert "holds int64, not text" in named.detail
    assert refuse(tmp_path / "none", out.getvalue(), TASK, table={"target": "label"}).pointers == ["/text/column"]
    large = refuse(tmp_path / "large", table(rows()), TASK, replace(LIMITS, max_canonical_bytes=1000))
    assert (large.code, large.pointers) == ("too_large", ["/text/max_length"])


def test_options_of_texts_mean_nothing_elsewhere(tmp_path: Path) -> None:
    content = "a,b,y\n" + "".join(f"{i},{i % 5},{i % 2}\n" for i in range(40))
    ready = accept(tmp_path, content.encode(), "tabular_classification", text={"max_length": 9})
    assert "`text`" in ready.warnings()["unused"]


def folders(num: int = 10, top: str = "") -> dict[str, bytes]:
    return {f"{top}{name}/{i}.txt": f"{text} {i}\n".encode() for name, text in (("up", LIGHT), ("down", HEAVY))
            for i in range(num)}  # fmt: skip


def test_class_folders_of_text_files_are_a_table_too(tmp_path: Path) -> None:
    files = {f"news/{name}": content for name, content in folders().items()}
    files |= {"news/vocab.txt": vocabulary("heavy", "light"), "news/README": b"what it is", "news/up/Thumbs.db": b"x"}
    ready = accept(tmp_path / "zip", zipped(files), TASK)
    assert ready.report["format"] == "class folders of text"
    assert ready.report["first_rows"][:2] == ["news/down/0.txt", "news/down/1.txt"]
    assert words(ready, 0) == ["[CLS]", "[UNK]", "heavy", *["[UNK]"] * 4, "[SEP]"]
    assert ready.meta.classes == ["down", "up"]
    assert ready.y.tolist() == [0] * 10 + [1] * 10
    same = accept(tmp_path / "tar", tarred(files, "gz"), TASK)
    assert np.array_equal(same.x, ready.x)
    assert ready.report["ignored"]["listed"][0]["name"] == "news/README"


def test_folders_may_name_splits_and_hold_texts_without_a_label(tmp_path: Path) -> None:
    files = folders(8, "train/") | folders(2, "test/")
    ready = accept(tmp_path / "splits", zipped(files), TASK)
    assert ready.meta.counts == {"train": 14, "val": 2, "test": 4}
    some = accept(tmp_path / "some", zipped(files | {"train/unlabelled/a.txt": b"who knows"}), TASK, labels="partial")
    assert (some.y == -1).sum() == 1


def test_a_file_that_is_no_text_is_a_bad_row(tmp_path: Path) -> None:
    files = folders(100) | {"up/x.txt": b"a\0b", "down/y.txt": b" \n", "up/caf.txt": "caf\u00e9".encode("cp1252")}
    ready = accept(tmp_path / "bad", zipped(files), TASK, text={"tokenizer": {"type": "bytes"}})
    assert [each["name"] for each in ready.report["bad_rows"]["listed"]] == ["down/y.txt", "up/x.txt"]
    assert bytes(int(found) - 4 for found in ready.x[-1] if found > 3).decode() == "caf\u00e9"
    assert refuse(tmp_path / "large", zipped(files | {"up/l.txt": b"x" * 70_000}), TASK).code == "too_large"
    assert refuse(tmp_path / "case", zipped(folders(2) | folders(2, "UP/x/")), TASK).code in {"classes", "class_case"}


def test_tables_that_are_called_txt_stay_tables(tmp_path: Path) -> None:
    files = {"set/train.txt": table(rows()), "set/test.txt": table(rows(6))}
    ready = accept(tmp_path, zipped(files), TASK)
    assert ready.report["format"] == "csv"
    assert ready.meta.counts["test"] == 6


@pytest.mark.skipif(not (DATA / "ag-news").is_dir(), reason="shared/data/ag-news is not there")
def test_news_are_read_by_default(tmp_path: Path) -> None:
    ready = accept(tmp_path, DATA / "ag-news" / "train_subset.csv.gz", TASK)
    assert ready.meta.counts == {"train": 3999, "val": 500, "test": 500}
    assert ready.meta.text is not None
    assert ready.meta.text.column == "text"
    assert ready.meta.classes == ["0", "1", "2", "3"]
    assert 0.02 < ready.report["text"]["unknown"] < 0.06
