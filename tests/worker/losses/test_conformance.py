"""What every loss on the menu must be: a new one is held to this by its derivation in tests/reference alone."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from core.errors import UserConfig
from models.spec.job import JobSpec
from tests.reference.case import Case, Side
from tests.worker.losses.cases import (
    CHOICES,
    Choice,
    batch_of,
    leaves,
    make_case,
    make_loss,
    outputs,
    reference,
    spec_of,
)
from worker.engine.outputs import Outputs

each_loss = pytest.mark.parametrize("choice", CHOICES, ids=str)


def check_against_reference(case: Case, *, rtol: float = 1e-9, atol: float = 1e-11) -> None:
    """Value and every gradient, to the rounding of float64."""
    loss = make_loss(case)
    student = outputs(case.student, grad=True)
    value = loss(student, outputs(case.teacher), batch_of(case))
    value.backward()
    answer = reference(type(case.spec)).answer(case)
    assert value.item() == pytest.approx(answer.value, rel=rtol, abs=atol)
    for name, leaf in leaves(loss, student).items():
        expected = answer.gradient.get(name, np.zeros(leaf.shape))
        actual = np.zeros(leaf.shape) if leaf.grad is None else leaf.grad.numpy()
        np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol, err_msg=name)


@each_loss
@pytest.mark.parametrize("weighted", [False, True], ids=["even", "weighted"])
@pytest.mark.parametrize(("B", "C"), [(6, 5), (7, 2), (2, 3), (1, 4)])
def test_value_and_gradient_are_those_of_the_paper(choice: Choice, B: int, C: int, weighted: bool) -> None:
    case = make_case(spec_of(choice), B=B, C=C, weighted=weighted)
    if getattr(reference(choice.entry), "refuses", lambda _: False)(case):
        with pytest.raises(UserConfig):
            make_loss(case)
    else:
        check_against_reference(case)


@pytest.mark.parametrize("T", [0.5, 1.0, 20.0])
@pytest.mark.parametrize("choice", [c for c in CHOICES if "T" in c.entry.model_fields], ids=str)
def test_value_and_gradient_at_other_temperatures(choice: Choice, T: float) -> None:
    check_against_reference(make_case(spec_of(choice, T=T)), atol=1e-10)


def constant(side: Side) -> Side:
    """Every sample the same."""
    features = {name: np.broadcast_to(x[:1], x.shape).copy() for name, x in side.features.items()}
    B = len(side.logits)
    return Side(side.logits[:1].repeat(B, 0), side.embedding[:1].repeat(B, 0), features)


def zeros(side: Side) -> Side:
    """What a network of dead units says."""
    features = {name: 0 * x for name, x in side.features.items()}
    return Side(0 * side.logits, 0 * side.embedding, features)


@each_loss
@pytest.mark.parametrize("make", [constant, zeros])
@pytest.mark.parametrize("which", ["student", "teacher", "both"])
def test_samples_that_are_all_alike(choice: Choice, make: Callable[[Side], Side], which: str) -> None:
    case = make_case(spec_of(choice))
    if which != "teacher":
        case.student = make(case.student)
    if which != "student":
        case.teacher = make(case.teacher)
    check_against_reference(case)


@each_loss
def test_gradient_in_float64_against_finite_differences(choice: Choice) -> None:
    case = make_case(spec_of(choice), B=4, C=3, weighted=True)
    loss = make_loss(case)
    names = list(case.student.features)
    teacher, batch = outputs(case.teacher), batch_of(case)

    def value(logits: torch.Tensor, embedding: torch.Tensor, *features: torch.Tensor) -> Any:
        student = Outputs(logits, dict(zip(names, features, strict=False)), embedding)
        return loss(student, teacher, batch) + 0 * (logits.sum() + embedding.sum() + sum(f.sum() for f in features))

    student = outputs(case.student, grad=True)
    assert student.embedding is not None
    arguments = (student.logits, student.embedding, *student.features.values(), *loss.parameters())
    # Along random directions: entry by entry the derivation has checked it.
    same = torch.autograd.gradcheck(
        value, arguments, eps=1e-6, atol=1e-7, rtol=1e-5, raise_exception=False, fast_mode=True
    )
    assert same == loss.true_gradient


@each_loss
def test_gradient_reaches_the_student_and_the_projector(choice: Choice) -> None:
    case = make_case(spec_of(choice))
    loss = make_loss(case, torch.float32)
    student = outputs(case.student, torch.float32, grad=True)
    loss(student, outputs(case.teacher, torch.float32), batch_of(case)).backward()
    reached = {name for name, leaf in leaves(loss, student).items() if leaf.grad is not None and leaf.grad.any()}
    assert any(not name.startswith("parameters.") for name in reached)
    assert {name for name in leaves(loss, student) if name.startswith("parameters.")} <= reached


@each_loss
def test_no_gradient_reaches_the_teacher(choice: Choice) -> None:
    """Not even where its outputs have a way back, as those of a peer that is in training itself."""
    case = make_case(spec_of(choice))
    loss = make_loss(case)
    teacher = outputs(case.teacher, grad=True)
    loss(outputs(case.student, grad=True), teacher, batch_of(case)).backward()
    assert teacher.embedding is not None
    assert all(x.grad is None for x in (teacher.logits, teacher.embedding, *teacher.features.values()))


def make_identity(loss: torch.nn.Module) -> None:
    """Projectors that change nothing."""
    with torch.no_grad():
        for module in loss.modules():
            if isinstance(module, torch.nn.Linear | torch.nn.Conv2d):
                module.weight.copy_(torch.eye(len(module.weight)).reshape(module.weight.shape))
                if module.bias is not None:
                    module.bias.zero_()


@each_loss
@pytest.mark.parametrize("weighted", [False, True], ids=["even", "weighted"])
def test_least_where_the_student_equals_the_teacher(choice: Choice, weighted: bool) -> None:
    case = make_case(spec_of(choice), weighted=weighted)
    case.student = case.teacher
    loss = make_loss(case)
    if loss.least_at_teacher:
        make_identity(loss)
    student = outputs(case.student, grad=True)
    value = loss(student, outputs(case.teacher), batch_of(case))
    value.backward()
    if not loss.least_at_teacher:
        assert any(leaf.grad is not None and leaf.grad.abs().max() > 1e-6 for leaf in leaves(loss, student).values())
        return
    derivation = reference(choice.entry)
    minimum = derivation.minimum(case) if hasattr(derivation, "minimum") else 0.0
    assert value.item() == pytest.approx(minimum, rel=1e-9, abs=1e-12)
    for name, leaf in leaves(loss, student).items():
        if leaf.grad is not None:
            assert leaf.grad.abs().max() < 1e-9, name


def rows(case: Case, order: list[int]) -> Case:
    """The case with its samples in another order, or some of them more than once."""

    def side(s: Side) -> Side:
        return Side(s.logits[order], s.embedding[order], {k: v[order] for k, v in s.features.items()})

    return replace(
        case,
        student=side(case.student),
        teacher=side(case.teacher),
        weight=case.weight[order],
        y=case.y[order],
        ids=case.ids[order],
    )


def value_of(case: Case) -> float:
    return float(make_loss(case)(outputs(case.student), outputs(case.teacher), batch_of(case)).item())


@each_loss
def test_the_order_of_the_batch_does_not_matter(choice: Choice) -> None:
    case = make_case(spec_of(choice), weighted=True)
    assert value_of(rows(case, [3, 0, 5, 1, 4, 2])) == pytest.approx(value_of(case), rel=1e-12)


@each_loss
def test_a_batch_and_the_same_batch_twice(choice: Choice) -> None:
    case = make_case(spec_of(choice))
    twice = rows(case, [*range(6), *range(6)])
    check_against_reference(twice)
    same = value_of(twice) == pytest.approx(value_of(case), rel=1e-12)
    assert same == make_loss(case).per_sample


@each_loss
def test_a_sample_of_weight_0_is_not_there(choice: Choice) -> None:
    case = make_case(spec_of(choice))
    masked = replace(case, weight=np.array([1.0, 1.0, 0.0, 1.0, 0.0, 1.0]))
    assert value_of(masked) == pytest.approx(value_of(rows(case, [0, 1, 3, 5])), rel=1e-12)


@each_loss
def test_a_batch_of_weight_0_is_worth_0(choice: Choice) -> None:
    case = replace(make_case(spec_of(choice)), weight=np.zeros(6))
    loss, student = make_loss(case), outputs(case.student, grad=True)
    value = loss(student, outputs(case.teacher), batch_of(case))
    value.backward()
    assert value.item() == 0
    assert all(leaf.grad is None or not leaf.grad.any() for leaf in leaves(loss, student).values())


@each_loss
def test_labels_matter_where_the_menu_says_so(choice: Choice) -> None:
    case = make_case(spec_of(choice))
    other = replace(case, y=case.y[::-1].copy())
    assert (value_of(other) != value_of(case)) == choice.entry.needs_labels


@each_loss
def test_mixtures_of_samples_are_right_or_refused(choice: Choice) -> None:
    """A term that reads no label is the same with two of them; one that does is refused before the job runs."""
    case = make_case(spec_of(choice))
    loss, batch = make_loss(case), batch_of(case)
    mixed = replace(batch, y=batch.y.flip(0), y_other=batch.y, share=torch.linspace(0, 1, len(batch.y)))
    given = outputs(case.student), outputs(case.teacher)
    job = {"teacher": "tch_1", "dataset": "dst_1", "student": {"type": "mlp"}, "train": {"mixup": 0.2}}
    term = spec_of(choice).model_dump()
    if choice.entry.needs_labels:
        with pytest.raises(ValidationError, match="reads one") as refused:
            JobSpec.model_validate({**job, "loss": term})
        assert [fault["loc"] for fault in refused.value.errors()] == [("train",)]
    else:
        assert torch.equal(loss(*given, mixed), loss(*given, batch))
        assert JobSpec.model_validate({**job, "loss": term}).train.mixup


@each_loss
def test_a_batch_below_the_least_is_worth_0_and_no_other(choice: Choice) -> None:
    for B in (1, 2, 3):
        case = make_case(spec_of(choice), B=B)
        assert (abs(value_of(case)) < 1e-20) == (make_loss(case).min_batch > B)


@each_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
def test_half_precision_outputs_are_computed_on_in_float32(choice: Choice, dtype: torch.dtype) -> None:
    case = make_case(spec_of(choice))
    loss = make_loss(case, torch.float32)
    half_s, half_t = outputs(case.student, dtype), outputs(case.teacher, dtype)
    value = loss(half_s, half_t, batch_of(case))
    wide = value_of_rounded(case, dtype)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(wide, rel=1e-5)


def value_of_rounded(case: Case, dtype: torch.dtype) -> float:
    """In float64, of the numbers that half precision can hold."""
    student, teacher = (
        Outputs(
            x.logits.double(),
            {k: v.double() for k, v in x.features.items()},
            x.embedding.double(),  # type: ignore[union-attr]
        )
        for x in (outputs(case.student, dtype), outputs(case.teacher, dtype))
    )
    return float(make_loss(case)(student, teacher, batch_of(case)).item())


@each_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=["bf16", "fp16", "float32"])
def test_huge_outputs_stay_finite(choice: Choice, dtype: torch.dtype) -> None:
    case = make_case(spec_of(choice))
    for side in (case.student, case.teacher):
        side.logits *= 1e4 / np.abs(side.logits).max()
        side.embedding *= 1e4 / np.abs(side.embedding).max()
        side.features = {name: x * (1e4 / np.abs(x).max()) for name, x in side.features.items()}
    loss, student = make_loss(case, torch.float32), outputs(case.student, dtype, grad=True)
    value = loss(student, outputs(case.teacher, dtype), batch_of(case))
    value.backward()
    assert value.isfinite()
    finite = all(leaf.grad is None or leaf.grad.isfinite().all() for leaf in leaves(loss, student).values())
    assert finite == (loss.fits_float16 or dtype != torch.float16)


@each_loss
def test_state_survives_save_and_load(choice: Choice) -> None:
    case = make_case(spec_of(choice))
    loss = make_loss(case)
    saved = {name: x.clone() for name, x in loss.state_dict().items()}
    other = make_loss(case)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1.0)
    other.load_state_dict(saved)
    arguments = outputs(case.student), outputs(case.teacher), batch_of(case)
    assert torch.equal(other(*arguments), loss(*arguments))
