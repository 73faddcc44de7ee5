"""Which teacher each term of a job listens to, and what is refused since that one does not say it."""

from collections.abc import Sequence

from core.errors import UserConfig
from models.canonical import DatasetMeta
from models.spec.losses.term import LossTerm
from worker.engine.columns import PLAIN, SAME, Lens
from worker.engine.objective import refuse_unknown_taps, type_of
from worker.engine.sources.source import Source


def heard_by(term: LossTerm, source: Source) -> Source:
    """The teacher, or that one of an ensemble, that the term listens to. The spec has seen to it that there is one."""
    return source if term.teacher is None else source.members[term.teacher]


def refuse(terms: Sequence[LossTerm], source: Source, data: DatasetMeta) -> None:
    """UserConfig for the first term that reads what its teacher or the data does not say; taps are paired by then."""
    for at, term in enumerate(terms):
        heard = heard_by(term, source)
        if heard is source and len(source.members) > 1:
            _refuse_odd_one(at, source)
        refuse_unknown_taps(term, at, "teacher", heard.taps, heard.stages)
        if term.needs_embedding and not heard.has_embedding:
            raise UserConfig.at(
                f"/loss/{at}/type",
                f"this loss compares embeddings, and {heard.name} does not show what feeds its last linear layer: take "
                "a loss that compares outputs or taps",
                code="teacher_without_embedding",
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


def lenses(terms: Sequence[LossTerm], source: Source, *, is_cut: bool = False) -> list[Lens]:
    """How each term sees a batch; terms that see the same share one.

    Where what is kept of the teacher `is_cut` to its largest logits, each sees the rest at its own temperature.
    """
    made: dict[tuple[str | None, bool, float | None], Lens] = {}
    found = []
    for term in terms:
        columns = heard_by(term, source).columns or SAME
        member = term.teacher if len(source.members) > 1 else None
        T = getattr(term, "T", None) if is_cut and term.takes_top_k else None
        key = member, term.same_outputs and columns is not SAME, T
        if key not in made:
            made[key] = PLAIN if key == (None, False, None) else Lens(member, columns if key[1] else SAME, T)
        found.append(made[key])
    return found


def _refuse_odd_one(at: int, source: Source) -> None:
    """A term that listens to all hears their combination, so all of them must be such as can be combined."""
    for member in source.members.values():
        if member.columns is None:
            raise UserConfig.at(
                member.pointer,
                f"{member.name} has {member.num_outputs} outputs, which cannot be combined with those of the others: "
                f"map its classes with `classes`, or name another teacher in /loss/{at}/teacher",
                code="class_count_differs",
            )
