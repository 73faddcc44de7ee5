"""Which words stand for train, val and test, in the names of folders, files, array keys and cells."""

import re

import numpy as np

from models.canonical import SPLITS

TRAIN, VAL, TEST = (SPLITS.index(name) for name in SPLITS)
#: Nothing is said of the row: it belongs to whatever `split` in the spec cuts.
UNKNOWN = 255

_ALIASES = {
    TRAIN: ("train", "training", "trn"),
    VAL: ("val", "valid", "validation", "eval", "evaluation", "dev"),
    TEST: ("test", "testing", "tst", "t10k"),
}
_WORDS = {
    alias + tail: split for split, aliases in _ALIASES.items() for alias in aliases for tail in ("", "set", "data")
}


def of_word(word: str) -> int | None:
    """The split that `word` as a whole stands for."""
    return _WORDS.get(word.strip().lower())


def of_name(name: str) -> int | None:
    """The split that a file's name or an array's key speaks of: the first of its words that stands for one.

    `adult-train.csv` and `x_train` are train, `t10k-images-idx3-ubyte` is test, `latest.csv` is none.
    """
    for word in re.findall(r"t10k|[a-z]+", name.lower()):
        if word in _WORDS:
            return _WORDS[word]
    return None


def constant(split: int, num: int) -> np.ndarray:
    """(num,) uint8, all the same."""
    return np.full(num, split, np.uint8)
