"""Work folders for benchmarks of whole jobs, and `python -m worker.engine.run` on them, watched from outside."""

import json
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from models.canonical import DatasetMeta, TeacherMeta
from models.spec.job import JobSpec
from models.work import StagedTeacher, WorkOrder
from worker.engine.networks import build_network

SHAPE, CLASSES, HELD_BACK = (3, 32, 32), 10, 256
#: How often a run is looked at; each look disturbs it a little.
_LOOK_S = 0.05
#: What every spec says. Made-up rows teach nothing, so that their teacher is weak: only the time counts.
NAMED = {"teacher": "tch_1", "dataset": "dst_1", "allow_weak_teacher": True}


@dataclass(frozen=True)
class Inputs:
    """A data set and a teacher, in files that work folders link to."""

    data: Path
    record: DatasetMeta
    teacher: Path
    meta: TeacherMeta


@dataclass(frozen=True)
class Done:
    """What a run came to: its report, its seconds, and the most memory that it held, of its own and of files."""

    report: dict[str, Any]
    seconds: float
    #: Of training, from the end of the first epoch on.
    later_s: float
    anonymous_bytes: int
    file_bytes: int

    def phase(self, name: str) -> float:
        """Seconds of one of its phases; 0 where it had none."""
        return float(self.report["timings"].get(name, 0.0))


def make_inputs(folder: Path, rows: int, architecture: dict[str, Any]) -> Inputs:
    """Random images with labels that can be read off them, and an untrained teacher: only the time counts."""
    folder.mkdir()
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 200, (rows + 2 * HELD_BACK, *SHAPE), dtype=torch.uint8, generator=generator)
    y = torch.randint(0, CLASSES, (len(x),), generator=generator)
    x[:, 0, 0, :CLASSES] = 0
    x[torch.arange(len(x)), 0, 0, y] = 255
    split = torch.zeros(len(x), dtype=torch.uint8)
    split[rows:] = 1
    split[rows + HELD_BACK :] = 2
    save_file({"x": x, "y": y, "split": split}, folder / "data.safetensors")
    record = DatasetMeta(
        task="image_classification",
        counts={"train": rows, "val": HELD_BACK, "test": HELD_BACK},
        input_shape=SHAPE,
        num_outputs=CLASSES,
        classes=[str(c) for c in range(CLASSES)],
        mean=[0.4] * 3,
        std=[0.25] * 3,
    )
    meta = TeacherMeta.model_validate(
        {"architecture": architecture, "input_shape": SHAPE, "num_outputs": CLASSES, "parameters": 0}
    )
    assert meta.architecture.type != "onnx"
    torch.manual_seed(0)
    save_file(build_network(meta.architecture, SHAPE, CLASSES).module.state_dict(), folder / "teacher.safetensors")
    return Inputs(folder / "data.safetensors", record, folder / "teacher.safetensors", meta)


def order_for(inputs: Inputs, spec: dict[str, Any], **order: Any) -> WorkOrder:
    """The order for a job on these inputs."""
    staged = StagedTeacher(meta=inputs.meta, sha256="teacher", file="teachers/tch_1.safetensors")
    return WorkOrder(
        job_id="bench",
        attempt=1,
        spec=JobSpec.model_validate({**NAMED, **spec}),
        teachers={"tch_1": staged},
        outputs={},
        dataset=inputs.record,
        dataset_sha256="data",
        **order,
    )


def run(folder: Path, inputs: Inputs, spec: dict[str, Any], *, look_s: float = _LOOK_S, **order: Any) -> Done:
    """One job in a process of its own, as the supervisor starts it; its memory is looked at every `look_s` seconds."""
    (folder / "teachers").mkdir(parents=True)
    (folder / "data.safetensors").symlink_to(inputs.data)
    (folder / "teachers" / "tch_1.safetensors").symlink_to(inputs.teacher)
    (folder / "job.json").write_text(order_for(inputs, spec, **order).model_dump_json())
    began = time.monotonic()
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "worker.engine.run", str(folder)], stdout=log, stderr=log)
        most = _watch(process, look_s)
    seconds = time.monotonic() - began
    if process.returncode != 0:
        raise SystemExit((folder / "log.txt").read_text()[-2000:])
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return Done(json.loads((folder / "out" / "report.json").read_text()), seconds, _later_s(events), *most)


def _later_s(events: list[dict[str, Any]]) -> float:
    """Seconds of the phases of training, without what came before the first epoch's figures."""
    seconds, since, has_begun = 0.0, 0.0, False
    for event in events:
        if event["type"] == "metrics" and not has_begun:
            has_begun, since = True, event["at"]
        elif event["type"] == "phase" and has_begun:
            seconds += event["at"] - since if since else 0.0
            # Views of a teacher's outputs are filled between epochs, in a phase of their own.
            since = event["at"] if event["data"]["phase"] == "training" else 0.0
    return seconds


def _watch(process: "subprocess.Popen[bytes]", look_s: float) -> tuple[int, int]:
    most = {"RssAnon": 0, "RssFile": 0}
    while process.poll() is None:
        lines = _status(process.pid)
        for line in lines:
            name, _, value = line.partition(":")
            if name in most:
                most[name] = max(most[name], int(value.split()[0]) * 1024)
        with suppress(subprocess.TimeoutExpired):
            process.wait(look_s)
    return most["RssAnon"], most["RssFile"]


def _status(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:  # it ended just now
        return []
