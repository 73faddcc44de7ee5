"""Part of student.py for tables. The exporter joins its text with the others'."""

import argparse
import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from worker.exporters.serving.figures import CLASSES, COLUMNS, TARGET
from worker.exporters.serving.loading import describe, load

Row = Mapping[str, Any]


def preprocess(rows: Sequence[Row]) -> Tensor:
    """Rows by column name to (N, features). None, and any cell that is no number where one belongs, is missing."""
    limit = torch.finfo(torch.float32).max
    features = [[feature for column in COLUMNS for feature in _features(column, row)] for row in rows]
    return torch.tensor(features, dtype=torch.float64).clamp(-limit, limit).to(torch.float32)


@torch.no_grad()
def predict(net: nn.Module, rows: Sequence[Row]) -> Tensor:
    """Probabilities (N, classes), or values (N,) in the target's own units."""
    out: Tensor = net(preprocess(rows))
    return out.softmax(1) if TARGET is None else out[:, 0].double() * TARGET["std"] + TARGET["mean"]


def read(path: str | Path) -> list[dict[str, str]]:
    """The rows of a CSV file whose first line names the columns."""
    with Path(path).open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file, skipinitialspace=True))


def _features(column: Mapping[str, Any], row: Row) -> list[float]:
    if column["name"] not in row:
        raise KeyError(f"there is no column {column['name']!r}; give None where its value is not known")
    cell = row[column["name"]]
    if column["kind"] == "categorical":
        text = "" if cell is None else str(cell).strip()
        return [float(category == text) for category in column["categories"]]
    value = _number(cell)
    known = math.isfinite(value)
    feature = (value - column["mean"]) / column["std"] if known else 0.0
    return [feature, float(not known)] if column["indicator"] else [feature]


def _number(cell: object) -> float:
    try:
        return float(cell)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return math.nan


def main() -> None:
    """Describe the student, or print what it predicts for each row of CSV files."""
    parser = argparse.ArgumentParser(description=describe.__doc__)
    parser.add_argument("weights", nargs="?", default="student.pth")
    parser.add_argument("tables", nargs="*", help="CSV files whose first line names the columns")
    given = parser.parse_args()
    net = load(given.weights)
    print(describe(net))
    for path in given.tables:
        for prediction in predict(net, read(path)):
            print(float(prediction) if TARGET else CLASSES[int(prediction.argmax())])


if __name__ == "__main__":
    main()
