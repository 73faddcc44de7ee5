"""`make accept-tabular`: the main job on tables, over HTTP, against real processes.

Adult (a class) and California housing (a number). The teacher is a wide perceptron that is trained here on the whole
training file; the student is a small one that gets 2,000 of its rows, as where a teacher comes from somebody with more
data. It learns beside the same student without a teacher, over three seeds. The test rows are scored from the
downloaded files alone.
"""

import csv
import gzip
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scripts.proof import SHARED, Prover, console, prove, spread, table
from worker.students import mlp

_SEEDS = (0, 1, 2)
_NUM_TRAIN, _NUM_VAL = 2_000, 500
_WIDE, _SMALL = [256, 128], [32]
_BATCH = 128

#: The file has no header.
_ADULT = [
    *("age", "workclass", "fnlwgt", "education", "education_num", "marital_status", "occupation", "relationship"),
    *("race", "sex", "capital_gain", "capital_loss", "hours_per_week", "native_country", "income"),
]

Row = dict[str, str]


@dataclass(frozen=True)
class Case:
    """One table: how it is read, what a job on it says, and which figure tells who is better."""

    name: str
    task: str
    target: str
    ignore: list[str]
    read: Callable[[], tuple[list[Row], list[Row]]]
    loss: dict[str, Any]
    figure: str
    form: str
    #: 1 where more is better, -1 where less is.
    sign: int
    teacher_epochs: int
    epochs: int


def main() -> int:
    """The door."""
    return prove("accept-tabular", SHARED / "adult", _play)


def _play(prover: Prover, folder: Path) -> None:
    started = time.monotonic()
    for case in CASES:
        _prove_one(prover, folder, case)
    console.print(f"All of it took {(time.monotonic() - started) / 60:.1f} minutes.")


def _prove_one(prover: Prover, folder: Path, case: Case) -> None:
    train, test = case.read()
    console.print(f"\n[bold]{case.name}: {len(train):,} rows for the teacher, {_NUM_TRAIN:,} for the student[/bold]")
    path, test_path = folder / f"{case.name}.csv", folder / f"{case.name}-test.csv"
    _write(path, _with_splits(train, test))
    _write(test_path, test)
    client = prover.client
    options = {"target": case.target, "ignore": case.ignore}
    dataset = client.dataset(case.name, path, case.task, split={"column": "split"}, table=options)
    dataset = client.ready(dataset)
    _train_teacher(case, dataset["report"], train[_NUM_VAL:], folder / "teacher.pth")
    architecture = {"type": "mlp", "hidden": _WIDE}
    teacher = client.ready(client.teacher(case.name, folder / "teacher.pth", architecture))
    base = {"teacher": teacher["id"], "dataset": dataset["id"], "student": {"type": "mlp", "hidden": _SMALL}}
    score = ["csv", str(test_path), case.target]
    results = []
    for seed in _SEEDS:
        train_spec = {"epochs": case.epochs, "batch_size": 64, "seed": seed, "control": True}
        body = {**base, "name": f"{case.name}-{seed}", "loss": case.loss, "train": train_spec}
        results.append(prover.run(f"{case.name}, {case.loss['type']}, seed {seed}", body, score))
    _judge(prover, case, results)


def _judge(prover: Prover, case: Case, results: list[dict[str, Any]]) -> None:
    def figures(who: str) -> list[float]:
        return [result["test"][who][case.figure] for result in results]

    rows = [["teacher", spread(figures("teacher")[:1], case.form)]]
    rows += [["no teacher", spread(figures("control"), case.form)]]
    rows += [[case.loss["type"], spread(figures("student"), case.form)]]
    table(f"{case.name}: {case.figure} on the test rows over {len(_SEEDS)} seeds", ["", "mean ± deviation"], rows)
    gain = (mean(figures("student")) - mean(figures("control"))) * case.sign
    prover.insist(gain >= 0, f"{case.loss['type']} is at or better than no teacher, by {gain:{case.form}}")


