"""Arrays x and y under the names that people give them, of every shape and range; pickles are never loaded."""

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.worker.readers.uploads import CLASSES, IMAGES, VALUES, accept, noise, npz, refuse, tarred, zipped

LABELS = np.arange(40) % 4


def npy(array: object) -> bytes:
    out = io.BytesIO()
    np.save(out, array)  # type: ignore[arg-type]
    return out.getvalue()


def header(shape: tuple[int, ...], descr: str = "|u1") -> bytes:
    """A .npy file that claims a shape and holds 16 bytes."""
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": descr, "fortran_order": False, "shape": shape})
    return out.getvalue() + bytes(16)


@pytest.mark.parametrize(
    ("x", "y"),
    [("x", "y"), ("images", "labels"), ("data", "target"), ("X", "Y"), ("image", "label"), ("arr_0", "arr_1")],
)
def test_names_of_arrays(tmp_path: Path, x: str, y: str) -> None:
    ready = accept(tmp_path / "x", npz(**{x: noise(40, 6, 5), y: LABELS}), IMAGES)
    assert ready.meta.classes == ["0", "1", "2", "3"]
    assert ready.y.tolist() == LABELS.tolist()
    assert np.array_equal(ready.x[:, 0], noise(40, 6, 5))


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("x_train y_train", "x_val y_val", "x_test y_test"),
        ("train_images train_labels", "val_images val_labels", "test_images test_labels"),
    ],
)
def test_arrays_of_splits(tmp_path: Path, train: str, val: str, test: str) -> None:
    arrays: dict[str, np.ndarray] = {}
    for number, (names, num) in enumerate(((train, 24), (val, 8), (test, 12))):
        x, y = names.split()
        arrays |= {x: noise(num, 4, 4, seed=number), y: np.arange(num) % 4}
    ready = accept(tmp_path / "x", npz(**arrays), IMAGES)
    assert ready.meta.counts == {"train": 24, "val": 8, "test": 12}
    assert np.array_equal(ready.x[32:, 0], noise(12, 4, 4, seed=2))


