"""From the seconds of measured steps to those of one that was never measured, by its operations.

All in natural logarithms: works of equally many operations a step may differ by a factor, and so may the error. A line
is laid through the works that are nearest. It is flat where the device waits for the program, so that more operations
take no longer; where it is busy they take time in proportion. Few works do not show which it is; there, a step is taken
to wait for as long as it would not need at the best rate that was seen anywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log

#: Another family of networks, or another number format, counts as far as so many times the operations.
_OTHER_FAMILY, _OTHER_FORMAT = log(4), log(2)
#: As much evidence as works that lie so far apart (mean of the squares) weighs the slope that the best rate gives.
_ASSUMED = 0.5
#: A work at this distance counts a quarter of one at none.
_NEAR = 0.3
#: How many of the nearest are looked at, for a prediction and for how far such are off.
_SHOWN = 16
_FEW = 4
#: The error that is allowed for at least, and where there are few works to see it in.
_LEAST, _UNSEEN = log(2.2), log(4)
#: It grows with the distance to the nearest work.
_GROWS = 0.35


@dataclass(frozen=True, slots=True)
class Point:
    """A work: operations of its mean step, the type of its student, and in what format that computes."""

    flops: float
    family: str
    precision: str

    def distance(self, other: "Point") -> float:
        """How far apart they are; `auto` is as near to one format as to another."""
        far = abs(self.flops - other.flops)
        far += _OTHER_FAMILY if self.family != other.family else 0.0
        differs = self.precision != other.precision and "auto" not in (self.precision, other.precision)
        return far + (_OTHER_FORMAT if differs else 0.0)


@dataclass(frozen=True, slots=True)
class Measured:
    """A point and the seconds of its mean step."""

    at: Point
    seconds: float


def predict(at: Point, measured: Sequence[Measured], rate: float) -> float:
    """The seconds of a step there, from one measured work at least. `rate`: operations a second of a busy device."""
    near = _nearest(at, measured)
    weights = [1 / (_NEAR + at.distance(each.at)) ** 2 for each in near]
    whole = sum(weights)
    shares = [weight / whole for weight in weights]
    x = sum(share * each.at.flops for share, each in zip(shares, near, strict=True))
    y = sum(share * each.seconds for share, each in zip(shares, near, strict=True))
    apart = [(share, each.at.flops - x, each.seconds - y) for share, each in zip(shares, near, strict=True)]
    xx, xy = sum(share * dx * dx for share, dx, _ in apart), sum(share * dx * dy for share, dx, dy in apart)
    slope = (xy + _ASSUMED * _slope(x, y, at.flops, rate)) / (xx + _ASSUMED)
    return y + min(1.0, max(0.0, slope)) * (at.flops - x)


def _nearest(at: Point, measured: Sequence[Measured]) -> list[Measured]:
    return sorted(measured, key=lambda each: at.distance(each.at))[:_SHOWN]


def _slope(x: float, y: float, to: float, rate: float) -> float:
    """From a step of x operations and y seconds, where so much of these is work as it would be at that rate."""
    busy = min(1.0, exp(x - y) / rate)
    far = to - x
    return busy if abs(far) < _NEAR else log(1 - busy + busy * exp(far)) / far


def error(at: Point, measured: Sequence[Measured], rate: float) -> float:
    """How far the prediction may be off: as far as it would have been at the nearest measured works, and more."""
    near = _nearest(at, measured)
    off = _UNSEEN
    if len(near) >= _FEW:
        found = sorted(
            abs(each.seconds - predict(each.at, [other for other in near if other is not each], rate)) for each in near
        )
        off = found[int(0.9 * (len(found) - 1))]
    return max(_LEAST, off) + _GROWS * at.distance(near[0].at)
