"""What a checkpoint that fits nothing is said to look like."""

from typing import Any

import pytest
from pydantic import TypeAdapter
from torch import nn

from models.spec.students import Architecture
from worker.engine.nearest import Shapes, nearest
from worker.engine.networks import build_network


def shapes_of(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def shapes(in_shape: tuple[int, ...] = (3, 32, 32), **fields: Any) -> dict[str, tuple[int, ...]]:
    student = TypeAdapter[Any](Architecture).validate_python(fields)
    return shapes_of(build_network(student, in_shape, 7).module)


def best(given: Shapes) -> str:
    return str(nearest(given)[0])


@pytest.mark.parametrize(
    ("given", "label"),
    [
        (shapes(type="resnet", depth=20), "resnet depth 20 width 1"),
        (shapes((1, 28, 28), type="resnet", depth=26, shortcut="A"), "resnet depth 26 width 1 shortcut A"),
        (shapes(type="resnet", depth=14, width=4, stem=16), "resnet depth 14 width 4 stem 16"),
        (shapes(type="wide_resnet", depth=22, width=3), "wide_resnet depth 22 width 3"),
        (shapes(type="vgg", depth=13), "vgg depth 13"),
        (shapes(type="mobilenetv2"), "mobilenetv2 width 0.5"),
        (shapes(type="shufflenetv2", size="1.5"), "shufflenetv2 size 1.5"),
        (shapes((30,), type="mlp", hidden=[9, 8], batch_norm=True), "mlp hidden 9, 8 batch_norm True"),
        (shapes((30,), type="mlp", hidden=[]), "mlp hidden "),
        (shapes(type="timm", name="resnet18"), "timm name resnet18"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_a_whole_checkpoint_is_recognised(given: Shapes, label: str) -> None:
    assert best(given) == f"{label} (100% of the tensors fit)"


def test_one_without_counters_of_batches_is_recognised_as_well() -> None:
    old = {name: shape for name, shape in shapes(type="vgg", depth=8).items() if "num_batches" not in name}
    assert best(old) == "vgg depth 8 (100% of the tensors fit)"


def test_other_names_for_the_same_tensors_point_to_rename() -> None:
    renamed = {
        name.replace("layer", "stage").replace("fc", "out"): x for name, x in shapes(type="resnet", depth=20).items()
    }
    assert best(renamed).startswith("resnet depth 20 width 1 (100% of the tensors have its shapes, under other names")
    plain = nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 3))
    assert best(shapes_of(plain)).startswith("mlp hidden 16 (100% of the tensors have its shapes, under other names")


def test_what_is_close_is_ranked_by_how_close_it_is() -> None:
    given = shapes(type="resnet", depth=20)
    given.pop("layer3.2.conv2.weight")
    fits = nearest(given)
    assert fits[0].label == "resnet depth 20 width 1"
    assert 0.9 < fits[0].by_name < 1
    assert [fit.score for fit in fits] == sorted((fit.score for fit in fits), reverse=True)
    assert fits[0].architecture.model_dump()["depth"] == 20


def test_what_looks_like_nothing_is_said_to_look_like_nothing() -> None:
    assert nearest({"conv.weight": (2, 3, 4)}) == []
    assert nearest({}) == []
