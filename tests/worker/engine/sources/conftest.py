"""Jobs on tables, with teachers of two sizes; each runs in well under a second."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from models.work import WorkOrder
from tests.worker.engine import orders
from tests.worker.engine.conftest import Data, Taught
from worker.engine.wiring import Parts, wire

#: A student without chance of its own, so that two jobs can be compared bit by bit.
PLAIN = {"type": "mlp", "hidden": [16]}
STORED = [{"type": "stored", "id": "tch_1"}, {"type": "stored", "id": "tch_2"}]

Job = Callable[..., WorkOrder]


@pytest.fixture(scope="session")
def rows() -> Data:
    return orders.digit_rows((300, 80, 80))


@pytest.fixture(scope="session")
def two(rows: Data, row_teacher: Taught) -> dict[str, Taught]:
    """Two teachers of the same classes that err differently."""
    return {"tch_1": row_teacher, "tch_2": orders.train_teacher(*rows, {"type": "mlp", "hidden": [8]})}


@pytest.fixture
def job(tmp_path: Path, rows: Data, row_teacher: Taught) -> Job:
    """A work folder with a job by the given fields; `name` tells several apart."""

    def made(
        name: str = "work",
        *,
        teachers: Taught | dict[str, Taught] | None = None,
        data: Data | None = None,
        outputs: dict[str, orders.Given] | None = None,
        train: dict[str, Any] | None = None,
        **fields: Any,
    ) -> WorkOrder:
        short = {"epochs": 2, "control": False, **(train or {})}
        spec = orders.spec(**{"student": PLAIN, "train": short, **fields})
        given = row_teacher if teachers is None else teachers
        return orders.make_workdir(tmp_path / name, data or rows, given, spec, outputs)

    return made


def wired(order: WorkOrder, folder: Path) -> Parts:
    return wire(order, folder, torch.device("cpu"))


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Whether two students are one, bit by bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
