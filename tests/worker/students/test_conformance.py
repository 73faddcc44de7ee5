"""Every family on the menu, held to what the engine, intake and the exporter count on.

The folder is the list: a new file is tested as it stands, on the smallest member that its entry of the menu knows.
"""

import inspect
import json
import subprocess
import sys
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

import worker.students
from core.errors import Rejected, UserConfig
from models.spec.students import Architecture, Student
from worker.engine.networks import Network, build_network, evaluating, family, infer_io
from worker.engine.noise import noise

FOLDER = Path(inspect.getfile(worker.students)).parent
FAMILIES = sorted(path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("_"))
#: Where the first known member is large, or there is none.
SMALL: dict[str, dict[str, Any]] = {
    "timm": {"name": "test_resnet"},
    "layers": {
        "layers": [
            {"type": "conv", "out": 6, "kernel": 5},
            {"type": "batch_norm"},
            {"type": "relu"},
            {"type": "max_pool"},
            {"type": "conv", "out": 8, "stride": 2, "groups": 2},
            {"type": "gelu"},
            {"type": "dropout", "p": 0.2},
            {"type": "avg_pool"},
            {"type": "linear", "out": 12},
            {"type": "tanh"},
        ]
    },
    "mlp": {"hidden": [24, 12], "batch_norm": True, "dropout": 0.1},
    "mobilenetv2": {"width": 0.25},
    "bert": {"layers": 2, "hidden": 24, "heads": 3, "max_positions": 40},
    "bag": {"embedding": 8, "hidden": [6]},
    "text_cnn": {"embedding": 8, "channels": 5, "widths": [1, 2, 5]},
}
IMAGES = [(1, 8, 8), (1, 28, 28), (3, 32, 32)]
#: Texts: the size of the vocabulary, and tokens.
TEXTS = [(40, 4), (260, 33)]
NUM_OUTPUTS = 5


def architecture(kind: str, **changes: Any) -> Student:
    entry = TypeAdapter[Any](Architecture)
    known = next(choice.known for choice in Student.__subclasses__() if choice.model_fields["type"].default == kind)
    chosen = SMALL.get(kind) or (known[0] if known else {})
    student: Student = entry.validate_python({"type": kind, **chosen, **changes})
    return student


def takes(kind: str, what: str) -> bool:
    return what in architecture(kind).takes


def shapes(kind: str) -> list[tuple[int, ...]]:
    """Inputs of the kind that it takes, images where it takes several; the last is the usual one."""
    return [*IMAGES] if takes(kind, "image") else [*TEXTS]


CASES = [pytest.param(kind, shape, id=f"{kind}-{shape}") for kind in FAMILIES for shape in shapes(kind)]


def network(kind: str, in_shape: tuple[int, ...] = (), seed: int = 0) -> Network:
    torch.manual_seed(seed)
    return build_network(architecture(kind), in_shape or shapes(kind)[-1], NUM_OUTPUTS)


@cache
def shared(kind: str, in_shape: tuple[int, ...]) -> Network:
    """One that tests only look at."""
    return network(kind, in_shape)


def inputs(in_shape: tuple[int, ...], num: int = 4) -> Tensor:
    return noise(num, in_shape)


