"""Several teachers at once: the combination of their outputs, and what single ones say for terms that name them.

Shapes: N samples, E teachers, K classes that all of them speak for (or the one value of a regression).
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from core.errors import UserConfig
from models.canonical import DatasetMeta
from models.pairing import Shape
from models.spec.losses.term import LossTerm
from models.spec.teaching import Ensemble
from worker.engine.columns import SAME, Columns, columns, shared
from worker.engine.data import Rows
from worker.engine.outputs import Outputs
from worker.engine.precision import Precision
from worker.engine.sources.source import Place, Single, Voice


class EnsembleSource:
    """Its members. Outputs are combined, features and embeddings are not."""

    stages: list[str]
    taps: set[str]
    has_embedding = False

    def __init__(self, spec: Ensemble, members: Mapping[str, Single], pointer: str, place: Place) -> None:
        _refuse_without_labels(spec, place.order.dataset, pointer)
        self._spec, self._members, self._place = spec, members, place
        self.stages, self.taps = [], set()
        self.pointer, self.name = pointer, "the ensemble"
        #: Members whose outputs can be compared with the data set's, and so with each other's.
        self.combined = [name for name, member in members.items() if member.columns is not None]
        self.columns = self._common()
        self.num_outputs = place.order.dataset.num_outputs

    @property
    def members(self) -> Mapping[str, Single]:
        """Its teachers."""
        return self._members

    def stage_shapes(self, _rows: Rows) -> dict[str, Shape]:
        """Its members have stages."""
        return {}

    def teacher(self, terms: Sequence[LossTerm], rows: Rows) -> "EnsembleTeacher":
        """All members, each giving what the terms that name it read."""
        voices = {
            name: member.teacher([term for term in terms if term.teacher == name], rows)
            for name, member in self._members.items()
        }
        named = [name for name in self._members if any(term.teacher == name for term in terms)]
        given = self._spec.weights or [1.0] * len(self._members)
        weights = torch.tensor(
            [weight for name, weight in zip(self._members, given, strict=True) if name in self.combined],
            device=self._place.device,
        )
        return EnsembleTeacher(voices, named, self._inner(), self.columns or SAME, weights, self._spec.combine)

    def _common(self) -> Columns | None:
        """The classes that all members which can be compared have in common; None where none can."""
        each = [member.columns for member in self._members.values() if member.columns is not None]
        if not each or self._place.order.dataset.target is not None:
            return SAME if each else None
        num_classes, device = self._place.order.dataset.num_outputs, self._place.device
        ours = shared(each, num_classes, device)
        if len(ours) == num_classes:
            return SAME
        if len(ours) < 2:
            raise UserConfig.at(
                f"{self.pointer}/teachers",
                f"the teachers speak for {len(ours)} classes in common, and a comparison needs two: map more classes, "
                "or take teachers that share some",
                code="class_map",
            )
        common = columns(ours, range(len(ours)), num_classes, device)
        return Columns(common.ours, None, common.places)

    def _inner(self) -> dict[str, Tensor | None]:
        """For each member that is combined the columns of its outputs that make the common ones; None for all."""
        assert self.columns is not None or not self.combined, "what is combined has something in common"
        found: dict[str, Tensor | None] = {}
        for name in self.combined:
            theirs = self._members[name].columns
            assert theirs is not None, "it can be compared"
            found[name] = _columns_within(theirs, self.columns or SAME)
        return found


class EnsembleTeacher:
    """Asks each member once and combines what those say that are `combined`; `named` are handed out beside."""

    def __init__(
        self,
        members: Mapping[str, Voice],
        named: Sequence[str],
        combined: Mapping[str, Tensor | None],
        common: Columns,
        weights_E: Tensor,
        combine: str,
    ) -> None:
        self.members, self._named, self._combined = members, named, combined
        self._common, self._weights_E, self._combine = common, weights_E, combine

    @property
    def precision(self) -> Precision:
        """The coarsest of its members'."""
        each = [member.precision for member in self.members.values()]
        return next((precision for precision in each if precision.name != "float32"), each[0])

    @torch.no_grad()
    def __call__(self, rows: Rows, *, exact: bool = False) -> Outputs:
        """The combination, and what the named members say.

        Where it is `exact`, all members are handed out, and weights by cross-entropy are left out: figures must not
        profit from the labels.
        """
        said = {name: member(rows, exact=exact) for name, member in self.members.items()}
        members = said if exact else {name: said[name] for name in self._named}
        if not self._combined:
            return Outputs(torch.zeros(len(rows.ids), 0, device=rows.ids.device), members=members)
        chosen = [said[name] for name in self._combined]
        logits_ENK = torch.stack(
            [
                outputs.logits if at is None else outputs.logits.index_select(1, at)
                for outputs, at in zip(chosen, self._combined.values(), strict=True)
            ]
        )
        known_EN = _known(chosen)
        share_EN = self._shares(logits_ENK, rows, known_EN, exact=exact)
        logits_NK = (share_EN[:, :, None] * logits_ENK).sum(0)
        return Outputs(logits_NK, weight=None if known_EN is None else known_EN.amax(0), members=members)

    def _shares(self, logits_ENK: Tensor, rows: Rows, known_EN: Tensor | None, *, exact: bool) -> Tensor:
        match self._combine:
            case "cross_entropy" if not exact:
                return confident(_cross_entropy(logits_ENK, rows.y, self._common), known_EN)
            case "entropy":
                return confident(_entropy(logits_ENK), known_EN)
        weight_EN = self._weights_E[:, None].expand(logits_ENK.shape[:2])
        return normalised(weight_EN if known_EN is None else weight_EN * known_EN)


