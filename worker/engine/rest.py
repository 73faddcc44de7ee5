"""Logits of which the largest of each row alone are kept, and what is known of all others together.

A distribution at temperature T needs, beside the largest logits, the mass of the rest at that T, which does not follow
from the mass at another. So the rest is weighed at several temperatures, written as the logit that each of its classes
would have if all were equal: its level. It grows smoothly from their mean (T infinite) to their largest (T = 0), and is
interpolated between. Why so, with figures: docs/decisions/0004-teachers-answers-are-tables.md.
Shapes: N rows, C classes, K of them kept, R levels.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

#: At these the rest is weighed; each is half of the one before.
TEMPERATURES = (math.inf, 8.0, 4.0, 2.0, 1.0, 0.5, 0.25, 0.0)
#: As a share of the way from T infinite to T = 0, along which levels lie almost straight between two of them.
_PLACES = tuple(1 / (1 + T) for T in TEMPERATURES)


@dataclass(slots=True)
class Rest:
    """What stands beside the kept logits: classes (N, K), whose they are; levels (N, R) of the rest at TEMPERATURES."""

    classes: Tensor
    levels: Tensor

    def level(self, T: float) -> Tensor:
        """At any temperature (N,): exact at those that were weighed, else between the two beside it."""
        place = 1 / (1 + T)
        above = next(at for at, known in enumerate(_PLACES) if at and place <= known)
        share = (place - _PLACES[above - 1]) / (_PLACES[above] - _PLACES[above - 1])
        return torch.lerp(self.levels[:, above - 1], self.levels[:, above], share)

    def share_kept(self, values_NK: Tensor, num_classes: int, T: float) -> Tensor:
        """How much of the probability at T the kept logits hold (N,)."""
        rest_N = math.log(num_classes - self.classes.shape[1]) + self.level(T) / T
        return ((values_NK / T).logsumexp(1) - rest_N).sigmoid()

    def spread(self, values_NK: Tensor, num_classes: int, T: float = 1.0) -> Tensor:
        """All logits (N, C), those of the rest equal, weighing together what they weigh at T, none above a kept one.

        At T the kept classes have the probabilities that they had; the others differ, in sum of absolute values by no
        more than twice the mass of the rest.
        """
        logits_NC = self.level(T)[:, None].repeat(1, num_classes)
        return logits_NC.scatter_(1, self.classes.long(), values_NK)

    def again(self, logits_NC: Tensor, T: float) -> Tensor:
        """What was spread for one temperature, for another."""
        return self.spread(logits_NC.gather(1, self.classes.long()), logits_NC.shape[1], T)


def largest(logits_NC: Tensor, k: int) -> tuple[Tensor, Rest]:
    """The k largest logits of each row (N, K), from the largest on, and what is known of the rest; k is less than C."""
    num_classes = logits_NC.shape[1]
    assert k < num_classes, "something is left out"
    values_NK, classes_NK = logits_NC.topk(k, dim=1)
    narrow = torch.int16 if num_classes <= torch.iinfo(torch.int16).max else torch.int32
    return values_NK, Rest(classes_NK.to(narrow), _levels(logits_NC, classes_NK))


def _levels(logits_NC: Tensor, classes_NK: Tensor) -> Tensor:
    """(N, R). Each temperature is half of the one before, so its exponentials are the squares of those."""
    num = logits_NC.shape[1] - classes_NK.shape[1]
    mean_N = logits_NC.scatter(1, classes_NK, 0.0).sum(1) / num
    powers_NC = logits_NC.scatter(1, classes_NK, -math.inf)
    most_N = powers_NC.amax(1)
    powers_NC.sub_(most_N[:, None]).div_(TEMPERATURES[1]).exp_()
    levels = [mean_N]
    for T in TEMPERATURES[1:-1]:
        levels.append(most_N + T * (powers_NC.sum(1) / num).log())
        powers_NC.square_()
    return torch.stack([*levels, most_N], dim=1)