def shapes_of(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def outputs_of_modules(net: Network, paths: list[str], x: Tensor) -> dict[str, list[Tensor]]:
    """Each module's output, and a copy of it made as the module returned."""
    found: dict[str, list[Tensor]] = {}

    def keep(path: str) -> Any:
        def hook(_module: nn.Module, _given: Any, out: Tensor) -> None:
            found.setdefault(path, [out, out.clone()])

        return hook

    handles = [net.module.get_submodule(path).register_forward_hook(keep(path)) for path in paths]
    net.module(x)
    for handle in handles:
        handle.remove()
    return found


def test_the_folder_and_the_menu_name_the_same_families() -> None:
    assert sorted(choice.model_fields["type"].default for choice in Student.__subclasses__()) == FAMILIES


@pytest.mark.parametrize(("kind", "in_shape"), CASES)
def test_it_learns_from_any_small_input(kind: str, in_shape: tuple[int, ...]) -> None:
    net = network(kind, in_shape).module
    assert net.training
    logits = net(inputs(in_shape))
    assert logits.shape == (4, NUM_OUTPUTS)
    assert logits.dtype == torch.float32
    logits.square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, f"{name} has no gradient"
        assert parameter.grad.isfinite().all(), f"{name} has a gradient that is not finite"
    with evaluating(net):
        assert net(inputs(in_shape, 1)).isfinite().all()


@pytest.mark.parametrize(("kind", "in_shape"), CASES)
def test_its_embedding_is_what_goes_into_the_head(kind: str, in_shape: tuple[int, ...]) -> None:
    net = shared(kind, in_shape)
    head = net.module.get_submodule(net.head)
    assert isinstance(head, nn.Linear)
    given: list[Tensor] = []
    handle = head.register_forward_pre_hook(lambda _module, args: given.append(args[0]))
    with evaluating(net.module):
        logits = net.module(inputs(in_shape))
        handle.remove()
        (embedding,) = given
        assert embedding.shape == (4, head.in_features)
        # Nothing follows the head: its output is the network's.
        torch.testing.assert_close(nn.functional.linear(embedding, head.weight, head.bias), logits)


@pytest.mark.parametrize(("kind", "in_shape"), CASES)
def test_its_stages_run_from_shallow_to_deep(kind: str, in_shape: tuple[int, ...]) -> None:
    net = shared(kind, in_shape)
    assert net.stages
    assert len(set(net.stages)) == len(net.stages)
    with evaluating(net.module):
        found = outputs_of_modules(net, net.stages, inputs(in_shape))
    assert list(found) == net.stages
    places = [out[0, 0].numel() if out.ndim == 4 else 1 for out, _ in found.values()]
    assert places == sorted(places, reverse=True)
    names = architecture(kind).stage_names()
    assert names is None or names == net.stages


@pytest.mark.parametrize("kind", FAMILIES)
def test_what_a_stage_gave_is_not_changed_later(kind: str) -> None:
    net = network(kind)
    # Of our own families any module at all; a library's are only held to their stages.
    paths = net.stages if kind == "timm" else [path for path, _ in net.module.named_modules() if path]
    for path, (out, copy) in outputs_of_modules(net, paths, inputs(shapes(kind)[-1])).items():
        assert torch.equal(out, copy), path


@pytest.mark.parametrize(("kind", "in_shape"), CASES)
def test_a_state_dict_says_what_goes_in_and_out(kind: str, in_shape: tuple[int, ...]) -> None:
    expected = prod(in_shape) if kind == "mlp" else in_shape[0]
    found = infer_io(architecture(kind), shapes_of(shared(kind, in_shape).module))
    assert found == (expected, NUM_OUTPUTS)


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_state_dict_without_its_head_is_rejected(kind: str) -> None:
    net = shared(kind, shapes(kind)[-1])
    rest = {name: shape for name, shape in shapes_of(net.module).items() if not name.startswith(net.head)}
    with pytest.raises(Rejected, match=rf"has no tensor '{net.head}.weight'"):
        infer_io(architecture(kind), rest)
    with pytest.raises(Rejected, match="too few dimensions"):
        infer_io(architecture(kind), dict.fromkeys(shapes_of(net.module), ()))


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_seed_decides_the_weights_and_a_state_dict_carries_them(kind: str) -> None:
    one, same, other = (network(kind, seed=seed).module for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), same.state_dict().values(), strict=True))
    x = inputs(shapes(kind)[-1])
    one(x)  # moves the statistics of batch norm away from where they start
    with evaluating(one), evaluating(other):
        assert not torch.equal(one(x), other(x))
        other.load_state_dict(one.state_dict(), strict=True)
        assert torch.equal(one(x), other(x))


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_row_of_a_table_is_taken_or_refused_in_words(kind: str) -> None:
    if not takes(kind, "table"):
        with pytest.raises(UserConfig, match=r"takes (images|texts) .* the data has \[14\]"):
            build_network(architecture(kind), (14,), 2)
        return
    layers = {"layers": [{"type": "linear", "out": 6}, {"type": "batch_norm"}, {"type": "relu"}]}
    student = architecture(kind, **(layers if kind == "layers" else {}))
    net = build_network(student, (14,), 2)
    assert net.module(inputs((14,))).shape == (4, 2)
    assert infer_io(student, shapes_of(net.module)) == (14, 2)


