"""Architectures of the timm library: found by name, fitted to the data, refused in words."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from core.errors import Rejected, UserConfig
from models.spec.students import Timm
from worker.engine.networks import Network, build_network, count_flops, infer_io
from worker.students import _torchvision
from worker.students import timm as made_by

REPOSITORY = Path(made_by.__file__).resolve().parents[2]


def build(name: str, in_shape: tuple[int, ...] = (3, 32, 32), **kwargs: Any) -> Network:
    return build_network(Timm(name=name, kwargs=kwargs), in_shape, 4)


def refusal(name: str, in_shape: tuple[int, ...] = (3, 32, 32), **kwargs: Any) -> tuple[str, str]:
    with pytest.raises(UserConfig) as caught:
        build(name, in_shape, **kwargs)
    (problem,) = caught.value.errors
    return problem.pointer, problem.message


IMPORT = """
import sys
sys.path.insert(0, sys.argv[1])
import torch
from worker.students import _torchvision
try:
    import torchvision
    expected = "loaded"
except RuntimeError:
    expected = "declared"
_torchvision.make_importable()
_torchvision.make_importable()
import timm
assert timm.create_model("test_resnet", num_classes=3).eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 3)
if _torchvision._declared:
    try:
        torch.ops.torchvision.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except NotImplementedError:
        print(expected == "declared")
else:
    print(expected == "loaded")
"""


def test_timm_imports_beside_a_torch_that_cannot_load_torchvisions_operators(tmp_path: Path) -> None:
    command = [sys.executable, "-I", "-W", "error", "-c", IMPORT, str(REPOSITORY)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "True"


def test_an_error_that_is_not_torchvisions_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    _torchvision.make_importable()
    # An entry of None makes Python refuse the import.
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(ImportError):
        _torchvision.make_importable()


@pytest.mark.parametrize(
    ("name", "head", "stages"),
    [
        ("test_resnet", "fc", ["act1", "layer1", "layer2", "layer3", "layer4"]),
        ("test_convnext", "head.fc", ["stages.0", "stages.1", "stages.2", "stages.3"]),
        ("test_vit", "head", ["blocks.0", "blocks.1", "blocks.2", "blocks.3", "blocks.4", "blocks.5"]),
    ],
)
def test_head_and_stages_are_those_that_timm_names(name: str, head: str, stages: list[str]) -> None:
    net = build(name)
    assert (net.head, net.stages) == (head, stages)
    assert count_flops(net.module, (3, 32, 32)) > 1e5


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "test_efficientnet", "test_convnext"])
@pytest.mark.parametrize("in_shape", [(1, 32, 32), (3, 64, 48)], ids=str)
def test_channels_and_size_come_from_the_data(name: str, in_shape: tuple[int, ...]) -> None:
    net = build(name, in_shape).module
    assert net(torch.zeros(2, *in_shape)).shape == (2, 4)
    shapes = {key: tuple(tensor.shape) for key, tensor in net.state_dict().items()}
    assert infer_io(Timm(name=name), shapes) == (in_shape[0], 4)


@pytest.mark.parametrize(("name", "channels"), [("test_resnet", 5), ("tresnet_m", 3), ("tresnet_m", 2), ("csatv2", 3)])
def test_channels_are_read_off_unusual_checkpoints_too(name: str, channels: int) -> None:
    with torch.device("meta"):
        net = made_by.build((channels, 224, 224), 4, name=name, kwargs={})
    shapes = {key: tuple(tensor.shape) for key, tensor in net.state_dict().items()}
    assert infer_io(Timm(name=name), shapes) == (channels, 4)


def test_a_size_that_the_user_names_is_kept() -> None:
    said = made_by.arguments((1, 28, 28), 4, name="test_vit", kwargs={"img_size": 14})
    assert said == {"model_name": "test_vit", "num_classes": 4, "in_chans": 1, "img_size": 14}
    said = made_by.arguments((1, 28, 28), 4, name="test_vit", kwargs={"patch_size": 4})
    assert said["img_size"] == (28, 28)
    assert "img_size" not in made_by.arguments((1, 28, 28), 4, name="test_resnet", kwargs={})


def test_patches_that_would_drop_the_edge_of_the_image_are_refused() -> None:
    where, why = refusal("test_vit", (1, 28, 28))
    assert where == "/student/kwargs"
    assert "patches of 16x16, which do not cover 28x28: set patch_size" in why
    net = build("test_vit", (1, 28, 28), patch_size=7).module
    assert net(torch.zeros(1, 1, 28, 28)).shape == (1, 4)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    where, why = refusal("resnet19")
    assert where == "/student/name"
    assert "has no architecture 'resnet19'; the nearest are resnet18" in why
    with pytest.raises(Rejected, match="the nearest are resnet18"):
        infer_io(Timm(name="resnet19"), {})
    assert "nearest" not in refusal("qqqqqqqqqqqq")[1]


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"no_such_thing": 1}, "timm cannot make test_resnet with num_classes=4, in_chans=3, no_such_thing=1: TypeErr"),
        ({"layers": "many"}, "timm cannot make test_resnet"),
        ({"global_pool": ""}, "this network cannot take inputs of shape [3, 32, 32]"),
    ],
)
def test_kwargs_that_cannot_work_are_refused_before_any_training(kwargs: dict[str, Any], words: str) -> None:
    where, why = refusal("test_resnet", **kwargs)
    assert where.startswith("/student")
    assert words in why


def test_a_network_without_a_classifier_is_refused() -> None:
    where, why = refusal("qwen3_vit_88m_enc", (3, 32, 32))
    assert where.startswith("/student")
    assert "the task needs [4]" in why
