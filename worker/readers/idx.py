"""IDX: pairs of image and label files as MNIST and Fashion-MNIST ship them, `*-ubyte` or `*-ubyte.gz`, in one archive.

A file is known by its header, its split by its name (`train`, `t10k` ...); which holds labels, by having one dimension.
"""

import numpy as np

from core.errors import Rejected
from worker.readers.base import labels as label_forms
from worker.readers.base import splits
from worker.readers.base.array_images import ArrayImages, Part
from worker.readers.base.arrays import ArrayFile, open_idx
from worker.readers.base.case import Case
from worker.readers.base.content import Content
from worker.readers.base.files import extract
from worker.readers.base.images import Images
from worker.readers.base.kinds import Kind

#: What the files of the format are, by content.
KIND: Kind = "idx"


def read_images(content: Content, case: Case) -> Images:
    """Raises: Rejected where images and labels do not pair up."""
    pairs = _pairs(content, case)
    parts = [Part(images, split) for split, (images, _) in sorted(pairs.items())]
    return ArrayImages(parts, _labels([pair for _, pair in sorted(pairs.items())], case), case)


def _labels(pairs: list[tuple[ArrayFile, ArrayFile | None]], case: Case) -> label_forms.Labels:
    known = np.concatenate([np.full(len(images), labels is not None) for images, labels in pairs])
    arrays = [labels.whole() for _, labels in pairs if labels is not None]
    if not arrays:
        return label_forms.none(len(known))
    found = label_forms.of_array(np.concatenate(arrays), "The label file")
    return (found.without("-1") if case.spec.labels == "partial" else found).among(known)


def _pairs(content: Content, case: Case) -> dict[int, tuple[ArrayFile, ArrayFile | None]]:
    """split -> (images, labels); None where the spec allows that there are none, or says so."""
    images: dict[int, ArrayFile] = {}
    labels: dict[int, ArrayFile] = {}
    for entry in content.of_kind(KIND, case):
        array = open_idx(extract(content.files, entry, case), entry.name)
        split = splits.of_name(entry.parts[-1])
        found, place = (labels if len(array.shape) == 1 else images), splits.UNKNOWN if split is None else split
        if place in found:
            raise Rejected(
                f"{found[place].name} and {entry.name} are for the same split. Pack one pair of files a split, with "
                "train, val or test (t10k) in their names.",
                code="pairs",
            )
        found[place] = array
    if case.spec.labels == "none":
        for array in labels.values():
            case.ignored.add(array.name, "labels, and the spec says that there are none")
        labels = {}
    wanted = images.keys() if case.spec.labels == "required" else labels.keys() & images.keys()
    if not images or labels.keys() != wanted:
        names = [array.name for array in (*images.values(), *labels.values())]
        raise Rejected(
            f"Images and labels do not pair up: found {', '.join(names)}. Each split needs a file of images and one of "
            "labels, packed together in a zip or tar; if there are no labels, set labels to partial or none.",
            code="pairs",
        )
    pairs = {place: (array, labels.get(place)) for place, array in images.items()}
    for x, y in pairs.values():
        if y is not None and len(x) != len(y):
            raise Rejected(f"{x.name} has {len(x)} images, {y.name} {len(y)} labels.", code="pairs")
    return pairs
