"""The closed form of the oldest loss, and what keeps it from vanishing."""

import pytest
import torch

from models.spec.losses import response as menu
from worker.engine.outputs import Batch, Outputs
from worker.losses.kd import KD
from worker.losses.soft_cross_entropy import SoftCrossEntropy


def setup_logits(B: int = 8, C: int = 10) -> tuple[torch.Tensor, torch.Tensor, Batch]:
    generator = torch.Generator().manual_seed(1)
    student = torch.randn(B, C, generator=generator, dtype=torch.float64).requires_grad_()
    teacher = 3 * torch.randn(B, C, generator=generator, dtype=torch.float64)
    return student, teacher, Batch(torch.zeros(B, dtype=torch.int64), torch.arange(B))


@pytest.mark.parametrize("T", [0.5, 1.0, 4.0, 20.0])
def test_logit_gradient_is_t_times_the_difference_of_probabilities_over_b(T: float) -> None:
    student, teacher, batch = setup_logits()
    dry = Outputs(student)
    KD(menu.KD(T=T), dry, dry)(Outputs(student), Outputs(teacher), batch).backward()
    expected = T * ((student / T).softmax(1) - (teacher / T).softmax(1)) / len(student)
    torch.testing.assert_close(student.grad, expected.detach(), rtol=1e-10, atol=1e-12)


def test_soft_cross_entropy_has_the_same_gradient() -> None:
    student, teacher, batch = setup_logits()
    dry = Outputs(student)
    kd = KD(menu.KD(T=4), dry, dry)(Outputs(student), Outputs(teacher), batch)
    soft = SoftCrossEntropy(menu.SoftCrossEntropy(T=4), dry, dry)(Outputs(student), Outputs(teacher), batch)
    (by_kd,) = torch.autograd.grad(kd, student)
    (by_soft,) = torch.autograd.grad(soft, student)
    torch.testing.assert_close(by_kd, by_soft, rtol=1e-10, atol=1e-12)
    assert soft > kd


def test_standardised_logits_have_no_shift_and_no_scale() -> None:
    student, teacher, batch = setup_logits()
    loss = KD(menu.KD(T=2, standardize=True), Outputs(student), Outputs(teacher))
    other = 0.1 + 5 * torch.rand(len(student), 1, dtype=torch.float64)
    moved = loss(Outputs(student * other - 7), Outputs(teacher / other + 3), batch)
    torch.testing.assert_close(moved, loss(Outputs(student), Outputs(teacher), batch), rtol=1e-10, atol=0)


@pytest.mark.parametrize("T", [0.5, 1.0, 4.0, 20.0])
@pytest.mark.parametrize("size", [1.0, 1e4])
def test_the_formula_says_what_the_graph_says(T: float, size: float) -> None:
    student, teacher, batch = setup_logits()
    student, taught = (size * student).detach().float().requires_grad_(), teacher.float()
    term = KD(menu.KD(T=T), Outputs(student), Outputs(teacher))
    (grad,) = torch.autograd.grad(term(Outputs(student), Outputs(taught), batch), student)
    assert term.knows_gradient
    found = term.gradient(student.detach(), taught) / len(student)
    torch.testing.assert_close(found, grad, rtol=1e-4, atol=1e-6)


def test_no_formula_is_claimed_for_standardised_logits() -> None:
    student, teacher, _ = setup_logits()
    assert not KD(menu.KD(T=2, standardize=True), Outputs(student), Outputs(teacher)).knows_gradient
