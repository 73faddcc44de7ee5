"""Which stages match where the user leaves it to us."""

from models.pairing import last_of_each_shape, pair


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
    assert pairs({"tokens": [50, 64]}, THREE) == []
    assert pairs({"tokens": [50, 64]}, {"other": [197, 64]}) == []
    assert pairs({"tokens": [50, 64]}, {"other": [50, 192]}) == [("tokens", "other")]
    assert pairs({}, THREE) == pairs(THREE, {}) == []


def test_of_neighbours_of_one_shape_the_last_is_a_stage() -> None:
    tensors = {"conv1": [8, 4, 4], "relu1": [8, 4, 4], "pool": [8, 2, 2], "conv2": [8, 2, 2], "flat": [32]}
    assert list(last_of_each_shape(tensors)) == ["relu1", "conv2", "flat"]
