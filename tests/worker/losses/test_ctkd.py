"""What a learned temperature must not do: run away, move before its ramp, or help the student."""

import torch

from models.spec.losses import response as menu
from worker.engine.outputs import Batch, Outputs
from worker.losses.ctkd import CTKD


def sides() -> tuple[Outputs, Outputs]:
    student, teacher = 3 * torch.randn(2, 8, 5, generator=torch.Generator().manual_seed(5))
    return Outputs(student), Outputs(teacher)


def batch(progress: float) -> Batch:
    return Batch(torch.zeros(8, dtype=torch.int64), torch.arange(8), progress=progress)


def test_the_temperature_climbs_the_loss_and_stays_within_its_bounds() -> None:
    student, teacher = sides()
    loss = CTKD(menu.CTKD(T_max=6), student, teacher)
    optimizer = torch.optim.SGD(loss.parameters(), lr=10)
    values = []
    for _ in range(200):
        optimizer.zero_grad()
        value = loss(student, teacher, batch(1.0))
        value.backward()
        optimizer.step()
        values.append(value.item())
    T = 1 + 5 * loss.theta.sigmoid()
    assert values[-1] > values[0]
    assert 1 <= T <= 6


def test_it_does_not_move_at_the_start() -> None:
    student, teacher = sides()
    loss = CTKD(menu.CTKD(), student, teacher)
    loss(student, teacher, batch(0.0)).backward()
    assert loss.theta.grad is not None
    assert loss.theta.grad == 0
