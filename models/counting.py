"""What a network costs, from its entry of the menu: operations, parameters, activations, without torch.

`{"type": "resnet"}` is counted by models/costs/resnet.py. A family without such a file is known once it was built.
"""

from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec

from models.spec.shapes import Shape
from models.spec.students import Onnx, Student
from models.walk import Cost, Walk


def cost_of(architecture: Student | Onnx, in_shape: Shape, num_outputs: int) -> Cost | None:
    """None where only the built network can say, or where the architecture cannot take such an input."""
    place = f"models.costs.{architecture.type}"
    if not _is_there(place):
        return None
    walk = Walk(in_shape)
    try:
        import_module(place).walk(walk, architecture, num_outputs)
    except ValueError:
        return None
    return walk.cost


@lru_cache
def _is_there(place: str) -> bool:
    return find_spec(place) is not None
