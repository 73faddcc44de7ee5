"""What heartbeats, events and checkpoints cost a training.

    python -m scripts.bench_overhead [--rounds 3] [--epochs 60]

Each round runs one job under a supervisor with the settings of a service: a heartbeat each 10 s, a look each half
second, a line of progress each half second, a checkpoint at each epoch's end that comes 5 s after the last. The child
is the engine with a watch on the calls that write lines and checkpoints, the thread that brings them to the disk
included: their share is of the training's CPU seconds. The supervisor's work comes with time and not with steps, so its
CPU seconds, from claim to end, are a share of the seconds that the attempt took. It is one run and not the difference
of two, because whatever else runs on the machine drowns one percent: two equal runs were seen to differ by ten.
"""

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from safetensors.torch import save_file

from core import db, jobs
from core.embedded import Embedded
from core.jobs import Claim
from core.settings import settings
from core.storage import storage
from models.canonical import DatasetMeta, TeacherMeta
from models.spec.job import JobSpec
from models.spec.students import ResNet
from models.status import CheckStatus, JobStatus
from models.tables import Dataset, Job, Teacher, Upload
from worker.devices import CPU
from worker.engine.networks import build_network
from worker.stage import Bench
from worker.supervise import supervise

_COSTS = "costs.json"
_ROWS, _SHAPE, _CLASSES = 2176, (3, 32, 32), 10


def main() -> int:
    """Prints a line a round and the median; 1 where it is more than one percent."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("workdir", type=Path, nargs="?", help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.workdir is not None:
        return _be_the_child(told.workdir)
    with tempfile.TemporaryDirectory(prefix="overhead-") as folder, Embedded(folder) as (database_url, _):
        os.environ |= {"DISTILLERY_DATABASE_URL": database_url, "DISTILLERY_DATA_DIR": folder}
        settings.cache_clear()
        db.upgrade()
        _hand_in(Path(folder))
        shares = [_round(Path(folder), told.epochs) for _ in range(told.rounds)]
    print(f"median {100 * median(shares):.2f} %")
    return int(median(shares) > 0.01)


def _round(folder: Path, epochs: int) -> float:
    """The share of one round."""
    job_id = _submit(epochs)
    before, start = _used(), time.monotonic()
    supervise(_claimed(job_id), Bench(CPU, 1, "scripts.bench_overhead"))
    supervisor_s, wall_s = _used() - before, time.monotonic() - start
    with db.session() as session:
        job = session.get_one(Job, job_id)
    assert job.status is JobStatus.SUCCEEDED, job.error
    costs = json.loads((folder / "work" / _COSTS).read_text())
    training_s: float = costs["training_s"]
    written: float = costs["lines_s"] + costs["checkpoints_s"]
    share = supervisor_s / wall_s + written / training_s
    print(
        f"{wall_s:.0f} s, training {training_s:.1f} s; {job.event_seq} events, {costs['num_checkpoints']} checkpoints: "
        f"lines {costs['lines_s']:.3f} s, checkpoints {costs['checkpoints_s']:.3f} s, supervisor {supervisor_s:.3f} s: "
        f"{100 * share:.2f} %",
        flush=True,
    )
    return share


class Costs:
    """CPU seconds by what they were spent on, over all threads."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self.calls: dict[str, int] = {}

    def watch(self, owner: Any, name: str, on: str) -> None:
        """From now on the method's time counts."""
        method = getattr(owner, name)

        def watched(*arguments: Any, **named: Any) -> Any:
            start = time.thread_time()
            try:
                return method(*arguments, **named)
            finally:
                self.spent[on] = self.spent.get(on, 0.0) + time.thread_time() - start
                self.calls[on] = self.calls.get(on, 0) + 1

        setattr(owner, name, watched)


def _be_the_child(workdir: Path) -> int:
    """The engine's door, with a watch on what it writes."""
    from worker.engine import run, training
    from worker.engine.checkpoint import Checkpoints
    from worker.engine.progress import Progress

    costs = Costs()
    costs.watch(Progress, "_write", "lines")
    costs.watch(Checkpoints, "save", "copies")
    costs.watch(Checkpoints, "_write", "files")
    costs.watch(training, "train", "training")
    code = run.main(workdir)
    told = {
        "lines_s": costs.spent["lines"],
        "checkpoints_s": costs.spent["copies"] + costs.spent["files"],
        "num_checkpoints": costs.calls["files"],
        "training_s": costs.spent["training"],
    }
    (workdir.parent / _COSTS).write_text(json.dumps(told))
    return code


def _claimed(job_id: str) -> Claim:
    with db.session() as session:
        claim = jobs.claim(session, worker="bench", lease_s=settings().lease_s, job_id=job_id)
    assert claim is not None
    return claim


def _submit(epochs: int) -> str:
    spec = {
        "teacher": "tch_1",
        "dataset": "dst_1",
        "student": {"type": "resnet", "depth": 8},
        "loss": {"type": "kd", "T": 4},
        "train": {"epochs": epochs, "batch_size": 64, "augment": "none", "control": False},
        "allow_weak_teacher": True,
    }
    with db.session() as session:
        return jobs.submit(session, JobSpec.model_validate(spec)).id


def _hand_in(folder: Path) -> None:
    """A teacher and a data set that are ready: random, for only the time counts."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (_ROWS, *_SHAPE), dtype=torch.uint8, generator=generator)
    y = torch.randint(0, _CLASSES, (_ROWS,), generator=generator)
    split = torch.zeros(_ROWS, dtype=torch.uint8)
    split[-128:-64], split[-64:] = 1, 2
    save_file({"x": x, "y": y, "split": split}, folder / "data")
    architecture = ResNet(depth=8)
    save_file(build_network(architecture, _SHAPE, _CLASSES).module.state_dict(), folder / "teacher")
    teacher = TeacherMeta(architecture=architecture, input_shape=_SHAPE, num_outputs=_CLASSES, parameters=0)
    dataset = DatasetMeta(
        task="image_classification",
        counts={"train": _ROWS - 128, "val": 64, "test": 64},
        input_shape=_SHAPE,
        num_outputs=_CLASSES,
        classes=[str(c) for c in range(_CLASSES)],
        mean=[0.5] * 3,
        std=[0.25] * 3,
    )
    with db.session() as session:
        session.add(Upload(id="upl_1", filename="a", size=1, sha256="0" * 64, storage_key="blobs/00/0"))
        session.flush()
        session.add(Teacher(id="tch_1", **_ready(folder / "teacher", teacher)))
        session.add(Dataset(id="dst_1", **_ready(folder / "data", dataset)))


def _ready(path: Path, meta: TeacherMeta | DatasetMeta) -> dict[str, Any]:
    stored = storage().put_file(path)
    return {
        "name": path.name,
        "upload_id": "upl_1",
        "spec": {},
        "status": CheckStatus.READY,
        "meta": meta.model_dump(mode="json"),
        "storage_key": stored.key,
        "sha256": stored.sha256,
        "size": stored.size,
    }


def _used() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    sys.exit(main())