def confident(doubt_EN: Tensor, known_EN: Tensor | None = None) -> Tensor:
    """Shares of the teachers (E, N), adding up to 1 for each sample, by how little each doubts.

    (1 - exp(d_k) / sum_j exp(d_j)) / (E - 1), Zhang, Chen, Wang 2022, arXiv:2201.00007, equation 4. Only teachers that
    are `known_EN` to have answered (1 or 0) count; one that is alone has all of the share.
    """
    if known_EN is None:
        known_EN = torch.ones_like(doubt_EN)
    softmax_EN = normalised((doubt_EN - doubt_EN.amax(0)).exp() * known_EN)
    alone_N = known_EN.sum(0) == 1
    return normalised(torch.where(alone_N, known_EN, (1 - softmax_EN) * known_EN))


def normalised(weight_EN: Tensor) -> Tensor:
    """The same, adding up to 1 for each sample; all 0 where all are."""
    total_N = weight_EN.sum(0)
    return weight_EN / torch.where(total_N > 0, total_N, torch.ones_like(total_N))


def _cross_entropy(logits_ENK: Tensor, y_N: Tensor, common: Columns) -> Tensor:
    """Of each teacher with the labels (E, N), at temperature 1; the same for all where the label is another class."""
    labels_N, known_N = common.labels(y_N), common.known(y_N)
    each_EN = torch.stack([F.cross_entropy(logits_NK, labels_N, reduction="none") for logits_NK in logits_ENK])
    return each_EN if known_N is None else each_EN * known_N


def _entropy(logits_ENK: Tensor) -> Tensor:
    return -(logits_ENK.softmax(2) * logits_ENK.log_softmax(2)).sum(2)


def _known(chosen: Sequence[Outputs]) -> Tensor | None:
    """(E, N): 1 where a teacher has answered; None where all have answered all."""
    if all(outputs.weight is None for outputs in chosen):
        return None
    ones_N = torch.ones(len(chosen[0].logits), device=chosen[0].logits.device)
    return torch.stack([ones_N if outputs.weight is None else outputs.weight for outputs in chosen])


def _columns_within(theirs: Columns, common: Columns) -> Tensor | None:
    """Which columns of a teacher make the common classes; None for all in their order."""
    if common.ours is None:
        return theirs.theirs
    if theirs.places is None:
        return common.ours if theirs.theirs is None else theirs.theirs.index_select(0, common.ours)
    assert theirs.theirs is not None, "some classes are in some columns"
    return theirs.theirs.index_select(0, theirs.places.index_select(0, common.ours))


def _refuse_without_labels(spec: Ensemble, data: DatasetMeta, pointer: str) -> None:
    if spec.combine in {"cross_entropy", "entropy"} and data.target is not None:
        raise UserConfig.at(
            f"{pointer}/combine",
            f"values of a regression have no {spec.combine.replace('_', '-')}: combine by `mean` or by `weights`",
            code="combine_does_not_fit",
        )
    if spec.combine == "cross_entropy" and not data.all_labelled("train"):
        raise UserConfig.at(
            f"{pointer}/combine",
            "combining by cross-entropy needs a label for each training row, and the data set has rows without: "
            "combine by `entropy`, `mean` or `weights`",
            code="needs_labels",
        )
