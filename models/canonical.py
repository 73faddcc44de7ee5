"""What an accepted teacher and an accepted data set are, once converted: the records that the worker's intake writes,
the API shows and the engine reads.

A data set is one safetensors file with these tensors, rows in a fixed order (the row number is the sample id):
    x      uint8 (N, C, H, W) for images and spectrograms; float32 (N, D) for tables, already encoded as `columns`
           says; int32 (N, L) for texts, token ids, 0 where there is no token
    y      int64 (N,) class index, -1 where there is no label; float32 (N,) standardised target for a regression, NaN
           where there is none
    split  uint8 (N,): 0 train, 1 val, 2 test
    vocabulary  uint8 (bytes,), texts alone: the tokens as UTF-8, one a line, a token's id being the number of its line
           from 0; not there where tokens are bytes
Given outputs of a teacher are one safetensors file; see OutputsMeta.
A teacher is one safetensors state_dict that fits its architecture, or one ONNX graph.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from models.spec.data import TaskName, Tokenizer
from models.spec.teachers import TeacherArchitecture

SPLITS = ("train", "val", "test")
#: The number of the rules that uploads are checked by. Raise it with each rule that is added or changed: verdicts by
#: older rules are then shown as outdated, and can be made again.
RULES = 1
#: A teacher's probability below this counts as this before the logarithm: a class that was ruled out stays finite.
MIN_PROBABILITY = 1e-12


class Record(BaseModel):
    """A stored fact; unknown fields of later versions are kept out."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Column(Record):
    """How one column of a table becomes features.

    numeric: one feature (value - mean) / std, missing values become 0; a second feature, 1 where missing, follows if
    `indicator`. categorical: one feature a category, 1 where it applies; a missing or unseen value is all zeros.
    """

    name: str
    kind: Literal["numeric", "categorical"]
    mean: float = 0.0
    std: float = 1.0
    indicator: bool = False
    categories: list[str] = []

    @property
    def num_features(self) -> int:
        """How many features the column gives."""
        return len(self.categories) if self.kind == "categorical" else 1 + self.indicator


class Target(Record):
    """A regression's target: y = (value - mean) / std, by the training split."""

    name: str
    mean: float
    std: float


class Spectrum(Record):
    """How recordings became images (1, mels, frames) of bytes: a byte b of log-mel stands for low + step * b decibels.

    Lengths are in samples; docs/data.md has the formulas.
    """

    sample_rate: int
    samples: int
    window: int
    hop: int
    #: Length of the Fourier transform; a window is filled up with zeros to it.
    fft: int
    mels: int
    low: float = -102.0
    step: float = 0.4

    @property
    def frames(self) -> int:
        """How many windows lie whole in a recording."""
        return 1 + (self.samples - self.window) // self.hop


class TextFacts(Record):
    """How texts became token ids. Sizes and lengths are in tokens, those of [PAD], [UNK], [CLS] and [SEP] included."""

    tokenizer: Tokenizer
    vocabulary: int
    length: int
    #: The column that they were in.
    column: str


class DatasetMeta(Record):
    """What is known of a canonical data set."""

    task: TaskName
    counts: dict[str, int]
    #: Rows with a label in each split that has rows without; empty where all have one.
    labelled: dict[str, int] = {}
    #: (C, H, W), (D,), or (V, L) of texts: L tokens of a vocabulary of V
    input_shape: tuple[int, ...]
    num_outputs: int
    classes: list[str] = []
    #: Per-channel mean and deviation of the training split's pixels in 0..1; empty for tables.
    mean: list[float] = []
    std: list[float] = []
    columns: list[Column] = []
    target: Target | None = None
    #: Of sounds alone, whose spectrograms are images to all that reads them.
    spectrum: Spectrum | None = None
    text: TextFacts | None = None

    def num_labelled(self, split: str) -> int:
        """How many rows of a split have a label."""
        return self.labelled.get(split, self.counts.get(split, 0))

    def all_labelled(self, split: str) -> bool:
        """Whether each row of a split has a label."""
        return self.num_labelled(split) == self.counts.get(split, 0)


class OutputsMeta(Record):
    """What is known of canonical given outputs.

    Their file holds logits float32 (M, C) and rows int64 (M,): the sample ids that they are of, ascending and unique.
    """

    task: Literal["teacher_outputs"] = "teacher_outputs"
    num_rows: int
    num_outputs: int
    classes: list[str] = []
    #: The greatest sample id: the data set must have more rows than that.
    last_row: int


class Tap(Record):
    """A point of a network that features can be read from."""

    name: str
    #: Without the batch dimension.
    shape: list[int]


class ResolvedInput(Record):
    """How the teacher wants its images, the preset worked out; see models.spec.teachers.TeacherInput.

    An empty mean stands for the data set's own.
    """

    size: tuple[int, int] | None = None
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    range: tuple[float, float] = (0.0, 1.0)
    mean: list[float] = []
    std: list[float] = []


class TeacherMeta(Record):
    """What is known of a canonical teacher."""

    architecture: TeacherArchitecture
    input: ResolvedInput = ResolvedInput()
    #: (C, H, W), (D,) or (V, L) that it was probed with; for a graph, as the graph wants it (NHWC included). -1 where
    #: any fits.
    input_shape: tuple[int, ...]
    num_outputs: int
    output_kind: Literal["logits", "probabilities", "values"] = "logits"
    taps: list[Tap] = []
    parameters: int
    flops: int | None = None
    classes: list[str] = []
    accuracy: float | None = None
    #: ONNX only: the graph's input, its output, and the tensor that feeds the last linear layer.
    graph_input: str | None = None
    graph_output: str | None = None
    graph_embedding: str | None = None
    graph_batch: int | None = None


class CheckLine(Record):
    """One check of an upload and its verdict."""

    id: str
    result: Literal["pass", "warn", "fail"]
    detail: str
