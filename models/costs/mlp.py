"""Of worker/students/mlp.py."""

from models.spec.students import MLP
from models.walk import Walk


def walk(at: Walk, student: MLP, num_outputs: int) -> None:
    """Through the hidden layers."""
    for width in student.hidden:
        at.linear(width)
        if student.batch_norm:
            at.norm()
    at.linear(num_outputs)
