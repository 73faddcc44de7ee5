"""Which teacher each term of a job listens to, and what is refused since that one does not say it."""

from collections.abc import Sequence

from core.errors import UserConfig
from models.canonical import DatasetMeta
from models.spec.losses.term import LossTerm
from worker.engine.columns import PLAIN, SAME, Lens
from worker.engine.objective import refuse_unknown_taps, type_of
from worker.engine.sources.source import Source


def heard_by(term: LossTerm, at: int, source: Source) -> Source:
    """The teacher, or that one of an ensemble, that the term at this place of the list listens to.

    Raises UserConfig where it names one that the job does not have, or none where it must.
    """
    if term.teacher is not None:
        if term.teacher not in source.members:
            raise UserConfig.at(
                f"/loss/{at}/teacher",
                f"`{term.teacher}` does not teach in this job; there is {_named(source)}",
                code="unknown_member",
            )
        return source.members[term.teacher]
    if len(source.members) > 1:
        _refuse_all_at_once(term, at, source)
    return source


def refuse(terms: Sequence[LossTerm], source: Source, data: DatasetMeta) -> None:
    """UserConfig for the first term that reads what its teacher or the data does not say; taps are paired by then."""
    for at, term in enumerate(terms):
        heard = heard_by(term, at, source)
        refuse_unknown_taps(term, at, "teacher", heard.taps, heard.stages)
        if term.needs_embedding and not heard.has_embedding:
            raise UserConfig.at(
                f"/loss/{at}/type",
                f"this loss compares embeddings, and {heard.name} does not show what feeds its last linear layer: take "
                "a loss that compares outputs or taps",
                code="teacher_without_embedding",
            )
        if term.needs_taps and not heard.taps:
            raise UserConfig.at(
                f"/loss/{at}/type",
                f"{type_of(term)} reads features, and {heard.name} has outputs alone: take a loss that compares "
                "outputs",
                code="teacher_without_taps",
            )
        if term.same_outputs and heard.columns is None:
            raise UserConfig.at(
                heard.pointer,
                f"{heard.name} has {heard.num_outputs} outputs and the data set {data.num_outputs}, and "
                f"{type_of(term)} compares them one by one: map its classes with `classes`, or take losses that "
                "compare features or relations",
                code="class_count_differs",
            )
        refuse_without_labels(term, at, data)


def refuse_without_labels(term: LossTerm, at: int, data: DatasetMeta) -> None:
    """UserConfig where the term reads labels and some training rows have none."""
    if term.needs_labels and not data.all_labelled("train"):
        raise UserConfig.at(
            f"/loss/{at}/type",
            f"{type_of(term)} reads labels, and {data.counts['train'] - data.num_labelled('train')} of "
            f"{data.counts['train']} training rows have none: take a loss that compares outputs alone, such as kd",
            code="needs_labels",
        )


def lenses(terms: Sequence[LossTerm], source: Source) -> list[Lens]:
    """How each term sees a batch; terms that see the same share one."""
    made: dict[tuple[str | None, bool], Lens] = {}
    found = []
    for at, term in enumerate(terms):
        columns = heard_by(term, at, source).columns or SAME
        member = term.teacher if len(source.members) > 1 else None
        key = member, term.same_outputs and columns is not SAME
        if key not in made:
            made[key] = PLAIN if key == (None, False) else Lens(member, columns if key[1] else SAME)
        found.append(made[key])
    return found


def _refuse_all_at_once(term: LossTerm, at: int, source: Source) -> None:
    """A term without a teacher of its own hears the combination: of outputs, where all of them can be combined."""
    if term.needs_taps or term.needs_embedding:
        raise UserConfig.at(
            f"/loss/{at}/teacher",
            f"{type_of(term)} reads {'features' if term.needs_taps else 'embeddings'}, which are not combined: name "
            f"the teacher that it listens to; there is {_named(source)}",
            code="teacher_not_named",
        )
    for member in source.members.values():
        if member.columns is None:
            raise UserConfig.at(
                member.pointer,
                f"{member.name} has {member.num_outputs} outputs, which cannot be combined with those of the others: "
                f"map its classes with `classes`, or name another teacher in /loss/{at}/teacher",
                code="class_count_differs",
            )


def _named(source: Source) -> str:
    return ", ".join(source.members) or "none that can be named"