@pytest.mark.parametrize("kind", [kind for kind in FAMILIES if kind != "timm"])
def test_it_compiles_into_one_graph(kind: str) -> None:
    net, x = network(kind, shapes(kind)[0]).module, inputs(shapes(kind)[0])
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    with evaluating(net):
        torch.testing.assert_close(compiled(x), net(x))
    torch._dynamo.reset()


@pytest.mark.parametrize("kind", [kind for kind in FAMILIES if takes(kind, "image") and kind not in {"mlp", "timm"}])
def test_it_keeps_to_channels_last(kind: str) -> None:
    net = network(kind, (3, 16, 16))
    x = inputs((3, 16, 16), 2)
    with evaluating(net.module):
        expected = net.module(x)
        net.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        maps = outputs_of_modules(net, net.stages, x.to(memory_format=torch.channels_last))
        torch.testing.assert_close(net.module(x.to(memory_format=torch.channels_last)), expected, rtol=1e-4, atol=1e-5)
    for path, (out, _) in maps.items():
        assert out.ndim == 2 or out.is_contiguous(memory_format=torch.channels_last), path


def test_evaluation_for_a_while_leaves_each_module_in_its_mode() -> None:
    net = network("resnet").module
    net.get_submodule("layer1").eval()
    before = [module.training for module in net.modules()]
    with evaluating(net):
        assert not any(module.training for module in net.modules())
        assert not torch.is_grad_enabled()
    assert [module.training for module in net.modules()] == before


ALONE = """
import json, sys, torch
for kind, path, config, shape in json.load(sys.stdin):
    row = torch.ones(1, shape[1], dtype=torch.int32) if len(shape) == 2 else torch.randn(1, *shape)
    made = {"__name__": kind}
    exec(compile(open(path).read(), path, "exec"), made)
    net = made["build"](tuple(shape), 5, **config).eval()
    assert net(row).shape == (1, 5)
    net.get_submodule(made["head"](net)), [net.get_submodule(stage) for stage in made["stages"](net)]
print(sorted({name.split(".")[0] for name in sys.modules} & {"models", "core", "worker", "api", "timm", "pydantic"}))
"""


def test_our_own_families_need_torch_alone(tmp_path: Path) -> None:
    kinds = [kind for kind in FAMILIES if kind != "timm"]
    jobs = [
        (kind, str(FOLDER / f"{kind}.py"), architecture(kind).model_dump(exclude={"type"}), shapes(kind)[-1])
        for kind in kinds
    ]
    command = [sys.executable, "-I", "-c", ALONE]
    done = subprocess.run(command, input=json.dumps(jobs), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("kind", [kind for kind in FAMILIES if hasattr(family(kind), "guess")])
def test_a_family_that_guesses_knows_its_own(kind: str) -> None:
    net = shared(kind, shapes(kind)[-1]).module
    guessed = family(kind).guess(shapes_of(net))
    again = build_network(architecture(kind, **guessed), shapes(kind)[-1], NUM_OUTPUTS).module
    assert shapes_of(again) == shapes_of(net)
    strangers = [shapes_of(shared(other, (3, 32, 32)).module) for other in ("vgg", "shufflenetv2")]
    assert [family(kind).guess(stranger) for stranger in strangers] == [None, None]
