"""Real rows for the benchmark, in the engine's canonical form, read in place; made up where there are none.

Fashion-MNIST is brought to 3x32x32 once (two pixels of border on each side, three equal channels). Adult goes through
the product's own reader and converter. Made-up rows have labels by chance: they time a loop, and teach nothing.
"""

import csv
import gzip
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor
from torch.nn import functional as F

from models.canonical import SPLITS, DatasetMeta
from models.work import IntakeOrder
from scripts import fashion
from scripts.proof import SHARED
from worker.intake import dataset

ADULT = SHARED / "adult"
#: Enough for the engine to have something to look at after an epoch; it is in its time.
_VAL = 64
_INCOME = "income"
_COLUMNS = [
    *("age", "workclass", "fnlwgt", "education", "education_num", "marital_status", "occupation", "relationship"),
    *("race", "sex", "capital_gain", "capital_loss", "hours_per_week", "native_country", _INCOME),
]


@dataclass(frozen=True)
class Given:
    """All rows of a data set: x (N, C, H, W) uint8 or (N, D) float32, y (N,), split (N,) as `SPLITS` counts them."""

    x: Tensor
    y: Tensor
    split: Tensor
    meta: DatasetMeta
    real: bool = True

    def rows(self, name: str) -> tuple[Tensor, Tensor]:
        """x and y of one split."""
        of_it = self.split == SPLITS.index(name)
        return self.x[of_it], self.y[of_it]


def images(num_train: int, num_test: int) -> Given:
    """Fashion-MNIST at 3x32x32, or made-up images with ten classes."""
    if not fashion.DATA.exists():
        return made_up((3, 32, 32), 10, num_train, num_test)
    x, y = (torch.from_numpy(each.copy()) for each in fashion.training_rows(num_train + num_test + _VAL))
    x = F.pad(x, [2] * 4).unsqueeze(1).expand(-1, 3, -1, -1).contiguous()
    split = _split(num_train, num_test)
    taught = x[:num_train, 0] / 255
    mean, std = [float(taught.mean())] * 3, [float(taught.std())] * 3
    return Given(x, y.long(), split, _meta((3, 32, 32), 10, split, mean, std))


def adult(num_train: int, num_test: int) -> Given:
    """The census rows, encoded by the product's converter from a CSV file; or made-up features with two classes."""
    if not ADULT.exists():
        return made_up((105,), 2, num_train, num_test)
    rows = _read("adult.data.gz")
    order = np.random.default_rng(42).permutation(len(rows))[: num_train + _VAL]
    named = [("train", rows[at]) for at in order[_VAL:]] + [("val", rows[at]) for at in order[:_VAL]]
    named += [("test", row) for row in _read("adult.test.gz")[:num_test]]
    spec: dict[str, object] = {
        "task": "tabular_classification",
        "split": {"column": "split"},
        "table": {"target": _INCOME, "ignore": ["fnlwgt"]},
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (folder / "upload").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([*_COLUMNS, "split"])
            writer.writerows([*row, which] for which, row in named)
        result = dataset.convert(IntakeOrder(kind="dataset", spec=spec, filename="adult.csv"), folder)
        assert result.ready, result.report
        assert result.file
        with safe_open(folder / "out" / result.file, framework="pt") as canonical:
            x, y, split = (canonical.get_tensor(key).clone() for key in ("x", "y", "split"))
    return Given(x, y, split, DatasetMeta.model_validate(result.meta))


def made_up(shape: tuple[int, ...], classes: int, num_train: int, num_test: int) -> Given:
    """Rows and labels by chance, seed 0."""
    generator = torch.Generator().manual_seed(0)
    split = _split(num_train, num_test)
    if len(shape) == 3:
        x = torch.randint(0, 256, (len(split), *shape), dtype=torch.uint8, generator=generator)
        meta = _meta(shape, classes, split, [0.5] * shape[0], [0.29] * shape[0])
    else:
        x = torch.randn((len(split), *shape), generator=generator)
        meta = _meta(shape, classes, split, [], [])
    return Given(x, torch.randint(0, classes, (len(split),), generator=generator), split, meta, real=False)


def _split(num_train: int, num_test: int) -> Tensor:
    counts = torch.tensor([num_train, _VAL, num_test])
    return torch.arange(len(SPLITS), dtype=torch.uint8).repeat_interleave(counts)


def _meta(shape: tuple[int, ...], classes: int, split: Tensor, mean: list[float], std: list[float]) -> DatasetMeta:
    counts = dict(zip(SPLITS, torch.bincount(split.long(), minlength=len(SPLITS)).tolist(), strict=True))
    columns = [] if len(shape) == 3 else [{"name": f"c{number}", "kind": "numeric"} for number in range(shape[0])]
    return DatasetMeta.model_validate(
        {
            "task": "image_classification" if len(shape) == 3 else "tabular_classification",
            "counts": counts,
            "input_shape": shape,
            "num_outputs": classes,
            "classes": [str(number) for number in range(classes)],
            "mean": mean,
            "std": std,
            "columns": columns,
        }
    )


def _read(name: str) -> list[list[str]]:
    """The rows of one file; labels of the test file without their dot."""
    with gzip.open(ADULT / name, "rt") as file:
        rows = [row for row in csv.reader(file, skipinitialspace=True) if len(row) == len(_COLUMNS)]
    return [[*row[:-1], row[-1].removesuffix(".")] for row in rows]
