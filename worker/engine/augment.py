"""Random crop and mirror of a batch of images, on the device: a pure function of (seed, epoch, sample id).

A sample is changed alike whatever batch it comes in, so a resumed run repeats itself and two networks that look at the
same sample see the same picture. Chance is a counter-based hash in integer tensor operations, not a generator.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from models.seeds import derive
from models.spec.training import Augment, Train

#: The hash of a sample is read in fields of 16 bits: where to cut from above, from the left, and whether to mirror.
_FIELD = 0xFFFF


class Augmentation:
    """Cuts each image out of its zero-padded self at a random place, and mirrors half of them."""

    def __init__(self, crop: int, flip: bool, seed: int) -> None:
        self._crop, self._flip, self._seed = crop, flip, seed

    @property
    def content(self) -> dict[str, int]:
        """All that the changes of a sample hang on beside the epoch."""
        return {"crop": self._crop, "flip": int(self._flip), "seed": self._seed}

    def __call__(self, x_NCHW: Tensor, ids_N: Tensor, epoch: int) -> Tensor:
        """The images (N, C, H, W) as this epoch shows them; any dtype, the padding is 0, memory is channels-last."""
        chance_N = scatter(ids_N, derive(self._seed, "augment", epoch))
        sample_N = torch.arange(len(ids_N), device=ids_N.device)
        x_NHWC = x_NCHW.permute(0, 2, 3, 1)
        if self._flip:
            # The mirrored copies stand behind the images; picking one is part of the cut below.
            x_NHWC = torch.cat([x_NHWC, x_NHWC.flip(2)])
            sample_N = sample_N + len(ids_N) * (chance_N >> 32 & 1)
        if self._crop:
            limit = 2 * self._crop + 1
            top_N, left_N = (chance_N & _FIELD) % limit, (chance_N >> 16 & _FIELD) % limit
            x_NHWC = _cut(x_NHWC, self._crop, sample_N, top_N, left_N)
        else:
            x_NHWC = x_NHWC.index_select(0, sample_N)
        return x_NHWC.permute(0, 3, 1, 2)


def from_spec(train: Train, shape: tuple[int, ...]) -> Augmentation | None:
    """What the spec asks for, for images of shape (C, H, W); None where images stay as they are."""
    chosen = _auto(shape) if train.augment == "auto" else train.augment
    if chosen == "none" or not (chosen.crop or chosen.flip):
        return None
    return Augmentation(chosen.crop, chosen.flip, train.seed)


def scatter(ids_N: Tensor, key: int) -> Tensor:
    """Ids to numbers of 63 bits that look drawn at random, a different set for each key.

    The finaliser of splitmix64 (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators") on 64-bit
    integers that wrap around; a right shift of a signed integer copies its sign, which the masks take away.
    """
    h_N = (ids_N + 1) * _signed(0x9E3779B97F4A7C15) + key
    h_N = (h_N ^ _shift(h_N, 30)) * _signed(0xBF58476D1CE4E5B9)
    h_N = (h_N ^ _shift(h_N, 27)) * _signed(0x94D049BB133111EB)
    return _shift(h_N ^ _shift(h_N, 31), 1)


def _shift(h_N: Tensor, bits: int) -> Tensor:
    return (h_N >> bits) & ((1 << (64 - bits)) - 1)


def _signed(word: int) -> int:
    return word - (1 << 64) if word >= 1 << 63 else word


def _cut(x_NHWC: Tensor, pad: int, sample_M: Tensor, top_M: Tensor, left_M: Tensor) -> Tensor:
    """M cuts of the padded images, as large as the images."""
    N, H, W, C = x_NHWC.shape
    padded = F.pad(x_NHWC, [0, 0, pad, pad, pad, pad])
    # Every possible cut, as a view: (N, places down, places right, H, W, C). Indexing copies whole rows of pixels.
    row, column = (W + 2 * pad) * C, C
    every = padded.as_strided(
        (N, 2 * pad + 1, 2 * pad + 1, H, W, C), ((H + 2 * pad) * row, row, column, row, column, 1)
    )
    return every[sample_M, top_M, left_M]


def _auto(shape: tuple[int, ...]) -> Augment:
    side = min(shape[1:])
    return Augment(crop=side // 8 if side >= 28 else 0)