def _adult() -> tuple[list[Row], list[Row]]:
    """Train and test as the census bureau's file has them; labels of test without their dot."""

    def read(name: str) -> list[Row]:
        with gzip.open(SHARED / "adult" / name, "rt") as file:
            rows = [row for row in csv.reader(file, skipinitialspace=True) if len(row) == len(_ADULT)]
        return [dict(zip(_ADULT, row, strict=True)) | {"income": row[-1].removesuffix(".")} for row in rows]

    return _shuffled(read("adult.data.gz")), read("adult.test.gz")


def _housing() -> tuple[list[Row], list[Row]]:
    """Four fifths and one, at random."""
    with gzip.open(SHARED / "california-housing" / "housing.csv.gz", "rt") as file:
        rows = _shuffled(list(csv.DictReader(file)))
    cut = len(rows) // 5
    return rows[cut:], rows[:cut]


CASES = (
    Case(
        name="adult",
        task="tabular_classification",
        target="income",
        ignore=["fnlwgt"],
        read=_adult,
        loss={"type": "kd"},
        figure="accuracy",
        form=".2%",
        sign=1,
        teacher_epochs=12,
        epochs=20,
    ),
    Case(
        name="housing",
        task="tabular_regression",
        target="median_house_value",
        ignore=[],
        read=_housing,
        loss={"type": "logits_mse"},
        figure="rmse",
        form=",.0f",
        sign=-1,
        teacher_epochs=60,
        epochs=60,
    ),
)


def _shuffled(rows: list[Row]) -> list[Row]:
    return [rows[place] for place in np.random.default_rng(42).permutation(len(rows))]


def _with_splits(train: list[Row], test: list[Row]) -> list[Row]:
    val, rest = train[:_NUM_VAL], train[_NUM_VAL : _NUM_VAL + _NUM_TRAIN]
    named = (("train", rest), ("val", val), ("test", test))
    return [row | {"split": name} for name, rows in named for row in rows]


def _write(path: Path, rows: list[Row]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _train_teacher(case: Case, report: dict[str, Any], rows: list[Row], path: Path) -> None:
    """A wide perceptron on rows encoded as the data set's report says."""
    torch.manual_seed(0)
    x, y = _encoded(report["columns"], rows), _targets(case, report, rows)
    is_class = y.dtype == torch.int64
    net: nn.Module = mlp.build((x.shape[1],), 2 if is_class else 1, hidden=_WIDE, dropout=0.5 if is_class else 0.0)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9, weight_decay=5e-4, nesterov=True)
    steps = case.teacher_epochs * -(-len(y) // _BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(case.teacher_epochs):
        for batch in torch.split(torch.randperm(len(y)), _BATCH):
            out = net(x[batch])
            loss = F.cross_entropy(out, y[batch]) if is_class else F.mse_loss(out[:, 0], y[batch])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    torch.save(net.state_dict(), path)


def _encoded(columns: list[dict[str, Any]], rows: list[Row]) -> Tensor:
    """(N, D): what the report says of each column, in order."""
    features = []
    for column in columns:
        cells = [row.get(column["name"], "") for row in rows]
        if column["kind"] == "categorical":
            features += [[float(cell == category) for cell in cells] for category in column["categories"]]
        elif column["kind"] == "numeric":
            known = [cell not in {"", "?"} for cell in cells]
            numbers = [float(cell) if is_known else column["mean"] for cell, is_known in zip(cells, known, strict=True)]
            features.append([(number - column["mean"]) / column["std"] for number in numbers])
            if column["indicator"]:
                features.append([float(not is_known) for is_known in known])
    return torch.tensor(features, dtype=torch.float32).T.contiguous()


def _targets(case: Case, report: dict[str, Any], rows: list[Row]) -> Tensor:
    """Class numbers, or values standardised as the report says."""
    values = [row[case.target] for row in rows]
    if "classes" in report:
        return torch.tensor([report["classes"].index(value) for value in values])
    target = report["target"]
    return torch.tensor([(float(value) - target["mean"]) / target["std"] for value in values], dtype=torch.float32)


if __name__ == "__main__":
    sys.exit(main())
