"""What timm itself says of one of its architectures: the input that its published weights were trained on."""

from dataclasses import dataclass

from models.spec.students import Timm, TimmKwarg
from worker.students import _torchvision


@dataclass(frozen=True)
class TimmFacts:
    """Mean and deviation in 0..1, height and width."""

    mean: list[float]
    std: list[float]
    size: tuple[int, int]


def timm_facts(architecture: Timm) -> TimmFacts | None:
    """The facts of the architecture's default weights; None where timm does not know the name.

    An `img_size` among the kwargs wins over timm's.
    """
    _torchvision.make_importable()
    import timm

    known = timm.models.get_pretrained_cfg(architecture.name)
    if known is None:
        return None
    return TimmFacts(list(known.mean), list(known.std), _size(architecture.kwargs.get("img_size"), known.input_size))


def _size(wish: TimmKwarg, own: tuple[int, int, int]) -> tuple[int, int]:
    if isinstance(wish, int):
        return wish, wish
    if isinstance(wish, list) and len(wish) == 2:
        return int(wish[0]), int(wish[1])
    return own[1], own[2]
