"""Real data sets, read in place: counts and figures that their authors publish."""

import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from models.work import IntakeOrder
from tests.worker.readers.uploads import CLASSES, DATA, IMAGES, SOUNDS, VALUES, accept, npz, order, zipped
from worker.confine import run_confined
from worker.intake_limits import Limits

FASHION, ADULT, HOUSING = DATA / "fashion-mnist", DATA / "adult", DATA / "california-housing/housing.csv.gz"
FSDD = DATA / "fsdd/fsdd.tar.xz"


def needs(path: Path) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not path.exists(), reason=f"{path.name} is not among the shared data")


@pytest.fixture
def fashion(tmp_path: Path) -> Path:
    with tarfile.open(tmp_path / "fashion.tar", "w") as archive:
        for path in sorted(FASHION.iterdir()):
            archive.add(path, f"fashion/{path.name}")
    return tmp_path / "fashion.tar"


@needs(FASHION)
def test_fashion_mnist(fashion: Path, tmp_path: Path) -> None:
    ready = accept(tmp_path / "x", fashion, IMAGES, split={"val": 0.1})
    assert ready.meta.counts == {"train": 54_000, "val": 6_000, "test": 10_000}
    assert ready.meta.input_shape == (1, 28, 28)
    assert set(ready.report["histogram"]["train"].values()) == {5400}
    assert set(ready.report["histogram"]["test"].values()) == {1000}
    official = ready.x[ready.split != 2] / np.float32(255)
    assert len(official) == 60_000
    assert (float(official.mean()), float(official.std())) == pytest.approx((0.2860, 0.3530), abs=5e-5)
    assert (ready.meta.mean[0], ready.meta.std[0]) == pytest.approx((0.2860, 0.3530), abs=1e-3)
    assert [line["name"] for line in ready.report["ignored"]["listed"]] == ["fashion/README.md"]


@needs(FASHION)
def test_fashion_mnist_in_confinement(fashion: Path, tmp_path: Path) -> None:
    """As the worker runs it, in a tenth of the memory that a check may have."""
    work = tmp_path / "work"
    work.mkdir()
    fashion.rename(work / "upload")
    given = order(IMAGES, {"classes": [f"thing {place}" for place in range(10)]}, "fashion.tar")
    (work / "order.json").write_text(IntakeOrder.model_dump_json(given))
    outcome = run_confined(work, limits=Limits(memory_bytes=3 * 2**29, wall_s=120))
    assert outcome.verdict == "done", outcome.log
    assert outcome.result.ready
    assert outcome.file is not None
    assert outcome.file.stat().st_size > 70_000 * 785


@needs(ADULT)
def test_adult(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "adult.zip", "w") as archive:
        for name in ("adult.data.gz", "adult.test.gz", "adult.names"):
            archive.write(ADULT / name, name)
    ready = accept(tmp_path / "x", tmp_path / "adult.zip", CLASSES)
    counts = ready.meta.counts
    assert (counts["train"] + counts["val"], counts["test"]) == (32_561, 16_281)
    assert ready.meta.classes == ["<=50K", ">50K"]
    assert ready.report["histogram"]["test"] == {"<=50K": 12_435, ">50K": 3_846}
    assert sum(ready.report["histogram"][name][">50K"] for name in ("train", "val")) == 7_841
    kinds = [column.kind for column in ready.meta.columns]
    assert (kinds.count("numeric"), kinds.count("categorical")) == (6, 8)
    assert "label_dots" in ready.warnings()
    assert [column["missing"] > 0 for column in ready.report["columns"]] == [place in (1, 6, 13) for place in range(14)]
    train = ready.x[ready.split == 0]
    assert np.allclose(train[:, 0].mean(dtype=np.float64), 0, atol=1e-6)
    assert np.allclose(train[:, 0].std(dtype=np.float64), 1, atol=1e-5)


@needs(HOUSING)
def test_california_housing(tmp_path: Path) -> None:
    ready = accept(tmp_path / "x", HOUSING, VALUES, table={"target": "median_house_value"})
    assert sum(ready.meta.counts.values()) == 20_640
    assert ready.meta.input_shape == (14,)  # 8 numbers, one of them with gaps, and 5 places
    target = ready.meta.target
    assert target is not None
    values = ready.y.astype(np.float64) * target.std + target.mean
    assert values.mean() == pytest.approx(206_855.82, rel=1e-6)
    assert values.max() == pytest.approx(500_001, rel=1e-6)
    gaps = next(column for column in ready.meta.columns if column.name == "total_bedrooms")
    assert gaps.indicator
    assert ready.x[:, 5].sum() == 207
    ocean = ready.x[:, 9:].sum(axis=0)
    assert sorted(ocean.tolist()) == [5, 2290, 2658, 6551, 9136]


@needs(FSDD)
def test_spoken_digits(tmp_path: Path) -> None:
    """Three digits of the Free Spoken Digit Dataset by its official split, and a linear look at what became of them."""
    files = {}
    with tarfile.open(FSDD) as archive:
        for member in archive:
            digit, _, index = Path(member.name).stem.rpartition("/")[2].partition(".")[0].rpartition("_")
            if member.name.endswith(".wav") and digit[0] in "016":
                opened = archive.extractfile(member)
                assert opened is not None
                part = "test" if int(index) < 5 else "train"
                files[f"{part}/{digit[0]}/{Path(member.name).name}"] = opened.read()
    ready = accept(tmp_path / "x", zipped(files), SOUNDS, audio={"seconds": 0.5})
    counts = ready.meta.counts
    assert (counts["train"] + counts["val"], counts["test"]) == (3 * 270, 3 * 30)
    assert ready.meta.input_shape == (1, 40, 48)
    assert ready.meta.spectrum is not None
    assert ready.meta.spectrum.sample_rate == 8000
    assert ready.report["bad_rows"]["count"] == 0
    assert 0 < ready.x.mean() < 128 < ready.x.max()
    # A ridge regression on the bytes: far above a third only if the digits can be told apart by them.
    seen = (ready.x.reshape(len(ready.x), -1) - 255 * ready.meta.mean[0]) / (255 * ready.meta.std[0])
    train, test = seen[ready.split == 0], seen[ready.split == 2]
    weights = train.T @ np.linalg.solve(
        train @ train.T + 1000 * np.eye(len(train)), np.eye(3)[ready.y[ready.split == 0]]
    )
    assert ((test @ weights).argmax(axis=1) == ready.y[ready.split == 2]).mean() > 0.85


def test_digits_of_scikit_learn(tmp_path: Path) -> None:
    digits = load_digits()
    upload = npz(images=digits.images, data=digits.data, target=digits.target)
    ready = accept(tmp_path / "x", upload, IMAGES)
    assert sum(ready.meta.counts.values()) == 1797
    assert ready.meta.input_shape == (1, 8, 8)
    assert ready.meta.classes == [str(place) for place in range(10)]
    assert np.array_equal(ready.x[:, 0], np.rint(digits.images * 255 / 16))
    assert "0 to 16" in ready.report["scaling"]
    assert ready.report["ignored"]["listed"][0]["name"] == "data"
    table = accept(tmp_path / "y", upload, CLASSES)
    dark = int((digits.data[table.split == 0].std(axis=0) == 0).sum())
    assert table.meta.input_shape == (64 - dark,)
