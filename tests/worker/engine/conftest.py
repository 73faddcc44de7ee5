"""Teachers that are trained once for all tests of the engine."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from models.canonical import DatasetMeta, TeacherMeta
from models.work import WorkOrder
from tests.worker.engine import orders
from worker.engine import report
from worker.engine.attempt import Attempt
from worker.engine.job import open_attempt, train_and_score
from worker.engine.progress import Progress
from worker.engine.results import Results
from worker.engine.stop import Stop
from worker.engine.wiring import Parts

Data = tuple[dict[str, Tensor], DatasetMeta]
Taught = tuple[dict[str, Tensor], TeacherMeta]
Make = Callable[..., WorkOrder]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small tensors; more threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def digits() -> Data:
    return orders.digits()


@pytest.fixture(scope="session")
def image_teacher(digits: Data) -> Taught:
    return orders.train_teacher(*digits, {"type": "resnet", "depth": 8}, epochs=6)


@pytest.fixture(scope="session")
def row_teacher() -> Taught:
    return orders.train_teacher(*orders.digit_rows(), {"type": "mlp", "hidden": [64]})


@pytest.fixture(scope="session")
def ink_teacher() -> Taught:
    return orders.train_teacher(*orders.ink(), {"type": "mlp", "hidden": [64]}, epochs=30)


@pytest.fixture
def make(tmp_path: Path, digits: Data, image_teacher: Taught) -> Make:
    """A work folder on the digits with the job's fields as given; `name` tells several apart."""

    def made(name: str = "work", *, order: dict[str, Any] | None = None, **fields: Any) -> WorkOrder:
        folder = tmp_path / name
        return orders.make_workdir(folder, digits, image_teacher, orders.spec(**fields), **(order or {}))

    return made


@pytest.fixture(scope="session")
def few_digits() -> Data:
    return orders.digits((120, 40, 40))


@pytest.fixture(scope="session")
def small_teacher(few_digits: Data) -> Taught:
    return orders.train_teacher(*few_digits, {"type": "mlp", "hidden": [32]}, epochs=20)


@pytest.fixture
def small(tmp_path: Path, few_digits: Data, small_teacher: Taught) -> Make:
    """As `make`, on a few digits and with small networks: half a second a job."""

    def made(name: str = "work", *, order: dict[str, Any] | None = None, **fields: Any) -> WorkOrder:
        train = {"epochs": 2, "batch_size": 40, **fields.pop("train", {})}
        student = {"type": "mlp", "hidden": [16, 12], "dropout": 0.1, "batch_norm": True}
        spec = orders.spec(**{"student": student, "train": train, **fields})
        return orders.make_workdir(tmp_path / name, few_digits, small_teacher, spec, **(order or {}))

    return made


@dataclass(frozen=True)
class Trained:
    """What a job came to, before the export."""

    attempt: Attempt
    parts: Parts
    results: Results

    @property
    def weights(self) -> dict[str, Tensor]:
        """The student that would be handed out."""
        return self.results.student.weights

    @property
    def report(self) -> dict[str, Any]:
        """report.json, without files."""
        return report.report(self.attempt, self.parts, self.results, [])


def run(order: WorkOrder, folder: Path, stop: Stop | None = None) -> Trained:
    """The engine in this process, up to the export: that one starts another Python, which takes seconds."""
    progress = Progress(folder / "events.jsonl")
    try:
        attempt = open_attempt(order, folder, progress, stop or Stop())
        parts, results = train_and_score(attempt)
        attempt.checkpoints.wait()
        return Trained(attempt, parts, results)
    finally:
        progress.close()
