"""How a teacher wants its images, the preset worked out into figures.

Means and deviations are per channel, of pixels in 0..1 over the training images. Sources: ImageNet, the figures of
torchvision's model zoo. CIFAR-10 and -100: means and deviations over all pixels, the latter as in Tian et al. 2020
(arXiv:1910.10699). `cifar` is CIFAR-10 with the deviations (0.2023, 0.1994, 0.2010) that most published training
scripts use (they are means over images of each image's deviation). MNIST and Fashion-MNIST: over all pixels.
"""

from collections.abc import Callable

from core.errors import Problem, Rejected
from models.canonical import ResolvedInput
from models.spec.teachers import TeacherInput

Figures = tuple[list[float], list[float]]

_FIGURES: dict[str, Figures] = {
    "dataset": ([], []),
    "none": ([0.0], [1.0]),
    "half": ([0.5], [0.5]),
    "imagenet": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    "cifar": ([0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]),
    "cifar10": ([0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]),
    "cifar100": ([0.5071, 0.4867, 0.4408], [0.2675, 0.2565, 0.2761]),
    "mnist": ([0.1307], [0.3081]),
    "fashion_mnist": ([0.2860], [0.3530]),
}


def resolve(wish: TeacherInput, channels: int | None, own: Callable[[], Figures] | None = None) -> ResolvedInput:
    """The figures for so many channels (None: unknown, or no images); fields that are given win over the preset.

    `own` gives a timm model's own figures. Raises Rejected at the field of `input` that does not fit.
    """
    low, high = wish.range or (0.0, 1.0)
    if not high > low:
        raise _bad("range", f"range must be [low, high] with low < high, got [{low:g}, {high:g}]")
    mean, std = _preset(wish.preset, own)
    # The preset speaks of 0..1; what the user gives is in the units of the range.
    mean, std = [m * (high - low) + low for m in mean], [s * (high - low) for s in std]
    mean, std = (wish.mean or mean), (wish.std or std)
    if bool(mean) != bool(std):
        missing = "std" if mean else "mean"
        raise _bad(missing, f"{missing} must be given as well: the preset `{wish.preset}` has none of its own")
    return ResolvedInput(
        size=wish.size,
        layout=wish.layout,
        range=(low, high),
        mean=_for_channels("mean", mean, channels, wish.preset if wish.mean is None else None),
        std=_for_channels("std", std, channels, wish.preset if wish.std is None else None),
    )


def _preset(name: str, own: Callable[[], Figures] | None) -> Figures:
    if name != "timm":
        return _FIGURES[name]
    if own is None:
        raise _bad("preset", "the preset `timm` is for architectures of type timm; name another, or give mean and std")
    return own()


def _for_channels(which: str, values: list[float], channels: int | None, preset: str | None) -> list[float]:
    """One value counts for all channels."""
    if channels is None or len(values) in (0, channels):
        return list(values)
    if len(values) == 1:
        return list(values) * channels
    where = which if preset is None else "preset"
    whose = f"`{which}`" if preset is None else f"the preset `{preset}`"
    raise _bad(where, f"{whose} has {len(values)} channels, the teacher takes {channels}; give {which} for {channels}")


def _bad(field: str, message: str) -> Rejected:
    return Rejected(f"input.{field}: {message}.", code="bad_input", errors=[Problem(f"/input/{field}", message)])
