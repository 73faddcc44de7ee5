"""Presets become figures; what is given wins over them."""

import gzip

import numpy as np
import pytest

from core.errors import Rejected
from models.spec.teachers import TeacherInput
from tests.worker.intake.teachers.makers import SHARED
from worker.intake.preset import resolve


def test_the_data_sets_own_figures_are_left_open() -> None:
    found = resolve(TeacherInput(), 3)
    assert (found.mean, found.std, found.range, found.size) == ([], [], (0.0, 1.0), None)


def test_one_value_counts_for_all_channels() -> None:
    assert resolve(TeacherInput(preset="half"), 3).mean == [0.5, 0.5, 0.5]
    assert resolve(TeacherInput(preset="none"), 1).std == [1.0]
    assert resolve(TeacherInput(mean=[0.2], std=[0.4]), 3).std == [0.4] * 3


def test_given_fields_win() -> None:
    found = resolve(TeacherInput(preset="imagenet", std=[1.0, 1.0, 1.0], size=(224, 200)), 3)
    assert (found.mean, found.std, found.size) == ([0.485, 0.456, 0.406], [1.0, 1.0, 1.0], (224, 200))


def test_a_preset_is_put_into_the_units_of_the_range() -> None:
    """((p / 255) * 255 - 255 * m) / (255 * s) is what the preset means for pixels in 0..1."""
    found = resolve(TeacherInput(preset="half", range=(0.0, 255.0)), 1)
    assert (found.mean, found.std) == ([127.5], [127.5])
    assert resolve(TeacherInput(preset="none", range=(-1.0, 1.0)), 1).mean == [-1.0]
    assert resolve(TeacherInput(preset="half", range=(0.0, 255.0), mean=[100.0]), 1).mean == [100.0]


def test_colour_figures_do_not_fit_a_grey_teacher() -> None:
    with pytest.raises(Rejected, match="has 3 channels, the teacher takes 1"):
        resolve(TeacherInput(preset="imagenet"), 1)


def test_nothing_is_checked_where_the_channels_are_unknown() -> None:
    assert len(resolve(TeacherInput(preset="imagenet"), None).mean) == 3


def test_fashion_mnist_is_what_its_training_images_have() -> None:
    path = SHARED / "fashion-mnist" / "train-images-idx3-ubyte.gz"
    if not path.exists():
        pytest.skip("the shared Fashion-MNIST files are not here")
    pixels = np.frombuffer(gzip.decompress(path.read_bytes())[16:], np.uint8).astype(np.float32) / 255
    found = resolve(TeacherInput(preset="fashion_mnist"), 1)
    assert found.mean == [pytest.approx(pixels.mean(), abs=1e-4)]
    assert found.std == [pytest.approx(pixels.std(), abs=1e-4)]
