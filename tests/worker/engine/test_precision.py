"""In what numbers a network computes."""

import torch

from models.spec.students import MLP, ResNet
from worker.engine.networks import build_network
from worker.engine.precision import choose, computes_bf16

CPU = torch.device("cpu")


def test_auto_takes_bf16_for_large_convolutions_where_the_processor_has_it() -> None:
    module = build_network(ResNet(depth=8), (1, 28, 28), 10).module
    fast = "bf16" if computes_bf16(CPU) else "float32"
    assert choose("auto", module, (1, 28, 28), 64, CPU).name == fast
    assert choose("auto", module, (1, 28, 28), 1, CPU).name == "float32", "too little work to pay for the casts"


def test_auto_takes_float32_without_convolutions() -> None:
    chosen = choose("auto", build_network(MLP(hidden=[4096]), (4096,), 10).module, (4096,), 4096, CPU)
    assert (chosen.name, chosen.channels_last) == ("float32", False)


def test_a_wish_is_followed() -> None:
    module = build_network(ResNet(depth=8), (1, 8, 8), 10).module
    assert choose("bf16", module, (1, 8, 8), 2, CPU).name == "bf16"
    assert choose("float32", module, (1, 28, 28), 4096, CPU).name == "float32"


def test_the_forward_pass_computes_in_it_and_the_weights_stay_float32() -> None:
    module = build_network(ResNet(depth=8), (1, 8, 8), 10).module
    precision = choose("bf16", module, (1, 8, 8), 2, CPU)
    assert precision.lay_out(module).get_parameter("conv1.weight").dtype == torch.float32
    with precision.autocast():
        assert module(torch.zeros(2, 1, 8, 8)).dtype == torch.bfloat16
    with choose("float32", module, (1, 8, 8), 2, CPU).autocast():
        assert module(torch.zeros(2, 1, 8, 8)).dtype == torch.float32
