"""One order from its files to its artifacts: check, train lesson after lesson, score, export.

The order of things is here; how each is done is in the module of its name.
"""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import torch

from core.errors import Deadline, Infra, JobFailure
from models.lessons import STUDENT
from models.status import FailureClass, Phase
from models.work import WorkOrder
from worker.engine import report, results
from worker.engine.attempt import Attempt, Finished
from worker.engine.check_teacher import Scored, check_teacher
from worker.engine.checkpoint import Checkpoints
from worker.engine.failures import failure
from worker.engine.learner import Weights
from worker.engine.loop import Run
from worker.engine.networks import Network
from worker.engine.precision import exact_products
from worker.engine.progress import Progress
from worker.engine.stop import Stop, Stopped
from worker.engine.training import Interrupted, train
from worker.engine.wiring import Parts, wire

#: Written beside what the spec asks for, wherever the architecture is our own.
_SOURCE = "source"
#: The form of all students but the job's own.
_STAGE = "pth"


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
    exact_products()
    torch.backends.cudnn.benchmark = True  # shapes are fixed, but for the last batch of an epoch
    checkpoints = Checkpoints(workdir / "checkpoints", order.checkpoint_s)
    return Attempt(order, workdir, torch.device(order.device), progress, stop, checkpoints)


def train_and_score(attempt: Attempt) -> tuple[Parts, results.Results]:
    """All that comes before the export, from where the attempt before was left."""
    progress, check = attempt.progress, attempt.stop.check
    progress.phase(Phase.CHECKING)
    saved = attempt.load()
    parts = wire(attempt.order, attempt.workdir, attempt.device, saved["precisions"] if saved else None)
    progress.arithmetic(parts.choosing.arithmetic)
    teachers_val = check_teacher(parts, progress, check) if parts.handed_in else Scored()
    try:
        for group in parts.syllabus.groups:
            if group[0].name not in attempt.finished:
                resumed = saved if saved and saved["active"] == group[0].name else None
                train(attempt, parts, group, teachers_val.together, resumed)
    except Interrupted as interrupted:
        _hand_out_so_far(attempt, parts, interrupted.run)
        raise interrupted.why from None
    progress.phase(Phase.EVALUATING)
    try:
        return parts, results.score(parts, attempt.finished, teachers_val, check)
    except (Stopped, Deadline):
        attempt.checkpoints.wait()
        _hand_out_so_far(attempt, parts)
        raise


def _worth_repeating(told: JobFailure) -> JobFailure:
    """What is at fault in an export is tried again: training is done and kept, so the export alone is repeated."""
    if told.failure is not FailureClass.INTERNAL:
        return told
    return Infra(f"the student is trained and kept, but could not be handed out: {told.detail}", code="export_failed")


def _hand_out(attempt: Attempt, parts: Parts, scored: results.Results) -> None:
    out = _out(attempt)
    student = parts.student.with_weights(scored.student.weights)
    files = _export(attempt, student, out, [*attempt.order.spec.export, _SOURCE])
    files += [_export_stage(parts, name, scored.lessons[name].weights, out) for name in parts.syllabus.stages]
    attempt.progress.close_phase()
    report.write_json(out / "report.json", report.report(attempt, parts, scored, files))
    files.append(out / "report.json")
    report.write_json(out / "manifest.json", report.manifest(attempt, parts, files, partial=False))


def _hand_out_so_far(attempt: Attempt, parts: Parts, run: Run | None = None) -> None:
    """The students that there are; `run` is what was in training. Whoever stopped the job waits, so no more than that.

    Nothing where nothing has been trained.
    """
    there = dict(attempt.finished)
    if run is not None and run.step:
        there |= {learner.name: Finished(learner.trail, learner.weights()) for learner in run.learners}
    if not there:
        return
    out, files, chosen = _out(attempt), list[Path](), dict[str, int]()
    for name, done in sorted(there.items(), key=lambda item: item[0] != STUDENT):  # it comes first if time runs out
        epoch, weights = results.select(done, parts.lessons[name].lesson.train.select)
        if name == STUDENT:
            files += _export(attempt, parts.student.with_weights(weights), out, attempt.order.spec.export)
        elif name in parts.syllabus.stages and name in attempt.finished:
            files.append(_export_stage(parts, name, weights, out))
        else:
            continue
        chosen[name] = epoch
    active = run.name if run is not None else None
    report.write_json(out / "report.json", report.partial_report(attempt, parts, active, chosen, files))
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


def _export_stage(parts: Parts, name: str, weights: Weights, out: Path) -> Path:
    """The weights of a student that stands beside or before the job's: assistant_1.pth."""
    wired = parts.lessons[name]
    spec = parts.order.spec.model_copy(update={"student": wired.lesson.student})
    order = parts.order.model_copy(update={"spec": spec})
    path: Path = import_module(f"worker.exporters.{_STAGE}").export(wired.with_weights(weights), order, out, stem=name)
    return path
