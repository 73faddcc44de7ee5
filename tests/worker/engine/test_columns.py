"""A batch as a term sees it: one member's answer, some classes."""

import torch

from worker.engine.columns import PLAIN, Lens, columns, shared
from worker.engine.outputs import Batch, Outputs

CPU = torch.device("cpu")
#: Of five classes the teacher knows 4, 1 and 2, in its columns 0, 2 and 3.
SOME = columns([4, 1, 2], [0, 2, 3], 5, CPU)


def batch(*y: int) -> Batch:
    return Batch(torch.tensor(y), torch.arange(len(y)))


def test_nothing_is_made_anew_where_nothing_is_mapped() -> None:
    student, teacher, plain = Outputs(torch.ones(2, 5)), Outputs(torch.ones(2, 5)), batch(1, 2)
    assert all(a is b for a, b in zip(PLAIN(student, teacher, plain), (student, teacher, plain), strict=True))


def test_classes_are_paired_and_samples_of_others_weigh_nothing() -> None:
    student = Outputs(torch.arange(20.0).reshape(4, 5))
    teacher = Outputs(torch.arange(16.0).reshape(4, 4), embedding=torch.ones(4, 2))
    s, t, b = Lens(columns=SOME)(student, teacher, batch(2, 0, 4, -1))
    assert s.logits[0].tolist() == [1, 2, 4]
    assert t.logits[0].tolist() == [2, 3, 0]
    assert t.embedding is teacher.embedding
    assert b.weight is not None
    assert b.weight.tolist() == [1, 0, 1, 1], "no label is no other class"
    assert b.y.tolist() == [1, 0, 2, -1]


def test_a_permutation_leaves_the_batch_alone() -> None:
    student, plain = Outputs(torch.ones(1, 3)), batch(2)
    s, t, b = Lens(columns=columns([0, 1, 2], [2, 0, 1], 3, CPU))(student, Outputs(torch.tensor([[5.0, 6, 7]])), plain)
    assert s is student
    assert t.logits.tolist() == [[7, 5, 6]]
    assert b is plain


def test_weights_of_the_batch_of_the_teacher_and_of_the_classes_multiply() -> None:
    weighted = batch(2, 2, 0).weighted(torch.tensor([0.5, 0.25, 1.0]))
    teacher = Outputs(torch.ones(3, 4), weight=torch.tensor([1.0, 0.0, 1.0]))
    _, _, b = Lens(columns=SOME)(Outputs(torch.ones(3, 5)), teacher, weighted)
    assert b.weight is not None
    assert b.weight.tolist() == [0.5, 0, 0]


def test_a_mixture_weighs_by_its_parts() -> None:
    mixed = batch(2, 0)
    mixed.share, mixed.y_other = torch.tensor([0.75, 0.75]), torch.tensor([0, 1])
    _, _, b = Lens(columns=SOME)(Outputs(torch.ones(2, 5)), Outputs(torch.ones(2, 4)), mixed)
    assert b.weight is not None
    assert b.weight.tolist() == [0.75, 0.25]


def test_a_member_is_heard_alone() -> None:
    said = Outputs(torch.zeros(1, 2), members={"tch_2": Outputs(torch.ones(1, 2), weight=torch.zeros(1))})
    _, t, b = Lens("tch_2")(Outputs(torch.zeros(1, 2)), said, batch(0))
    assert t is said.members["tch_2"]
    assert b.weight is not None
    assert b.weight.tolist() == [0]


def test_classes_in_common() -> None:
    other = columns([1, 3, 4], [0, 1, 2], 5, CPU)
    assert shared([SOME, other], 5, CPU) == [1, 4]
    assert shared([columns([2, 0, 1], [0, 1, 2], 3, CPU)], 3, CPU) == [0, 1, 2]
