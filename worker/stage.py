"""A work folder made ready: the order for the engine, and verified copies of the teachers, data and checkpoint."""

import errno
import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select

from core import db, job_inputs
from core.errors import Infra, NotFound, UserInput
from core.jobs import Claim
from core.settings import Settings, settings
from core.storage import storage
from models.canonical import DatasetMeta, OutputsMeta, TeacherMeta
from models.spec.job import JobSpec
from models.tables import LOCAL_OWNER, Attempt, Dataset, Job, JobInput, JobOutputs, JobTeacher, Teacher
from models.work import StagedOutputs, StagedTeacher, WorkOrder
from worker.devices import Device, devices
from worker.memory import Memory
from worker.shelves import cache_dir, trim

#: The engine's door.
ENGINE = "worker.engine.run"


@dataclass(frozen=True)
class StoredFile:
    """A file in the store and what its bytes must hash to."""

    key: str
    sha256: str
    size: int


@dataclass(frozen=True)
class TeacherInput:
    """A stored teacher of a job."""

    meta: TeacherMeta
    file: StoredFile


@dataclass(frozen=True)
class OutputsInput:
    """Given outputs that a job reads."""

    num_outputs: int
    classes: list[str]
    file: StoredFile


@dataclass(frozen=True)
class Inputs:
    """What the database knows of a claimed job."""

    spec: JobSpec
    #: By id.
    teachers: dict[str, TeacherInput]
    outputs: dict[str, OutputsInput]
    dataset: DatasetMeta
    dataset_file: StoredFile
    #: Seconds that earlier attempts ran.
    ran_s: float
    #: As worker.checkpoints wrote it.
    checkpoint: dict[str, Any] | None
    #: The failure of the attempt before this one.
    previous_error: dict[str, Any] | None
    owner: str = LOCAL_OWNER


def read_inputs(claim: Claim) -> Inputs:
    """Look the job up, with all that it reads."""
    with db.session() as session:
        job = session.get_one(Job, claim.job_id)
        dataset = session.get_one(Dataset, job.dataset_id)
        teachers = select(Teacher).join(JobTeacher).where(JobTeacher.job_id == job.id).order_by(JobTeacher.place)
        outputs = select(Dataset).join(JobOutputs).where(JobOutputs.job_id == job.id).order_by(JobOutputs.place)
        previous = session.get(Attempt, (claim.job_id, claim.attempt - 1))
        kept = job_inputs.of_job(session, claim.job_id)

        def accepted(row: Teacher | Dataset) -> Teacher | Dataset | JobInput:
            return kept.get(row.id, row)

        return Inputs(
            spec=JobSpec.model_validate(job.spec),
            teachers={
                row.id: TeacherInput(TeacherMeta.model_validate(accepted(row).meta), _file_of(accepted(row)))
                for row in session.scalars(teachers)
            },
            outputs={row.id: _outputs_input(accepted(row)) for row in session.scalars(outputs)},
            dataset=DatasetMeta.model_validate(accepted(dataset).meta),
            dataset_file=_file_of(accepted(dataset)),
            ran_s=job.ran_s,
            checkpoint=job.checkpoint,
            previous_error=previous.error if previous is not None else None,
            owner=job.owner,
        )


def _outputs_input(row: Teacher | Dataset | JobInput) -> OutputsInput:
    meta = OutputsMeta.model_validate(row.meta)
    return OutputsInput(meta.num_outputs, meta.classes, _file_of(row))


@dataclass(frozen=True)
class Bench:
    """Where a job runs: a device, CPU threads, and the module that is the child's door."""

    device: Device
    threads: int
    engine: str = ENGINE


