"""What all architectures of the menu share."""

from typing import Any, ClassVar

from models.spec.base import Documented
from models.spec.shapes import Shape, kind_of


class Student(Documented):
    """What all architectures share."""

    type: str
    #: "image" takes (C, H, W), "table" takes (D,), "text" takes (V, L): L tokens of a vocabulary of V.
    takes: ClassVar[frozenset[str]] = frozenset({"image"})
    #: Members of the family that are in circulation: an upload that fits nothing is compared with these.
    known: ClassVar[tuple[dict[str, Any], ...]] = ()

    def misfit(self, _in_shape: Shape) -> tuple[str, str] | None:
        """The field that keeps it from inputs of this shape, of a kind that it takes, and why; None where none does."""
        return None

    def stage_names(self) -> list[str] | None:
        """Module paths of the stage features, shallow to deep; None where only the built network can say."""
        return None

    def stage_shapes(self, in_shape: Shape) -> dict[str, Shape] | None:
        """Shapes of the stage features for one input of `in_shape`, as torch would give them.

        None where only the built network can say, or where the architecture cannot take such an input.
        """
        names = self.stage_names()
        if names is None or not self._can_take(in_shape):
            return None
        return dict(zip(names, self._stage_shapes(in_shape), strict=True))

    def _can_take(self, in_shape: Shape) -> bool:
        return kind_of(in_shape) in self.takes and self.misfit(in_shape) is None

    def _stage_shapes(self, in_shape: Shape) -> list[Shape]:
        """One for each of the stage names."""
        raise NotImplementedError
