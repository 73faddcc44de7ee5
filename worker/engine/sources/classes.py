"""From the class map of a spec to columns: which outputs of a teacher stand for which classes of the data set."""

from collections.abc import Sequence

import torch

from core.errors import UserConfig
from models import class_map
from models.canonical import DatasetMeta
from models.spec.teaching import ClassMap
from worker.engine.columns import SAME, Columns, columns


def columns_of(
    wanted: ClassMap,
    names: Sequence[str],
    num_outputs: int,
    data: DatasetMeta,
    device: torch.device,
    pointer: str,
) -> Columns | None:
    """The columns of a teacher of `num_outputs`, whose classes are called `names` (empty where it does not say).

    None where it has as many classes as it likes and no map. Raises UserConfig that points below `pointer`, the
    teacher's place in the spec.
    """
    if wanted == "same":
        return SAME if num_outputs == data.num_outputs else None
    for unfit in class_map.unfit(wanted, names, num_outputs, data.classes):
        entry = "" if unfit.entry is None else "/" + unfit.entry.replace("~", "~0").replace("/", "~1")
        raise UserConfig.at(f"{pointer}/classes{entry}", unfit.message, code="class_map")
    ours, theirs = zip(*class_map.pairs(wanted, names, num_outputs, data.classes), strict=True)
    if list(ours) == list(theirs) == list(range(data.num_outputs)) and num_outputs == data.num_outputs:
        return SAME
    return columns(ours, theirs, data.num_outputs, device)
