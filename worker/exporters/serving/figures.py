"""What the parts of student.py know of one student. These are stand-ins: the exporter writes the real ones."""

from collections.abc import Callable, Iterable
from typing import Any

from torch import nn

ARCHITECTURE: str = ""
CONFIG: dict[str, Any] = {}
IN_SHAPE: tuple[int, ...] = ()
NUM_OUTPUTS: int = 0
#: Empty in a regression.
CLASSES: list[str] = []
#: Mean and deviation of each channel of the training images, in 0..1.
MEAN: list[float] = []
STD: list[float] = []
#: How a recording becomes a spectrogram; lengths in samples, `low` and `step` in decibels.
SPECTRUM: dict[str, Any] = {}
#: How each column of a table becomes features, in order.
COLUMNS: list[dict[str, Any]] = []
#: Mean and deviation of a regression's target.
TARGET: dict[str, Any] | None = None
#: What the tokenizer of texts is told, and the tokens by id, a blank between them.
TOKENIZER: dict[str, Any] = {}
VOCABULARY: str = ""
#: The tokenizer's own.
tokenize: Callable[..., Iterable[int]] = list
#: The family's own.
build: Callable[..., nn.Module] = nn.Identity
