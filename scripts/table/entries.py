"""The losses of the menu that can be tried on images with nothing but their defaults, and why others cannot."""

from collections import Counter
from dataclasses import dataclass

from pydantic import ValidationError

from models.spec.data import TaskName
from models.spec.losses.menu import ENTRIES, family, tag

TASK: TaskName = "image_classification"


@dataclass(frozen=True)
class Entry:
    """A loss as the menu sets it."""

    loss: str
    family: str
    weight: float
    hard: float


def families() -> list[str]:
    """In the order of the menu."""
    return list(dict.fromkeys(family(entry) for entry in ENTRIES))


def entries(per_family: int | None = None) -> tuple[list[Entry], dict[str, str]]:
    """The losses, and for each one that is left out the reason. `per_family`: so many of each family at most."""
    taken: list[Entry] = []
    left_out: dict[str, str] = {}
    for model in ENTRIES:
        name = tag(model)
        if TASK not in model.tasks:
            left_out[name] = f"it is for {', '.join(sorted(model.tasks))}"
            continue
        try:
            term = model.model_validate({"type": name})
        except ValidationError as error:
            fields = ", ".join(f"`{fault['loc'][0]}`" for fault in error.errors() if fault["loc"])
            left_out[name] = f"it has no defaults for {fields}"
            continue
        taken.append(Entry(name, family(model), term.weight, term.hard_beside))
    if per_family is None:
        return taken, left_out
    seen: Counter[str] = Counter()
    few = []
    for entry in taken:
        seen[entry.family] += 1
        if seen[entry.family] <= per_family:
            few.append(entry)
    return few, {}
