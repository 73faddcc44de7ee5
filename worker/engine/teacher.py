"""The teacher: raw samples in, outputs out that can be compared with the student's.

It is never trained: evaluation mode, frozen parameters, no gradients. Whatever form it came in, what it says is brought
into the data set's terms: probabilities become logits, a regression's own units become standardised ones.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from core.errors import UserInput
from models.canonical import MIN_PROBABILITY, DatasetMeta, TeacherMeta
from worker.engine.data import Rows
from worker.engine.networks import Network, build_network
from worker.engine.normalise import View, teacher_shape
from worker.engine.outputs import Outputs
from worker.engine.precision import Precision
from worker.engine.taps import Tapped

Call = Callable[[Tensor], Outputs]


class TorchTeacher:
    """A network of the menu with the uploaded weights."""

    def __init__(self, tapped: Tapped, meta: TeacherMeta) -> None:
        self._tapped = tapped
        self._probabilities = meta.output_kind == "probabilities"

    def __call__(self, x: Tensor) -> Outputs:
        """The outputs for x (N, ...), as the network takes it."""
        outputs = self._tapped(x)
        if self._probabilities:
            outputs.logits = outputs.logits.float().clamp_min(MIN_PROBABILITY).log()
        return outputs


def load_network(path: Path, meta: TeacherMeta, data: DatasetMeta, device: torch.device) -> Network:
    """The teacher's network for this data: weights loaded, frozen, in evaluation mode."""
    assert meta.architecture.type != "onnx", "a graph has no module"
    network = build_network(
        meta.architecture, teacher_shape(meta, data), meta.num_outputs, pointer="/teacher/architecture"
    )
    try:
        network.module.load_state_dict(load_file(path))
    except RuntimeError as error:
        raise UserInput(f"the teacher's weights do not fit this data: {error}", code="teacher_does_not_fit") from error
    network.module.eval().requires_grad_(False).to(device)
    return network


class Teacher:
    """A teacher of any form, with its way of seeing."""

    def __init__(
        self, call: Call, view: View, precision: Precision, *, embedding: bool, quick: Call | None = None
    ) -> None:
        self._call, self._view, self.precision, self._embedding = call, view, precision, embedding
        #: Takes and gives bfloat16, without autocast.
        self._quick = quick
        #: Set where a regression's values come in the target's own units: value * scale + shift is standardised.
        self.units: tuple[float, float] | None = None
        #: All that its answers hang on beside the data, where it was handed in.
        self.content: dict[str, object] | None = None

    @torch.no_grad()
    def __call__(self, rows: Rows, *, exact: bool = False) -> Outputs:
        """The outputs for samples; `exact` in float32 whatever the precision, for figures that are reported.

        Gradients are off and nothing more: tensors of inference mode could not be kept for the student's backward pass.
        """
        x = self._view(rows.raw)
        if exact:
            outputs = self._call(x)
        elif self._quick is not None:
            outputs = self._quick(x.to(torch.bfloat16))
        else:
            with self.precision.autocast():
                outputs = self._call(x)
        outputs.logits = outputs.logits.float()
        if not self._embedding:
            outputs.embedding = None
        if self.units is not None:
            outputs.logits = outputs.logits * self.units[0] + self.units[1]
        return outputs
