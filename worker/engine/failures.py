"""From whatever went wrong to a failure that says whose it is and what to do."""

import errno

import torch

from core.errors import Infra, Internal, JobFailure, Problem, UserConfig
from models.work import WorkOrder

_NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "Cannot allocate memory")
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}


def failure(error: BaseException, order: WorkOrder | None) -> JobFailure:
    """The failure for an exception that ended the engine."""
    if isinstance(error, JobFailure):
        return error
    if is_out_of_memory(error):
        return _out_of_memory(order)
    if isinstance(error, OSError) and error.errno in _NO_SPACE:
        return Infra(
            "the disk of the worker is full: the last checkpoint is whole, and the job goes on from it once there is "
            "space",
            code="no_space",
        )
    if isinstance(error, OSError):
        return Infra(f"the worker could not read or write a file: {error}", code="io")
    return Internal(f"the engine failed: {type(error).__name__}: {error}", code="engine")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the memory of the device or of the host ran out."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)


def _out_of_memory(order: WorkOrder | None) -> JobFailure:
    if order is None:
        return Infra("the worker ran out of memory before the job began", code="out_of_memory")
    tried = order.spec.train.batch_size
    smaller = max(1, tried // 2)
    where = "GPU" if order.device != "cpu" else "worker"
    sentence = (
        f"the {where} ran out of memory with batches of {tried}: try train.batch_size {smaller}, and train.accumulate "
        f"{2 * order.spec.train.accumulate} to keep the size of a step"
    )
    return UserConfig(
        sentence,
        code="out_of_memory",
        errors=[Problem("/train/batch_size", sentence)],
        extra={"batch_size": tried, "suggested_batch_size": smaller},
    )
