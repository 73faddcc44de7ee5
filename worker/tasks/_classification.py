"""What classification is, whatever is classified: cross-entropy, accuracy, and what is no better than a guess.

Shapes: N samples, C classes.
"""

from math import e, log, sqrt

import torch
from torch import Tensor
from torch.nn import functional as F

from models.canonical import DatasetMeta
from models.spec.training import Train
from worker.engine.outputs import Batch, has_label
from worker.engine.task import Metrics, Verdict

#: The class of a sample without a label.
NO_LABEL = -1
#: A teacher that scores this far under what its owner declared is not being used as its owner used it.
_FAR_UNDER = 0.10
_CALIBRATION_BINS = 15
#: Past this many, the report leaves the classes out.
_MAX_CLASSES_NAMED = 1000
#: How close training has to keep to the double-softmax floor, how still, for how many epochs, and how sure it must be:
#: a network that still learns passes by the floor, and one that guesses is near it by chance.
_FLOOR_BAND, _FLOOR_DRIFT, _FLOOR_EPOCHS, _FLOOR_ACCURACY = 0.03, 0.02, 3, 0.6


class Classification:
    """One class a sample; the first of `rank` is the accuracy, cross-entropy breaks ties."""

    agreement_name = "share of equal answers"
    running_name = "accuracy"

    def __init__(self, data: DatasetMeta, train: Train) -> None:
        self.data, self.train = data, train
        self._smoothing = train.label_smoothing
        self._all_labelled = data.all_labelled("train")

    @property
    def knows_gradient(self) -> bool:
        """Where all samples have a label that is not smoothed."""
        return self._all_labelled and not self._smoothing

    def hard(self, logits_NC: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy with the labels, smoothed as the spec says, over the samples that have one."""
        if not self._all_labelled:
            batch = batch.weighted(has_label(batch.y).to(logits_NC.dtype))
        return batch.mean(self.hard_of_each(logits_NC, batch.y))

    def hard_of_each(self, logits_NC: Tensor, y_N: Tensor) -> Tensor:
        """0 where there is no label."""
        return F.cross_entropy(logits_NC, y_N, reduction="none", label_smoothing=self._smoothing, ignore_index=NO_LABEL)

    def hard_gradient(self, logits_NC: Tensor, y_N: Tensor) -> Tensor:
        """The probabilities, less 1 at the label."""
        return F.softmax(logits_NC, dim=1).scatter_(1, y_N[:, None], -1.0, reduce="add")

    def running(self, logits_NC: Tensor, y_N: Tensor) -> Tensor:
        """Accuracy on the labelled samples of the batch, before the step."""
        right_N = self.running_of_each(logits_NC, y_N)
        return right_N.mean() if self._all_labelled else right_N.sum() / has_label(y_N).sum().clamp_min(1)

    def running_of_each(self, logits_NC: Tensor, y_N: Tensor) -> Tensor:
        """1 where it is right."""
        return (logits_NC.argmax(1) == y_N).float()

    def metrics(self, logits_NC: Tensor, y_N: Tensor) -> Metrics:
        """accuracy, cross_entropy (nats, labels not smoothed), ece, and top5 from ten classes on; shares of 1."""
        figures = {
            "accuracy": _accuracy(logits_NC, y_N),
            "cross_entropy": float(F.cross_entropy(logits_NC.double(), y_N)),
            "ece": _calibration_error(logits_NC, y_N),
        }
        if logits_NC.shape[1] >= 10:
            figures["top5"] = float((logits_NC.topk(5).indices == y_N[:, None]).any(1).double().mean())
        return figures

    def details(self, logits_NC: Tensor, y_N: Tensor) -> dict[str, object]:
        """Accuracy by class, None for a class that the split does not have; nothing where it has no labels."""
        C, labelled_N = self.data.num_outputs, has_label(y_N)
        if C > _MAX_CLASSES_NAMED or not bool(labelled_N.any()):
            return {}
        logits_NC, y_N = logits_NC[labelled_N], y_N[labelled_N]
        right_N = logits_NC.argmax(1) == y_N
        rows_C = torch.bincount(y_N, minlength=C).tolist()
        right_C = torch.bincount(y_N[right_N], minlength=C).tolist()
        names = self.data.classes or [str(c) for c in range(C)]
        shares = [right / rows if rows else None for right, rows in zip(right_C, rows_C, strict=True)]
        return {"accuracy_by_class": dict(zip(names, shares, strict=True))}

    def rank(self, metrics: Metrics) -> tuple[float, ...]:
        """By accuracy, then by cross-entropy; without labels by agreement, then by divergence."""
        if "accuracy" not in metrics:
            return metrics["agreement"], -metrics["divergence"]
        return metrics["accuracy"], -metrics["cross_entropy"]

    def agreement(self, student_NC: Tensor, teacher_NC: Tensor) -> float:
        """The share of samples to which both give the same class."""
        return float((student_NC.argmax(1) == teacher_NC.argmax(1)).double().mean())

    def likeness(self, student_NC: Tensor, teacher_NC: Tensor) -> Metrics:
        """agreement, the share of equal answers; divergence KL(teacher || student) in nats."""
        s_NC, t_NC = (logits.double().log_softmax(1) for logits in (student_NC, teacher_NC))
        divergence = F.kl_div(s_NC, t_NC, reduction="batchmean", log_target=True)
        return {"agreement": self.agreement(student_NC, teacher_NC), "divergence": float(divergence)}

    def units(self, _teacher_NC: Tensor, _y_N: Tensor) -> None:
        """Logits have no units."""

    def judge(self, teacher_NC: Tensor, y_N: Tensor, declared: float | None, where: str = "validation") -> Verdict:
        """Weak where two standard errors of a guess reach the accuracy, or where far more was declared."""
        accuracy, num = _accuracy(teacher_NC, y_N), len(y_N)
        chance = int(torch.bincount(y_N).max()) / num
        guess = chance + 2 * sqrt(chance * (1 - chance) / num)
        figures = {"accuracy": accuracy, "chance": chance, "samples": num}
        if accuracy <= guess:
            guessing = f"always saying the commonest class gives {chance:.1%}"
            return Verdict(f"{accuracy:.1%} of {num} {where} samples right, where {guessing}", figures)
        slack = max(_FAR_UNDER, 2 * sqrt(accuracy * (1 - accuracy) / num))
        if declared is not None and accuracy < declared - slack:
            return Verdict(
                f"{accuracy:.1%} of {num} {where} samples right, where {declared:.1%} was declared",
                figures | {"declared": declared},
            )
        return Verdict(figures=figures)

    def suspicion(self, epochs: list[Metrics]) -> str:
        """Cross-entropy that sits where a softmax before the softmax holds it."""
        C = self.data.num_outputs
        if (
            self._smoothing
            or self.train.mixup
            or not on_double_softmax_floor([(m["hard"], m["accuracy"]) for m in epochs[-_FLOOR_EPOCHS:]], C)
        ):
            return ""
        return (
            f"the label loss stays at log(1 + (C - 1) / e) = {log(1 + (C - 1) / e):.3f} for C = {C}: the network seems "
            "to end in a softmax, to which the loss adds another. Leave the last softmax out"
        )


def on_double_softmax_floor(epochs: list[tuple[float, float]], C: int) -> bool:
    """True where (cross-entropy, accuracy) of the last epochs are those of probabilities taken for logits.

    Probabilities p of one class near 1 give -log(e^p / sum) = log(1 + (C - 1) / e) where that class is right, and 1
    more where it is wrong: a sure network of accuracy a sits at the floor plus 1 - a, and can go no lower.
    """
    if len(epochs) < _FLOOR_EPOCHS:
        return False
    floor = log(1 + (C - 1) / e)
    above = [ce - floor - (1 - accuracy) for ce, accuracy in epochs]
    sure = min(accuracy for _, accuracy in epochs) >= _FLOOR_ACCURACY
    return sure and max(map(abs, above)) < _FLOOR_BAND and max(above) - min(above) < _FLOOR_DRIFT


def _accuracy(logits_NC: Tensor, y_N: Tensor) -> float:
    return int((logits_NC.argmax(1) == y_N).sum()) / len(y_N)


def _calibration_error(logits_NC: Tensor, y_N: Tensor) -> float:
    """Expected calibration error over 15 bins of equal width. Guo et al. 2017, arXiv:1706.04599, equation 3."""
    sure_N, said_N = logits_NC.double().softmax(1).max(1)
    gap_N = (said_N == y_N).double() - sure_N
    bin_N = (sure_N * _CALIBRATION_BINS).long().clamp_max(_CALIBRATION_BINS - 1)
    gaps = torch.zeros(_CALIBRATION_BINS, dtype=torch.float64, device=y_N.device).index_add_(0, bin_N, gap_N)
    return float(gaps.abs().sum() / len(y_N))
