"""Scores each teacher on the validation split before anything is trained.

A teacher at chance is nearly always a good one that sees its input in the wrong way, so the error lists the ways.
"""

from dataclasses import dataclass, field

from core.errors import Problem, UserInput
from models.canonical import TeacherMeta
from models.work import WorkOrder
from worker.engine.answers import Answers, answers, teacher_figures
from worker.engine.evaluate import Check
from worker.engine.outputs import Outputs
from worker.engine.progress import Progress
from worker.engine.sources.ensemble import EnsembleTeacher
from worker.engine.sources.given import GivenSource
from worker.engine.sources.source import Single, Source, Voice
from worker.engine.task import Metrics
from worker.engine.transcripts import Asked
from worker.engine.wiring import Parts

#: Rows of probabilities sum to 1 within this.
_SUM_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Scored:
    """What the teachers say of one split: together, and the figures of each by its id (None where it has none)."""

    together: Answers | None = None
    each: dict[str, Metrics | None] = field(default_factory=dict)


def check_teacher(parts: Parts, progress: Progress, check: Check) -> Scored:
    """The validation split as the teachers see it.

    Raises UserInput `weak_teacher`, or warns of it where the spec allows one.
    """
    said = _asked(parts, "val", check)
    checked = voices(parts)
    for name, (source, voice) in checked.items():
        _check(parts, source, voice, _answers(parts, source, said, name, "val"), progress, check)
    if any(voice.units is not None for _, voice in checked.values()):
        said = _asked(parts, "val", check)
    return _scored(parts, said, "val")


def score_teachers(parts: Parts, split: str, check: Check) -> Scored:
    """A split as the teachers see it."""
    return _scored(parts, _asked(parts, split, check), split)


def voices(parts: Parts) -> dict[str, tuple[Single, Voice]]:
    """Each single teacher at work, by its id."""
    at_work = parts.teacher.members if isinstance(parts.teacher, EnsembleTeacher) else None
    return {
        name: (source, at_work[name] if at_work else parts.teacher)  # type: ignore[misc]
        for name, source in parts.source.members.items()
    }


def _asked(parts: Parts, split: str, check: Check) -> Outputs | None:
    rows = parts.splits[split]
    return parts.transcripts.of_scoring(parts.teacher, Asked(split, rows), check) if len(rows) else None


def _scored(parts: Parts, said: Outputs | None, split: str) -> Scored:
    heard = {name: _answers(parts, source, said, name, split) for name, source in parts.source.members.items()}
    together = next(iter(heard.values())) if len(heard) == 1 else _answers(parts, parts.source, said, "", split)
    return Scored(together, {name: teacher_figures(parts.task, one) for name, one in heard.items()})


def _answers(parts: Parts, source: Source, said: Outputs | None, name: str, split: str) -> Answers | None:
    if said is None or source.columns is None:
        return None
    return answers(said.members.get(name, said), source.columns, parts.splits[split].y)


def _check(parts: Parts, source: Single, voice: Voice, heard: Answers | None, progress: Progress, check: Check) -> None:
    data = parts.order.dataset
    if source.columns is None:
        progress.notice(
            "teacher_not_scored",
            f"{source.name} has {source.num_outputs} outputs and the data set {data.num_outputs}: it is not scored, "
            "and its agreement with the student is not measured",
        )
        return
    where, judged = _judged(parts, source, voice, heard, check)
    if isinstance(source, GivenSource) and source.num_training < data.counts["train"]:
        progress.notice(
            "partial_outputs",
            f"{source.name} speaks of {source.num_training} of {data.counts['train']} training rows and has no say on "
            "the others",
        )
    if judged is None:
        lacking = "labels" if data.counts["val"] else "rows"
        progress.notice(
            f"no_validation_{lacking}",
            f"the data set has no validation rows{' with labels' if data.counts['val'] else ''} that {source.name} "
            "speaks of: it is not scored",
        )
        return
    if not bool(judged.logits.isfinite().all()):
        raise UserInput(f"the outputs of {source.name} are not finite on the {where} split", code="teacher_not_finite")
    voice.units = parts.task.units(judged.logits, judged.y)
    if voice.units is not None:
        judged = judged.rescaled(*voice.units)
        progress.notice("teacher_units", f"{source.name} predicts the target in its own units; they are standardised")
    _warn_of_probabilities(judged, source, progress)
    _judge(parts, source, judged, where, progress)


def _judged(
    parts: Parts, source: Single, voice: Voice, heard: Answers | None, check: Check
) -> tuple[str, Answers | None]:
    """The labelled rows that it is judged by: of validation or, for outputs that were given for others, of training."""
    labelled = heard.labelled if heard else None
    if labelled is not None or source.columns is None or not isinstance(source, GivenSource):
        return "validation", labelled
    split = parts.splits["train"]
    said = parts.transcripts.of_scoring(voice, Asked("train", split), check)
    of_training = answers(said, source.columns, split.y)
    return "training", of_training.labelled if of_training else None


def _judge(parts: Parts, source: Single, heard: Answers, where: str, progress: Progress) -> None:
    declared = source.record.accuracy if source.record and heard.columns.ours is None else None
    verdict = parts.task.judge(heard.logits, heard.y, declared, where)
    if not verdict.why:
        return
    sentence = f"{source.name} has {verdict.why}. {_causes(parts.order, source.record)}"
    if not parts.order.spec.allow_weak_teacher:
        sentence = f"{sentence} To train with it nevertheless, set allow_weak_teacher."
        raise UserInput(
            sentence, code="weak_teacher", errors=[Problem(source.pointer, sentence)], extra=dict(verdict.figures)
        )
    progress.warning("weak_teacher", sentence)


def _causes(order: WorkOrder, record: TeacherMeta | None) -> str:
    """What is mostly wrong, with what the job took it to be."""
    if record is None:
        return (
            "Likely causes: outputs of other rows than `rows` says, which counts the rows of the canonical data set, "
            "or the order of the classes."
        )
    if order.dataset.text is not None:
        return (
            "Likely causes: another tokenizer or another vocabulary than the data set's (the same tokens have to stand "
            "in the same lines), or the order of the classes."
        )
    if len(order.dataset.input_shape) != 3:
        return (
            "Likely causes: the order or the scaling of the feature columns, which must be those of the data set's "
            "record, or the order of the classes."
        )
    want = record.input
    mean = [round(m, 4) for m in want.mean] or "the data set's"
    std = [round(s, 4) for s in want.std] or "the data set's"
    size = list(want.size) if want.size else "the data set's"
    other = "features that are not the data set's (`report.spectrum`), " if order.dataset.spectrum else ""
    return (
        f"Likely causes: {other}the normalisation (taken: range {list(want.range)}, mean {mean}, std {std}), the order "
        f"of the classes (taken: {', '.join(order.dataset.classes[:5])} ...), the layout (taken: {want.layout}) or the "
        f"input size (taken: {size}). Hand the teacher in again with the right `input`, or the data set with `classes`."
    )


def _warn_of_probabilities(heard: Answers, source: Single, progress: Progress) -> None:
    """Probabilities that are taken for logits soften every target beyond use."""
    logits = heard.logits
    if (source.record and source.record.output_kind != "logits") or logits.shape[1] < 2:
        return
    sums = logits.sum(1)
    if bool((logits >= 0).all()) and bool(((sums - 1).abs() < _SUM_TOLERANCE).all()):
        progress.warning(
            "teacher_gives_probabilities",
            f"the outputs of {source.name} look like probabilities, though they are declared as logits: hand it in "
            "again with outputs `probabilities`",
        )
