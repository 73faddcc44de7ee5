"""How many threads a lesson's steps take."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.worker.engine.conftest import Make, run
from worker.engine import training
from worker.engine.threads import enough_for


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_little_work_is_done_by_one_and_more_by_all() -> None:
    for flops, expected in ((1e6, 1), (1e8, 2)):
        with enough_for(flops):
            assert torch.get_num_threads() == expected
        assert torch.get_num_threads() == 2


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"augment": "none"}, 1),
        ({"augment": {"crop": 1, "flip": False}, "teacher_cache": "off"}, 2),
    ],
)
def test_a_small_student_takes_one_thread_unless_a_teacher_is_asked_at_each_step(
    small: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], expected: int
) -> None:
    seen = set()
    between = training._Meanwhile.between_steps

    def look(meanwhile: training._Meanwhile) -> None:
        seen.add(torch.get_num_threads())
        between(meanwhile)

    monkeypatch.setattr(training._Meanwhile, "between_steps", look)
    run(small(train={"epochs": 2, "control": False, **fields}, order={"threads": 2}), tmp_path / "work")
    assert seen == {expected}
    assert torch.get_num_threads() == 2
