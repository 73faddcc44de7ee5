"""Which stages match where the user leaves it to us."""

import pytest

from models.pairing import grid, last_of_each_shape, pair


def pairs(student: dict[str, list[int]], teacher: dict[str, list[int]]) -> list[tuple[str, str]]:
    return [(p.student, p.teacher) for p in pair(student, teacher)]


THREE = {"a": [16, 32, 32], "b": [32, 16, 16], "c": [64, 8, 8]}


def test_stages_of_one_resolution_match_whatever_their_width() -> None:
    wide = {"x": [160, 32, 32], "y": [320, 16, 16], "z": [640, 8, 8]}
    assert pairs(THREE, wide) == [("a", "x"), ("b", "y"), ("c", "z")]


def test_stages_that_have_no_counterpart_are_left_alone() -> None:
    five = {"p": [8, 32, 32], "q": [8, 16, 16], "r": [8, 8, 8], "s": [8, 4, 4], "t": [8, 2, 2]}
    assert pairs(THREE, five) == [("a", "p"), ("b", "q"), ("c", "r")]
    assert pairs(five, THREE) == [("p", "a"), ("q", "b"), ("r", "c")]


def test_other_resolutions_match_by_the_nearest() -> None:
    large = {"x": [64, 56, 56], "y": [128, 28, 28], "z": [256, 14, 14], "w": [512, 7, 7]}
    assert pairs(THREE, large) == [("a", "y"), ("b", "z"), ("c", "w")]


def test_stages_of_one_resolution_match_by_depth() -> None:
    six = {f"h{at}": [100] for at in range(6)}
    three = {"a": [10], "b": [10], "c": [10]}
    assert pairs(three, six) == [("a", "h1"), ("b", "h3"), ("c", "h5")]


def test_a_perceptron_learns_from_the_deepest_maps() -> None:
    assert pairs({"h": [64]}, THREE) == [("h", "c")]
    assert pairs(THREE, {"h": [64]}) == [("c", "h")]


def test_vectors_are_preferred_to_maps() -> None:
    assert pairs({"h": [64]}, {**THREE, "v": [10]}) == [("h", "v")]


def test_what_cannot_be_compared_is_not_paired() -> None:
    assert pairs({"tokens": [60, 64]}, THREE) == pairs(THREE, {"tokens": [60, 64]}) == []
    assert pairs({"tokens": [60, 64]}, {"other": [197, 64]}) == []
    assert pairs({"tokens": [60, 64]}, {"other": [60, 192]}) == [("tokens", "other")]
    assert pairs({"tokens": [50, 64]}, {"vector": [64]}) == []
    assert pairs({}, THREE) == pairs(THREE, {}) == []


def test_a_transformer_and_a_network_of_maps_match_by_depth_in_both_directions() -> None:
    """Its tokens are 14 x 14 at every depth, so resolution would leave one pair, of layer3."""
    stages = {f"layer{n}": [64 * 2**n, 112 // 2**n, 112 // 2**n] for n in (1, 2, 3, 4)}
    blocks = {f"blocks.{n}": [197, 192] for n in range(12)}
    expected = [("layer1", "blocks.2"), ("layer2", "blocks.5"), ("layer3", "blocks.8"), ("layer4", "blocks.11")]
    assert pairs(stages, blocks) == expected
    assert pairs(blocks, stages) == [(block, stage) for stage, block in expected]


def test_of_stages_of_one_depth_tokens_take_the_resolution_that_is_nearest() -> None:
    assert pairs({"a": [8, 32, 32], "b": [8, 16, 16]}, {"x": [257, 64]}) == [("b", "x")]


def test_two_transformers_of_unlike_patches_match_by_depth() -> None:
    few, many = {f"a{n}": [17, 64] for n in range(3)}, {f"b{n}": [65, 64] for n in range(6)}
    assert pairs(few, many) == [("a0", "b1"), ("a1", "b3"), ("a2", "b5")]


@pytest.mark.parametrize(
    ("num_tokens", "like", "size"),
    [
        (196, (1, 1), (14, 14)),
        (197, (7, 7), (14, 14)),  # and the token of the class
        (198, (1, 1), (14, 14)),  # and that of distillation
        (201, (1, 1), (14, 14)),  # and four registers
        (5, (4, 4), (2, 2)),
        (33, (8, 4), (8, 4)),
        (33, (2, 1), (8, 4)),
        (60, (1, 1), None),
        (2, (1, 1), None),  # rather one of the class than a map of one place
        (0, (1, 1), None),
    ],
)
def test_tokens_are_a_map_and_a_few_before_it(
    num_tokens: int, like: tuple[int, int], size: tuple[int, int] | None
) -> None:
    assert grid(num_tokens, like) == size


def test_of_neighbours_of_one_shape_the_last_is_a_stage() -> None:
    tensors = {"conv1": [8, 4, 4], "relu1": [8, 4, 4], "pool": [8, 2, 2], "conv2": [8, 2, 2], "flat": [32]}
    assert list(last_of_each_shape(tensors)) == ["relu1", "conv2", "flat"]
    assert last_of_each_shape({}) == {}
