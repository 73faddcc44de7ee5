"""The points that losses read: whether students and teachers have them."""

from collections.abc import Iterator, Sequence
from itertools import chain

from api.fitting.fault import Fault, Loc, listed, near, type_of
from api.fitting.parts import Part
from models.canonical import TeacherMeta
from models.spec.losses.term import LossTerm, TapPair


def of_student(part: Part) -> Iterator[Fault]:
    """The student's own points, and those of networks of the job that it listens to."""
    for loc, _, pair in _taps(part):
        yield from _missing((*loc, "student"), "student", pair.student, part.student.stage_names())
        for network in part.networks:
            yield from _missing((*loc, "teacher"), "student that teaches", pair.teacher, network.stage_names())


def of_teacher(part: Part, terms: Sequence[LossTerm], teacher: TeacherMeta) -> Iterator[Fault]:
    """What these terms of the part read in a teacher that was handed in."""
    return chain(_offered(part, terms, teacher), _named(part, terms, teacher))


def _offered(part: Part, terms: Sequence[LossTerm], teacher: TeacherMeta) -> Iterator[Fault]:
    for at, term in enumerate(part.terms):
        loc = (*part.loss_loc, at, "type")
        if term not in terms:
            continue
        if term.needs_embedding and teacher.graph_input is not None and teacher.graph_embedding is None:
            message = f"`{type_of(term)}` needs the input of the last linear layer, which was not found in this graph"
            yield Fault(loc, "teacher_without_embedding", message)
        if term.needs_taps and not teacher.taps:
            message = f"`{type_of(term)}` reads features, and this teacher offers no feature points"
            yield Fault(loc, "teacher_without_taps", message)


def _named(part: Part, terms: Sequence[LossTerm], teacher: TeacherMeta) -> Iterator[Fault]:
    offered = [tap.name for tap in teacher.taps]
    is_graph = teacher.graph_input is not None
    for loc, term, pair in _taps(part):
        if term not in terms or not offered or pair.teacher in offered:
            continue
        if is_graph:  # its tensors are not within each other
            yield Fault((*loc, "teacher"), "unknown_tap", _no_such_point("teacher", pair.teacher, offered))
        else:
            yield from _missing((*loc, "teacher"), "teacher", pair.teacher, offered)


def _taps(part: Part) -> Iterator[tuple[Loc, LossTerm, TapPair]]:
    """Each pair of points that is named, and its place."""
    for at, term in enumerate(part.terms):
        pairs = getattr(term, "taps", "auto")
        for number, pair in enumerate([] if pairs == "auto" else pairs):
            yield (*part.loss_loc, at, "taps", number), term, pair


def _missing(loc: Loc, whose: str, given: str, stages: Sequence[str] | None) -> Iterator[Fault]:
    """A module path must be a stage or within one; `stages` None where only the built network can say."""
    if stages is not None and not any(f"{given}.".startswith(f"{stage}.") for stage in stages):
        yield Fault(loc, "unknown_tap", _no_such_point(whose, given, stages))


def _no_such_point(whose: str, given: str, offered: Sequence[str]) -> str:
    return f"The {whose} has no point `{given}`{near(given, offered)}; it has: {listed(offered) or 'none'}"
