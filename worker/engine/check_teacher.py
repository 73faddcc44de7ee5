"""Scores the teacher on the validation split before anything is trained.

A teacher at chance is nearly always a good one that sees its input in the wrong way, so the error lists the ways.
"""

from torch import Tensor

from core.errors import UserInput
from models.canonical import TeacherMeta
from models.work import WorkOrder
from worker.engine.evaluate import Check, ask
from worker.engine.progress import Progress
from worker.engine.wiring import Parts

#: Rows of probabilities sum to 1 within this.
_SUM_TOLERANCE = 1e-3


def comparable(order: WorkOrder) -> bool:
    """Whether the teacher's outputs are those of the data set, so that it can be scored by its labels."""
    return _record(order).num_outputs == order.dataset.num_outputs


def _record(order: WorkOrder) -> TeacherMeta:
    assert order.only_teacher is not None, "one stored teacher"
    return order.only_teacher.meta


def check_teacher(parts: Parts, progress: Progress, check: Check) -> Tensor | None:
    """The teacher's logits on the validation split; None where there is nothing to score it by.

    Raises UserInput `weak_teacher`, or warns of it where the spec allows one.
    """
    order, split = parts.order, parts.splits["val"]
    if not comparable(order):
        progress.notice(
            "teacher_not_scored",
            f"the teacher has {_record(order).num_outputs} outputs and the data set {order.dataset.num_outputs}: it is "
            "not scored, and its agreement with the student is not measured",
        )
        return None
    if not len(split):
        progress.notice("no_validation_rows", "the data set has no validation rows: the teacher is not scored")
        return None
    logits = ask(parts.teacher, split, order.spec.train.batch_size, check)
    parts.teacher.units = parts.task.units(logits, split.y)
    if parts.teacher.units is not None:
        scale, shift = parts.teacher.units
        logits = logits * scale + shift
        progress.notice("teacher_units", "the teacher predicts the target in its own units; they are standardised")
    if not bool(logits.isfinite().all()):
        raise UserInput("the teacher's outputs are not finite on the validation split", code="teacher_not_finite")
    _warn_of_probabilities(logits, order, progress)
    _judge(parts, logits, progress)
    return logits


def _judge(parts: Parts, logits: Tensor, progress: Progress) -> None:
    verdict = parts.task.judge(logits, parts.splits["val"].y, _record(parts.order).accuracy)
    if not verdict.why:
        return
    sentence = f"the teacher has {verdict.why}. {_causes(parts.order)}"
    if not parts.order.spec.allow_weak_teacher:
        raise UserInput(
            f"{sentence} To train with it nevertheless, set allow_weak_teacher.",
            code="weak_teacher",
            extra=dict(verdict.figures),
        )
    progress.warning("weak_teacher", sentence)


def _causes(order: WorkOrder) -> str:
    """What is mostly wrong, with what the job took it to be."""
    if len(order.dataset.input_shape) != 3:
        return (
            "Likely causes: the order or the scaling of the feature columns, which must be those of the data set's "
            "record, or the order of the classes."
        )
    want = _record(order).input
    mean = [round(m, 4) for m in want.mean] or "the data set's"
    std = [round(s, 4) for s in want.std] or "the data set's"
    size = list(want.size) if want.size else "the data set's"
    return (
        f"Likely causes: the normalisation (taken: range {list(want.range)}, mean {mean}, std {std}), the order of the "
        f"classes (taken: {', '.join(order.dataset.classes[:5])} ...), the layout (taken: {want.layout}) or the input "
        f"size (taken: {size}). Hand the teacher in again with the right `input`, or the data set with `classes`."
    )


def _warn_of_probabilities(logits: Tensor, order: WorkOrder, progress: Progress) -> None:
    """Probabilities that are taken for logits soften every target beyond use."""
    if _record(order).output_kind != "logits" or logits.shape[1] < 2:
        return
    sums = logits.sum(1)
    if bool((logits >= 0).all()) and bool(((sums - 1).abs() < _SUM_TOLERANCE).all()):
        progress.warning(
            "teacher_gives_probabilities",
            "the teacher's outputs look like probabilities, though they are declared as logits: hand it in again with "
            "outputs `probabilities`",
        )
