"""What takes DKD apart from KL: the identity that it starts from, and the label's part in it."""

import pytest
import torch

from models.spec.losses import response as menu
from worker.engine.outputs import Batch, Outputs
from worker.losses.dkd import DKD
from worker.losses.kd import KD


def logits(B: int = 4, C: int = 6) -> tuple[Outputs, Outputs]:
    generator = torch.Generator().manual_seed(2)
    student, teacher = 3 * torch.randn(2, B, C, generator=generator, dtype=torch.float64)
    return Outputs(student), Outputs(teacher)


@pytest.mark.parametrize("T", [1.0, 4.0])
def test_with_the_teachers_share_of_the_rest_for_beta_it_is_kd(T: float) -> None:
    student, teacher = logits(B=1)
    batch = Batch(torch.tensor([2]), torch.arange(1))
    share_of_rest = 1 - (teacher.logits / T).softmax(1)[0, 2].item()
    spec = menu.DKD(T=T, alpha=1, beta=share_of_rest)
    parted = DKD(spec, student, teacher)(student, teacher, batch)
    whole = KD(menu.KD(T=T), student, teacher)(student, teacher, batch)
    torch.testing.assert_close(parted, whole, rtol=1e-12, atol=1e-12)


def test_a_target_with_all_of_the_teachers_share_leaves_the_rest_its_say() -> None:
    """A mask by a constant (subtract 1000) would let a logit of 1e4 through, and log(1 - p_y) would be -inf."""
    student, teacher = logits(B=1)
    teacher.logits[0, 2] = 1e4
    student.logits.requires_grad_()
    loss = DKD(menu.DKD(alpha=0), student, teacher)
    loss(student, teacher, Batch(torch.tensor([2]), torch.arange(1))).backward()
    assert student.logits.grad is not None
    assert student.logits.grad[0, 2] == 0
    assert student.logits.grad[0, [0, 1, 3, 4, 5]].abs().min() > 1e-4
