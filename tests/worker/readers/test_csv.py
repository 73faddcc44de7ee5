"""Tables of text in every spelling that people export."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.worker.readers.uploads import CLASSES, VALUES, accept, refuse, tarred, zipped
from worker.readers.base.limits import Limits

ROWS = [(place, "red" if place % 3 else "blue", "yes" if place % 2 else "no") for place in range(60)]


def table(delimiter: str = ",", header: bool = True, end: str = "\n") -> str:
    lines = [f"size{delimiter}colour{delimiter}bought"] if header else []
    lines += [delimiter.join(map(str, row)) for row in ROWS]
    return end.join(lines) + end


def check(ready: object) -> None:
    """The table above came through whole."""
    x, y = ready.x, ready.y  # type: ignore[attr-defined]
    size = np.arange(60)
    train = size[ready.split == 0]  # type: ignore[attr-defined]
    assert y.tolist() == [place % 2 for place in range(60)]
    assert np.allclose(x[:, 0], (size - train.mean()) / train.std(), atol=1e-6)
    assert np.array_equal(x[:, 1:], np.array([[place % 3 == 0, place % 3 != 0] for place in range(60)]))


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_delimiters_and_line_ends(tmp_path: Path, delimiter: str, end: str) -> None:
    ready = accept(tmp_path / "x", table(delimiter, end=end).encode(), CLASSES)
    check(ready)
    [source] = ready.report["source"]
    assert (source["delimiter"], source["header"], source["rows"]) == (delimiter, True, 60)
    assert ready.meta.classes == ["no", "yes"]
    assert [column.name for column in ready.meta.columns] == ["size", "colour"]


def test_another_delimiter_is_taken_at_its_word(tmp_path: Path) -> None:
    check(accept(tmp_path / "x", table("~").encode(), CLASSES, table={"delimiter": "~"}))
    refused = refuse(tmp_path / "y", table("~").encode(), CLASSES)
    assert (refused.code, refused.pointers) == ("delimiter", ["/table/delimiter"])


def test_without_a_header(tmp_path: Path) -> None:
    ready = accept(tmp_path / "x", table(header=False).encode(), CLASSES)
    check(ready)
    assert [column.name for column in ready.meta.columns] == ["c0", "c1"]


def test_a_header_may_be_stated(tmp_path: Path) -> None:
    words = "a,b,c\n" + "".join(f"{'xy'[place % 2]},{'uv'[place % 3 > 0]},{'pq'[place % 2]}\n" for place in range(60))
    assert len(accept(tmp_path / "a", words.encode(), CLASSES).y) == 60
    assert accept(tmp_path / "b", words.encode(), CLASSES, table={"header": "no"}).meta.classes == ["c", "p", "q"]
    numbers = "1,2,3\n" + "".join(f"{place},{place * place},{place % 2}\n" for place in range(60))
    assert len(accept(tmp_path / "c", numbers.encode(), CLASSES, table={"header": "yes"}).y) == 60


def test_words_without_a_header_are_rows(tmp_path: Path) -> None:
    words = "".join(f"{'xy'[place % 2]},{'uv'[place % 3 > 0]},{'pq'[place % 2]}\n" for place in range(60))
    ready = accept(tmp_path / "x", words.encode(), CLASSES)
    assert len(ready.y) == 60
    assert not ready.report["source"][0]["header"]


@pytest.mark.parametrize(
    ("codec", "named"),
    [
        ("utf-8", "utf-8"),
        ("utf-8-sig", "utf-8 with a byte order mark"),
        ("utf-16", "utf-16"),
        ("utf-16-le", "utf-16-le"),
        ("utf-16-be", "utf-16-be"),
        ("utf-32", "utf-32"),
        ("cp1252", "windows-1252"),
    ],
)
def test_encodings(tmp_path: Path, codec: str, named: str) -> None:
    text = "preis €,größe,ja\n" + "".join(
        f"{place},gr{'ö' if place % 2 else 'o'}ß,{place % 2}\n" for place in range(60)
    )
    ready = accept(tmp_path / "x", text.encode(codec), CLASSES)
    assert ready.report["source"][0]["encoding"] == named
    assert [column.name for column in ready.meta.columns] == ["preis €", "größe"]
    assert ready.meta.columns[1].categories == ["groß", "größ"]


def test_lines_of_two_encodings(tmp_path: Path) -> None:
    lines = [f"{place},größe,{place % 2}\n" for place in range(60)]
    mixed = b"".join(line.encode("utf-8" if place % 3 else "cp1252") for place, line in enumerate(lines))
    ready = accept(tmp_path / "x", b"a,b,c\n" + mixed, CLASSES, table={"categorical": ["b"]})
    assert "c0" not in ready.report
    assert "mixes UTF-8" in ready.warnings()["encoding"]
    assert ready.column("b")["reason"].startswith("it has one value")


def test_compressed_and_in_archives(tmp_path: Path) -> None:
    text = table().encode()
    check(accept(tmp_path / "gz", gzip.compress(text), CLASSES))
    check(accept(tmp_path / "zip", zipped({"data.csv": text, "README.md": b"# about"}), CLASSES))
    check(accept(tmp_path / "tar", tarred({"x/data.csv.gz": gzip.compress(text)}, "xz"), CLASSES))


def test_files_of_splits(tmp_path: Path) -> None:
    lines = table().splitlines(keepends=True)
    parts = {
        "train.csv": "".join(lines[:41]),
        "my-valid.csv": lines[0] + "".join(lines[41:51]),
        "test.csv": lines[0] + "".join(lines[51:]),
        "sample_submission.csv": "id,bought\n1,yes\n",
    }
    ready = accept(tmp_path / "x", zipped({name: text.encode() for name, text in parts.items()}), CLASSES)
    check(ready)
    assert ready.meta.counts == {"train": 40, "val": 10, "test": 10}
    assert [line["name"] for line in ready.report["ignored"]["listed"]] == ["sample_submission.csv"]


def test_columns_of_a_later_file_go_by_name(tmp_path: Path) -> None:
    swapped = "bought,size,colour\n" + "".join(f"{c},{a},{b}\n" for a, b, c in ROWS[50:])
    files = {"train.csv": "\n".join(table().splitlines()[:51]).encode(), "test.csv": swapped.encode()}
    check(accept(tmp_path / "x", zipped(files), CLASSES))


def test_a_file_without_the_target_is_refused(tmp_path: Path) -> None:
    blind = "size,colour\n" + "".join(f"{a},{b}\n" for a, b, _ in ROWS)
    refused = refuse(tmp_path / "x", zipped({"train.csv": table().encode(), "test.csv": blind.encode()}), CLASSES)
    assert refused.code == "columns"
    assert "test.csv has no column bought" in refused.detail


def test_several_tables_that_say_nothing_of_splits_are_refused(tmp_path: Path) -> None:
    refused = refuse(tmp_path / "x", zipped({"a.csv": table().encode(), "b.csv": table().encode()}), CLASSES)
    assert refused.code == "layout"


def test_uci_spelling(tmp_path: Path) -> None:
    rows = [f"{place}, Some-{place % 3}, {'?' if place % 5 == 0 else 'x'}, >{place % 2}K\n" for place in range(60)]
    test = ["|1x3 Cross validator\n", *(row.replace("K\n", "K.\n") for row in rows[:12]), "\n"]
    files = {"toy.data": "".join(rows).encode(), "toy.test": "".join(test).encode(), "toy.names": b"about\nthis\n"}
    ready = accept(tmp_path / "x", zipped(files), CLASSES, max_bad_share=0.05)
    assert ready.meta.classes == [">0K", ">1K"]
    assert ready.meta.counts == {"train": 54, "val": 6, "test": 12}
    assert ready.meta.columns[1].categories == ["Some-0", "Some-1", "Some-2"]
    assert ready.column("c2")["missing"] == sum(place % 5 == 0 and ready.split[place] == 0 for place in range(60))
    assert "taken off" in ready.warnings()["label_dots"]
    assert ready.report["bad_rows"]["listed"] == [{"name": "toy.test, line 1", "reason": "1 cells where 4 are wanted"}]


def test_a_dot_that_tells_labels_apart_stays(tmp_path: Path) -> None:
    text = "a,b\n" + "".join(f"{place},{'x.' if place % 2 else 'x'}\n" for place in range(60))
    assert accept(tmp_path / "x", text.encode(), CLASSES).meta.classes == ["x", "x."]


def test_quotes(tmp_path: Path) -> None:
    text = 'a,"b, c",y\n' + "".join(f'{place},"one, ""two""\nthree{place % 2}",{place % 2}\n' for place in range(60))
    ready = accept(tmp_path / "x", text.encode(), CLASSES)
    assert ready.meta.columns[1].name == "b, c"
    assert ready.meta.columns[1].categories == ['one, "two"\nthree0', 'one, "two"\nthree1']


def test_quotes_after_blanks(tmp_path: Path) -> None:
    text = "a, b, y\n" + "".join(f'{place}, "x, {place % 2}", {place % 2}\n' for place in range(60))
    ready = accept(tmp_path / "x", text.encode(), CLASSES)
    assert ready.meta.columns[1].categories == ["x, 0", "x, 1"]


def test_a_quote_that_is_never_closed(tmp_path: Path) -> None:
    text = table().replace("5,red", '5,"red', 1)
    refused = refuse(tmp_path / "x", text.encode(), CLASSES)
    assert refused.code in ("csv", "bad_rows")


def test_lines_of_another_length_are_bad_rows_with_their_number(tmp_path: Path) -> None:
    lines = (table() + table(header=False) * 9).splitlines()
    lines.insert(4, "1,2,3,4")
    lines.insert(9, "1")
    lines[20] = "5,red,?"
    ready = accept(tmp_path / "x", "\n".join(lines).encode(), CLASSES)
    assert ready.report["bad_rows"]["listed"] == [
        {"name": "mine.dat, line 5", "reason": "4 cells where 3 are wanted"},
        {"name": "mine.dat, line 10", "reason": "1 cells where 3 are wanted"},
        {"name": "mine.dat, line 21", "reason": "target 'bought' is missing (labels `partial` keeps such rows)"},
    ]
    assert len(ready.y) == 599


def test_formulas_are_text(tmp_path: Path) -> None:
    text = "a,b,y\n" + "".join(
        f"{place},{'=cmd|calc' if place % 2 else '@SUM(A1)'},+{place % 2}\n" for place in range(60)
    )
    ready = accept(tmp_path / "x", text.encode(), CLASSES)
    assert ready.meta.columns[1].categories == ["=cmd|calc", "@SUM(A1)"]
    assert ready.meta.classes == ["0", "1"]


def test_names_of_columns_are_made_unique(tmp_path: Path) -> None:
    text = "a, a ,,y\n" + "".join(f"{place},{place * 2},{place * 3},{place % 2}\n" for place in range(60))
    ready = accept(tmp_path / "x", text.encode(), CLASSES)
    assert [column.name for column in ready.meta.columns] == ["a", "a.1", "c2"]


@pytest.mark.parametrize("name", ["", "Unnamed: 0"])
def test_row_numbers_are_no_feature(tmp_path: Path, name: str) -> None:
    text = f"{name},a,y\n" + "".join(f"{place},{place % 7},{place % 2}\n" for place in range(60))
    ready = accept(tmp_path / "x", text.encode(), CLASSES)
    assert [column.name for column in ready.meta.columns] == ["a"]
    assert "index_column" in ready.warnings()


def test_the_target_is_named_or_the_last(tmp_path: Path) -> None:
    ready = accept(tmp_path / "x", table().encode(), CLASSES, table={"target": "colour"})
    assert ready.meta.classes == ["blue", "red"]
    refused = refuse(tmp_path / "y", table().encode(), CLASSES, table={"target": "price"})
    assert (refused.code, refused.pointers) == ("columns", ["/table/target"])
    assert "size, colour, bought" in refused.detail


@pytest.mark.parametrize(
    ("spec", "pointer"),
    [
        ({"split": {"column": "part"}}, "/split/column"),
        ({"table": {"ignore": ["size", "weight"]}}, "/table/ignore/1"),
        ({"table": {"categorical": ["weight"]}}, "/table/categorical/0"),
        ({"table": {"target": "size", "ignore": ["size"]}}, "/table/target"),
    ],
)
def test_columns_that_are_not_there_are_named(tmp_path: Path, spec: dict[str, Any], pointer: str) -> None:
    assert refuse(tmp_path / "x", table().encode(), CLASSES, **spec).pointers == [pointer]


def test_a_column_may_hold_the_split(tmp_path: Path) -> None:
    words = ["train", "Validation", "TEST", "training"]
    text = "a,y,part\n" + "".join(f"{place},{place % 3},{words[place % 4]}\n" for place in range(600)) + "1,1,later\n"
    ready = accept(tmp_path / "x", text.encode(), CLASSES, split={"column": "part"})
    assert ready.split[:8].tolist() == [0, 1, 2, 0] * 2
    assert ready.meta.classes == ["0", "1", "2"]
    assert "'part' is none of train" in ready.report["bad_rows"]["listed"][0]["reason"]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"a,b,y\n", "empty"),
        (b"\n\n\n", "empty"),
        (b"a,b,y\n1,2,\x00\n" * 20, "format"),
        (b"a,b,y\n" + b"1,2,3\n" * 2000 + b"\x001,2,3\n", "encoding"),
        (b"word\n" * 50, "delimiter"),
        (("a,b,y\n1,2,3\n" * 20).encode("utf-16")[:-1], "encoding"),
    ],
)
def test_files_that_hold_no_table(tmp_path: Path, content: bytes, code: str) -> None:
    assert refuse(tmp_path / "x", content, CLASSES).code == code


def test_limits_of_a_table(tmp_path: Path) -> None:
    text = table().encode()
    for limits in (Limits(max_rows=59), Limits(max_columns=2), Limits(max_cell_bytes=2), Limits(max_features=2)):
        assert refuse(tmp_path / "x", text, CLASSES, limits).code == "too_large"
    assert refuse(tmp_path / "x", text, CLASSES, Limits(max_canonical_bytes=700)).code == "too_large"
    accept(tmp_path / "y", text, CLASSES, Limits(max_rows=60, max_columns=3, max_cell_bytes=4, max_features=3))


def test_blocks_do_not_matter(tmp_path: Path) -> None:
    """Rows are worked on some at a time; how many changes nothing."""
    text = table().encode()
    whole = accept(tmp_path / "a", text, CLASSES)
    rows = accept(tmp_path / "b", text, CLASSES, Limits(block_bytes=40))
    assert np.array_equal(whole.x, rows.x)
    check(rows)


def test_a_regression(tmp_path: Path) -> None:
    text = "a,y\n" + "".join(f"{place},{place * 2.5}\n" for place in range(200)) + "1,?\n"
    ready = accept(tmp_path / "x", text.encode(), VALUES)
    assert ready.y.dtype == np.float32
    assert ready.meta.num_outputs == 1
    assert ready.meta.target is not None
    train = np.arange(200)[ready.split == 0] * 2.5
    assert (ready.meta.target.mean, ready.meta.target.std) == pytest.approx((train.mean(), train.std()))
    assert np.allclose(ready.y, (np.arange(200) * 2.5 - train.mean()) / train.std(), atol=1e-6)
    assert sum(ready.report["histogram"]["val"]) == 20


def test_the_name_of_a_lone_file_does_not_matter(tmp_path: Path) -> None:
    check(accept(tmp_path / "x", zipped({"table.json": table().encode()}), CLASSES))
