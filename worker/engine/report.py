"""report.json, what a job found, and manifest.json, what it was made of."""

import hashlib
import json
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from models.lessons import CONTROL, STUDENT
from models.spec.shapes import stored
from models.work import WorkOrder
from worker.engine.answers import teacher_figures
from worker.engine.attempt import Attempt
from worker.engine.check_teacher import Scored as Teachers
from worker.engine.checkpoint import write_whole
from worker.engine.footprint import peak
from worker.engine.networks import count_flops, count_parameters
from worker.engine.normalise import student_figures
from worker.engine.objective import taps_of, term_names
from worker.engine.outputs import has_label
from worker.engine.progress import finite
from worker.engine.results import Epoch, Results
from worker.engine.version import ENGINE_VERSION
from worker.engine.wired import Wired
from worker.engine.wiring import Parts


def report(attempt: Attempt, parts: Parts, results: Results, files: Iterable[Path]) -> dict[str, Any]:
    """The record of a finished job."""
    order, chosen = attempt.order, results.student.selected
    control = results.lessons[parts.syllabus.control].selected if parts.syllabus.control else None
    return {
        "task": order.dataset.task,
        "partial": False,
        "test": {
            **_teachers(parts, results.teachers["test"]),
            "student": chosen.test,
            "control": control.test if control else None,
            "agreement": results.agreement_with_teacher,
            "agreement_is": parts.task.agreement_name,
            **_details(parts, chosen),
        },
        "val": {
            **_teachers(parts, results.teachers["val"]),
            "student": chosen.val,
            "control": control.val if control else None,
        },
        "best_epoch": results.student.best.epoch,
        "last_epoch": results.student.last.epoch,
        "selected": order.spec.train.select,
        "selected_epoch": chosen.epoch,
        "runs": {
            name: _run(attempt, parts, results, name) for name in results.lessons if name not in parts.syllabus.stages
        },
        "stages": [_stage(attempt, parts, results, name) for name in parts.syllabus.stages],
        **_why_no_control(order),
        **_facts(attempt, parts, files),
    }


def partial_report(
    attempt: Attempt, parts: Parts, active: str | None, chosen: dict[str, int], files: Iterable[Path]
) -> dict[str, Any]:
    """The record of a job that was stopped: nothing was scored on the test split.

    `active` is the lesson that was being held, None where all were over; `chosen` the epoch of each network there is.
    """
    return {
        "task": attempt.order.dataset.task,
        "partial": True,
        "stage": active,
        "selected_epoch": chosen.get(STUDENT),
        "stages": [
            {"name": name, "selected_epoch": epoch} for name, epoch in chosen.items() if name in parts.syllabus.stages
        ],
        **_facts(attempt, parts, files),
    }


def manifest(attempt: Attempt, parts: Parts, files: Iterable[Path], *, partial: bool) -> dict[str, Any]:
    """What the student was made of, so that it can be made again, and the hashes of what was handed out."""
    order = attempt.order
    return {
        "job_id": order.job_id,
        "attempt": order.attempt,
        "partial": partial,
        **({"teacher_sha256": order.only_teacher.sha256} if order.only_teacher else {}),
        "teachers": {name: staged.sha256 for name, staged in order.teachers.items()},
        "outputs": {name: staged.sha256 for name, staged in order.outputs.items()},
        "dataset_sha256": order.dataset_sha256,
        "spec_sha256": spec_sha256(order),
        "spec": order.spec.resolved().model_dump(mode="json"),
        "seed": order.spec.train.seed,
        "precision": _precision(parts),
        "versions": {"torch": torch.__version__, "python": platform.python_version(), "engine": ENGINE_VERSION},
        "device": device_name(attempt.device),
        "threads": torch.get_num_threads(),
        "files": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files},
    }


def write_json(path: Path, content: dict[str, Any]) -> None:
    """The record as a file that is whole or not there. Raises OSError."""
    write_whole(path, json.dumps(finite(content), indent=2, allow_nan=False).encode() + b"\n")


