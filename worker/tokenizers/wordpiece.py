"""BERT's WordPiece: words are cut into the longest pieces that the vocabulary has, from left to right.

Devlin et al. 2019, arXiv:1810.04805; the steps are those of its published code (BasicTokenizer, WordpieceTokenizer):
control characters go, Chinese characters and punctuation stand alone, in lower case without accents where the
vocabulary is uncased. A piece that continues a word begins with ##.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping

from worker.tokenizers.framing import MAX_WORD_CHARS, UNKNOWN

#: Blocks of CJK ideographs, as BERT's code has them.
_IDEOGRAPHS = re.compile(
    "([\u4e00-\u9fff\u3400-\u4dbf\U00020000-\U0002a6df\U0002a700-\U0002b73f\U0002b740-\U0002b81f\U0002b820-\U0002ceaf"
    "\uf900-\ufaff\U0002f800-\U0002fa1f])"
)
_BLANKS = "\t\n\r"


def basic_words(text: str, *, lower_case: bool) -> Iterator[str]:
    """The words and marks before they are cut into pieces."""
    cleaned = "".join(" " if _is_blank(char) else char for char in text if not _is_dropped(char))
    for word in _IDEOGRAPHS.sub(r" \1 ", cleaned).split():
        yield from _by_punctuation(_plain(word) if lower_case else word)


def pieces(word: str, ids: Mapping[str, int]) -> list[int]:
    """The ids of a word's pieces; [UNK] where it cannot be cut into ones that are known."""
    if len(word) > MAX_WORD_CHARS:
        return [ids[UNKNOWN]]
    found, start = list[int](), 0
    while start < len(word):
        prefix = "##" if start else ""
        end = next((end for end in range(len(word), start, -1) if prefix + word[start:end] in ids), start)
        if end == start:
            return [ids[UNKNOWN]]
        found.append(ids[prefix + word[start:end]])
        start = end
    return found


def tokenize(text: str, ids: Mapping[str, int], *, max_tokens: int, lower_case: bool = True) -> Iterator[int]:
    """The ids of a text, of no more than are wanted."""
    count = 0
    for word in basic_words(text, lower_case=lower_case):
        for piece in pieces(word, ids):
            if count == max_tokens:
                return
            count += 1
            yield piece


def _plain(word: str) -> str:
    """In lower case, accents taken off."""
    parts = unicodedata.normalize("NFD", word.lower())
    return "".join(char for char in parts if unicodedata.category(char) != "Mn")


def _by_punctuation(word: str) -> Iterator[str]:
    start = 0
    for at, char in enumerate(word):
        if _is_punctuation(char):
            if start < at:
                yield word[start:at]
            yield char
            start = at + 1
    if start < len(word):
        yield word[start:]


def _is_blank(char: str) -> bool:
    return char in _BLANKS or unicodedata.category(char) == "Zs"


def _is_dropped(char: str) -> bool:
    if char in _BLANKS:
        return False
    return char in "\x00\ufffd" or unicodedata.category(char) in {"Cc", "Cf", "Co"}


def _is_punctuation(char: str) -> bool:
    """ASCII that is neither letter, digit nor blank counts as well, such as $ and ^, which Unicode calls symbols."""
    code = ord(char)
    is_ascii = 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126
    return is_ascii or unicodedata.category(char).startswith("P")
