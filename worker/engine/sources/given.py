"""Outputs that a teacher gave somewhere else, looked up by sample id, for all rows of the data set or for some.

Shapes: R rows of the data set, G of them with outputs, N samples of a batch, M outputs.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from core.errors import UserConfig, UserInput
from models.canonical import SPLITS, TeacherMeta
from models.pairing import Shape
from models.spec.losses.term import LossTerm
from models.spec.teaching import GivenOutputs
from worker.engine.data import Rows, home
from worker.engine.outputs import Outputs
from worker.engine.precision import Precision
from worker.engine.sources.classes import columns_of
from worker.engine.sources.source import Place, Single


class GivenSource:
    """A file of outputs. Nothing but outputs can be read of it."""

    stages: list[str]
    taps: set[str]
    has_embedding = False

    def __init__(self, spec: GivenOutputs, pointer: str, place: Place) -> None:
        staged, data = place.order.outputs[spec.dataset], place.order.dataset
        self.stages, self.taps, self._id = [], set(), spec.dataset
        self.record: TeacherMeta | None = None
        self.num_outputs = staged.num_outputs
        self.pointer, self.name = pointer, f"the teacher of {spec.dataset}"
        self.columns = columns_of(spec.classes, staged.classes, staged.num_outputs, data, place.device, pointer)
        self._logits_GM, self._place_R = _read(place.workdir / staged.file, sum(data.counts.values()), pointer)
        self._device = place.device
        #: Training rows that it has outputs for.
        self.num_training = self._count_training(place.workdir)

    def _count_training(self, workdir: Path) -> int:
        with safe_open(workdir / "data.safetensors", framework="pt") as file:
            training_R = file.get_tensor("split") == SPLITS.index("train")
        num = int((self._place_R[training_R] >= 0).sum())
        if num:
            return num
        raise UserConfig.at(
            f"{self.pointer}/dataset",
            f"{self._id} has outputs of no training row, so there is nothing to learn from them",
            code="outputs_do_not_fit",
        )

    @property
    def members(self) -> Mapping[str, Single]:
        """Itself."""
        return {self._id: self}

    def stage_shapes(self, _rows: Rows) -> dict[str, Shape]:
        """It has no stages."""
        return {}

    def teacher(self, _terms: Sequence[LossTerm], _rows: Rows) -> "GivenTeacher":
        """The outputs, ready to be looked up."""
        return GivenTeacher(self._logits_GM, self._place_R, self._device)


class GivenTeacher:
    """Looks outputs up. Samples without have outputs of 0 and a weight of 0."""

    def __init__(self, logits_GM: Tensor, place_R: Tensor, device: torch.device) -> None:
        self.precision = Precision("float32", device.type, channels_last=False)
        self.units: tuple[float, float] | None = None
        self.content: dict[str, object] | None = None
        self._whole = bool((place_R >= 0).all())
        self._logits_GM = logits_GM.to(home(logits_GM, device))
        self._place_R = place_R.to(self._logits_GM.device)
        self._device = device

    def __call__(self, rows: Rows, *, exact: bool = False) -> Outputs:
        """The outputs of these samples, however they are shown: as given, always exact."""
        del exact
        place_N = self._place_R.index_select(0, rows.ids.to(self._place_R.device))
        logits_NM = self._logits_GM.index_select(0, place_N.clamp_min(0)).to(self._device)
        if self.units is not None:
            logits_NM = logits_NM * self.units[0] + self.units[1]
        if self._whole:
            return Outputs(logits_NM)
        known_N = (place_N >= 0).to(self._device)
        return Outputs(torch.where(known_N[:, None], logits_NM, 0.0), weight=known_N.float())


def _read(path: Path, num_rows: int, pointer: str) -> tuple[Tensor, Tensor]:
    """logits (G, M), and for each row of the data set the place of its outputs, -1 where there are none (R,)."""
    tensors = load_file(path)
    logits_GM, rows_G = tensors["logits"].float(), tensors["rows"]
    assert len(logits_GM) == len(rows_G), "one row number for each row of outputs"
    if len(rows_G) and int(rows_G.max()) >= num_rows:
        raise UserConfig.at(
            f"{pointer}/dataset",
            f"these outputs are of row {int(rows_G.max())}, and the data set has {num_rows}: they belong to another "
            "data set",
            code="outputs_do_not_fit",
        )
    if not bool(logits_GM.isfinite().all()):
        raise UserInput("the given outputs are not finite", code="teacher_not_finite")
    place_R = torch.full((num_rows,), -1)
    place_R[rows_G] = torch.arange(len(rows_G))
    return logits_GM, place_R
