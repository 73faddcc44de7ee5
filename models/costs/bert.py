"""Of worker/students/bert.py."""

from models.spec.text_students import Bert
from models.walk import Walk

_SEGMENTS = 2


def walk(at: Walk, student: Bert, num_outputs: int) -> None:
    """Through the embeddings, the layers, the pooler and the classifier."""
    vocabulary, length = at.shape
    at.shape = (length,)
    at.embed(vocabulary + student.max_positions + _SEGMENTS, student.hidden).norm(1)
    for _ in range(student.layers):
        _layer(at, student)
    at.shape = (student.hidden,)
    at.linear(student.hidden).linear(num_outputs)


def _layer(at: Walk, student: Bert) -> None:
    hidden = student.hidden
    at.beside().tokens(3 * hidden)
    at.attend()
    at.tokens(hidden).norm(1)
    at.tokens(student.intermediate or 4 * hidden).tokens(hidden).norm(1)
