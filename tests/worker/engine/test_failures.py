"""Whatever goes wrong is somebody's, and says what to do."""

import errno

import pytest
import torch

from core.errors import Deadline, UserInput
from models.work import WorkOrder
from tests.worker.engine.conftest import Make
from worker.engine.failures import failure


@pytest.fixture
def order(make: Make) -> WorkOrder:
    return make(train={"batch_size": 96, "accumulate": 2})


def real_out_of_memory() -> Exception:
    """What torch raises where the host has no such memory."""
    try:
        torch.empty(2**60, dtype=torch.uint8)
    except RuntimeError as error:
        return error
    raise AssertionError("an exbibyte was had")


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        real_out_of_memory(),
    ],
    ids=["cuda", "python", "system", "torch"],
)
def test_out_of_memory_says_which_batch_size_to_try(order: WorkOrder, error: Exception) -> None:
    found = failure(error, order).as_dict()
    assert (found["class"], found["code"]) == ("user_config", "out_of_memory")
    assert (found["batch_size"], found["suggested_batch_size"]) == (96, 48)
    assert "train.batch_size 48" in found["detail"]
    assert "train.accumulate 4" in found["detail"]
    assert found["errors"][0]["pointer"] == "/train/batch_size"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_tried_again(order: WorkOrder, number: int) -> None:
    found = failure(OSError(number, "full"), order).as_dict()
    assert (found["class"], found["code"]) == ("infra", "no_space")


def test_other_troubles_with_files_are_the_machines(order: WorkOrder) -> None:
    assert failure(OSError(errno.EIO, "broken"), order).as_dict()["class"] == "infra"


def test_a_failure_stays_what_it_is(order: WorkOrder) -> None:
    for known in (UserInput("no", code="weak_teacher"), Deadline("late")):
        assert failure(known, order) is known


def test_anything_else_is_ours(order: WorkOrder) -> None:
    found = failure(KeyError("layer"), order).as_dict()
    assert (found["class"], found["code"]) == ("internal", "engine")
    assert "KeyError" in found["detail"]
