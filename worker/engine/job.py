"""One order from its files to its artifacts: check, train, train the control, score, export.

The order of things is here; how each is done is in the module of its name.
"""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import torch

from core.errors import Deadline, Infra, JobFailure
from models.status import FailureClass, Phase
from models.work import WorkOrder
from worker.engine import report, results
from worker.engine.attempt import STUDENT, Attempt, Finished
from worker.engine.check_teacher import check_teacher
from worker.engine.checkpoint import Checkpoints
from worker.engine.failures import failure
from worker.engine.networks import Network
from worker.engine.progress import Progress
from worker.engine.stop import Stop, Stopped
from worker.engine.training import Interrupted, train
from worker.engine.wiring import Parts, wire

#: Written beside what the spec asks for, wherever the architecture is our own.
_SOURCE = "source"


def run_order(order: WorkOrder, workdir: Path, progress: Progress, stop: Stop) -> None:
    """Does the order; out/ then holds its artifacts.

    Raises Stopped and JobFailure; where training had begun, out/ then holds the student so far, marked as partial.
    """
    attempt = open_attempt(order, workdir, progress, stop)
    parts, scored = train_and_score(attempt)
    progress.phase(Phase.EXPORTING)
    attempt.checkpoints.wait()
    try:
        _hand_out(attempt, parts, scored)
    except Exception as error:
        raise _worth_repeating(failure(error, order)) from error


def open_attempt(order: WorkOrder, workdir: Path, progress: Progress, stop: Stop) -> Attempt:
    """The attempt in its folder, before anything is read."""
    if order.threads:
        torch.set_num_threads(order.threads)
    torch.backends.cudnn.benchmark = True  # shapes are fixed, but for the last batch of an epoch
    checkpoints = Checkpoints(workdir / "checkpoints", order.checkpoint_s)
    return Attempt(order, workdir, torch.device(order.device), progress, stop, checkpoints)


def train_and_score(attempt: Attempt) -> tuple[Parts, results.Results]:
    """All that comes before the export, from where the attempt before was left."""
    progress, check = attempt.progress, attempt.stop.check
    progress.phase(Phase.CHECKING)
    saved = attempt.load()
    parts = wire(attempt.order, attempt.workdir, attempt.device, saved["precision"] if saved else None)
    teacher_val = check_teacher(parts, progress, check)
    try:
        for name in attempt.runs:
            if name not in attempt.finished:
                train(attempt, parts, name, saved if saved and saved["active"] == name else None)
    except Interrupted as interrupted:
        run = interrupted.run
        if STUDENT in attempt.finished or run.step:
            so_far = attempt.finished.get(STUDENT) or Finished(run.trail, run.weights())
            _hand_out_so_far(attempt, parts, so_far)
        raise interrupted.why from None
    progress.phase(Phase.EVALUATING)
    try:
        return parts, results.score(parts, attempt.finished, teacher_val, check)
    except (Stopped, Deadline):
        attempt.checkpoints.wait()
        _hand_out_so_far(attempt, parts, attempt.finished[STUDENT])
        raise


def _worth_repeating(told: JobFailure) -> JobFailure:
    """What is at fault in an export is tried again: training is done and kept, so the export alone is repeated."""
    if told.failure is not FailureClass.INTERNAL:
        return told
    return Infra(f"the student is trained and kept, but could not be handed out: {told.detail}", code="export_failed")


def _hand_out(attempt: Attempt, parts: Parts, scored: results.Results) -> None:
    out = _out(attempt)
    student = parts.student_with(scored.student.weights)
    files = _export(attempt, student, out, [*attempt.order.spec.export, _SOURCE])
    attempt.progress.close_phase()
    report.write_json(out / "report.json", report.report(attempt, parts, scored, student.module, files))
    files.append(out / "report.json")
    report.write_json(out / "manifest.json", report.manifest(attempt, parts, files, partial=False))


def _hand_out_so_far(attempt: Attempt, parts: Parts, so_far: Finished) -> None:
    """The best student so far, or the one in training; whoever stopped the job waits for it, so no more than that."""
    out = _out(attempt)
    epoch, weights = results.select(so_far, attempt.order.spec.train.select)
    student = parts.student_with(weights)
    files = _export(attempt, student, out, attempt.order.spec.export)
    report.write_json(out / "report.json", report.partial_report(attempt, parts, student.module, epoch, files))
    files.append(out / "report.json")
    report.write_json(out / "manifest.json", report.manifest(attempt, parts, files, partial=True))


def _out(attempt: Attempt) -> Path:
    out = attempt.workdir / "out"
    out.mkdir(exist_ok=True)
    return out


def _export(attempt: Attempt, student: Network, out: Path, formats: Sequence[str]) -> list[Path]:
    """Each format by its file in worker/exporters; one that does not apply gives no file."""
    made = [import_module(f"worker.exporters.{name}").export(student, attempt.order, out) for name in formats]
    return [path for path in made if path is not None]
