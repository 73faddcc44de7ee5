"""The bound by numbers: which samples it leaves alone."""

import pytest
import torch

from models.spec.losses import response as menu
from worker.engine.outputs import Batch, Outputs
from worker.losses.bounded_regression import BoundedRegression


@pytest.mark.parametrize(
    ("margin", "expected"),
    [(0.0, 4.0), (1.0, 4.0 + 0.25), (4.0, 4.0 + 0.25 + 0.0)],
    ids=["worse than the teacher alone", "with a margin", "with a wide one"],
)
def test_only_samples_on_which_the_teacher_does_better_count(margin: float, expected: float) -> None:
    """Label 1 for all: errors of the student 4, 1/4 and 0, of the teacher 1, 1 and 1."""
    y = torch.ones(3)
    student = Outputs(torch.tensor([[3.0], [0.5], [1.0]]))
    teacher = Outputs(torch.tensor([[2.0], [0.0], [2.0]]))
    loss = BoundedRegression(menu.BoundedRegression(margin=margin), student, teacher)
    assert loss(student, teacher, Batch(y, torch.arange(3))).item() == pytest.approx(expected / 3)
