"""The shapes that the menu says of an architecture's stages are those that torch gives, over the whole menu."""

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from models.spec.students import Layers, Student, Timm, config
from worker.engine.networks import family
from worker.engine.noise import blank

SIZES = [(1, 8, 8), (1, 28, 28), (3, 31, 33), (3, 32, 32), (2, 63, 65), (3, 64, 96), (1, 17, 9), (3, 1, 5)]
TEXTS = [(50, 4), (260, 65), (9, 600)]
WINDOWS = [(3, 1, None), (5, 2, 0), (4, 3, 1)]
POOLS = [("max_pool", None), ("avg_pool", 1)]
TAILS: list[list[dict[str, Any]]] = [
    [{"type": "global_pool"}, {"type": "tanh"}],
    [{"type": "flatten"}, {"type": "silu"}],
    [{"type": "linear", "out": 9}, {"type": "batch_norm"}, {"type": "leaky_relu"}],
]


def stack(window: tuple[int, int, int | None], pool: tuple[str, int | None], tail: list[dict[str, Any]]) -> Any:
    kernel, stride, padding = window
    return [
        {"type": "conv", "out": 6, "kernel": kernel, "stride": stride, "padding": padding},
        {"type": "batch_norm"},
        {"type": "relu"},
        {"type": pool[0], "kernel": 2, "stride": pool[1]},
        {"type": "gelu"},
        {"type": "dropout"},
        *tail,
    ]


#: Other settings than those of the known members, where they could make a difference.
MORE: dict[str, list[dict[str, Any]]] = {
    "mlp": [{}, {"hidden": []}, {"hidden": [7, 5], "batch_norm": True}],
    "resnet": [{"depth": 8, "stem": 5, "shortcut": "A"}, {"depth": 14, "width": 3}],
    "wide_resnet": [{"depth": 10, "width": 3, "dropout": 0.1}],
    "mobilenetv2": [{"width": 0.07}, {"width": 0.33}, {"width": 0.05}],
    "bert": [{"layers": 3, "hidden": 24, "heads": 3, "max_positions": 64}],
    "bag": [{}, {"hidden": [7, 5]}],
    "text_cnn": [{}, {"widths": [1, 2], "channels": 7}],
    "layers": [
        *({"layers": stack(*parts)} for parts in product(WINDOWS, POOLS, TAILS)),
        {"layers": [{"type": "conv", "out": 4, "groups": 2}, {"type": "linear", "out": 3}]},
        {"layers": [{"type": "linear", "out": 4}, {"type": "conv", "out": 3}, {"type": "relu"}]},
    ],
}


def menu() -> list[Student]:
    found = []
    for entry in Student.__subclasses__():
        kind = entry.model_fields["type"].default
        found += [entry.model_validate({"type": kind, **each}) for each in (*entry.known, *MORE.get(kind, []))]
    return found


def by_torch(student: Student, in_shape: tuple[int, ...]) -> dict[str, tuple[int, ...]] | None:
    """None where the network cannot be built for such an input, or cannot take it."""
    made_by = family(student.type)
    found: dict[str, tuple[int, ...]] = {}

    def keep(name: str) -> Any:
        def hook(_module: Any, _given: Any, out: Tensor) -> None:
            found[name] = tuple(out.shape[1:])

        return hook

    try:
        with torch.device("meta"):
            net = made_by.build(in_shape, 3, **config(student)).eval()
            for name in made_by.stages(net):
                net.get_submodule(name).register_forward_hook(keep(name))
            net(blank(in_shape))
    except (ValueError, RuntimeError, IndexError):
        return None
    return {name: found[name] for name in made_by.stages(net)}


def label(student: Student) -> str:
    settings = {name: value for name, value in config(student).items() if name != "layers"}
    return f"{student.type}-{'-'.join(map(str, settings.values()))}"


def sizes(entry: type[Student]) -> list[tuple[Student, list[tuple[int, ...]]]]:
    """Every member of a family with two of the sizes in turn; the first two with all."""
    members = [student for student in menu() if type(student) is entry]
    return [
        (member, [*SIZES, *TEXTS, (12,)] if at < 2 else [*TEXTS, SIZES[at % len(SIZES)], SIZES[(at + 3) % len(SIZES)]])
        for at, member in enumerate(members)
    ]


BUILT = [each for entry in Student.__subclasses__() if entry is not Timm for each in sizes(entry)]


@pytest.mark.parametrize(("student", "shapes"), BUILT, ids=[label(student) for student, _ in BUILT])
def test_the_menu_says_what_torch_gives(student: Student, shapes: list[tuple[int, ...]]) -> None:
    for in_shape in shapes:
        assert student.stage_shapes(in_shape) == by_torch(student, in_shape), in_shape


def test_the_sizes_tell_something_of_each_family() -> None:
    for entry in Student.__subclasses__():
        known = [
            student.stage_shapes(shape) for student in menu() if type(student) is entry for shape in [*SIZES, *TEXTS]
        ]
        assert any(known) or entry is Timm


def test_what_a_list_of_layers_cannot_take_is_not_known() -> None:
    layers = Layers.model_validate({"layers": [{"type": "conv", "out": 4, "kernel": 9, "padding": 0}]})
    assert layers.stage_shapes((1, 8, 8)) is None
    assert layers.stage_shapes((1, 9, 9)) == {"layers.0": (4, 1, 1)}
    assert layers.stage_shapes((9,)) is None


def test_only_the_built_network_knows_the_stages_of_a_library() -> None:
    assert Timm(name="resnet18").stage_shapes((3, 32, 32)) is None
