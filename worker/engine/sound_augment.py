"""Random changes of a batch of spectrograms, on the device: a pure function of (seed, epoch, sample id), as of images.

Moved in time with silence behind, and masked in time and in mel bands: Park et al. 2019, "SpecAugment",
arXiv:1904.08779, section 2, with one mask of each kind and no warp; a mask holds the training split's mean.
Shapes: N samples, M mel bands, T frames.
"""

import torch
from torch import Tensor

from models.seeds import derive
from models.spec.training import Augment
from worker.engine.augment import Augmentation, scatter

#: The hash of a sample is read in fields of 16 bits.
_FIELD = 0xFFFF
_BANDS, _FRAMES = 2, 3


class SoundAugmentation(Augmentation):
    """Moves each spectrogram by some frames, and blots some frames and bands out."""

    def __init__(self, chosen: Augment, mean: int, seed: int) -> None:
        super().__init__(0, False, seed)
        self._chosen, self._mean = chosen, mean

    @property
    def content(self) -> dict[str, int]:
        """All that the changes of a sample hang on beside the epoch."""
        chosen = self._chosen
        masks = {"time_mask": chosen.time_mask, "mel_mask": chosen.mel_mask}
        return {"time_shift": chosen.time_shift, **masks, "mean": self._mean, "seed": self._seed}

    def __call__(self, x_N1MT: Tensor, ids_N: Tensor, epoch: int) -> Tensor:
        """The spectrograms (N, 1, M, T) as this epoch shows them; silence is 0."""
        move_N = scatter(ids_N, derive(self._seed, "augment", epoch))
        mask_N = scatter(ids_N, derive(self._seed, "mask", epoch))
        x_N1MT = _moved(x_N1MT, self._chosen.time_shift, move_N)
        x_N1MT = _masked(x_N1MT, _FRAMES, self._chosen.time_mask, mask_N, self._mean)
        return _masked(x_N1MT, _BANDS, self._chosen.mel_mask, mask_N >> 32, self._mean)


def _moved(x_N1MT: Tensor, most: int, chance_N: Tensor) -> Tensor:
    """Each moved by -most to most frames."""
    if not most:
        return x_N1MT
    T = x_N1MT.shape[3]
    from_NT = torch.arange(T, device=x_N1MT.device) - ((chance_N & _FIELD) % (2 * most + 1) - most)[:, None]
    inside_NT = (from_NT >= 0) & (from_NT < T)
    moved = x_N1MT.gather(3, from_NT.clamp(0, T - 1)[:, None, None, :].expand_as(x_N1MT))
    return moved.masked_fill_(~inside_NT[:, None, None, :], 0)


def _masked(x_N1MT: Tensor, dim: int, most: int, chance_N: Tensor, fill: int) -> Tensor:
    """Up to `most` neighbours along `dim` set to `fill`, at any place."""
    if not most:
        return x_N1MT
    length = x_N1MT.shape[dim]
    width_N = (chance_N & _FIELD) % (min(most, length) + 1)
    start_N = (chance_N >> 16 & _FIELD) % (length - width_N + 1)
    place_L = torch.arange(length, device=x_N1MT.device)
    inside_NL = (place_L >= start_N[:, None]) & (place_L < (start_N + width_N)[:, None])
    shape = [len(x_N1MT), 1, 1, 1]
    shape[dim] = length
    return x_N1MT.masked_fill(inside_NL.reshape(shape), fill)