def test_a_pair_beside_x_test_is_train(tmp_path: Path) -> None:
    upload = npz(x=noise(40, 4, 4), y=LABELS, x_test=noise(8, 4, 4), y_test=np.arange(8) % 4)
    ready = accept(tmp_path / "x", upload, IMAGES)
    assert ready.meta.counts == {"train": 36, "val": 4, "test": 8}


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        ((40, 6, 5), (1, 6, 5)),
        ((40, 6, 5, 1), (1, 6, 5)),
        ((40, 1, 6, 5), (1, 6, 5)),
        ((40, 6, 5, 3), (3, 6, 5)),
        ((40, 3, 6, 5), (3, 6, 5)),
        ((40, 3, 3, 3), (3, 3, 3)),
        ((40, 6, 5, 4), (3, 6, 5)),
    ],
)
def test_layouts(tmp_path: Path, shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    pixels = noise(*shape)
    ready = accept(tmp_path / "x", npz(x=pixels, y=LABELS), IMAGES)
    assert ready.meta.input_shape == wanted
    if shape[-1] in (1, 3, 4) and shape[1] != 3:
        pixels = pixels[..., :3].transpose(0, 3, 1, 2)
    assert np.array_equal(ready.x, pixels.reshape(40, *wanted))


@pytest.mark.parametrize(
    ("values", "wanted", "words"),
    [
        (noise(40, 4, 4), noise(40, 4, 4), "0 to 255"),
        (noise(40, 4, 4).astype(np.float64), noise(40, 4, 4), "0 to 255"),
        (noise(40, 4, 4) / np.float32(255), noise(40, 4, 4), "0 to 1"),
        (noise(40, 4, 4) / 127.5 - 1, noise(40, 4, 4), "-1 to 1"),
        ((noise(40, 4, 4) // 17 + 1).astype(np.uint8), np.rint((noise(40, 4, 4) // 17 + 1) * (255 / 16)), "0 to 16"),
        (noise(40, 4, 4) > 127, (noise(40, 4, 4) > 127) * 255, "0 to 1"),
        (noise(40, 4, 4).astype(np.uint16) * 257, noise(40, 4, 4), "16-bit"),
        (noise(40, 4, 4).astype(">i4") * 16, np.rint(noise(40, 4, 4) * (16 * 255 / 4095)), "12-bit"),
    ],
)
def test_ranges_of_pixels(tmp_path: Path, values: np.ndarray, wanted: np.ndarray, words: str) -> None:
    ready = accept(tmp_path / "x", npz(x=values, y=LABELS), IMAGES)
    assert words in ready.report["scaling"]
    assert np.array_equal(ready.x[:, 0], wanted)


def test_standardised_pixels_are_refused(tmp_path: Path) -> None:
    refused = refuse(tmp_path / "x", npz(x=noise(40, 4, 4) / 60.0 - 2, y=LABELS), IMAGES)
    assert refused.code == "scaling"
    assert "before their mean was taken off" in refused.detail


@pytest.mark.parametrize(
    "labels",
    [
        LABELS.astype(np.uint8),
        LABELS.astype(np.float32),
        LABELS[:, None],
        np.eye(4)[LABELS],
        np.array(["n0", "n1", "n2", "n3"])[LABELS],
        np.array([b"n0", b"n1", b"n2", b"n3"])[LABELS],
    ],
)
def test_forms_of_labels(tmp_path: Path, labels: np.ndarray) -> None:
    ready = accept(tmp_path / "x", npz(x=noise(40, 4, 4), y=labels), IMAGES)
    assert ready.y.tolist() == LABELS.tolist()
    assert [name.removeprefix("n") for name in ready.meta.classes] == ["0", "1", "2", "3"]


def test_labels_that_are_fractions_or_no_one_hot_are_refused(tmp_path: Path) -> None:
    assert refuse(tmp_path / "x", npz(x=noise(40, 4, 4), y=LABELS + 0.5), IMAGES).code == "labels"
    assert refuse(tmp_path / "x", npz(x=noise(40, 4, 4), y=np.ones((40, 4))), IMAGES).code == "labels"
    assert refuse(tmp_path / "x", npz(x=noise(40, 4, 4), y=np.eye(5)[LABELS]), IMAGES).code == "class_without_train"


def test_rows_that_are_not_finite_or_have_no_label_are_bad(tmp_path: Path) -> None:
    x, y = np.tile(noise(40, 4, 4) / 255.0, (10, 1, 1)), np.tile(LABELS, 10).astype(np.float64)
    x[3, 1, 1], x[7, 0, 0], y[11] = np.nan, np.inf, np.nan
    ready = accept(tmp_path / "x", npz(x=x, y=y), IMAGES)
    assert len(ready.y) == 397
    assert {line["name"] for line in ready.report["bad_rows"]["listed"]} == {"x[3]", "x[7]", "x[11]"}
    assert np.array_equal(ready.y, np.delete(np.tile(LABELS, 10), [3, 7, 11]))


def test_arrays_are_resized_and_made_grey(tmp_path: Path) -> None:
    pixels = noise(40, 8, 8, 3)
    ready = accept(tmp_path / "x", npz(x=pixels, y=LABELS), IMAGES, image={"size": [4, 5], "channels": 1})
    assert ready.meta.input_shape == (1, 4, 5)
    plain = accept(tmp_path / "y", npz(x=pixels, y=LABELS), IMAGES, image={"channels": 1})
    luma = pixels @ np.array([0.299, 0.587, 0.114])
    assert np.abs(plain.x[:, 0] - luma).max() <= 0.51


def test_fortran_order(tmp_path: Path) -> None:
    pixels = np.asfortranarray(noise(40, 6, 5))
    assert np.array_equal(accept(tmp_path / "x", npz(x=pixels, y=LABELS), IMAGES).x[:, 0], pixels)


def test_npy_files_in_a_tar(tmp_path: Path) -> None:
    upload = tarred({"set/x.npy": npy(noise(40, 4, 4)), "set/y.npy": npy(LABELS)}, "gz")
    assert len(accept(tmp_path / "x", upload, IMAGES).y) == 40


def test_a_table_of_features(tmp_path: Path) -> None:
    features = np.random.default_rng(0).normal(5, 3, (200, 6)).astype(np.float32)
    ready = accept(
        tmp_path / "x", npz(data=features, target=np.arange(200) % 2, feature_names=np.array(["a"] * 6)), CLASSES
    )
    assert ready.meta.input_shape == (6,)
    train = features[ready.split == 0].astype(np.float64)
    assert np.allclose(ready.x, (features - train.mean(0)) / train.std(0), atol=1e-5)
    assert ready.report["ignored"]["listed"] == [{"name": "feature_names", "reason": "this key is not read"}]


def test_a_regression(tmp_path: Path) -> None:
    x, y = np.random.default_rng(0).normal(size=(200, 3)), np.random.default_rng(1).normal(7, 2, 200)
    ready = accept(tmp_path / "x", npz(x=x, y=y), VALUES)
    assert ready.meta.target is not None
    assert ready.meta.target.name == "y"
    assert np.allclose(ready.y * ready.meta.target.std + ready.meta.target.mean, y, atol=1e-5)


def test_images_and_tables_are_told_apart(tmp_path: Path) -> None:
    refused = refuse(tmp_path / "x", npz(x=noise(40, 64), y=LABELS), IMAGES)
    assert (refused.code, refused.pointers) == ("shapes", ["/task"])
    refused = refuse(tmp_path / "x", npz(x=noise(40, 8, 8), y=LABELS), CLASSES)
    assert (refused.code, refused.pointers) == ("shapes", ["/task"])


@pytest.mark.parametrize(
    ("arrays", "code", "words"),
    [
        ({"pictures": noise(40, 4, 4), "y": LABELS}, "keys", "pictures"),
        ({"x": noise(40, 4, 4)}, "keys", "no labels"),
        ({"a": noise(40, 4, 4)}, "keys", "Name the arrays x and y"),
        ({"x_train": noise(40, 4, 4), "y_train": LABELS, "x_test": noise(4, 4, 4)}, "keys", "labels for test"),
        ({"x": noise(40, 4, 4), "y": LABELS[:-1]}, "pairs", "40 rows, y 39"),
        (
            {"x_train": noise(40, 4, 4), "y_train": LABELS, "x_test": noise(4, 5, 4), "y_test": LABELS[:4]},
            "shapes",
            "one shape",
        ),
        ({"x": noise(40, 4, 4, 5), "y": LABELS}, "shapes", "(40, 4, 4, 5)"),
        ({"x": noise(40, 4, 4).astype(complex), "y": LABELS}, "array", "complex"),
        ({"x": np.zeros((0, 4, 4)), "y": np.zeros(0)}, "classes", "0 class"),
        ({"x": noise(40, 4, 4), "y": np.zeros(40)}, "classes", "1 class"),
    ],
)
def test_arrays_that_do_not_fit_together(tmp_path: Path, arrays: dict[str, np.ndarray], code: str, words: str) -> None:
    refused = refuse(tmp_path / "x", npz(**arrays), IMAGES)
    assert refused.code == code
    assert words in refused.detail


class Canary:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def test_a_pickle_is_never_loaded(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    objects = np.array([Canary(canary)] * 40, dtype=object)
    np.load(io.BytesIO(npy(objects)), allow_pickle=True)
    assert canary.exists(), "the canary does not work"
    canary.unlink()
    for arrays in ({"x": noise(40, 4, 4), "y": objects}, {"x": objects, "y": LABELS}):
        refused = refuse(tmp_path / "x", npz(**arrays), IMAGES)
        assert refused.code == "pickle"
    bare = refuse(tmp_path / "x", pickle.dumps(Canary(canary)), IMAGES)
    assert bare.code == "format"
    hidden = refuse(tmp_path / "x", zipped({"x.npy": pickle.dumps(Canary(canary)), "y.npy": npy(LABELS)}), IMAGES)
    assert hidden.code == "keys"
    assert not canary.exists()


@pytest.mark.parametrize("shape", [(10**10,), (10**5, 10**5), (2**62, 4), (10**12, 0), (-1, 4)])
def test_a_header_that_claims_more_than_there_is(tmp_path: Path, shape: tuple[int, ...]) -> None:
    upload = zipped({"x.npy": header(shape), "y.npy": npy(LABELS)})
    refused = refuse(tmp_path / "x", upload, IMAGES)
    assert refused.code in ("damaged", "array")
    assert str(shape) in refused.detail


@pytest.mark.parametrize(
    "content", [b"\x93NUMPY\x01\x00\x10\x00nonsense nonsense", b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}", b"\x93NUMPY"]
)
def test_a_broken_header(tmp_path: Path, content: bytes) -> None:
    assert refuse(tmp_path / "x", zipped({"x.npy": content, "y.npy": npy(LABELS)}), IMAGES).code == "damaged"


def test_a_lone_npy_is_no_data_set(tmp_path: Path) -> None:
    assert refuse(tmp_path / "x", npy(noise(40, 4, 4)), IMAGES).code == "keys"


def test_stored_arrays_are_read_too(tmp_path: Path) -> None:
    upload = zipped({"x.npy": npy(noise(40, 4, 4)), "y.npy": npy(LABELS)}, zipfile.ZIP_STORED)
    assert len(accept(tmp_path / "x", upload, IMAGES).y) == 40
