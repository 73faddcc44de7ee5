"""The named networks have the parameters that were published, to the digit.

Each count is derived here layer by layer, apart from the code under test, and rounded it is the published figure:
He et al. 2016, arXiv:1512.03385, table 6 (CIFAR-10, shortcut A, two significant digits); Zagoruyko, Komodakis 2016,
arXiv:1605.07146, table 4 (WRN-28-10: 36.5 million); for the rest the millions that papers on distillation give for the
networks of Tian et al. 2020, CRD, arXiv:1910.10699, on CIFAR-100.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter

from models.spec.students import Architecture, config
from worker.engine.networks import build_network, count_flops, count_parameters, family


def conv(kernel: int, inputs: int, outputs: int, *, groups: int = 1, bias: bool = False) -> int:
    """A convolution with the batch norm that follows it."""
    return kernel**2 * inputs // groups * outputs + bias * outputs + 2 * outputs


def linear(inputs: int, outputs: int) -> int:
    return (inputs + 1) * outputs


def resnet(depth: int, classes: int, *, stem: int = 16, width: int = 1, project: bool = True) -> int:
    blocks, total, before = (depth - 2) // 6, conv(3, 3, stem), stem
    for channels in (16 * width, 32 * width, 64 * width):
        total += conv(3, before, channels) + (2 * blocks - 1) * conv(3, channels, channels)
        total += conv(1, before, channels) if project and before != channels else 0
        before = channels
    return total + linear(before, classes)


def wide_resnet(depth: int, width: int, classes: int) -> int:
    # A norm stands before its convolution here, so the stem has none and one stands before the head.
    blocks, total, before = (depth - 4) // 6, 27 * 16, 16
    for channels in (16 * width, 32 * width, 64 * width):
        first = 2 * before + 9 * before * channels + conv(3, channels, channels)
        total += first + 2 * (blocks - 1) * conv(3, channels, channels)
        total += before * channels if before != channels else 0
        before = channels
    return total + 2 * before + linear(before, classes)


def vgg(widths: list[int], classes: int) -> int:
    pairs = zip([3, *widths], widths, strict=False)
    return sum(conv(3, a, b, bias=True) for a, b in pairs) + linear(widths[-1], classes)


def mobilenetv2(width: float, classes: int) -> int:
    before = int(32 * width)
    total = conv(3, 3, before)
    plan = [(1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1)]
    for expansion, base, blocks in plan:
        for _ in range(blocks):
            wide, after = before * expansion, int(base * width)
            total += conv(1, before, wide) + conv(3, wide, wide, groups=wide) + conv(1, wide, after)
            before = after
    return total + conv(1, before, 1280) + linear(1280, classes)


def shufflenetv2(widths: tuple[int, int, int, int], classes: int) -> int:
    total, before = conv(1, 3, 24), 24
    for channels, units in zip(widths, (3, 7, 3), strict=False):
        half = channels // 2
        depthwise = conv(3, half, half, groups=half)
        total += conv(3, before, before, groups=before) + conv(1, before, half)
        total += conv(1, before, half) + depthwise + conv(1, half, half)
        total += units * (2 * conv(1, half, half) + depthwise)
        before = channels
    return total + conv(1, before, widths[3]) + linear(widths[3], classes)


V8, V11 = [64, 128, 256, 512, 512], [64, 128, 256, 256, 512, 512, 512, 512]
V13 = [64, 64, 128, 128, 256, 256, 512, 512, 512, 512]
V16 = [64, 64, 128, 128, 256, 256, 256, *[512] * 6]
V19 = [64, 64, 128, 128, *[256] * 4, *[512] * 8]
RESNET, WIDE = {"type": "resnet"}, {"type": "wide_resnet"}
#: Architecture, classes, exact count, derivation, published millions as they were printed, None where we know of none.
PUBLISHED: list[tuple[dict[str, Any], int, int, Callable[[], int], str | None]] = [
    ({**RESNET, "depth": 20, "shortcut": "A"}, 10, 269_722, lambda: resnet(20, 10, project=False), "0.27"),
    ({**RESNET, "depth": 32, "shortcut": "A"}, 10, 464_154, lambda: resnet(32, 10, project=False), "0.46"),
    ({**RESNET, "depth": 44, "shortcut": "A"}, 10, 658_586, lambda: resnet(44, 10, project=False), "0.66"),
    ({**RESNET, "depth": 56, "shortcut": "A"}, 10, 853_018, lambda: resnet(56, 10, project=False), "0.85"),
    ({**RESNET, "depth": 110, "shortcut": "A"}, 10, 1_727_962, lambda: resnet(110, 10, project=False), "1.7"),
    ({**RESNET, "depth": 20}, 100, 278_324, lambda: resnet(20, 100), "0.28"),
    ({**RESNET, "depth": 32}, 100, 472_756, lambda: resnet(32, 100), None),
    ({**RESNET, "depth": 56}, 100, 861_620, lambda: resnet(56, 100), "0.86"),
    ({**RESNET, "depth": 110}, 100, 1_736_564, lambda: resnet(110, 100), "1.74"),
    ({**RESNET, "depth": 8, "width": 4}, 100, 1_233_540, lambda: resnet(8, 100, stem=32, width=4), "1.23"),
    ({**RESNET, "depth": 32, "width": 4}, 100, 7_433_860, lambda: resnet(32, 100, stem=32, width=4), "7.43"),
    ({**WIDE, "depth": 16, "width": 2}, 100, 703_284, lambda: wide_resnet(16, 2, 100), "0.70"),
    ({**WIDE, "depth": 40, "width": 1}, 100, 569_780, lambda: wide_resnet(40, 1, 100), "0.57"),
    ({**WIDE, "depth": 40, "width": 2}, 100, 2_255_156, lambda: wide_resnet(40, 2, 100), "2.26"),
    ({**WIDE, "depth": 28, "width": 10}, 10, 36_479_194, lambda: wide_resnet(28, 10, 10), "36.5"),
    ({"type": "vgg", "depth": 8}, 100, 3_965_028, lambda: vgg(V8, 100), "3.97"),
    ({"type": "vgg", "depth": 11}, 100, 9_277_284, lambda: vgg(V11, 100), None),
    ({"type": "vgg", "depth": 13}, 100, 9_462_180, lambda: vgg(V13, 100), "9.46"),
    ({"type": "vgg", "depth": 16}, 100, 14_774_436, lambda: vgg(V16, 100), None),
    ({"type": "vgg", "depth": 19}, 100, 20_086_692, lambda: vgg(V19, 100), None),
    ({"type": "mobilenetv2"}, 100, 812_836, lambda: mobilenetv2(0.5, 100), "0.81"),
    ({"type": "shufflenetv2"}, 100, 1_355_528, lambda: shufflenetv2((116, 232, 464, 1024), 100), "1.36"),
]


def _id(value: object) -> str:
    return "-".join(map(str, value.values())) if isinstance(value, dict) else "" if callable(value) else str(value)


@pytest.mark.parametrize(("entry", "classes", "exact", "derived", "printed"), PUBLISHED, ids=_id)
def test_the_count_is_the_published_one(
    entry: dict[str, Any], classes: int, exact: int, derived: Callable[[], int], printed: str | None
) -> None:
    assert derived() == exact
    if printed:
        decimals = len(printed.split(".")[1])
        assert f"{exact / 1e6:.{decimals}f}" == printed
    student = TypeAdapter[Any](Architecture).validate_python(entry)
    with torch.device("meta"):
        net = family(student.type).build((3, 32, 32), classes, **config(student))
    assert count_parameters(net) == exact


def test_flops_count_a_multiplication_and_an_addition_as_two() -> None:
    # He et al. have no figure for CIFAR; by hand, for depth 8: one stem, and two convolutions a block.
    student = TypeAdapter[Any](Architecture).validate_python({"type": "resnet", "depth": 8, "shortcut": "A"})
    net = build_network(student, (1, 28, 28), 10)
    places = {16: 28 * 28, 32: 14 * 14, 64: 7 * 7}
    convolutions = [(1, 16), (16, 16), (16, 16), (16, 32), (32, 32), (32, 64), (64, 64)]
    by_hand = sum(9 * a * b * places[b] for a, b in convolutions) + 64 * 10
    assert count_flops(net.module, (1, 28, 28)) == 2 * by_hand
