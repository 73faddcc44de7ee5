"""What a teacher said as tensors by name, the way that they are written, and rounded to what takes half the space."""

from collections.abc import Mapping

import torch
from torch import Tensor

from worker.engine.outputs import Outputs
from worker.engine.rest import Rest

#: Rounded values beyond this have no float16.
_MAX_FLOAT16 = 65504.0

_LOGITS, _EMBEDDING, _FEATURE = "logits", "embedding", "feature:"
_CLASSES, _LEVELS = "rest:classes", "rest:levels"


def named(outputs: Outputs) -> dict[str, Tensor]:
    """What a single teacher said, as tensors by name: float32, or whole numbers."""
    assert not outputs.members, "several teachers are kept each for itself"
    assert outputs.weight is None, "a network speaks of every sample"
    found = {_LOGITS: outputs.logits, **{_FEATURE + name: x for name, x in outputs.features.items()}}
    if outputs.embedding is not None:
        found[_EMBEDDING] = outputs.embedding
    if outputs.rest is not None:
        found |= {_CLASSES: outputs.rest.classes, _LEVELS: outputs.rest.levels}
    return {name: x.float() if x.is_floating_point() else x for name, x in found.items()}


def outputs_of(by_name: Mapping[str, Tensor]) -> Outputs:
    """The reverse of `named`."""
    features = {name.removeprefix(_FEATURE): x for name, x in by_name.items() if name.startswith(_FEATURE)}
    rest = Rest(by_name[_CLASSES], by_name[_LEVELS]) if _CLASSES in by_name else None
    return Outputs(by_name[_LOGITS], features, by_name.get(_EMBEDDING), rest=rest)


def rounded(x: Tensor) -> Tensor:
    """The values to 11 bits, or to 8 where the teacher computes in bfloat16 or one is too large; float32.

    Whole numbers stay.
    """
    if not x.is_floating_point():
        return x
    half = x.float().to(torch.bfloat16).float()
    if torch.equal(half, x.float()) or float(x.abs().max()) > _MAX_FLOAT16:
        return half
    return x.to(torch.float16).float()
