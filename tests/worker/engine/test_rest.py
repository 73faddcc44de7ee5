"""What is kept beside the largest logits: enough for the mass of the rest at each temperature."""

import pytest
import torch
from torch.nn import functional as F

from tests.worker.losses.cases import CHOICES, Choice, batch_of, leaves, make_case, make_loss, outputs, spec_of
from worker.engine.columns import Lens
from worker.engine.cut import Cut
from worker.engine.outputs import Outputs
from worker.engine.rest import TEMPERATURES, Rest, largest

#: Those that take no more from the teacher than is kept, whatever is.
TAKING = [c for c in CHOICES if c.entry.takes_top_k and not c.entry.needs_labels and not spec_of(c).unfit_top_k(10)]


def drawn(C: int = 50, N: int = 64) -> torch.Tensor:
    return 3 * torch.randn(N, C, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def is_rest(rest: Rest, like_NC: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(like_NC, dtype=torch.bool).scatter_(1, rest.classes.long(), False)


@pytest.mark.parametrize("T", [0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 20.0, 1000.0])
@pytest.mark.parametrize("k", [1, 8, 49])
def test_the_mass_of_the_rest_is_that_at_each_temperature(T: float, k: int) -> None:
    logits = drawn()
    values, rest = largest(logits, k)
    p = (logits / T).softmax(1)
    mass = (p * is_rest(rest, p)).sum(1)
    seen = (rest.spread(values, 50, T) / T).softmax(1)
    torch.testing.assert_close(seen, (rest.again(rest.spread(values, 50), T) / T).softmax(1))
    atol = 1e-12 if T in TEMPERATURES or k == 49 else 5e-3 if k > 1 else 3e-2
    torch.testing.assert_close((seen * is_rest(rest, p)).sum(1), mass, rtol=0, atol=atol)
    torch.testing.assert_close(1 - rest.share_kept(values, 50, T), mass, rtol=0, atol=atol)


def test_the_largest_come_back_in_their_places_and_nothing_is_above_them() -> None:
    logits = drawn()
    values, rest = largest(logits, 5)
    back = rest.spread(values, 50)
    kept = ~is_rest(rest, logits)
    assert torch.equal(back[kept], logits[kept])
    assert torch.equal(back.argmax(1), logits.argmax(1))
    assert bool((back <= values[:, :1]).all())
    torch.testing.assert_close(back.softmax(1)[kept], logits.softmax(1)[kept])
    assert rest.classes.dtype == torch.int16
    assert largest(torch.zeros(1, 40_000), 2)[1].classes.dtype == torch.int32


def seen_by(choice: Choice, k: int, C: int = 6) -> tuple[float, torch.Tensor, float, torch.Tensor]:
    """Value and gradient on the student's logits where k logits are kept, and where all are."""
    case = make_case(spec_of(choice), C=C, weighted=True)
    loss, batch, found = make_loss(case), batch_of(case), []
    for is_cut in (True, False):
        student, teacher = outputs(case.student, grad=True), outputs(case.teacher)
        if is_cut:
            cut = Cut(k, teacher.logits.shape[1])
            teacher = cut.undone(cut(teacher))
        value = loss(*Lens(T=getattr(case.spec, "T", None))(student, teacher, batch))
        value.backward()
        gradient = leaves(loss, student)["logits"].grad
        assert gradient is not None
        found += [value.item(), gradient]
    return found[0], found[1], found[2], found[3]


@pytest.mark.parametrize("choice", TAKING, ids=str)
def test_where_the_rest_is_one_class_nothing_is_lost(choice: Choice) -> None:
    of_teacher = 6 if choice.entry.same_outputs else 8
    value, gradient, whole, of_whole = seen_by(choice, of_teacher - 1)
    assert value == pytest.approx(whole, abs=1e-9)
    torch.testing.assert_close(gradient, of_whole, rtol=0, atol=1e-9)


@pytest.mark.parametrize("choice", [c for c in CHOICES if c.entry.takes_top_k and "top_k" in c.fields], ids=str)
def test_with_a_top_k_of_its_own_a_loss_loses_nothing(choice: Choice) -> None:
    for k in (2, 3):
        value, gradient, whole, of_whole = seen_by(choice, k)
        assert value == pytest.approx(whole, abs=1e-9)
        torch.testing.assert_close(gradient, of_whole, rtol=0, atol=1e-9)
    assert (
        spec_of(choice).unfit_top_k(1)
        == "reads the 2 largest by its own `top_k`: keep as many, or set that to 1 or less"
    )


@pytest.mark.parametrize("T", [1.0, 2.0, 4.0, 8.0])
@pytest.mark.parametrize("k", [4, 16])
def test_the_gradient_of_kd_is_off_by_no_more_than_twice_the_mass_of_the_rest(T: float, k: int) -> None:
    teacher, student = drawn(), 3 * torch.randn(64, 50, dtype=torch.float64)
    values, rest = largest(teacher, k)
    whole = T * (F.softmax(student / T, 1) - F.softmax(teacher / T, 1))
    ours = T * (F.softmax(student / T, 1) - F.softmax(rest.spread(values, 50, T) / T, 1))
    mass = 1 - rest.share_kept(values, 50, T)
    assert bool(((ours - whole).abs().sum(1) <= 2 * T * mass + 1e-9).all())
    assert float((ours - whole).abs().sum()) > 0


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_every_loss_that_may_be_cut_hears_nothing_of_the_rest(choice: Choice) -> None:
    spec, k = spec_of(choice), 3
    case = make_case(spec, C=6, weighted=True)
    if spec.unfit_top_k(k):
        assert not spec.takes_top_k or {"standardize"} & choice.fields.keys() or spec.top_k > k
        return
    teacher = outputs(case.teacher)
    loss, batch, lens = (
        make_loss(case),
        batch_of(case),
        Lens(T=spec.T if choice in TAKING and hasattr(spec, "T") else None),
    )
    found = []
    for is_changed in (False, True):
        logits = teacher.logits.clone()
        if is_changed:  # the classes of the rest change places
            order = logits.argsort(1, descending=True)
            logits = logits.scatter(1, order[:, k:], logits.gather(1, order[:, k:]).flip(1))
        cut = Cut(k, logits.shape[1])
        said = Outputs(logits, teacher.features, teacher.embedding)
        student, seen, _ = lens(outputs(case.student), cut.undone(cut(said)), batch)
        found.append(loss(student, seen, batch).item())
    assert found[0] == pytest.approx(found[1], rel=1e-12)