def spec_sha256(order: WorkOrder) -> str:
    """The hash of the resolved spec, its fields sorted; when it is served changes nothing of what it makes."""
    spec = order.spec.resolved().model_dump(mode="json", exclude={"priority", "arithmetic"})
    return hashlib.sha256(json.dumps(spec, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def device_name(device: torch.device) -> str:
    """What the job ran on."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return _processor_name() or platform.machine()


def _processor_name() -> str:
    """As Linux says it; empty elsewhere."""
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text().splitlines() if listing.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _why_no_control(order: WorkOrder) -> dict[str, str]:
    """Where a control was asked for and could not be trained."""
    if order.dataset.num_labelled("train") or not order.spec.train.control:
        return {}
    return {"no_control": "no training row has a label, so there is nothing to train a student by without a teacher"}


def _teachers(parts: Parts, said: Teachers) -> dict[str, Any]:
    """The figures of the teacher, or of all of them together, and of each where there are several."""
    together = {"teacher": teacher_figures(parts.task, said.together)}
    return {**together, "teachers": said.each} if len(said.each) > 1 else together


def _details(parts: Parts, chosen: Epoch) -> dict[str, object]:
    """More on the student than its metrics, over the test rows that have labels."""
    y = parts.splits["test"].y
    labelled = has_label(y)
    if chosen.test_logits is None or not bool(labelled.any()):
        return {}
    return parts.task.details(chosen.test_logits[labelled], y[labelled])


def _run(attempt: Attempt, parts: Parts, results: Results, name: str) -> dict[str, Any]:
    """Who taught a student, and what came of it. Agreement is with those, where they did not change."""
    trail, scored = attempt.finished[name].trail, results.lessons[name]
    return {
        "taught_by": list(parts.lessons[name].heard),
        "agreement": results.agreement.get(name),
        "best": scored.best.as_dict(),
        "last": scored.last.as_dict(),
        "stopped_early": trail.stopped_early,
        "train_s": round(trail.train_s, 3),
    }


def _stage(attempt: Attempt, parts: Parts, results: Results, name: str) -> dict[str, Any]:
    """A student beside the job's own."""
    wired, scored = parts.lessons[name], results.lessons[name]
    return {
        "name": name,
        "file": f"{name}.pth",
        "parameters": count_parameters(wired.start.module),
        "selected": wired.lesson.train.select,
        "selected_epoch": scored.selected.epoch,
        "taps": _taps(wired),
        **_run(attempt, parts, results, name),
    }


def _facts(attempt: Attempt, parts: Parts, files: Iterable[Path]) -> dict[str, Any]:
    order = attempt.order
    return {
        "parameters": {**_parameters(order), "student": count_parameters(parts.student.start.module)},
        "sizes": {**_sizes(attempt), **{path.name: path.stat().st_size for path in files}},
        **_several(order),
        "input": _input(order),
        "classes": order.dataset.classes,
        "taps": _taps(parts.student),
        "flops": _flops(parts),
        "memory": peak(attempt.device),
        "timings": {name: round(seconds, 3) for name, seconds in attempt.progress.seconds.items()},
        "seed": order.spec.train.seed,
        "precision": _precision(parts),
        "arithmetic": parts.choosing.report(),
        "device": device_name(attempt.device),
        "teacher_cache": parts.transcripts.tally.as_dict(),
        "warnings": attempt.progress.warnings,
    }


def _flops(parts: Parts) -> dict[str, int]:
    """Of a forward pass on one row, by network."""
    counted: dict[str, int] = {}
    networks = {name: wired.lesson.student.model_dump_json() for name, wired in parts.lessons.items()}
    for name, network in networks.items():
        if network not in counted:
            counted[network] = count_flops(parts.lessons[name].start.module, parts.order.dataset.input_shape)
    return {name: counted[network] for name, network in networks.items()}


def _precision(parts: Parts) -> dict[str, str]:
    """In what numbers the teacher computed, and each network of the job; the control as the student."""
    teacher: dict[str, str] = {"teacher": parts.teacher.precision.name} if parts.handed_in else {}
    return {**teacher, **{name: own for name, own in parts.precisions.items() if name != CONTROL}}


def _input(order: WorkOrder) -> dict[str, Any]:
    """How the student wants its input."""
    data = order.dataset
    if data.text is not None:
        return {"shape": list(stored(data.input_shape)), **data.text.model_dump(mode="json")}
    if len(data.input_shape) != 3:
        return {"shape": list(data.input_shape), "columns": [column.name for column in data.columns]}
    mean, std = student_figures(data)
    sound = {"spectrum": data.spectrum.model_dump()} if data.spectrum else {}
    return {"shape": list(data.input_shape), "layout": "NCHW", "range": [0, 1], "mean": mean, "std": std, **sound}


def _taps(wired: Wired) -> dict[str, list[dict[str, str]]]:
    """The pairs of each term that reads features, as they were chosen; with several who teach, for each of them."""
    pairs = {}
    for taught_by, heard in wired.heard.items():
        for name, term in zip(term_names(heard.terms), heard.terms, strict=True):
            if term.needs_taps:
                key = name if len(wired.heard) == 1 else f"{name}@{taught_by}"
                pairs[key] = [pair.model_dump() for pair in taps_of(term)]
    return pairs


def _parameters(order: WorkOrder) -> dict[str, int]:
    return {"teacher": order.only_teacher.meta.parameters} if order.only_teacher else {}


def _several(order: WorkOrder) -> dict[str, Any]:
    """Those who teach where there are several, by id."""
    if len(order.teachers) + len(order.outputs) < 2:
        return {}
    stored = {
        name: {"sha256": staged.sha256, "parameters": staged.meta.parameters} for name, staged in order.teachers.items()
    }
    return {"teachers": {**stored, **{name: {"sha256": given.sha256} for name, given in order.outputs.items()}}}


def _sizes(attempt: Attempt) -> dict[str, int]:
    staged = attempt.order.only_teacher
    return {"teacher": (attempt.workdir / staged.file).stat().st_size} if staged else {}
