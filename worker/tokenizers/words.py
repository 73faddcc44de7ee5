"""A token for each word, in lower case, and for each mark; words that are not in the vocabulary are [UNK].

A word is a run of letters, digits and underscores, by Unicode; any other character that is no blank stands alone.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping

from worker.tokenizers.framing import MAX_WORD_CHARS, UNKNOWN

_WORD = re.compile(r"\w+|[^\w\s\x00-\x1f\x7f-\x9f]")


def words_of(text: str) -> Iterator[str]:
    """The words, in lower case; accents are joined with their letters (Unicode NFC)."""
    plain = unicodedata.normalize("NFC", text.lower())
    return (found.group() for found in _WORD.finditer(plain))


def tokenize(text: str, ids: Mapping[str, int], *, max_tokens: int) -> Iterator[int]:
    """The ids of a text, of no more than are wanted."""
    unknown = ids[UNKNOWN]
    for count, word in enumerate(words_of(text)):
        if count == max_tokens:
            return
        yield ids.get(word, unknown) if len(word) <= MAX_WORD_CHARS else unknown
