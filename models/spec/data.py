"""What a user says of a data set when handing it in."""

from typing import Annotated, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from models.spec.base import Entry, Name

#: What a student can be trained for.
TaskName = Literal[
    "image_classification",
    "audio_classification",
    "text_classification",
    "tabular_classification",
    "tabular_regression",
]
#: What an upload can be handed in as: samples to train on, or what a teacher said of the rows of another data set.
UploadTask = Literal[TaskName, "teacher_outputs"]
Labelling = Literal["required", "partial", "none"]
Format = Literal["auto", "image_folder", "audio_folder", "npz", "idx", "csv", "parquet"]

#: What each task is, for the catalog.
TASKS: dict[TaskName, str] = {
    "image_classification": "One class for each image; scored by accuracy.",
    "audio_classification": "One class for each recording; scored by accuracy.",
    "text_classification": "One class for each text; scored by accuracy.",
    "tabular_classification": "One class for each row of a table; scored by accuracy.",
    "tabular_regression": "One number for each row of a table; scored by its error.",
}

#: What an upload of each format holds, for the catalog.
FORMATS: dict[Format, str] = {
    "auto": "One of the others, told by the content of the file.",
    "image_folder": "A zip or tar with one folder of images for each class, with or without train, val and test above.",
    "audio_folder": "As image_folder, with WAV files, each of which becomes a log-mel spectrogram.",
    "npz": "A NumPy archive of arrays: images or rows, and their labels; or outputs of a teacher.",
    "idx": "A zip or tar of the *-ubyte files of the MNIST family, gzipped or not.",
    "csv": "A table as text, a column of which is the target; or outputs of a teacher, a column each.",
    "parquet": "A table in Apache Parquet, a column of which is the target; or outputs of a teacher, a column each.",
}

ColumnName = Annotated[str, Field(min_length=1, max_length=200)]


class Split(Entry):
    """How rows are told apart when the upload does not say: a seeded cut, stratified by class."""

    val: float = Field(default=0.1, gt=0, lt=1, description="Share of the rows; cut from train where no val is given.")
    test: float = Field(
        default=0.1, gt=0, lt=1, description="Share of the rows; cut from train where no test is given."
    )
    seed: int = Field(default=0, ge=0, lt=2**31)
    column: ColumnName | None = Field(
        default=None, description="Tables only: a column that holds `train`, `val` or `test` for each row."
    )

    @model_validator(mode="after")
    def _leaves_something_to_train_on(self) -> Self:
        if self.val + self.test >= 0.95:
            raise ValueError("val and test together must leave at least 5 % of the rows to train on")
        return self


class ImageOptions(Entry):
    """How images become one array."""

    size: tuple[Annotated[int, Field(ge=1, le=1024)], Annotated[int, Field(ge=1, le=1024)]] | None = Field(
        default=None, description="[height, width]. Left out: the images' own size where all agree, else the median."
    )
    channels: Literal[1, 3] | None = Field(default=None, description="Left out: 3 where any image has colour, else 1.")


class AudioOptions(Entry):
    """How recordings become spectrograms of one shape: log-mel bands by frames."""

    sample_rate: int | None = Field(
        default=None, ge=4000, le=192_000, description="In Hz, which all files must have. Left out: the commonest."
    )
    seconds: float | None = Field(
        default=None,
        gt=0,
        le=60,
        description="Recordings are cut at their end, or filled up with silence, to this length. Left out: their own "
        "where all agree, else such that 95 % are kept whole.",
    )
    n_mels: int = Field(default=40, ge=8, le=256, description="Mel bands from 0 to half the sample rate.")
    window_ms: float = Field(default=25.0, ge=5, le=250, description="Length of a frame.")
    hop_ms: float = Field(default=10.0, ge=1, le=250, description="From one frame to the next.")

    @model_validator(mode="after")
    def _frames_leave_nothing_out(self) -> Self:
        if self.hop_ms > self.window_ms:
            raise ValueError("hop_ms above window_ms would leave out what lies between two frames: lower it")
        return self


class _Tokenizer(Entry):
    """What all tokenizers share: `{"type": "words"}` is worker/tokenizers/words.py."""

    def how(self) -> dict[str, bool]:
        """What that file's `tokenize` has to be told beside the vocabulary."""
        return {}


class Bytes(_Tokenizer):
    """A token for each byte of the text's UTF-8; needs no vocabulary, but eight times as many tokens as words."""

    type: Literal["bytes"] = "bytes"


