"""What is counted of a network from its entry of the menu is what torch counts of the built one, over all of it."""

from typing import Any

import pytest
import torch

from models.counting import cost_of
from models.spec.students import Student, Timm, config
from tests.worker.students.test_stage_shapes import SIZES, label, menu
from worker.engine.networks import count_flops, count_parameters, family

TEXTS = [(50, 12), (300, 5)]


def by_torch(student: Student, in_shape: tuple[int, ...]) -> tuple[int, int] | None:
    """Operations and parameters; None where the network cannot be built for such an input, or cannot take it."""
    try:
        with torch.device("meta"):
            net = family(student.type).build(in_shape, 7, **config(student))
        return count_flops(net, in_shape), count_parameters(net)
    except (ValueError, RuntimeError, IndexError):
        return None


def by_menu(student: Student, in_shape: tuple[int, ...]) -> tuple[int, int] | None:
    cost = cost_of(student, in_shape, 7)
    return None if cost is None else (cost.flops, cost.parameters)


def shapes(student: Student, at: int) -> list[tuple[int, ...]]:
    """One size for each member in turn."""
    if "text" in student.takes:
        return [TEXTS[at % len(TEXTS)]]
    return [SIZES[at % len(SIZES)], *([(12,)] if "table" in student.takes else [])]


COUNTED = [(student, shape) for at, student in enumerate(menu()) for shape in shapes(student, at)]
COUNTED = [(student, shape) for student, shape in COUNTED if not isinstance(student, Timm)]


@pytest.mark.parametrize(("student", "in_shape"), COUNTED, ids=[f"{label(each)}-{shape}" for each, shape in COUNTED])
def test_operations_and_parameters_are_those_of_the_built_network(student: Student, in_shape: tuple[int, ...]) -> None:
    assert by_menu(student, in_shape) == by_torch(student, in_shape)


def test_each_family_but_the_library_is_counted() -> None:
    counted = {student.type for student, shape in COUNTED if by_menu(student, shape)}
    assert counted == {entry.model_fields["type"].default for entry in Student.__subclasses__()} - {"timm"}


def test_the_library_is_not_guessed() -> None:
    assert cost_of(Timm(name="resnet18"), (3, 32, 32), 10) is None


def test_a_network_that_cannot_take_its_input_has_no_cost() -> None:
    refused: list[dict[str, Any]] = [{"type": "vgg", "depth": 8}, {"type": "mobilenetv2", "width": 0.05}]
    entries = {entry.model_fields["type"].default: entry for entry in Student.__subclasses__()}
    for given in refused:
        assert cost_of(entries[given["type"]].model_validate(given), (3, 7, 7), 10) is None
