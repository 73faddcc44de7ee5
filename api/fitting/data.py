"""Whether a student and its losses fit the data: task, classes, rows, labels, batches."""

from collections.abc import Iterator
from itertools import chain

from api.fitting.fault import Fault, type_of
from api.fitting.parts import Part, members
from core.workload import changes_samples
from models.canonical import DatasetMeta
from models.spec.job import JobSpec
from models.spec.shapes import kind_of
from models.spec.teaching import Ensemble

#: What `train.augment` can change of images, and of spectrograms.
_OF_IMAGES, _OF_SOUNDS = ("crop", "flip"), ("time_shift", "time_mask", "mel_mask")


def of_part(part: Part, data: DatasetMeta) -> Iterator[Fault]:
    """Of one student of a job."""
    return chain(
        _tasks(part, data),
        _memory(part, data),
        _labels(part, data),
        _student(part, data),
        _batches(part, data),
        _augment(part, data),
        _changes_of_texts(part, data),
        _cut(part, data),
    )


def of_teaching(spec: JobSpec, data: DatasetMeta) -> Iterator[Fault]:
    """What the way of teaching asks of the data, whoever learns."""
    if not data.num_labelled("train") and not members(spec):
        message = (
            "No training row has a label, and the students of this job could not learn from each other alone: name a "
            "teacher that was handed in"
        )
        yield Fault(("teacher",), "needs_labels", message)
    if isinstance(spec.teacher, Ensemble):
        yield from _combining(spec.teacher, data)


def _combining(ensemble: Ensemble, data: DatasetMeta) -> Iterator[Fault]:
    loc, way = ("teacher", "combine"), ensemble.combine
    if way in {"cross_entropy", "entropy"} and data.target is not None:
        message = f"Values of a regression have no {way.replace('_', '-')}: combine by `mean` or by `weights`"
        yield Fault(loc, "combine_does_not_fit", message)
    elif way == "cross_entropy" and not data.all_labelled("train"):
        message = (
            f"Combining by cross-entropy needs a label for each training row, and {_unlabelled(data)} have none: "
            "combine by `entropy`, `mean` or `weights`"
        )
        yield Fault(loc, "needs_labels", message)


def _unlabelled(data: DatasetMeta) -> str:
    rows = data.counts["train"]
    return f"{rows - data.num_labelled('train')} of {rows}"


def _tasks(part: Part, data: DatasetMeta) -> Iterator[Fault]:
    for at, term in enumerate(part.terms):
        if data.task not in term.tasks:
            fitting = ", ".join(sorted(term.tasks))
            message = f"`{type_of(term)}` is for {fitting}; the data set's task is {data.task}"
            yield Fault((*part.loss_loc, at, "type"), "loss_not_for_task", message)


def _memory(part: Part, data: DatasetMeta) -> Iterator[Fault]:
    """Terms that remember every training row."""
    rows = data.counts["train"]
    for at, term in enumerate(part.terms):
        most = term.most_rows()
        if most is not None and rows > most:
            message = (
                f"`{type_of(term)}`, as it is set, has memory for {most} training rows; the data set has {rows}. "
                "Choose a smaller `dim`, or a form without a bank"
            )
            yield Fault((*part.loss_loc, at, "dim"), "bank_too_large", message)


def _labels(part: Part, data: DatasetMeta) -> Iterator[Fault]:
    if data.all_labelled("train"):
        return
    for at, term in enumerate(part.terms):
        if term.needs_labels:
            message = (
                f"`{type_of(term)}` reads labels, and {_unlabelled(data)} training rows have none: take a loss that "
                "compares outputs alone, such as `kd`"
            )
            yield Fault((*part.loss_loc, at, "type"), "needs_labels", message)


def _student(part: Part, data: DatasetMeta) -> Iterator[Fault]:
    if (kind := kind_of(data.input_shape)) not in part.student.takes:
        message = (
            f"`{type_of(part.student)}` takes {' or '.join(sorted(part.student.takes))} data; this data set is of kind "
            f"{kind}, of shape {list(data.input_shape)}. GET /catalog/students says what each takes"
        )
        yield Fault((*part.student_loc, "type"), "student_not_for_data", message)
    elif misfit := part.student.misfit(data.input_shape):
        field, why = misfit
        message = f"This student cannot take the data: {why}"
        yield Fault((*part.student_loc, field), "student_not_for_data", message)


def _changes_of_texts(part: Part, data: DatasetMeta) -> Iterator[Fault]:
    """Changes of training samples that token ids do not stand."""
    if data.text is None:
        return
    if part.train.mixup is not None:
        message = "`mixup` adds two samples up, and token ids cannot be added: leave it out for texts"
        yield Fault((*part.train_loc, "mixup"), "mixup_does_not_fit", message)
    augment = part.train.augment
    if not isinstance(augment, str) and any(augment.model_dump().values()):
        message = "Texts are not changed in training: leave `augment` out"
        yield Fault((*part.train_loc, "augment"), "augment_does_not_fit", message)


def _cut(part: Part, data: DatasetMeta) -> Iterator[Fault]:
    """The largest outputs of answers that are not kept."""
    train = part.train
    if train.top_k is not None and train.views is None and changes_samples(train, data):
        message = (
            "`top_k` is of answers that are kept, and these samples are shown anew in each epoch: set `views` as well, "
            "or `augment` to `none`"
        )
        yield Fault((*part.train_loc, "teacher_cache"), "top_k_does_not_fit", message)


def _batches(part: Part, data: DatasetMeta) -> Iterator[Fault]:
    rows, asked = data.counts["train"], part.train.batch_size
    if asked > rows and "batch_size" in part.train.model_fields_set:
        message = f"{asked} is more than the {rows} rows of the training split; set {rows} or less, or leave it out"
        yield Fault((*part.train_loc, "batch_size"), "batch_too_large", message)


def _augment(part: Part, data: DatasetMeta) -> Iterator[Fault]:
    """Changes that make no sense of this data, or leave nothing of it."""
    chosen = part.train.augment
    if isinstance(chosen, str) or data.text is not None:
        return
    spectrum = data.spectrum
    fitting, strange = (_OF_SOUNDS, _OF_IMAGES) if spectrum else (_OF_IMAGES, _OF_SOUNDS)
    for name in strange:
        if getattr(chosen, name):
            kind = "images, not for spectrograms" if spectrum else "spectrograms of sounds, which this data set has not"
            message = f"`{name}` is for {kind}: leave it out; there are {', '.join(f'`{other}`' for other in fitting)}"
            yield Fault((*part.train_loc, "augment", name), "augment_does_not_fit", message)
    most = {"mel_mask": spectrum.mels, "time_mask": spectrum.frames, "time_shift": spectrum.frames} if spectrum else {}
    for name, length in most.items():
        if getattr(chosen, name) >= length:
            message = f"{getattr(chosen, name)} may leave nothing of {length}: set less"
            yield Fault((*part.train_loc, "augment", name), "augment_does_not_fit", message)
