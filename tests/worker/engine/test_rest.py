"""What is kept beside the largest logits: enough for each temperature, and for a rest that is one class."""

import pytest
import torch
from torch.nn import functional as F

from models.spec.losses.token import TVD
from tests.worker.losses.cases import CHOICES, Choice, batch_of, leaves, make_case, make_loss, outputs, spec_of
from worker.engine.columns import Lens
from worker.engine.cut import Cut
from worker.engine.outputs import Outputs
from worker.engine.rest import TEMPERATURES, Rest, largest

#: Those that may be cut and read the teacher's distribution.
DIVERGENCES = [
    c
    for c in CHOICES
    if c.entry.takes_top_k and c.entry.same_outputs and not spec_of(c).unfit_top_k() and hasattr(spec_of(c), "T")
]
each_divergence = pytest.mark.parametrize("choice", DIVERGENCES, ids=str)


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
    seen = (rest.as_one_class(rest.spread(values, 50), drawn(N=64).flip(0), T) / T).softmax(1)
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


def seen_by(
    choice: Choice, k: int, C: int = 6, *, same: bool = False
) -> tuple[float, torch.Tensor, float, torch.Tensor]:
    """Value and gradient on the student's logits where k logits are kept, and where all are."""
    case = make_case(spec_of(choice), C=C, weighted=True)
    if same:
        case.student = case.teacher
    loss, batch, found = make_loss(case), batch_of(case), []
    for cut in (Cut(k, C), None):
        student, teacher = outputs(case.student, grad=True), outputs(case.teacher)
        if cut is not None:
            teacher = cut.undone(cut(teacher))
        value = loss(*Lens(T=case.spec.T)(student, teacher, batch))
        value.backward()
        gradient = leaves(loss, student)["logits"].grad
        assert gradient is not None
        found += [value.item(), gradient]
    return found[0], found[1], found[2], found[3]


@each_divergence
def test_where_one_class_is_the_rest_nothing_is_lost(choice: Choice) -> None:
    value, gradient, whole, of_whole = seen_by(choice, 5)
    assert value == pytest.approx(whole, abs=1e-9)
    torch.testing.assert_close(gradient, of_whole, rtol=0, atol=1e-9)


@pytest.mark.parametrize("choice", [c for c in DIVERGENCES if c.entry is not TVD], ids=str)  # which has a kink there
def test_a_student_that_says_what_the_teacher_says_is_left_alone(choice: Choice) -> None:
    _, gradient, _, of_whole = seen_by(choice, 2, same=True)
    torch.testing.assert_close(gradient, of_whole, rtol=0, atol=1e-9)


@each_divergence
@pytest.mark.parametrize("k", [1, 3])
def test_the_rest_is_one_class_in_value_and_gradient(choice: Choice, k: int) -> None:
    case = make_case(spec_of(choice), C=6)
    T, cut = case.spec.T, Cut(k, 6)
    student, teacher, batch = outputs(case.student, grad=True), outputs(case.teacher), batch_of(case)
    _, seen, _ = Lens(T=T)(student, cut.undone(cut(teacher)), batch)
    loss = make_loss(case)
    loss(student, seen, batch).backward()
    gradient = student.logits.grad
    assert gradient is not None
    # The same of k + 1 classes: the kept ones, and the sum of all others on either side.
    merged = outputs(case.student, grad=True)
    order = teacher.logits.argsort(1, descending=True)

    def together(logits: torch.Tensor) -> torch.Tensor:
        logits = (logits / T).gather(1, order)
        sums: torch.Tensor = T * torch.cat([logits[:, :k], logits[:, k:].logsumexp(1, keepdim=True)], 1)
        return sums

    value = loss(Outputs(together(merged.logits)), Outputs(together(teacher.logits)), batch)
    value.backward()
    assert merged.logits.grad is not None
    torch.testing.assert_close(gradient, merged.logits.grad, rtol=0, atol=1e-9)


@pytest.mark.parametrize("T", [1.0, 2.0, 4.0, 8.0])
@pytest.mark.parametrize("k", [4, 16])
def test_the_gradient_of_kd_is_off_by_no_more_than_twice_the_mass_of_the_rest(T: float, k: int) -> None:
    teacher, student = drawn(), 3 * torch.randn(64, 50, dtype=torch.float64)
    values, rest = largest(teacher, k)
    seen = rest.as_one_class(rest.spread(values, 50), student, T)
    whole = T * (F.softmax(student / T, 1) - F.softmax(teacher / T, 1))
    ours = T * (F.softmax(student / T, 1) - F.softmax(seen / T, 1))
    mass = 1 - rest.share_kept(values, 50, T)
    assert bool(((ours - whole).abs().sum(1) <= 2 * T * mass + 1e-9).all())
    assert float((ours - whole).abs().sum()) > 0


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_every_loss_that_may_be_cut_hears_nothing_of_the_rest(choice: Choice) -> None:
    spec = spec_of(choice)
    case = make_case(spec, C=6, weighted=True)
    k = 3
    if spec.unfit_top_k() or case.teacher.logits.shape[1] <= k:
        assert not spec.takes_top_k or "standardize" in choice.fields or "top_k" in choice.fields
        return
    teacher = outputs(case.teacher)
    loss, batch, lens = make_loss(case), batch_of(case), Lens(T=spec.T if choice in DIVERGENCES else None)
    found = []
    for seed in (None, 0):
        changed = teacher.logits.clone()
        if seed is not None:  # the classes of the rest change places
            order = changed.argsort(1, descending=True)
            changed = changed.scatter(1, order[:, k:], changed.gather(1, order[:, k:]).flip(1))
        cut = Cut(k, changed.shape[1])
        said = Outputs(changed, teacher.features, teacher.embedding)
        student, seen, _ = lens(outputs(case.student), cut.undone(cut(said)), batch)
        found.append(loss(student, seen, batch).item())
    assert found[0] == pytest.approx(found[1], rel=1e-12)
