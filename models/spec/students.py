"""The menu of architectures, for students and for teachers alike.

`{"type": "resnet"}` here is `worker/students/resnet.py` there. The shape of the input and the number of outputs come
from the data set, never from the spec.
"""

from itertools import accumulate
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, model_validator

from models.spec.base import Documented
from models.spec.layers import Activation, Layer, Width
from models.spec.shapes import Shape, halved
from models.spec.student import Student as Student  # noqa: PLC0414 - all the menu is to be had here
from models.spec.text_students import Bag, Bert, TextCnn


class MLP(Student):
    """A plain multi-layer perceptron: linear, ReLU, dropout for each hidden width, then a linear head."""

    type: Literal["mlp"] = "mlp"
    hidden: list[Width] = Field(default=[256, 128], max_length=32, description="Widths of the hidden layers.")
    dropout: float = Field(default=0.0, ge=0, lt=1)
    batch_norm: bool = False

    paper = "Rumelhart, Hinton, Williams 1986"
    takes = frozenset({"image", "table"})

    def stage_names(self) -> list[str]:
        """One for each hidden layer."""
        return [f"hidden.{at}" for at in range(len(self.hidden))]

    def _stage_shapes(self, _in_shape: Shape) -> list[Shape]:
        return [(width,) for width in self.hidden]


class ResNet(Student):
    """The CIFAR family of residual networks: depth 6n+2 with three stages, for small images."""

    type: Literal["resnet"] = "resnet"
    depth: int = Field(description="6n+2: 8, 14, 20, 32, 44, 56, 110 ...", ge=8, le=1202)
    width: int = Field(default=1, ge=1, le=32, description="Width multiple: depth 32 with width 4 is resnet32x4.")
    stem: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="Channels of the first convolution; 16 at width 1, else 32 as in the published 8x4 and 32x4.",
    )
    shortcut: Literal["A", "B"] = Field(
        default="B", description="A: zero-padded identity, no parameters. B: 1x1 convolution with batch norm."
    )

    paper = "He et al. 2016, arXiv:1512.03385, section 4.2"
    known = (
        *({"depth": depth, "width": 1} for depth in (8, 14, 20, 32, 44, 56, 110)),
        *({"depth": depth, "width": 1, "shortcut": "A"} for depth in (20, 56, 110)),
        *({"depth": depth, "width": 4} for depth in (8, 32)),
    )

    @model_validator(mode="after")
    def _depth_is_on_the_ladder(self) -> Self:
        if (self.depth - 2) % 6:
            near = max(8, round((self.depth - 2) / 6) * 6 + 2)
            raise ValueError(
                f"depth must be 6n+2 (8, 14, 20, 32, 56, 110 ...), got {self.depth}; the nearest is {near}"
            )
        return self

    def stage_names(self) -> list[str]:
        """The three stages."""
        return ["layer1", "layer2", "layer3"]

    def _stage_shapes(self, in_shape: Shape) -> list[Shape]:
        return [halved(in_shape, 16 * 2**at * self.width, at) for at in range(3)]


class WideResNet(Student):
    """Wide residual networks: depth 6n+4 and a widening factor, pre-activation blocks."""

    type: Literal["wide_resnet"] = "wide_resnet"
    depth: int = Field(description="6n+4: 10, 16, 22, 28, 40", ge=10, le=400)
    width: int = Field(default=1, ge=1, le=32, description="Widening factor: 40 and 2 is WRN-40-2.")
    dropout: float = Field(default=0.0, ge=0, lt=1)

    paper = "Zagoruyko, Komodakis 2016, arXiv:1605.07146"
    known = (
        {"depth": 10, "width": 1},
        *({"depth": depth, "width": width} for depth in (16, 40) for width in (1, 2, 4)),
        {"depth": 28, "width": 10},
    )

    @model_validator(mode="after")
    def _depth_is_on_the_ladder(self) -> Self:
        if (self.depth - 4) % 6:
            near = max(10, round((self.depth - 4) / 6) * 6 + 4)
            raise ValueError(f"depth must be 6n+4 (10, 16, 22, 28, 40 ...), got {self.depth}; the nearest is {near}")
        return self

    def stage_names(self) -> list[str]:
        """The three groups."""
        return ["block1", "block2", "block3"]

    def _stage_shapes(self, in_shape: Shape) -> list[Shape]:
        return [halved(in_shape, 16 * 2**at * self.width, at) for at in range(3)]


class VGG(Student):
    """VGG with batch norm for small images: 3x3 convolutions, global pooling, one linear head."""

    type: Literal["vgg"] = "vgg"
    depth: Literal[8, 11, 13, 16, 19] = Field(description="8 is the small one of the distillation papers.")

    paper = "Simonyan, Zisserman 2015, arXiv:1409.1556"
    known = tuple({"depth": depth} for depth in (8, 11, 13, 16, 19))

    def stage_names(self) -> list[str]:
        """The five blocks."""
        return ["block0", "block1", "block2", "block3", "block4"]

    def _can_take(self, in_shape: Shape) -> bool:
        return len(in_shape) == 3 and min(in_shape[1:]) >= 8

    def _stage_shapes(self, in_shape: Shape) -> list[Shape]:
        _, height, width = in_shape
        last = 4 if min(height, width) >= 64 else 3  # the fourth pooling is left out for small images
        return [
            (channels, height >> min(at, last), width >> min(at, last))
            for at, channels in enumerate((64, 128, 256, 512, 512))
        ]


