"""Lets torchvision, and with it timm, be imported beside a torch that cannot load torchvision's compiled operators.

That is the case of a CPU-only torch beside the torchvision of the package index. torchvision then stops at its import,
because it describes two operators that nobody has declared. Declared without an implementation they satisfy it; they
cannot be called, and no classifier does.
"""

import importlib
from typing import Any

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
# A declaration lasts as long as the object that made it.
_declared: list[torch.library.Library] = []


def make_importable() -> None:
    """Import torchvision, with the two operators declared if it cannot load its own."""
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        if _declared:
            raise
        _declare()
        importlib.import_module("torchvision")


def _declare() -> None:
    library: Any = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for schema in _SCHEMAS:
        library.define(schema)
    _declared.append(library)
