"""The vocabulary of a data set of texts: a file that came with the table, or the words of the training rows."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePath
from unicodedata import category

import numpy as np
from numpy.typing import NDArray

from core.errors import Rejected
from models.spec.data import Bytes, Words
from worker.readers.base.case import Case
from worker.readers.base.compression import DAMAGE
from worker.readers.base.content import Content
from worker.readers.base.files import read
from worker.tokenizers import bytes as byte_tokens
from worker.tokenizers.framing import MAX_WORD_CHARS, PADDING, SPECIALS
from worker.tokenizers.words import words_of

#: What a vocabulary is called where it is packed with a table.
FILE = "vocab.txt"
_POINTER = "/text/tokenizer"


@dataclass(frozen=True)
class Vocabulary:
    """Tokens by id. `size` is larger where tokens are bytes, which need no list."""

    tokens: tuple[str, ...]
    size: int

    @cached_property
    def ids(self) -> dict[str, int]:
        """The id of each token."""
        return {token: place for place, token in enumerate(self.tokens)}

    @property
    def as_bytes(self) -> NDArray[np.uint8]:
        """As the canonical file holds it."""
        return np.frombuffer("\n".join(self.tokens).encode(), np.uint8)


def take_file(content: Content, case: Case) -> tuple[Content, Vocabulary | None]:
    """(the rest of the upload, the vocabulary that was packed with it).

    Raises: Rejected where there are several, or it is none that can be used.
    """
    found = [entry for entry in content.files.entries if PurePath(entry.name).name.lower() == FILE]
    if not found or len(content.files.entries) == 1:
        return content, None
    if len(found) > 1:
        names = ", ".join(entry.name for entry in found[:5])
        raise Rejected(f"The archive holds several vocabularies: {names}. Pack one.", code="vocabulary")
    rest = content.without(found[0])
    if isinstance(case.spec.text.tokenizer, Bytes):
        case.ignored.add(found[0].name, "tokens are bytes, which need no vocabulary")
        return rest, None
    try:
        data = read(content.files, found[0], case.limits.max_vocabulary_bytes)
    except DAMAGE as error:
        raise Rejected(f"{found[0].name} is damaged ({error}). Upload the archive again.", code="damaged") from error
    return rest, parsed(data, found[0].name, case)


def parsed(data: bytes, name: str, case: Case) -> Vocabulary:
    """A vocabulary out of a file with a token a line. Raises: Rejected with the line that cannot be one."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _unfit(name, f"it is no UTF-8 at byte {error.start}") from error
    lines = text.removesuffix("\n").split("\n")
    if len(lines) > case.limits.max_vocabulary:
        raise _unfit(name, f"it has {len(lines)} lines; the limit is {case.limits.max_vocabulary}")
    tokens: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        token = line.removesuffix("\r")
        if fault := _fault(token, tokens):
            raise _unfit(name, f"line {number} {fault}")
        tokens[token] = number
    if missing := [special for special in SPECIALS if special not in tokens]:
        raise _unfit(name, f"it has no {', '.join(missing)}")
    if tokens[PADDING] != 1:
        raise _unfit(
            name, f"{PADDING} is in line {tokens[PADDING]}; what fills texts up has to be the first line, id 0"
        )
    case.passed("vocabulary", f"{name} has {len(tokens)} tokens.")
    return Vocabulary(tuple(tokens), len(tokens))


def settle(given: Vocabulary | None, texts: Iterable[Sequence[str]], case: Case) -> Vocabulary:
    """The one that was given, or what the tokenizer makes of the training rows; `texts` are those, some at a time.

    Raises: Rejected where the tokenizer needs one that was not given.
    """
    tokenizer = case.spec.text.tokenizer
    if isinstance(tokenizer, Bytes):
        return Vocabulary(SPECIALS, byte_tokens.SIZE)
    if given is not None:
        return given
    if not isinstance(tokenizer, Words):
        raise Rejected.at(
            _POINTER,
            f"The tokenizer {tokenizer.type} needs its vocabulary: pack a file {FILE}, one token a line, into one zip "
            "or tar with the table.",
            code="vocabulary",
        )
    counts = _counted(texts, case)
    common = sorted(counts, key=lambda word: (-counts[word], word))
    chosen = [word for word in common if counts[word] >= tokenizer.min_count][: tokenizer.size - len(SPECIALS)]
    if not chosen:
        raise Rejected.at(
            f"{_POINTER}/min_count",
            f"No word is met {tokenizer.min_count} times in the training rows. Lower text.tokenizer.min_count.",
            code="vocabulary",
        )
    case.passed("vocabulary", f"{len(chosen)} of {len(counts)} words of the training rows, and {len(SPECIALS)} marks.")
    return Vocabulary((*SPECIALS, *chosen), len(SPECIALS) + len(chosen))


def _fault(token: str, before: dict[str, int]) -> str:
    """Why a line is no token; empty where it is one."""
    if not token:
        return "is empty"
    if len(token) > MAX_WORD_CHARS + 2:
        return f"has {len(token)} characters; a token has at most {MAX_WORD_CHARS + 2}"
    if any(char.isspace() or category(char) == "Cc" for char in token):
        return f"holds a blank or a control character: {token[:40]!r}"
    return f"repeats line {before[token]}: {token[:40]!r}" if token in before else ""


def _unfit(name: str, why: str) -> Rejected:
    message = f"{name} cannot be used as a vocabulary: {why}. It holds one token a line, as published checkpoints do."
    return Rejected.at(_POINTER, message, code="vocabulary")


def _counted(texts: Iterable[Sequence[str]], case: Case) -> Counter[str]:
    counts: Counter[str] = Counter()
    limit = case.limits.max_counted_words
    for some in texts:
        for text in some:
            counts.update(word for word in words_of(text) if len(word) <= MAX_WORD_CHARS)
        if len(counts) > limit:
            kept = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[: limit // 2]
            counts = Counter(dict(kept))
            case.facts["words_forgotten"] = True
    if case.facts.pop("words_forgotten", False):
        case.warned(
            "vocabulary", f"The texts have more than {limit} different words; counts of rare ones are not exact."
        )
    return counts
