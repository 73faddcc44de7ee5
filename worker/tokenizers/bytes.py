"""A token for each byte of the text's UTF-8: any text can be said, none needs a vocabulary.

Ids 0 to 3 are those of [PAD], [UNK] (which never occurs), [CLS] and [SEP]; byte b is 4 + b.
"""

from collections.abc import Iterator, Mapping

from worker.tokenizers.framing import SPECIALS

SIZE = len(SPECIALS) + 256


def tokenize(text: str, _ids: Mapping[str, int], *, max_tokens: int) -> Iterator[int]:
    """The ids of a text, of no more than are wanted."""
    # Four bytes a character at most: the rest of a long text is not even encoded.
    return (len(SPECIALS) + byte for byte in text[:max_tokens].encode("utf-8", "replace")[:max_tokens])
