"""Whether the teachers that were handed in can read the data, and answer for its classes where a loss compares them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from api.fitting.classes import Known, spoken, unfit_map
from api.fitting.fault import Fault, type_of
from api.fitting.parts import Member, Part
from models.canonical import DatasetMeta, OutputsMeta, TeacherMeta
from models.spec.losses.term import LossTerm
from models.spec.shapes import kind_of
from models.spec.student import Student


@dataclass(frozen=True)
class Speaker:
    """A teacher that can be used, and what is known of it."""

    member: Member
    meta: Known
    data: DatasetMeta
    #: Whether there are others beside it.
    among_others: bool

    @property
    def classes(self) -> frozenset[int] | None:
        """The data set's classes that it speaks for; None where its outputs cannot be compared."""
        return spoken(self.member.spec.classes, self.meta, self.data)

    @property
    def name(self) -> str:
        """How messages call it, at the start of a sentence."""
        return f"`{self.member.key}`" if self.among_others else "The teacher"


def of_speakers(speakers: Sequence[Speaker]) -> Iterator[Fault]:
    """What is wrong with each, whatever the losses are; and whether those that can be compared share classes."""
    for speaker in speakers:
        if isinstance(speaker.meta, OutputsMeta):
            yield from _rows(speaker, speaker.meta)
        else:
            yield from _input(speaker, speaker.meta)
        yield from unfit_map(speaker.member.spec.classes, speaker.meta, speaker.data, speaker.member.loc)
    common = _common(speakers)
    if len(speakers) > 1 and common is not None and len(common) < 2 and speakers[0].data.target is None:
        message = (
            f"The teachers speak for {len(common)} classes in common, and a comparison needs two: map more classes, or "
            "take teachers that share some"
        )
        yield Fault(("teacher", "teachers"), "class_map", message)


def of_terms(part: Part, speakers: Sequence[Speaker], data: DatasetMeta) -> Iterator[Fault]:
    """Whether outputs can be compared where the losses of a student compare them, and in enough classes."""
    for at, term in enumerate(part.terms):
        heard = _heard(part, term, speakers)
        seen = data.num_outputs
        common = _common(heard) if term.same_outputs else None
        if common is not None and len(common) > 1:
            seen = len(common)
        if seen < (least := term.least_classes()):
            whose = "the data set has" if seen == data.num_outputs else "the teacher speaks for"
            message = (
                f"`{type_of(term)}`, as it is set, needs at least {least} classes; {whose} {seen}. Plain `kd` works "
                "with two"
            )
            yield Fault((*part.loss_loc, at, "type"), "too_few_classes", message)
    for speaker in speakers:
        yield from _incomparable(part, speaker, speakers)


def _heard(part: Part, term: LossTerm, speakers: Sequence[Speaker]) -> list[Speaker]:
    names = {member.key for member in part.heard(term, [speaker.member for speaker in speakers])}
    return [speaker for speaker in speakers if speaker.member.key in names]


def _common(speakers: Sequence[Speaker]) -> frozenset[int] | None:
    """The classes that all of them speak for which can be compared; None where none can."""
    each = [speaker.classes for speaker in speakers]
    known = [classes for classes in each if classes is not None]
    return frozenset.intersection(*known) if known else None


def _incomparable(part: Part, speaker: Speaker, speakers: Sequence[Speaker]) -> Iterator[Fault]:
    """Place by place, outputs must be the data set's own where they are compared or combined."""
    if speaker.member.spec.classes != "same":
        return
    heard = [term for term in part.terms if speaker in _heard(part, term, speakers)]
    combined = [type_of(term) for term in heard if speaker.among_others and term.teacher is None]
    compared = [type_of(term) for term in heard if term.same_outputs]
    if not compared and not combined:
        return
    named = ", ".join(f"`{name}`" for name in dict.fromkeys(compared or combined))
    doing = f"{named} {'compares them one by one' if compared else 'hears them combined with those of the others'}"
    meta, data, loc = speaker.meta, speaker.data, speaker.member.loc
    if meta.num_outputs != data.num_outputs:
        message = (
            f"{speaker.name} has {meta.num_outputs} outputs and the data set {data.num_outputs} "
            f"{'classes' if data.classes else 'values'}, and {doing}. Map its classes with `classes`, take a teacher "
            f"of the same classes, or only losses that compare features or relations{_or_others(bool(combined))}"
        )
        yield Fault(loc, "class_count_differs", message)
    elif meta.classes and data.classes and meta.classes != data.classes:
        place, ours, theirs = next(
            (place, ours, theirs)
            for place, (theirs, ours) in enumerate(zip(meta.classes, data.classes, strict=True))
            if theirs != ours
        )
        whom = "the teacher" if speaker.name == "The teacher" else speaker.name
        message = (
            f"Output {place} is class `{theirs}` for {whom} and `{ours}` in the data set, and {doing}. Set its "
            "`classes` to `by_name`, or post the data set again with `classes` in the teacher's order"
        )
        yield Fault(loc, "classes_differ", message)


def _or_others(combined: bool) -> str:
    return "; or let the loss name another `teacher`" if combined else ""


def _rows(speaker: Speaker, given: OutputsMeta) -> Iterator[Fault]:
    """Given outputs are of rows that there are."""
    rows = sum(speaker.data.counts.values())
    if given.last_row >= rows:
        message = (
            f"These outputs are of row {given.last_row}, and the data set has {rows}: they belong to another data set"
        )
        yield Fault(speaker.member.id_loc, "outputs_do_not_fit", message)


def _input(speaker: Speaker, teacher: TeacherMeta) -> Iterator[Fault]:
    """Whether the teacher can read the data."""
    wanted, given = _channels_first(teacher), speaker.data.input_shape
    if len(wanted) == len(given) == 3:
        given = (given[0], *(teacher.input.size or given[1:]))
    elif len(wanted) == 1 and len(given) == 3:
        # A perceptron reads an image as one row of pixels.
        height, width = teacher.input.size or given[1:]
        given = (given[0] * height * width,)
    if len(wanted) != len(given) or any(want not in (-1, have) for want, have in zip(wanted, given, strict=True)):
        words = {
            1: "rows of features",
            2: "texts of vocabulary, tokens",
            3: "images of channels, height, width",
        }
        message = (
            f"{speaker.name} reads {words.get(len(wanted), 'input of shape')} {_shape(wanted)} and the data set gives "
            f"{_shape(given)} ({kind_of(given)}). Post the teacher with the `input` it needs, or the data set "
            "in its form"
        )
        yield Fault(speaker.member.loc, "input_differs", message)
    elif isinstance(teacher.architecture, Student) and (misfit := teacher.architecture.misfit(given)):
        message = f"{speaker.name} cannot read the data: {misfit[1]}. Post the data set with a lower `text.max_length`"
        yield Fault(speaker.member.loc, "input_differs", message)


def _channels_first(teacher: TeacherMeta) -> tuple[int, ...]:
    shape = teacher.input_shape
    if len(shape) == 3 and teacher.graph_input is not None and teacher.input.layout == "NHWC":
        return (shape[2], shape[0], shape[1])
    return shape


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join("any" if size == -1 else str(size) for size in shape)
