"""Of worker/students/text_cnn.py."""

from models.spec.text_students import TextCnn
from models.walk import Walk


def walk(at: Walk, student: TextCnn, num_outputs: int) -> None:
    """Through the embeddings and the windows."""
    vocabulary, length = at.shape
    at.shape = (length,)
    at.embed(vocabulary, student.embedding)
    for width in student.widths:
        # Padded by half a window on either side.
        places = length + 2 * (width // 2) - width + 1
        at.beside().windows(places, width, student.channels)
    at.shape = (student.channels * len(student.widths),)
    at.linear(num_outputs)
