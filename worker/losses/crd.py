"""Contrastive representation distillation: which of many embeddings of the teacher is that of the same sample?

Tian et al. 2020, arXiv:1910.10699. Both embeddings go through a learned linear layer and are compared by their cosine
over tau. In form `batch` the other samples of the batch are the wrong answers, for either side (InfoNCE, van den Oord
et al. 2018, arXiv:1807.03748, equation 4). In form `bank` it is noise contrastive estimation (equations 10 and 19 of
the first paper) against two memories of all training rows.

Departures of the bank from the published code. The K rows of noise are drawn once a step, for all samples: one for each
would gather a tensor of B x K x dim. They are a pure function of the term's salt and of how far the run is, as the
masks of `mgd` are, so a resumed run draws what the other would have. Everything is taken as logarithms in float32:
exp(1 / 0.07) alone is past what float16 can hold.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.errors import UserConfig
from models.seeds import derive
from models.spec.losses import relation as menu
from worker.engine.augment import scatter
from worker.engine.lengths import unit
from worker.engine.outputs import Batch, Outputs, embeddings
from worker.engine.term import Term

_SALTS = 1 << 48


class CRD(Term):
    """In form batch the mean of both directions, in form bank their sum."""

    least_at_teacher = False  # both projectors are learned, and they are best where samples lie apart

    def __init__(self, spec: menu.CRD, student: Outputs, teacher: Outputs) -> None:
        super().__init__()
        self.spec = spec
        self.min_batch = 2 if spec.form == "batch" else 1
        s_ND, t_ND = embeddings(student, teacher)
        self.student = nn.Linear(s_ND.shape[1], spec.dim)
        self.teacher = nn.Linear(t_ND.shape[1], spec.dim)
        self.banks: Banks | None = None

    def prepare(self, ids_M: Tensor) -> None:
        """Makes the banks, at random. UserConfig where there are more rows than they have room for."""
        if self.spec.form != "bank":
            return
        most = self.spec.most_rows()
        assert most is not None, "banks have a limit"
        if len(ids_M) > most:
            raise UserConfig.at(
                "/dim",
                f"two banks of {len(ids_M)} rows x {self.spec.dim} take more than {menu.BANK_BYTES >> 30} GB: choose a "
                f"dim of at most {menu.BANK_BYTES // (8 * len(ids_M))}, or the form `batch`",
                code="bank_too_large",
            )
        self.banks = Banks(ids_M, self.spec)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Less where a sample's two embeddings are closer to each other than to those of other samples."""
        s_ND, t_ND = embeddings(student, teacher)
        s_ND, t_ND = unit(self.student(s_ND), 1), unit(self.teacher(t_ND), 1)
        if self.spec.form == "bank":
            assert self.banks is not None, "the engine prepares a term before its first batch"
            return self.banks(s_ND, t_ND, batch)  # type: ignore[no-any-return]
        cosine_NN = s_ND @ t_ND.T / self.spec.tau
        return (_among_others(cosine_NN, batch) + _among_others(cosine_NN.T, batch)) / 2


def _among_others(cosine_NN: Tensor, batch: Batch) -> Tensor:
    """The cross-entropy of row i with class i, classes counting by their share of the batch."""
    share_N = batch.shares(cosine_NN)
    # A batch of weight 0 has no shares: it is worth 0 whatever stands here, if only it is finite.
    share_N = torch.where(share_N.sum() > 0, share_N, 1.0)
    return batch.mean((cosine_NN + share_N.log()).logsumexp(1) - cosine_NN.diagonal())


class Banks(nn.Module):
    """The memories of both networks, M rows of unit length each, and the scale of their exponentials."""

    of_student: Tensor
    of_teacher: Tensor
    log_z: Tensor
    salt: Tensor
    ids: Tensor

    def __init__(self, ids_M: Tensor, spec: menu.CRD) -> None:
        super().__init__()
        self._tau, self._momentum, self._num_noise = spec.tau, spec.momentum, spec.negatives
        self.register_buffer("of_student", unit(torch.randn(len(ids_M), spec.dim), 1))
        self.register_buffer("of_teacher", unit(torch.randn(len(ids_M), spec.dim), 1))
        #: The logarithm of the mean of exp(c / tau), for the student and the teacher; not a number until it is fixed.
        self.register_buffer("log_z", torch.full((2,), torch.nan))
        self.register_buffer("salt", torch.randint(_SALTS, ()))
        self.register_buffer("ids", ids_M.clone(), persistent=False)

    def forward(self, s_ND: Tensor, t_ND: Tensor, batch: Batch) -> Tensor:
        """The value for one batch, by the banks as they are; in training they then take the batch in."""
        row_N = torch.searchsorted(self.ids, batch.ids)
        noise_K = self._noise(batch)
        value = self._contrast(s_ND, self.of_teacher, 0, row_N, noise_K, batch)
        value = value + self._contrast(t_ND, self.of_student, 1, row_N, noise_K, batch)
        if self.training:
            self._take_in(self.of_student, s_ND, row_N, batch)
            self._take_in(self.of_teacher, t_ND, row_N, batch)
        return value

    def _noise(self, batch: Batch) -> Tensor:
        """(K,): rows drawn evenly from all, the same for any batch at this point of the run."""
        numbers_K = torch.arange(self._num_noise, device=self.ids.device) + self.salt
        return scatter(numbers_K, derive(0, "noise", repr(batch.progress))) % len(self.ids)

    def _contrast(
        self, v_ND: Tensor, bank_MD: Tensor, side: int, row_N: Tensor, noise_K: Tensor, batch: Batch
    ) -> Tensor:
        own_N = (v_ND * bank_MD[row_N]).sum(1) / self._tau
        noise_NK = v_ND @ bank_MD[noise_K].T / self._tau
        # h = sigmoid(c / tau - shift): the prior odds of noise are K, and its density is Z / M.
        shift = self._scale(side, own_N.detach(), noise_NK.detach(), batch) + math.log(self._num_noise)
        return batch.mean(F.softplus(shift - own_N) + F.softplus(noise_NK - shift).sum(1))

    @torch.no_grad()
    def _scale(self, side: int, own_N: Tensor, noise_NK: Tensor, batch: Batch) -> Tensor:
        """log(Z / M), from this batch where it is the first."""
        share_N = batch.shares(own_N)
        counts = share_N.sum() > 0
        mean_N = torch.logaddexp(own_N, noise_NK.logsumexp(1)) - math.log1p(self._num_noise)
        here = (mean_N + torch.where(counts, share_N, 1 / len(own_N)).log()).logsumexp(0)
        log_z = torch.where(self.log_z[side].isnan(), here, self.log_z[side])
        if self.training:
            self.log_z[side] = torch.where(counts, log_z, self.log_z[side])
        return log_z

    @torch.no_grad()
    def _take_in(self, bank_MD: Tensor, v_ND: Tensor, row_N: Tensor, batch: Batch) -> None:
        """Each seen row moves towards its new embedding, and is of unit length again."""
        old_ND = bank_MD[row_N]
        new_ND = unit(self._momentum * old_ND + (1 - self._momentum) * v_ND, 1)
        counts_N1 = batch.shares(v_ND)[:, None] > 0
        bank_MD[row_N] = torch.where(counts_N1, new_ND, old_ND).to(bank_MD.dtype)