def stage(claim: Claim, inputs: Inputs, workdir: Path, bench: Bench, check: Callable[[], None]) -> None:
    """Copy the inputs into `workdir` and write job.json. `check` may raise between two chunks to end it."""
    teachers = {name: _staged_teacher(name, teacher) for name, teacher in inputs.teachers.items()}
    outputs = {name: _staged_outputs(name, given) for name, given in inputs.outputs.items()}
    (workdir / "teachers").mkdir(exist_ok=True)
    (workdir / "outputs").mkdir(exist_ok=True)
    for name, teacher in inputs.teachers.items():
        copy(teacher.file, workdir / teachers[name].file, check)
    for name, given in inputs.outputs.items():
        copy(given.file, workdir / outputs[name].file, check)
    copy(inputs.dataset_file, workdir / "data.safetensors", check)
    (workdir / "checkpoints").mkdir(exist_ok=True)
    (workdir / "out").mkdir(exist_ok=True)
    config = settings()
    cache = cache_dir(config)
    with suppress(OSError):  # what cannot be removed costs nothing but disk
        trim(config)
    order = WorkOrder(
        job_id=claim.job_id,
        attempt=claim.attempt,
        spec=inputs.spec,
        teachers=teachers,
        outputs=outputs,
        dataset=inputs.dataset,
        dataset_sha256=inputs.dataset_file.sha256,
        device=bench.device.kind,
        threads=bench.threads,
        max_seconds=max(1.0, inputs.spec.limits.max_seconds - inputs.ran_s),
        checkpoint_s=config.checkpoint_s,
        owner=inputs.owner,
        cache_dir=None if cache is None else str(cache),
        cache_bytes=config.teacher_cache_bytes,
        data_memory_bytes=_data_memory(config),
    )
    (workdir / "job.json").write_text(order.model_dump_json())


def _data_memory(config: Settings) -> int:
    """As set, else half of the memory in equal shares: the networks of a job and the system need the rest."""
    return config.data_memory_bytes or Memory.now().limit // (2 * len(devices(config)))


def _staged_teacher(name: str, teacher: TeacherInput) -> StagedTeacher:
    suffix = "onnx" if teacher.meta.architecture.type == "onnx" else "safetensors"
    return StagedTeacher(meta=teacher.meta, sha256=teacher.file.sha256, file=f"teachers/{name}.{suffix}")


def _staged_outputs(name: str, given: OutputsInput) -> StagedOutputs:
    file = f"outputs/{name}.safetensors"
    return StagedOutputs(sha256=given.file.sha256, file=file, num_outputs=given.num_outputs, classes=given.classes)


def copy(file: StoredFile, target: Path, check: Callable[[], None]) -> None:
    """A verified copy. Raises Infra where the bytes are gone or have changed, or where there is no room for them."""
    partial = target.with_name(f".{target.name}.part")
    digest = hashlib.sha256()
    try:
        with partial.open("wb") as out:
            for chunk in storage().read(file.key, 0, file.size):
                check()
                digest.update(chunk)
                out.write(chunk)
        if digest.hexdigest() != file.sha256:
            raise Infra(f"{file.key} in the store has changed: its SHA-256 is not {file.sha256}.", code="store_damaged")
        partial.replace(target)
    except NotFound as error:
        raise Infra(f"{file.key} is gone from the store.", code="store_damaged") from error
    except OSError as error:
        raise _disk(error) from error
    finally:
        partial.unlink(missing_ok=True)


def _disk(error: OSError) -> Infra:
    """The failure for a disk that cannot be written."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return Infra("The worker's disk is full: free some space under DISTILLERY_DATA_DIR.", code="no_space")
    return Infra(f"The worker's disk cannot be used: {error}", code="disk")


def _file_of(accepted: Teacher | Dataset | JobInput) -> StoredFile:
    if accepted.storage_key is None or accepted.sha256 is None or accepted.size is None:
        # Only a retry comes here: what was accepted before a rejection is kept for its job, and has a file.
        assert isinstance(accepted, Teacher | Dataset)
        raise UserInput(
            f"`{accepted.id}` is {accepted.status}: the rules changed after the job was made. Its report says why; "
            "hand in a file that passes, and post the job with it.",
            code="teacher_rejected" if isinstance(accepted, Teacher) else "dataset_rejected",
        )
    return StoredFile(accepted.storage_key, accepted.sha256, accepted.size)
