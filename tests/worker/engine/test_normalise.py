"""What student and teacher see of the same pixels, against the formula pixel by pixel."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.canonical import DatasetMeta, TeacherMeta
from worker.engine.normalise import TeacherView, student_view

CPU = torch.device("cpu")
DATA = DatasetMeta(
    task="image_classification",
    counts={"train": 4, "val": 0, "test": 0},
    input_shape=(2, 3, 5),
    num_outputs=2,
    mean=[0.25, 0.5],
    std=[0.2, 0.0],
)


def pixels() -> torch.Tensor:
    x = torch.randint(0, 256, (4, 2, 3, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return x.contiguous(memory_format=torch.channels_last)


def teacher(**fields: Any) -> TeacherMeta:
    record = {"architecture": {"type": "mlp"}, "input_shape": (2, 3, 5), "num_outputs": 2, "parameters": 0}
    return TeacherMeta.model_validate(record | fields)


def test_the_student_sees_pixels_less_the_mean_over_the_deviation() -> None:
    seen = student_view(DATA, CPU)(pixels()).numpy()
    p = pixels().numpy().astype(np.float64)
    np.testing.assert_allclose(seen[:, 0], (p[:, 0] / 255 - 0.25) / 0.2, rtol=1e-5, atol=1e-5)
    # A channel that never changes has no deviation to divide by.
    np.testing.assert_allclose(seen[:, 1], p[:, 1] / 255 - 0.5, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("given", "mean", "std"),
    [
        ({"range": (0, 1), "mean": [0.1, 0.9], "std": [0.5, 2.0]}, [0.1, 0.9], [0.5, 2.0]),
        ({"range": (-1, 1), "mean": [0.0], "std": [1.0]}, [0.0, 0.0], [1.0, 1.0]),
        ({"range": (0, 255), "mean": [127.5], "std": [64.0]}, [127.5, 127.5], [64.0, 64.0]),
        # An empty mean is the data set's own, in the units of the range.
        ({"range": (0, 255)}, [63.75, 127.5], [51.0, 255.0]),
        ({"range": (-1, 1)}, [-0.5, 0.0], [0.4, 2.0]),
    ],
)
def test_the_teacher_sees_what_was_declared(given: dict[str, Any], mean: list[float], std: list[float]) -> None:
    low, high = given["range"]
    seen = TeacherView(teacher(input=given), DATA, CPU)(pixels()).numpy()
    p = pixels().numpy().astype(np.float64)
    for c in range(2):
        expected = ((p[:, c] / 255) * (high - low) + low - mean[c]) / std[c]
        np.testing.assert_allclose(seen[:, c], expected, rtol=1e-4, atol=1e-4)


def test_a_graph_may_want_channels_last() -> None:
    given = {"layout": "NHWC", "mean": [0.1, 0.9], "std": [0.5, 2.0]}
    plain = TeacherView(teacher(input={**given, "layout": "NCHW"}), DATA, CPU)(pixels())
    seen = TeacherView(teacher(input=given, graph_input="x", input_shape=(3, 5, 2)), DATA, CPU)(pixels())
    assert torch.equal(seen, plain.permute(0, 2, 3, 1))


def test_a_perceptron_is_given_one_row_in_the_order_channel_row_column() -> None:
    plain = TeacherView(teacher(), DATA, CPU)(pixels())
    seen = TeacherView(teacher(input_shape=(30,)), DATA, CPU)(pixels())
    assert torch.equal(seen, plain.reshape(4, 30))


def test_images_are_resized_bilinearly() -> None:
    wide = DATA.model_copy(update={"input_shape": (2, 4, 8)})
    x = torch.randint(0, 256, (1, 2, 4, 8), dtype=torch.uint8)
    seen = TeacherView(teacher(input={"size": (2, 4), "mean": [0], "std": [1]}), wide, CPU)(x)
    assert seen.shape == (1, 2, 2, 4)
    np.testing.assert_allclose(seen.numpy(), halved(x.numpy()[0])[None] / 255, atol=2e-3)


def halved(image: NDArray[Any]) -> NDArray[np.float64]:
    """A triangle filter of twice the width, as image libraries halve: weights 1, 3, 3, 1 over 8, cut at the edges."""

    def rows(x: NDArray[np.float64]) -> NDArray[np.float64]:
        out = []
        for i in range(x.shape[0] // 2):
            at = np.arange(2 * i - 1, 2 * i + 3)
            weights = np.array([1.0, 3.0, 3.0, 1.0])
            inside = (at >= 0) & (at < x.shape[0])
            out.append(np.average(x[at[inside]], axis=0, weights=weights[inside]))
        return np.stack(out)

    return np.stack([rows(rows(channel.astype(np.float64)).T).T for channel in image])
