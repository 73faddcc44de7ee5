"""Of worker/students/mobilenetv2.py."""

from models.spec.students import MobileNetV2
from models.walk import Walk

#: Expansion, channels at width 1, blocks, stride of the first block.
_STAGES = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def walk(at: Walk, student: MobileNetV2, num_outputs: int) -> None:
    """Through the stem, seven stages and the wide last convolution."""
    at.conv(int(32 * student.width), 3, 2).norm()
    for expansion, base, blocks, stride in _STAGES:
        for block in range(blocks):
            wide, out = at.shape[0] * expansion, int(base * student.width)
            at.conv(wide, 1).norm()
            at.conv(wide, 3, 1 if block else stride, groups=wide).norm()
            at.conv(out, 1).norm()
    at.conv(int(1280 * max(student.width, 1.0)), 1).norm()
    at.mean().linear(num_outputs)
