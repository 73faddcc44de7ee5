"""The first question to a teacher, on a few rows: a teacher that cannot take the data is found before training."""

from core.errors import UserInput
from worker.engine.data import Rows
from worker.engine.failures import is_out_of_memory
from worker.engine.outputs import Outputs
from worker.engine.sources.source import Says


def first_answer(teacher: Says, rows: Rows, name: str = "the teacher") -> Outputs:
    """What the teacher says of the rows. Raises UserInput that says why it cannot."""
    try:
        outputs = teacher(rows)
    except Exception as error:  # a graph of any make may fail in any way
        if is_out_of_memory(error):
            raise
        raise UserInput(
            f"{name} cannot take this data, which is of shape {list(rows.raw.shape[1:])}: {error}",
            code="teacher_does_not_fit",
        ) from error
    if not bool(outputs.logits.isfinite().all()):
        raise UserInput(f"the outputs of {name} are not finite on this data", code="teacher_not_finite")
    return outputs
