"""How the student is trained."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from models.spec.base import Documented, Entry
from models.spec.precision import Arithmetic

LearningRate = Annotated[float, Field(gt=0, le=100)]


class SGD(Documented):
    """Stochastic gradient descent with momentum."""

    type: Literal["sgd"] = "sgd"
    lr: LearningRate = 0.05
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = True
    weight_decay: float = Field(default=5e-4, ge=0, le=1)

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0; set momentum, or nesterov to false")
        return self


class Adam(Documented):
    """Adam, with L2 regularisation in the gradient."""

    type: Literal["adam"] = "adam"
    lr: LearningRate = 1e-3
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.999)
    eps: float = Field(default=1e-8, gt=0, le=1)
    weight_decay: float = Field(default=0.0, ge=0, le=1)

    paper = "Kingma, Ba 2015, arXiv:1412.6980"


class AdamW(Documented):
    """Adam with decoupled weight decay."""

    type: Literal["adamw"] = "adamw"
    lr: LearningRate = 1e-3
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.999)
    eps: float = Field(default=1e-8, gt=0, le=1)
    weight_decay: float = Field(default=0.01, ge=0, le=1)

    paper = "Loshchilov, Hutter 2019, arXiv:1711.05101"


Optimizer = Annotated[SGD | Adam | AdamW, Field(discriminator="type")]


class _Warm(Documented):
    warmup_epochs: float = Field(
        default=0.0, ge=0, le=1000, description="The rate climbs linearly from near 0 over these."
    )


class Constant(_Warm):
    """One learning rate throughout."""

    type: Literal["constant"] = "constant"


class Cosine(_Warm):
    """Half a cosine from the learning rate down to `final` times it, stepped every batch."""

    type: Literal["cosine"] = "cosine"
    final: float = Field(default=0.0, ge=0, le=1, description="Share of the learning rate that is left at the end.")

    paper = "Loshchilov, Hutter 2017, arXiv:1608.03983, without restarts"


class Step(_Warm):
    """The learning rate is multiplied by `gamma` at each milestone."""

    type: Literal["step"] = "step"
    milestones: list[Annotated[float, Field(gt=0, lt=1)]] = Field(
        default=[0.625, 0.75, 0.875], min_length=1, max_length=50, description="Shares of the whole run, ascending."
    )
    gamma: float = Field(default=0.1, gt=0, lt=1)

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if sorted(set(self.milestones)) != self.milestones:
            raise ValueError("milestones must ascend, each once")
        return self


Schedule = Annotated[Constant | Cosine | Step, Field(discriminator="type")]


class Augment(Entry):
    """Random changes of training images and spectrograms: a pure function of (seed, epoch, sample id)."""

    crop: int = Field(default=0, ge=0, le=64, description="Zero-pad by so many pixels, cut at a random place. 0: none.")
    flip: bool = Field(default=False, description="Mirror half of the images. Not for digits or letters.")
    time_shift: int = Field(
        default=0, ge=0, le=1024, description="Sounds: move by up to so many frames, either way; silence follows."
    )
    time_mask: int = Field(
        default=0,
        ge=0,
        le=1024,
        description="Sounds: up to so many frames in a row are blotted out (Park et al. 2019, arXiv:1904.08779).",
    )
    mel_mask: int = Field(default=0, ge=0, le=256, description="Sounds: the same of mel bands.")


class EarlyStopping(Entry):
    """Stop when the validation metric has not improved for `patience` epochs."""

    patience: int = Field(ge=1, le=10_000)
    min_delta: float = Field(default=0.0, ge=0)


TopK = Annotated[int, Field(ge=1, le=1_000_000)]


class FixedViews(Entry):
    """Each sample is shown in `views` random changes of it, over and over: in epoch e as in epoch e mod views."""

    views: int = Field(ge=1, le=1000, description="So many looks at each sample; the teacher is asked about each once.")
    top_k: TopK | None = Field(default=None, description="Keep the largest outputs of each look. Left out: all.")


class Largest(Entry):
    """As `auto`, for samples that do not change, but of what the teacher says of one the largest outputs are kept."""

    top_k: TopK = Field(
        description="So many outputs, and the mass of all others together. With as many as there are, nothing is lost."
    )


class Train(Entry):
    """The training loop."""

    epochs: int = Field(default=30, ge=1, le=10_000)
    batch_size: int = Field(default=128, ge=1, le=65_536)
    accumulate: int = Field(default=1, ge=1, le=1024, description="Batches whose gradients make one optimizer step.")
    optimizer: Optimizer = SGD()
    schedule: Schedule = Cosine()
    clip_norm: float | None = Field(default=None, gt=0, le=1e6, description="Gradients are scaled down to this norm.")
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    ema: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Decay of an averaged copy of the student, which is then the one evaluated.",
    )
    early_stopping: EarlyStopping | None = None
    augment: Literal["auto", "none"] | Augment = Field(
        default="auto",
        description="`auto`: crop by an eighth of the side for images of 28 pixels and more, no flip; else none. "
        "Sounds are not changed.",
    )
    mixup: float | None = Field(
        default=None,
        gt=0,
        le=10,
        description="Train on mixtures of two samples and of their labels, with shares drawn from Beta(mixup, mixup): "
        "0.2 mixes little, 1 evenly (Zhang et al. 2018, arXiv:1710.09412). The teacher is asked about each mixture, so "
        "its outputs cannot be kept; losses that read labels do not go with it.",
    )
    teacher_cache: Literal["auto", "off"] | FixedViews | Largest = Field(
        default="auto",
        description="What becomes of the teacher's outputs. `auto`: where samples do not change they are kept, and "
        "shared with the owner's other jobs on the same machine; the student is the same bit for bit as with `off`, "
        'which shares nothing. {"views": V}: augmented samples come in V fixed changes, reused over the epochs, so '
        'that the teacher is asked V times a sample and not once an epoch; the student is another one. {"top_k": K},'
        " alone where samples do not change or beside `views`: of each answer the K largest outputs are kept and the "
        "mass of the others, which are then taken to be equal. For teachers of thousands of classes, whose answers do "
        "not fit otherwise. It goes with one teacher, and with losses that compare distributions at one T (`kd`, "
        "`soft_cross_entropy`, `ttm`, `forward_kl`, `reverse_kl`, `jsd`, `skew_kl`, `tvd`, `uld`), read the largest "
        "outputs (`hard_kd`, `ranking`), or features.",
    )
    precision: Literal["auto", "float32", "tf32", "bf16"] | Arithmetic = Field(
        default="auto",
        description="A name, or all of it. `auto`: for a short run bf16 where networks convolve and the device "
        "computes in it, else float32. For a long one a few steps of each are timed, and the fastest is taken whose "
        "outputs stay within 5 % of float32 (root of the mean square, logits against logits) and the loss "
        "within 2 %. The choice is then in the job's `arithmetic`.",
    )
    seed: int = Field(default=0, ge=0, lt=2**31)
    select: Literal["best", "last"] = Field(
        default="best",
        description="Which epoch's student is handed out: the best on the validation split, or the last.",
    )
    control: bool = Field(
        default=True, description="Also train the same student without a teacher, for an honest comparison."
    )

    @property
    def views(self) -> int | None:
        """In how many fixed views training samples come; None where each epoch shows others."""
        return self.teacher_cache.views if isinstance(self.teacher_cache, FixedViews) else None

    @property
    def top_k(self) -> int | None:
        """How many of the teacher's outputs are kept; None for all."""
        return None if isinstance(self.teacher_cache, str) else self.teacher_cache.top_k

    @property
    def asks_for_changes(self) -> bool:
        """Whether `augment` names a change of samples; `auto` leaves that to the data."""
        return isinstance(self.augment, Augment) and any(self.augment.model_dump().values())