class Words(_Tokenizer):
    """A token for each word in lower case and each mark; rare words are [UNK].

    The vocabulary is a file `vocab.txt` packed with the table, or else that of the training rows.
    """

    type: Literal["words"] = "words"
    size: int = Field(default=20_000, ge=16, le=100_000, description="The commonest words are kept, up to so many.")
    min_count: int = Field(default=2, ge=1, le=1_000_000, description="Words that are met less often are [UNK].")


class WordPiece(_Tokenizer):
    """BERT's own: words are cut into the longest pieces that a vocabulary has.

    The vocabulary is a file `vocab.txt` packed with the table, a token a line, as published checkpoints bring it.
    """

    type: Literal["wordpiece"] = "wordpiece"
    lower_case: bool = Field(
        default=True, description="Text in lower case without accents: of vocabularies that are called uncased."
    )

    def how(self) -> dict[str, bool]:
        """Whether case and accents count."""
        return {"lower_case": self.lower_case}


Tokenizer = Annotated[Bytes | Words | WordPiece, Field(discriminator="type")]


class TextOptions(Entry):
    """How texts become token ids. Each is [CLS], its tokens, [SEP], and [PAD] up to the length of all."""

    column: ColumnName | None = Field(
        default=None, description="The column with the texts. Left out: of those beside the target the longest-winded."
    )
    max_length: int = Field(
        default=128,
        ge=4,
        le=8192,
        description="Longer texts are cut off after so many tokens, [CLS] and [SEP] included.",
    )
    tokenizer: Tokenizer = Words()


class TableOptions(Entry):
    """How a table becomes rows of features and a target."""

    target: ColumnName | None = Field(default=None, description="The column to predict. Left out: the last one.")
    header: Literal["auto", "yes", "no"] = Field(
        default="auto", description="Whether the first line of a CSV names the columns; columns are c0, c1 ... if not."
    )
    delimiter: str | None = Field(default=None, min_length=1, max_length=1, description="Left out: found by looking.")
    categorical: list[ColumnName] = Field(
        default=[], description="Columns to read as categories though they look numeric."
    )
    ignore: list[ColumnName] = Field(default=[], description="Columns to leave out.")
    missing: list[Annotated[str, Field(max_length=50)]] = Field(
        default=["", "?", "NA", "N/A", "NaN", "nan", "null", "None"],
        description="Cells that mean that nothing is known.",
    )


class DatasetSpec(Entry):
    """The body of `POST /datasets` but for its name and its upload."""

    task: UploadTask = Field(
        description="`teacher_outputs` is no data to train on but what a teacher said of rows of another data set: an "
        "npz with `logits` (M, C) and `rows` (M,), or a table with a column for each output and one called `row`. A "
        'job names it in `teacher`, as {"type": "outputs", "dataset": ...}.'
    )
    format: Format = Field(default="auto", description="`auto` decides by the content of the file.")
    split: Split = Split()
    image: ImageOptions = ImageOptions()
    audio: AudioOptions = AudioOptions()
    text: TextOptions = TextOptions()
    table: TableOptions = TableOptions()
    classes: list[Name] | None = Field(
        default=None,
        min_length=2,
        max_length=100_000,
        description="Class names in the order of the teacher's outputs. Left out: folder names or values, sorted; "
        "numbers by value.",
    )
    max_bad_share: float = Field(
        default=0.01, ge=0, le=0.5, description="Rows that cannot be read are left out up to this share of all."
    )
    labels: Labelling = Field(
        default="required",
        description="Whether rows have labels: all (`required`; a row without is a bad row), some (`partial`: pictures "
        "in a folder `unlabelled` or in no class folder, label -1 or NaN in arrays, empty cells in tables), or `none`, "
        "and then a classification needs `classes`.",
    )

    @field_validator("labels")
    @classmethod
    def _labels_fit(cls, labels: Labelling, info: ValidationInfo) -> Labelling:
        task, table = info.data.get("task"), info.data.get("table")
        if labels != "none" or task == "teacher_outputs":
            return labels
        if task != "tabular_regression" and info.data.get("classes", ()) is None:
            raise ValueError("without any label nothing tells the classes: name them in `classes`, in their order")
        if table is not None and table.target is not None:
            raise ValueError("without any label there is no target: leave `table.target` out, or say `partial`")
        return labels
