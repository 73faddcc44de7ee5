"""What student, teacher and losses are given of one batch."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from worker.engine.augment import Augmentation
from worker.engine.cache import Kept, tensors
from worker.engine.data import Rows, Split
from worker.engine.feed import Feed
from worker.engine.mixup import Mixup
from worker.engine.normalise import as_it_is
from worker.engine.outputs import Outputs
from worker.engine.precision import Precision

CPU = torch.device("cpu")


@dataclass
class Listening:
    """A teacher that says what it sees, and remembers the rows that it was asked about."""

    precision: Precision = field(default_factory=lambda: Precision("float32", "cpu", channels_last=False))
    asked: list[Rows] = field(default_factory=list)

    def __call__(self, rows: Rows, *, exact: bool = False) -> Outputs:
        self.asked.append(rows)
        return Outputs(rows.raw.to(torch.float64 if exact else torch.float32).flatten(1))


def images(n: int = 12) -> Split:
    x = torch.randint(0, 256, (n, 6, 6, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Split(x, torch.arange(n), torch.arange(n), CPU)


AT = torch.tensor([7, 0, 3, 11, 5])


def view(raw: Tensor) -> Tensor:
    return raw.to(torch.float32)


def test_without_mixup_a_batch_has_one_label() -> None:
    x, batch, heard = Feed(images(), view, None, None)(AT, 0, 0.5)
    assert torch.equal(batch.ids, AT)
    assert torch.equal(batch.y, AT)
    assert batch.y_other is None
    assert batch.share is None
    assert batch.progress == 0.5
    assert heard is None
    assert torch.equal(x, images().take(AT).raw)


def test_teacher_and_student_see_the_same_mixtures_of_augmented_images() -> None:
    teacher = Listening()
    change = Augmentation(1, True, 0)
    feed = Feed(images(), view, change, teacher, Mixup(1.0, 0))
    x, batch, heard = feed(AT, 2, 0.5)
    assert heard is not None
    assert torch.equal(heard.logits, x.flatten(1))
    assert batch.y_other is not None
    assert batch.share is not None
    shown = change(images().take(AT).raw, AT, 2).to(torch.float32)
    partner = [AT.tolist().index(int(label)) for label in batch.y_other]
    torch.testing.assert_close(x, torch.lerp(shown[partner], shown, batch.share[:, None, None, None]))
    assert torch.equal(batch.y, AT)


def test_the_same_batch_comes_again_whatever_was_drawn_in_between() -> None:
    feed = Feed(images(), view, Augmentation(1, True, 0), Listening(), Mixup(0.4, 0))
    first, one, _ = feed(AT, 1, 0.0)
    torch.rand(7)
    again, two, _ = feed(AT, 1, 0.9)
    assert torch.equal(first, again)
    assert one.share is not None
    assert two.share is not None
    assert torch.equal(one.share, two.share)
    other, _, _ = feed(AT, 2, 0.0)
    assert not torch.equal(first, other)


def test_rows_of_a_table_are_mixed_too() -> None:
    split = Split(torch.randn(12, 4), torch.arange(12), torch.arange(12), CPU)
    x, batch, _ = Feed(split, as_it_is, None, None, Mixup(1.0, 0))(AT, 0, 0.0)
    assert batch.share is not None
    assert x.shape == (5, 4)
    assert not torch.equal(x, split.take(AT).raw)


def test_batches_looked_up_together_are_those_looked_up_alone() -> None:
    split, change = images(40), Augmentation(1, True, 0)
    said = torch.randn(40, 3)
    kept = Kept(Outputs(said, {"s": torch.randn(40, 2)}, torch.randn(40, 5), torch.rand(40), {"a": Outputs(said + 1)}))
    feed = Feed(split, view, change, kept)
    batches = split.shuffled(0, 0, 16)
    assert feed._at_once(16) >= len(batches) == 3
    for positions, dealt in zip(batches, feed.deal(batches, 1), strict=True):
        x, batch, heard = feed.serve(dealt, 1, 0.5)
        alone, batch_alone, heard_alone = feed(positions, 1, 0.5)
        assert heard is not None
        assert heard_alone is not None
        assert torch.equal(x, alone)
        assert torch.equal(batch.y, batch_alone.y)
        assert torch.equal(batch.ids, batch_alone.ids)
        for ours, theirs in zip(tensors(heard), tensors(heard_alone), strict=True):
            assert torch.equal(ours, theirs)
        assert torch.equal(heard.members["a"].logits, heard.logits + 1)
