"""The question that the derivations in this folder answer: arrays in, a value and its gradients out, all float64."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass
class Side:
    """What one network said: logits (B, C), embedding (B, D), features by tap."""

    logits: Array
    embedding: Array
    features: dict[str, Array] = field(default_factory=dict)


@dataclass
class Case:
    """One batch. `weight` (B,) is all ones where samples count alike; `parameters` are those of the loss, by name.

    y (B,): class indices, or values of a regression. progress: share of the run that is done. ids (B,): whole numbers
    that tell samples apart. `parameters` has the loss's buffers as well.
    """

    spec: Any
    student: Side
    teacher: Side
    weight: Array
    y: NDArray[Any]
    progress: float = 0.3
    ids: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    parameters: dict[str, Array] = field(default_factory=dict)


@dataclass
class Answer:
    """The value, and its derivative by whatever moves: `logits`, `embedding`, `features.NAME`, `parameters.NAME`."""

    value: float
    gradient: dict[str, Array]
