"""Tokenizers, by the examples of BERT's published tests (tokenization_test.py) and by what docs/data.md says."""

from pathlib import Path
from typing import Any, get_args

import pytest

import worker.tokenizers
from models.spec import data
from worker.tokenizers import bytes as byte_tokens
from worker.tokenizers import wordpiece, words
from worker.tokenizers.framing import SPECIALS, framed

#: The vocabulary of the published tests.
PUBLISHED = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "want", "##want", "##ed", "wa", "un", "runn", "##ing", ","]
IDS = {token: place for place, token in enumerate(PUBLISHED)}


def pieces(text: str, **how: Any) -> list[str]:
    return [PUBLISHED[found] for found in wordpiece.tokenize(text, IDS, max_tokens=99, **how)]


def basic(text: str, *, lower_case: bool = True) -> list[str]:
    return list(wordpiece.basic_words(text, lower_case=lower_case))


def test_files_and_menu_agree() -> None:
    [folder] = worker.tokenizers.__path__
    files = {path.stem for path in Path(folder).glob("*.py")} - {"__init__", "framing"}
    assert files == {entry.model_fields["type"].default for entry in get_args(get_args(data.Tokenizer)[0])}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("UNwant\u00e9d,running", ["un", "##want", "##ed", ",", "runn", "##ing"]),
        ("unwanted running", ["un", "##want", "##ed", "runn", "##ing"]),
        ("unwantedX running", ["[UNK]", "runn", "##ing"]),
        ("", []),
        ("want" + "x" * 97, ["[UNK]"]),
    ],
)
def test_pieces_are_those_of_the_published_examples(text: str, expected: list[str]) -> None:
    assert pieces(text) == expected


def test_no_more_pieces_are_made_than_are_wanted() -> None:
    assert list(wordpiece.tokenize("unwanted running" * 9, IDS, max_tokens=2)) == [IDS["un"], IDS["##want"]]


@pytest.mark.parametrize(
    ("text", "lower_case", "expected"),
    [
        ("ah\u535a\u63a8zz", True, ["ah", "\u535a", "\u63a8", "zz"]),
        (" \tHeLLo!how  \n Are yoU?  ", True, ["hello", "!", "how", "are", "you", "?"]),
        ("H\u00e9llo", True, ["hello"]),
        (" \tHeLLo!how  \n Are yoU?  ", False, ["HeLLo", "!", "how", "Are", "yoU", "?"]),
        ("A\u0301 a$b^c \u00a0d\u3000e", False, ["A\u0301", "a", "$", "b", "^", "c", "d", "e"]),
        ("x\x00\ufffd\x08y \u202ez", True, ["xy", "z"]),
    ],
)
def test_words_before_they_are_cut_are_those_of_the_published_examples(
    text: str, lower_case: bool, expected: list[str]
) -> None:
    assert basic(text, lower_case=lower_case) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It's 3.5\u00a0% of GDP_2, no?", ["it", "'", "s", "3", ".", "5", "%", "of", "gdp_2", ",", "no", "?"]),
        ("e\u0301tude \u00c9TUDE", ["\u00e9tude", "\u00e9tude"]),
        ("=cmd|' /C calc'!A0", ["=", "cmd", "|", "'", "/", "c", "calc", "'", "!", "a0"]),
        ("\u202eabc\u200dd", ["\u202e", "abc", "\u200d", "d"]),
        ("a\x00b\x1fc\x85d", ["a", "b", "c", "d"]),
        ("\u6771\u4eac \U0001f600", ["\u6771\u4eac", "\U0001f600"]),
    ],
)
def test_words_and_marks(text: str, expected: list[str]) -> None:
    assert list(words.words_of(text)) == expected


def test_words_that_nobody_knows_are_unknown() -> None:
    ids = {**{special: place for place, special in enumerate(SPECIALS)}, "known": 4, "l" * 101: 5}
    assert list(words.tokenize(f"Known strange {'l' * 101} known", ids, max_tokens=9)) == [4, 1, 1, 4]
    assert list(words.tokenize("known known known", ids, max_tokens=2)) == [4, 4]


@pytest.mark.parametrize("text", ["plain", "na\u00efve \u6771 \U0001f600", "\u202e\x00\n", ""])
def test_bytes_can_be_read_back(text: str) -> None:
    ids = list(byte_tokens.tokenize(text, {}, max_tokens=99))
    assert all(4 <= found < byte_tokens.SIZE for found in ids)
    assert bytes(found - 4 for found in ids).decode() == text


def test_bytes_are_cut_where_there_is_no_more_room() -> None:
    ids = list(byte_tokens.tokenize("a\u00e9" * 10, {}, max_tokens=5))
    assert bytes(found - 4 for found in ids) == ("a\u00e9" * 10).encode()[:5]


def test_a_text_is_framed_and_cut_in_front_of_its_end() -> None:
    assert framed([7, 8], 2, 3, 10) == [2, 7, 8, 3]
    assert framed([7, 8, 9], 2, 3, 4) == [2, 7, 8, 3]
    assert framed([], 2, 3, 4) == [2, 3]
