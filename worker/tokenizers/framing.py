"""What all tokenizers share: a text is [CLS], its tokens, [SEP], and is cut off where it is longer than may be."""

from collections.abc import Sequence

PADDING, UNKNOWN, FIRST, LAST = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
SPECIALS = (PADDING, UNKNOWN, FIRST, LAST)
#: A longer word is one that nobody knows: as in BERT's own code.
MAX_WORD_CHARS = 100


def framed(ids: Sequence[int], first: int, last: int, length: int) -> list[int]:
    """At most `length` ids, those of [CLS] and [SEP] among them."""
    return [first, *ids[: length - 2], last]