class MobileNetV2(Student):
    """MobileNetV2 in its small-image form: stride 1 in the first stages."""

    type: Literal["mobilenetv2"] = "mobilenetv2"
    width: float = Field(default=0.5, gt=0, le=4, description="Width multiple; 0.5 is the one of the papers.")

    paper = "Sandler et al. 2018, arXiv:1801.04381"
    known = tuple({"width": width} for width in (0.25, 0.5, 0.75, 1.0, 1.4))

    def stage_names(self) -> list[str]:
        """The last stage of each resolution, and the last of all."""
        return ["blocks.1", "blocks.2", "blocks.4", "blocks.6"]

    def _can_take(self, in_shape: Shape) -> bool:
        return len(in_shape) == 3 and int(16 * self.width) >= 1

    def _stage_shapes(self, in_shape: Shape) -> list[Shape]:
        bases = (24, 32, 96, 320)
        return [halved(in_shape, int(base * self.width), at) for at, base in enumerate(bases, 1)]


class ShuffleNetV2(Student):
    """ShuffleNetV2 in its small-image form."""

    type: Literal["shufflenetv2"] = "shufflenetv2"
    size: Literal["0.5", "1.0", "1.5", "2.0"] = "1.0"

    paper = "Ma et al. 2018, arXiv:1807.11164"
    known = tuple({"size": size} for size in ("0.5", "1.0", "1.5", "2.0"))

    def stage_names(self) -> list[str]:
        """The three stages."""
        return ["layer1", "layer2", "layer3"]

    def _stage_shapes(self, in_shape: Shape) -> list[Shape]:
        first = {"0.5": 48, "1.0": 116, "1.5": 176, "2.0": 244}[self.size]
        return [halved(in_shape, first * 2**at, at + 1) for at in range(3)]


#: What this service sets when it makes a network of timm.
TIMM_SETS = [
    "num_classes", "in_chans", "pretrained", "checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay",
    "cache_dir", "scriptable", "exportable", "no_jit", "features_only", "out_indices",
]  # fmt: skip
TimmKwarg = bool | int | float | str | None | list[int] | list[float]


class Timm(Student):
    """Any architecture of the timm library, by name, without its weights."""

    type: Literal["timm"] = "timm"
    name: str = Field(
        min_length=1, max_length=100, pattern=r"^[a-z0-9_]+$", description="As timm.list_models() says it."
    )
    kwargs: dict[str, TimmKwarg] = Field(
        default={}, max_length=32, description="Passed to timm.create_model. Classes and channels come from the data."
    )

    paper = "Wightman 2019, PyTorch Image Models"
    known = tuple(
        {"name": name}
        for name in (
            "resnet18", "resnet34", "resnet50", "vgg16_bn", "densenet121", "mobilenetv2_100", "mobilenetv3_small_100",
            "efficientnet_b0", "convnext_tiny", "vit_tiny_patch16_224", "vit_base_patch16_224",
            "swin_tiny_patch4_window7_224",
        )
    )  # fmt: skip

    @model_validator(mode="after")
    def _kwargs_are_harmless(self) -> Self:
        if found := sorted(set(TIMM_SETS) & set(self.kwargs)):
            raise ValueError(f"kwargs must not name {', '.join(found)}: the service sets these")
        return self


class Layers(Student):
    """A declared list of layers, in order; the linear head onto the classes is added at the end."""

    type: Literal["layers"] = "layers"
    layers: list[Layer] = Field(min_length=1, max_length=200)

    takes = frozenset({"image", "table"})

    def stage_names(self) -> list[str]:
        """The activations; the convolutions and linear layers where there is no activation."""
        for kinds in (get_args(Activation.model_fields["type"].annotation), ("conv", "linear")):
            if found := [f"layers.{at}" for at, layer in enumerate(self.layers) if layer.type in kinds]:
                return found
        return []

    def stage_shapes(self, in_shape: Shape) -> dict[str, Shape] | None:
        """As for any architecture; None also where a layer cannot take what the one before it gives."""
        try:
            shapes = list(accumulate(self.layers, lambda shape, layer: layer.gives(shape), initial=in_shape))[1:]
        except ValueError:
            return None
        return {name: shapes[int(name.rpartition(".")[2])] for name in self.stage_names()}


Architecture = Annotated[
    MLP | ResNet | WideResNet | VGG | MobileNetV2 | ShuffleNetV2 | Bert | Bag | TextCnn | Timm | Layers,
    Field(discriminator="type"),
]


class Onnx(Documented):
    """A teacher that comes as an ONNX graph of any make."""

    type: Literal["onnx"] = "onnx"


def config(architecture: Student) -> dict[str, Any]:
    """The keyword arguments of the family's `build`: every field but `type`."""
    return architecture.model_dump(exclude={"type"})
