"""Of worker/students/bag.py."""

from models.spec.text_students import Bag
from models.walk import Walk


def walk(at: Walk, student: Bag, num_outputs: int) -> None:
    """Through the embeddings, their mean and the hidden layers."""
    vocabulary, length = at.shape
    at.shape = (length,)
    at.embed(vocabulary, student.embedding)
    at.shape = (student.embedding,)
    for width in student.hidden:
        at.linear(width)
    at.linear(num_outputs)
