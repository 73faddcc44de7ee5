"""What ties the losses on token distributions together, and what a top_k keeps."""

import pytest
import torch

from models.spec.losses import token as menu
from worker.engine.outputs import Batch, Outputs
from worker.losses.forward_kl import ForwardKL
from worker.losses.jsd import JSD
from worker.losses.reverse_kl import ReverseKL
from worker.losses.skew_kl import SkewKL

B, C = 5, 9


def sides() -> tuple[Outputs, Outputs, Batch]:
    generator = torch.Generator().manual_seed(4)
    student, teacher = 2 * torch.randn(2, B, C, generator=generator, dtype=torch.float64)
    return Outputs(student), Outputs(teacher), Batch(torch.zeros(B, dtype=torch.int64), torch.arange(B))


def forward_kl(top_k: int | None = None) -> torch.Tensor:
    student, teacher, batch = sides()
    return ForwardKL(menu.ForwardKL(top_k=top_k), student, teacher).forward(student, teacher, batch)


def test_jsd_tends_to_forward_kl_with_beta_and_to_reverse_kl_with_the_rest() -> None:
    """The mixture weights the right way round: swapped, both limits would be that of the other."""
    student, teacher, batch = sides()
    reverse = ReverseKL(menu.ReverseKL(), student, teacher)(student, teacher, batch)
    assert abs(forward_kl() - reverse) > 0.1
    small = 1e-5
    for beta, limit in ((small, forward_kl()), (1 - small, reverse)):
        jsd = JSD(menu.JSD(beta=beta), student, teacher)(student, teacher, batch)
        torch.testing.assert_close(jsd / small, limit, rtol=1e-3, atol=0)


def test_no_skew_is_plain_kl() -> None:
    student, teacher, batch = sides()
    skewed = SkewKL(menu.SkewKL(skew=0), student, teacher)(student, teacher, batch)
    torch.testing.assert_close(skewed, forward_kl(), rtol=1e-12, atol=0)


def test_top_k_sees_less_and_never_more() -> None:
    values = [forward_kl(k).item() for k in range(1, C + 2)]
    assert values == sorted(values)
    assert values[C - 1] == values[C] == forward_kl().item()


def test_top_k_keeps_the_mass_of_what_it_cuts_off() -> None:
    """Scaled back to 1 instead, a student that agrees within the k classes would have nothing left to learn."""
    student, teacher, batch = sides()
    top = teacher.logits.topk(3, dim=1).indices
    agreeing = teacher.logits.clone() + 4
    agreeing.scatter_(1, top, teacher.logits.gather(1, top))
    loss = ForwardKL(menu.ForwardKL(top_k=3), student, teacher)
    assert loss(Outputs(agreeing), teacher, batch) > 0.1
    assert loss(teacher, teacher, batch).item() == pytest.approx(0, abs=1e-12)


def test_padding_does_not_dilute_the_mean() -> None:
    """A mean over real tokens: ten positions of padding leave value and gradient as they were."""
    student, teacher, _ = sides()
    padded = [torch.cat([x.logits, torch.randn(10, C, dtype=torch.float64)]) for x in (student, teacher)]
    weight = torch.cat([torch.ones(B), torch.zeros(10)])
    batch = Batch(torch.zeros(B + 10, dtype=torch.int64), torch.arange(B + 10), weight)
    loss = ForwardKL(menu.ForwardKL(), student, teacher)
    value = loss(Outputs(padded[0]), Outputs(padded[1]), batch)
    torch.testing.assert_close(value, forward_kl(), rtol=1e-12, atol=0)
