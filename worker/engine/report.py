"""report.json, what a job found, and manifest.json, what it was made of."""

import hashlib
import json
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models.work import WorkOrder
from worker.engine.attempt import Attempt
from worker.engine.checkpoint import write_whole
from worker.engine.networks import count_parameters
from worker.engine.normalise import student_figures
from worker.engine.objective import taps_of, term_names
from worker.engine.progress import finite
from worker.engine.results import Results, Scored
from worker.engine.wiring import Parts

#: Raised with every change after which the same order may give other weights.
ENGINE_VERSION = 1


def report(
    attempt: Attempt, parts: Parts, results: Results, student: nn.Module, files: Iterable[Path]
) -> dict[str, Any]:
    """The record of a finished job."""
    order, chosen = attempt.order, results.student.selected
    test_y = parts.splits["test"].y
    details = {} if chosen.test_logits is None else parts.task.details(chosen.test_logits, test_y)
    return {
        "task": order.dataset.task,
        "partial": False,
        "test": {
            "teacher": results.teacher_test,
            "student": chosen.test,
            "control": results.control.selected.test if results.control else None,
            "agreement": results.agreement,
            "agreement_is": parts.task.agreement_name,
            **details,
        },
        "val": {
            "teacher": results.teacher_val,
            "student": chosen.val,
            "control": results.control.selected.val if results.control else None,
        },
        "best_epoch": results.student.best.epoch,
        "last_epoch": results.student.last.epoch,
        "selected": order.spec.train.select,
        "selected_epoch": chosen.epoch,
        "runs": {name: _run(attempt, name, scored) for name, scored in results.runs.items()},
        **_facts(attempt, parts, student, files),
    }


def partial_report(
    attempt: Attempt, parts: Parts, student: nn.Module, epoch: int, files: Iterable[Path]
) -> dict[str, Any]:
    """The record of a job that was stopped: nothing was scored on the test split."""
    return {
        "task": attempt.order.dataset.task,
        "partial": True,
        "selected_epoch": epoch,
        **_facts(attempt, parts, student, files),
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
        "precision": {"student": parts.precision.name, "teacher": parts.teacher.precision.name},
        "versions": {"torch": torch.__version__, "python": platform.python_version(), "engine": ENGINE_VERSION},
        "device": device_name(attempt.device),
        "threads": torch.get_num_threads(),
        "files": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files},
    }


def write_json(path: Path, content: dict[str, Any]) -> None:
    """The record as a file that is whole or not there. Raises OSError."""
    write_whole(path, json.dumps(finite(content), indent=2, allow_nan=False).encode() + b"\n")


def spec_sha256(order: WorkOrder) -> str:
    """The hash of the resolved spec, its fields sorted."""
    spec = order.spec.resolved().model_dump(mode="json")
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


def _run(attempt: Attempt, name: str, scored: Scored) -> dict[str, Any]:
    trail = attempt.finished[name].trail
    return {
        "best": scored.best.as_dict(),
        "last": scored.last.as_dict(),
        "stopped_early": trail.stopped_early,
        "train_s": round(trail.train_s, 3),
    }


def _facts(attempt: Attempt, parts: Parts, student: nn.Module, files: Iterable[Path]) -> dict[str, Any]:
    order = attempt.order
    return {
        "parameters": {**_parameters(order), "student": count_parameters(student)},
        "sizes": {**_sizes(attempt), **{path.name: path.stat().st_size for path in files}},
        "input": _input(order),
        "classes": order.dataset.classes,
        "taps": _taps(parts),
        "timings": {name: round(seconds, 3) for name, seconds in attempt.progress.seconds.items()},
        "seed": order.spec.train.seed,
        "precision": {"student": parts.precision.name, "teacher": parts.teacher.precision.name},
        "device": device_name(attempt.device),
        "warnings": attempt.progress.warnings,
    }


def _input(order: WorkOrder) -> dict[str, Any]:
    """How the student wants its input."""
    data = order.dataset
    if len(data.input_shape) != 3:
        return {"shape": list(data.input_shape), "columns": [column.name for column in data.columns]}
    mean, std = student_figures(data)
    return {"shape": list(data.input_shape), "layout": "NCHW", "range": [0, 1], "mean": mean, "std": std}


def _taps(parts: Parts) -> dict[str, list[dict[str, str]]]:
    """The pairs of each term that reads features, as they were chosen."""
    named = zip(term_names(parts.terms), parts.terms, strict=True)
    return {name: [pair.model_dump() for pair in taps_of(term)] for name, term in named if term.needs_taps}


def _parameters(order: WorkOrder) -> dict[str, int]:
    return {"teacher": order.only_teacher.meta.parameters} if order.only_teacher else {}


def _sizes(attempt: Attempt) -> dict[str, int]:
    staged = attempt.order.only_teacher
    return {"teacher": (attempt.workdir / staged.file).stat().st_size} if staged else {}
