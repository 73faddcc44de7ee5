"""The order for one attempt: what the supervisor writes into a work folder as `job.json` and the engine reads.

WORKDIR/job.json              this record
WORKDIR/teachers/<id>         .safetensors or .onnx: a stored teacher
WORKDIR/outputs/<id>          .safetensors: outputs that a teacher gave somewhere else; see StagedOutputs
WORKDIR/data.safetensors      see models.canonical
WORKDIR/events.jsonl          written by the engine: one {"type", "data"} a line
WORKDIR/checkpoints/          written by the engine: enough to go on from the step that each names
WORKDIR/out/                  written by the engine: student.pth, student.py, report.json, manifest.json, and one .pth
                              for each assistant, generation and peer
WORKDIR/error.json            written by the engine where it fails: core.errors.JobFailure.as_dict()
WORKDIR/log.txt               the engine's output, as the supervisor caught it
"""

from enum import IntEnum

from models.canonical import DatasetMeta, Record, TeacherMeta
from models.spec.job import JobSpec


class Exit(IntEnum):
    """Exit codes of the engine. Anything else is a crash; a negative one is a signal."""

    DONE = 0
    FAILED = 3  # error.json says why
    STOPPED = 4  # asked to by SIGTERM: a checkpoint was written, out/ holds the student so far


class StagedTeacher(Record):
    """A stored teacher in the work folder."""

    meta: TeacherMeta
    sha256: str
    #: Its place in the work folder.
    file: str


class StagedOutputs(Record):
    """Given outputs in the work folder.

    The file's tensors: logits float32 (M, C); rows int64 (M,), the sample ids that they are of, ascending and unique.
    """

    sha256: str
    #: Its place in the work folder.
    file: str
    num_outputs: int
    classes: list[str]


class WorkOrder(Record):
    """Everything that the engine needs to know beside the files."""

    job_id: str
    attempt: int
    spec: JobSpec
    #: By id; empty where the job's teacher is made of its own students.
    teachers: dict[str, StagedTeacher]
    outputs: dict[str, StagedOutputs]
    dataset: DatasetMeta
    dataset_sha256: str
    #: "cpu" or "cuda"; which GPU is said by CUDA_VISIBLE_DEVICES.
    device: str = "cpu"
    #: CPU threads; 0 leaves it to torch.
    threads: int = 0
    #: Seconds of running that are left.
    max_seconds: float = 86_400.0
    #: Seconds between checkpoints.
    checkpoint_s: float = 60.0
    #: Whose job it is: what is kept of teachers is shared among the jobs of one owner.
    owner: str = "local"
    #: The folder for that, and the bytes that it may hold; None where nothing is shared.
    cache_dir: str | None = None
    cache_bytes: int = 0
    #: Bytes of memory for the rows of the data set; a larger one is read from its file as it goes. 0: no limit.
    data_memory_bytes: int = 0

    @property
    def only_teacher(self) -> StagedTeacher | None:
        """The stored teacher of a job that has just one, and no given outputs."""
        return next(iter(self.teachers.values())) if len(self.teachers) == 1 and not self.outputs else None


class IntakeOrder(Record):
    """What the confined converter is told, as `order.json` beside the file `upload`.

    It answers with out/result.json (IntakeResult) and at most one file beside it.
    """

    kind: str  # "teacher" or "dataset"
    spec: dict[str, object]
    filename: str


class IntakeResult(Record):
    """The converter's verdict."""

    ready: bool
    #: {"checks": [models.canonical.CheckLine], ...figures for the user}
    report: dict[str, object]
    meta: dict[str, object] | None = None
    #: Name of the canonical file in out/.
    file: str | None = None


class IntakeExit(IntEnum):
    """Exit codes of the confined converter. Anything else is a crash; a negative one is a signal."""

    DONE = 0  # out/result.json holds the verdict, for or against
    MEMORY = 5
    DISK = 6
