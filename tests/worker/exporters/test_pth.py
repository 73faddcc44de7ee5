"""student.pth: what is in it, and that nothing else than the student ever is."""

import resource
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from core.errors import Internal
from models.canonical import DatasetMeta
from models.work import WorkOrder
from tests.worker.exporters.cases import GREY, IMAGES, PRICES, order
from worker.engine.networks import Network, build_network, evaluating
from worker.exporters import pth
from worker.students import timm as timm_family

RESNET = {"type": "resnet", "depth": 8}


def trained(student: dict[str, Any], data: DatasetMeta, seed: int = 0) -> tuple[Network, WorkOrder]:
    """A student that one batch has moved, so that its statistics are not those it started with."""
    torch.manual_seed(seed)
    chosen = order(student, data)
    net = build_network(chosen.spec.student, data.input_shape, data.num_outputs)
    net.module(torch.randn(4, *data.input_shape))
    return net, chosen


def opened(path: Path) -> OrderedDict[str, Tensor]:
    state: OrderedDict[str, Tensor] = torch.load(path, weights_only=True)
    return state


def test_it_is_a_plain_state_dict_that_computes_the_same(tmp_path: Path) -> None:
    net, chosen = trained(RESNET, IMAGES)
    path = pth.export(net, chosen, tmp_path)
    assert path == tmp_path / "student.pth"
    state = opened(path)
    assert type(state) is OrderedDict
    assert not hasattr(state, "_metadata")
    assert list(state) == list(net.module.state_dict())
    assert all(tensor.is_contiguous() and tensor.device.type == "cpu" for tensor in state.values())
    assert {tensor.dtype for tensor in state.values()} == {torch.float32, torch.int64}
    fresh = build_network(chosen.spec.student, IMAGES.input_shape, IMAGES.num_outputs).module
    fresh.load_state_dict(state, strict=True)
    x = torch.randn(3, 3, 16, 16)
    with evaluating(net.module), evaluating(fresh):
        assert torch.equal(net.module(x), fresh(x))


def test_the_same_student_gives_the_same_bytes_and_another_gives_others(tmp_path: Path) -> None:
    names = ["a", "b", "c"]
    for name, seed in zip(names, (0, 0, 1), strict=True):
        (tmp_path / name).mkdir()
        pth.export(*trained(RESNET, GREY, seed), tmp_path / name)
    first, second, third = ((tmp_path / name / "student.pth").read_bytes() for name in names)
    assert first == second
    assert first != third


@pytest.mark.parametrize("wrap", ["compile", "data_parallel", "channels_last", "half", "tapped"])
def test_however_it_was_trained_the_file_is_that_of_the_bare_network(tmp_path: Path, wrap: str) -> None:
    net, chosen = trained(RESNET, IMAGES)
    bare = net.module
    if wrap == "half":
        bare.bfloat16()
    expected = {name: tensor.clone() for name, tensor in bare.state_dict().items()}
    kept: list[Tensor] = []
    module: Any = bare
    if wrap == "compile":
        module = torch.compile(bare, backend="eager")
    elif wrap == "data_parallel":
        module = nn.DataParallel(bare)
    elif wrap == "channels_last":
        module = bare.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    elif wrap == "tapped":
        bare.get_submodule("layer1").register_forward_hook(lambda _module, _given, out: kept.append(out))
    bare.get_submodule("layer2").eval()
    state = opened(pth.export(Network(module, net.head, net.stages), chosen, tmp_path))
    assert list(state) == list(expected)
    assert all(torch.equal(state[name], tensor.to(state[name].dtype)) for name, tensor in expected.items())
    assert all(tensor.dtype in {torch.float32, torch.int64} and tensor.is_contiguous() for tensor in state.values())
    assert bare.training
    assert not bare.get_submodule("layer2").training


def test_a_view_of_something_larger_is_written_as_small_as_it_is(tmp_path: Path) -> None:
    net, chosen = trained({"type": "mlp", "hidden": [4]}, PRICES)
    head = net.module.get_submodule("head")
    assert isinstance(head, nn.Linear)
    head.weight = nn.Parameter(torch.randn(1000, 4)[:1])
    path = pth.export(net, chosen, tmp_path)
    assert path.stat().st_size < 5000


def test_the_run_that_goes_on_afterwards_does_not_notice(tmp_path: Path) -> None:
    net, chosen = trained(RESNET, IMAGES)
    state = torch.random.get_rng_state()
    pth.export(net, chosen, tmp_path)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert net.module.training
    assert torch.is_grad_enabled()


def test_a_student_that_is_not_the_one_asked_for_is_never_handed_out(tmp_path: Path) -> None:
    net, _ = trained(RESNET, IMAGES)
    with pytest.raises(Internal, match="does not fit the student that was asked for"):
        pth.export(net, order({"type": "resnet", "depth": 14}, IMAGES), tmp_path)


def test_a_network_that_computes_more_than_its_state_is_never_handed_out(tmp_path: Path) -> None:
    net, chosen = trained(RESNET, IMAGES)
    net.module.get_submodule("fc").register_forward_hook(lambda _module, _given, out: out + 1)
    with pytest.raises(Internal, match="does not compute what the trained student computes"):
        pth.export(net, chosen, tmp_path)


def test_a_file_that_cannot_be_written_leaves_the_last_one_as_it_was(tmp_path: Path) -> None:
    net, chosen = trained({"type": "mlp"}, PRICES)
    before = pth.export(net, chosen, tmp_path).read_bytes()
    other, _ = trained({"type": "mlp"}, PRICES, seed=1)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
    try:
        with pytest.raises((OSError, RuntimeError)):
            pth.export(other, chosen, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert (tmp_path / "student.pth").read_bytes() == before
    assert list(tmp_path.iterdir()) == [tmp_path / "student.pth"]


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("resnet18", {}),
        ("mobilenetv3_small_100", {"drop_rate": 0.1}),
        ("convnext_atto", {}),
        ("vit_tiny_patch16_224", {"img_size": 32, "patch_size": 8, "depth": 2}),
        ("test_efficientnet", {}),
    ],
)
def test_a_timm_student_loads_into_timm(tmp_path: Path, name: str, kwargs: dict[str, Any]) -> None:
    data = GREY.model_copy(update={"input_shape": (1, 32, 32)})
    net, chosen = trained({"type": "timm", "name": name, "kwargs": kwargs}, data)
    state = opened(pth.export(net, chosen, tmp_path))
    import timm

    theirs = timm.create_model(name, num_classes=data.num_outputs, in_chans=1, **kwargs)
    theirs.load_state_dict(state, strict=True)
    x = torch.randn(2, 1, 32, 32)
    with evaluating(net.module), evaluating(theirs):
        assert torch.equal(theirs(x), net.module(x))


def test_a_timm_student_made_for_the_size_of_the_data_loads_with_the_arguments_that_are_said(tmp_path: Path) -> None:
    data = IMAGES.model_copy(update={"input_shape": (3, 48, 32)})
    net, chosen = trained({"type": "timm", "name": "test_vit"}, data)
    state = opened(pth.export(net, chosen, tmp_path))
    import timm

    said = timm_family.arguments(data.input_shape, data.num_outputs, name="test_vit", kwargs={})
    theirs = timm.create_model(**said)
    theirs.load_state_dict(state, strict=True)
    with evaluating(net.module), evaluating(theirs):
        x = torch.randn(2, 3, 48, 32)
        assert torch.equal(theirs(x), net.module(x))
