"""What the banks of contrastive distillation remember: rows, a scale, and nothing of samples that do not count."""

import pytest
import torch

from core.errors import UserConfig
from models.spec.losses import relation as menu
from worker.engine.outputs import Batch, Outputs
from worker.losses.crd import CRD, Banks

ROWS = 20
SPEC = menu.CRD(form="bank", dim=6, negatives=8, momentum=0.25)


def sides(seed: int, B: int = 5, dtype: torch.dtype = torch.float32) -> tuple[Outputs, Outputs]:
    generator = torch.Generator().manual_seed(seed)
    made = [torch.randn(B, D, generator=generator).to(dtype) for D in (4, 7)]
    return Outputs(torch.zeros(B, 2), embedding=made[0]), Outputs(torch.zeros(B, 2), embedding=made[1])


def prepared(spec: menu.CRD = SPEC) -> tuple[CRD, Banks]:
    torch.manual_seed(0)
    loss = CRD(spec, *sides(0))
    loss.prepare(3 * torch.arange(ROWS))
    assert loss.banks is not None
    return loss, loss.banks


def batch(*rows: int, progress: float = 0.0, weight: list[float] | None = None) -> Batch:
    """Of these rows of the bank; an id is three times its row."""
    weights = None if weight is None else torch.tensor(weight)
    return Batch(torch.zeros(len(rows)), 3 * torch.tensor(rows), weights, progress)


def test_a_seen_row_moves_by_the_momentum_and_keeps_its_length() -> None:
    loss, banks = prepared()
    before = banks.of_student.clone()
    student, teacher = sides(1)
    loss(student, teacher, batch(7, 2, 19, 0, 4))
    assert student.embedding is not None
    new = torch.nn.functional.normalize(loss.student(student.embedding), dim=1)
    expected = torch.nn.functional.normalize(0.25 * before[[7, 2, 19, 0, 4]] + 0.75 * new, dim=1)
    torch.testing.assert_close(banks.of_student[[7, 2, 19, 0, 4]], expected)
    others = [row for row in range(ROWS) if row not in {7, 2, 19, 0, 4}]
    assert torch.equal(banks.of_student[others], before[others])


def test_a_sample_of_weight_0_leaves_no_trace() -> None:
    loss, banks = prepared()
    before = banks.of_teacher.clone()
    loss(*sides(1), batch(7, 2, 19, 0, 4, weight=[1, 1, 0, 1, 1]))
    alone, banks_alone = prepared()
    student, teacher = sides(1)
    keep = [0, 1, 3, 4]
    for side in (student, teacher):
        assert side.embedding is not None
        side.logits, side.embedding = side.logits[keep], side.embedding[keep]
    alone(student, teacher, batch(7, 2, 0, 4))
    assert torch.equal(banks.of_teacher[19], before[19])
    torch.testing.assert_close(banks.log_z, banks_alone.log_z)
    torch.testing.assert_close(banks.of_teacher, banks_alone.of_teacher)


def test_the_scale_is_that_of_the_first_batch_that_counts() -> None:
    loss, banks = prepared()
    loss(*sides(1), batch(0, 1, 2, 3, 4, weight=[0, 0, 0, 0, 0]))
    assert banks.log_z.isnan().all()
    student, teacher = sides(2)
    assert student.embedding is not None
    v = torch.nn.functional.normalize(loss.student(student.embedding), dim=1)
    own, noise = (
        (v * banks.of_teacher[:5]).sum(1, keepdim=True),
        v @ banks.of_teacher[banks._noise(batch(0, progress=0.5))].T,
    )
    expected = (torch.cat([own, noise], 1) / SPEC.tau).exp().mean().log()
    loss(student, teacher, batch(0, 1, 2, 3, 4, progress=0.5))
    torch.testing.assert_close(banks.log_z[0], expected)
    first = banks.log_z.clone()
    loss(*sides(3), batch(5, 6, 7, 8, 9))
    assert torch.equal(banks.log_z, first)


def test_noise_follows_the_progress_and_no_generator_and_is_spread_over_all_rows() -> None:
    _, banks = prepared(menu.CRD(form="bank", negatives=4000))
    torch.manual_seed(1)
    noise = banks._noise(batch(0, progress=0.5))
    torch.manual_seed(2)
    assert torch.equal(banks._noise(batch(3, 4, progress=0.5)), noise)
    assert not torch.equal(banks._noise(batch(0, progress=0.25)), noise)
    shares = torch.bincount(noise, minlength=ROWS) / 4000
    assert (shares - 1 / ROWS).abs().max() < 0.02


def test_what_is_loaded_goes_on_as_what_was_saved() -> None:
    one, _ = prepared()
    one(*sides(1), batch(7, 2, 19, 0, 4))
    saved = {name: value.clone() for name, value in one.state_dict().items()}
    torch.manual_seed(99)
    other = CRD(SPEC, *sides(0))
    other.prepare(3 * torch.arange(ROWS))
    other.load_state_dict(saved)
    for step in (2, 3):
        values = [loss(*sides(step), batch(1, 2, 3, 4, 5, progress=step / 9)) for loss in (one, other)]
        assert torch.equal(*values)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
@pytest.mark.parametrize("form", ["batch", "bank"])
def test_half_precision_stays_finite_where_plain_exponentials_would_not(form: str, dtype: torch.dtype) -> None:
    spec = menu.CRD.model_validate({"form": form, "dim": 6, "negatives": 8, "tau": 0.01})
    torch.manual_seed(0)
    loss = CRD(spec, *sides(0))
    loss.prepare(3 * torch.arange(ROWS))
    student, teacher = sides(1, dtype=dtype)
    assert student.embedding is not None
    student.embedding = (1e4 * student.embedding / student.embedding.abs().max()).requires_grad_()
    for _ in range(3):
        value = loss(student, teacher, batch(0, 1, 2, 3, 4))
        value.backward()
        assert value.dtype == torch.float32
        assert value.isfinite()
    assert student.embedding.grad is not None
    assert student.embedding.grad.isfinite().all()


def test_a_bank_that_is_too_large_is_refused_before_it_is_made() -> None:
    spec = menu.CRD(form="bank", dim=4096)
    most = spec.most_rows()
    assert most == 65_536
    loss = CRD(spec, *sides(0))
    with pytest.raises(UserConfig, match="at most 4095") as caught:
        loss.prepare(torch.arange(most + 1))
    assert caught.value.errors[0].pointer == "/dim"
    assert loss.banks is None
    assert menu.CRD().most_rows() is None
