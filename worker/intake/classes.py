"""Which class has which number, and whether every class can be learnt."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from core.errors import Rejected
from models.canonical import SPLITS
from worker.readers.base.case import Case
from worker.readers.base.labels import MISSING, Labels, in_order, plain_number
from worker.readers.base.splits import TRAIN

_MAX_NAME = 200


def settle(labels: Labels, case: Case) -> tuple[list[str], NDArray[np.int64]]:
    """(class names in order, class index of each row (N,) or MISSING).

    Raises: Rejected where there are fewer than two classes, or the user's list does not fit.
    """
    if case.spec.labels == "none":
        assert case.spec.classes is not None, "a spec without labels names the classes"
        _refuse_repeats(case.spec.classes)
        case.passed("classes", f"{len(case.spec.classes)} classes, as you name them: {_listed(case.spec.classes)}.")
        return list(case.spec.classes), np.full(len(labels.codes), MISSING, np.int64)
    if case.spec.labels == "partial" and not labels.names:
        raise Rejected.at(
            "/labels",
            "No row has a label. If that is meant, set labels to none, and name the classes of a classification.",
            code="labels",
        )
    if labels.are_numbers:
        labels = labels.renamed([plain_number(name) for name in labels.names])
    if len(labels.names) > case.limits.max_classes:
        raise Rejected(
            f"The labels have {len(labels.names)} different values; the limit is {case.limits.max_classes} classes.",
            code="classes",
        )
    for name in labels.names:
        if len(name) > _MAX_NAME or not name.isprintable():
            raise Rejected(
                f"{name[:60]!r} cannot be a class name: at most {_MAX_NAME} printable characters.", code="classes"
            )
    if case.spec.classes is not None:
        labels = _by_position(labels, case.spec.classes, case)
    names = in_order(labels.names) if case.spec.classes is None else _as_given(labels, case.spec.classes, case)
    if len(names) < 2:
        raise Rejected(
            f"The data set has {len(names)} class ({_listed(names)}); a classification needs at least two.",
            code="classes",
        )
    places = {name: place for place, name in enumerate(names)}
    moves = np.array([*(places[name] for name in labels.names), MISSING], np.int64)
    case.passed("classes", f"{len(names)} classes: {_listed(names)}.")
    return names, moves[labels.codes]


def check_presence(names: Sequence[str], y: NDArray[np.int64], split: NDArray[np.uint8], case: Case) -> None:
    """Raises: Rejected where a class has no training row; warns where another split lacks one. y, split (N,).

    Where rows may be without a label, any of them may be of the class: then it is a warning as well.
    """
    histogram: dict[str, dict[str, int]] = {}
    for place, split_name in enumerate(SPLITS):
        counts = np.bincount(y[(split == place) & (y != MISSING)], minlength=len(names))
        histogram[split_name] = {name: int(num) for name, num in zip(names, counts, strict=True)}
        absent = [name for name, num in zip(names, counts, strict=True) if num == 0]
        if not counts.any() and case.spec.labels != "required":
            continue
        if absent and place == TRAIN and case.spec.labels == "required":
            raise Rejected(
                f"No training row has class {_listed(absent)}. A class that is only in val or test cannot be learnt: "
                "add training rows for it, or take it out.",
                code="class_without_train",
            )
        if absent:
            kind = "row" if case.spec.labels == "required" else "labelled row"
            case.warned("class_absent", f"The {split_name} split has no {kind} of class {_listed(absent)}.")
    case.facts["classes"] = list(names)
    case.facts["histogram"] = histogram


def _by_position(labels: Labels, given: Sequence[str], case: Case) -> Labels:
    """Labels that are the numbers 0, 1 ... stand for names by their place in the user's list of other words."""
    are_places = all(name.isdecimal() and int(name) < len(given) for name in labels.names)
    if not are_places or set(labels.names) & set(given):
        return labels
    case.passed("class_names", "The labels are numbers: label 0 is the first name in `classes`, and so on.")
    return labels.renamed([given[int(name)] for name in labels.names])


def _refuse_repeats(given: Sequence[str]) -> None:
    if twice := sorted(name for name, num in Counter(given).items() if num > 1):
        raise Rejected.at("/classes", f"classes names {_listed(twice)} more than once.", code="classes")


def _as_given(labels: Labels, given: Sequence[str], case: Case) -> list[str]:
    _refuse_repeats(given)
    unknown, missing = sorted(set(labels.names) - set(given)), sorted(set(given) - set(labels.names))
    if case.spec.labels == "partial":
        missing = []  # rows without a label may be of these
    if unknown or missing:
        faults = [f"the data also has {_listed(unknown)}"] * bool(unknown) + [
            f"the data has no {_listed(missing)}"
        ] * bool(missing)
        raise Rejected.at("/classes", f"classes does not fit the data: {'; '.join(faults)}.", code="classes")
    return list(given)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(repr(name) for name in names[:20]) + more
