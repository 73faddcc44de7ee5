"""What a user says of a teacher when handing it in."""

from typing import Annotated, Literal

from pydantic import Field

from models.spec.base import Entry
from models.spec.students import MLP, VGG, Layers, MobileNetV2, Onnx, ResNet, ShuffleNetV2, Timm, WideResNet
from models.spec.text_students import Bag, Bert, TextCnn

TeacherArchitecture = Annotated[
    MLP | ResNet | WideResNet | VGG | MobileNetV2 | ShuffleNetV2 | Bert | Bag | TextCnn | Timm | Layers | Onnx,
    Field(discriminator="type"),
]

Channel = Annotated[float, Field(ge=-1e4, le=1e4)]
Deviation = Annotated[float, Field(gt=0, le=1e4)]


class TeacherInput(Entry):
    """How the teacher wants its images. Fields that are given win over the preset.

    A pixel p in 0..255 becomes ((p / 255) * (high - low) + low - mean) / std with `range` = [low, high]: mean and std
    are in the units of the range. `dataset` means the mean and deviation of the job's training split.
    """

    preset: Literal[
        "dataset", "none", "imagenet", "cifar10", "cifar100", "cifar", "mnist", "fashion_mnist", "half", "timm"
    ] = Field(
        default="dataset",
        description="`none`: range [0, 1] as it is. `half`: mean and std 0.5. `timm`: the named model's own.",
    )
    size: tuple[Annotated[int, Field(ge=1, le=2048)], Annotated[int, Field(ge=1, le=2048)]] | None = Field(
        default=None, description="[height, width]; images are resized to it (bilinear). Left out: the data set's size."
    )
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    range: tuple[float, float] | None = Field(default=None, description="Left out: [0, 1].")
    mean: list[Channel] | None = Field(default=None, min_length=1, max_length=4)
    std: list[Deviation] | None = Field(default=None, min_length=1, max_length=4)


class TeacherSpec(Entry):
    """The body of `POST /teachers` but for its name and its upload."""

    architecture: TeacherArchitecture
    input: TeacherInput = TeacherInput()
    rename: list[tuple[Annotated[str, Field(max_length=200)], Annotated[str, Field(max_length=200)]]] = Field(
        default=[],
        max_length=50,
        description="[[pattern, replacement], ...]: regular expressions applied to the checkpoint's keys, in order.",
    )
    classes: list[Annotated[str, Field(min_length=1, max_length=200)]] | None = Field(
        default=None, max_length=100_000, description="Class names in the order of the outputs, if you know them."
    )
    accuracy: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="The accuracy you measured; a job whose data gives far less will stop early.",
    )
    outputs: Literal["auto", "logits", "probabilities", "values"] = Field(
        default="auto",
        description="What the last layer gives. `auto`: an ONNX graph that ends in softmax is recognised.",
    )
