"""Crop and mirror as a pure function of (seed, epoch, sample id)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from models.spec.training import Augment, Train
from worker.engine.augment import Augmentation, from_spec, scatter


def images(n: int = 40, c: int = 3, side: int = 6) -> Tensor:
    x = torch.randint(1, 256, (n, c, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return x.contiguous(memory_format=torch.channels_last)


def every_cut(image: Tensor, pad: int) -> list[Tensor]:
    """Each cut of the padded image, then each of its mirror image, one by one."""
    cuts = []
    for shown in (image, image.flip(2)):
        padded = F.pad(shown, [pad] * 4)
        side = image.shape[1]
        cuts += [padded[:, i : i + side, j : j + side] for i in range(2 * pad + 1) for j in range(2 * pad + 1)]
    return cuts


def test_each_image_is_one_of_its_cuts_and_all_places_are_used() -> None:
    x, ids = images(400, 1, 3), torch.arange(400)
    seen = set()
    for before, after in zip(x, Augmentation(1, True, 0)(x, ids, 0), strict=True):
        matches = [at for at, cut in enumerate(every_cut(before, 1)) if torch.equal(cut, after)]
        assert matches
        seen |= set(matches)
    assert len(seen) == 2 * 9


def test_a_sample_is_changed_alike_in_any_batch() -> None:
    x, ids = images(), torch.arange(40) * 7 + 3
    change = Augmentation(2, True, 5)
    whole = change(x, ids, 4)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    assert torch.equal(change(x[order], ids[order], 4), whole[order])
    assert torch.equal(change(x[7:9], ids[7:9], 4), whole[7:9])


def test_seed_and_epoch_change_the_picture() -> None:
    x, ids = images(), torch.arange(40)
    first = Augmentation(2, True, 0)(x, ids, 0)
    assert not torch.equal(first, Augmentation(2, True, 0)(x, ids, 1))
    assert not torch.equal(first, Augmentation(2, True, 1)(x, ids, 0))


def test_flip_alone_mirrors_about_half() -> None:
    x, ids = images(1000, 1, 2), torch.arange(1000)
    after = Augmentation(0, True, 0)(x, ids, 0)
    mirrored = (after != x).flatten(1).any(1)
    assert torch.equal(after[mirrored], x[mirrored].flip(3))
    assert 400 < int(mirrored.sum()) < 600


def test_crop_alone_never_mirrors_and_pads_with_0() -> None:
    x = torch.full((50, 2, 4, 4), 9, dtype=torch.uint8)
    x[:, :, :, 0] = 1  # the left edge
    after = Augmentation(1, False, 0)(x, torch.arange(50), 0)
    assert set(after.flatten().tolist()) == {0, 1, 9}
    assert not (after[:, :, :, -1] == 1).any(), "only a mirrored image has its left edge on the right"


def test_numbers_are_spread_evenly_and_neighbours_are_unlike() -> None:
    values = scatter(torch.arange(20_000), 12345)
    assert int(values.min()) >= 0
    for shift in (0, 16, 32, 48):
        counts = torch.bincount((values >> shift & 0xFFFF) % 9, minlength=9) / 20_000
        assert (counts - 1 / 9).abs().max() < 0.01
    assert len(set(values.tolist())) == 20_000


def test_auto_crops_by_an_eighth_from_28_pixels_on_and_never_mirrors() -> None:
    auto = Train(augment="auto")
    assert from_spec(auto, (1, 8, 8)) is None
    assert from_spec(auto, (3, 27, 64)) is None
    x = torch.arange(1, 1 + 28 * 28, dtype=torch.float32).reshape(1, 1, 28, 28).expand(300, -1, -1, -1)
    change = from_spec(auto, (1, 28, 28))
    assert change is not None
    after = change(x, torch.arange(300), 0)
    assert {int((image[0] == 0).all(1).sum()) for image in after} == {0, 1, 2, 3}
    assert not any(torch.equal(image, x[0].flip(2)) for image in after)


def test_none_and_nothing_to_do_are_no_augmentation() -> None:
    assert from_spec(Train(augment="none"), (3, 32, 32)) is None
    assert from_spec(Train(augment=Augment()), (3, 32, 32)) is None
