"""The architectures of the menu that take texts: token ids (L,), of a vocabulary whose size comes from the data."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from models.spec.layers import Width
from models.spec.shapes import Shape
from models.spec.student import Student


class Bert(Student):
    """A BERT encoder with a classifier on its first token; its tensors are called as in Hugging Face's checkpoints."""

    type: Literal["bert"] = "bert"
    layers: int = Field(default=2, ge=1, le=48)
    hidden: Width = Field(default=128, description="Width of the hidden states.")
    heads: int | None = Field(
        default=None, ge=1, le=256, description="Must divide `hidden`. Left out: one for each 64 of it."
    )
    intermediate: Width | None = Field(default=None, description="Left out: four times `hidden`.")
    max_positions: int = Field(
        default=512, ge=4, le=8192, description="The longest text that it can take, in tokens; 512 in published ones."
    )
    dropout: float = Field(default=0.1, ge=0, lt=1, description="Of hidden states and of attention, in training.")

    paper = "Devlin et al. 2019, arXiv:1810.04805; the small sizes are of Turc et al. 2019, arXiv:1908.08962"
    takes = frozenset({"text"})
    known = tuple({"layers": layers, "hidden": hidden} for layers, hidden in ((2, 128), (4, 256), (4, 512), (12, 768)))

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> Self:
        heads = self.heads or max(1, self.hidden // 64)
        if self.hidden % heads:
            raise ValueError(f"{heads} heads must divide hidden, which is {self.hidden}: set heads or hidden")
        return self

    def misfit(self, in_shape: Shape) -> tuple[str, str] | None:
        """More tokens than positions."""
        if in_shape[1] <= self.max_positions:
            return None
        return "max_positions", f"texts of {in_shape[1]} tokens need as many positions, this has {self.max_positions}"

    def stage_names(self) -> list[str]:
        """The layers: their outputs are the hidden states."""
        return [f"bert.encoder.layer.{at}" for at in range(self.layers)]

    def _stage_shapes(self, in_shape: Shape) -> list[Shape]:
        return [(in_shape[1], self.hidden)] * self.layers


class Bag(Student):
    """The mean of the embeddings of a text's tokens, then a perceptron: small and fast, and blind to their order."""

    type: Literal["bag"] = "bag"
    embedding: Width = Field(default=64, description="Width of the embeddings.")
    hidden: list[Width] = Field(default=[], max_length=32, description="Widths of hidden layers behind the mean.")
    dropout: float = Field(default=0.1, ge=0, lt=1)

    paper = "Joulin et al. 2017, arXiv:1607.01759; with hidden layers: Iyyer et al. 2015, ACL"
    takes = frozenset({"text"})

    def stage_names(self) -> list[str]:
        """The mean, and each hidden layer."""
        return ["embedding", *(f"hidden.{at}" for at in range(len(self.hidden)))]

    def _stage_shapes(self, _in_shape: Shape) -> list[Shape]:
        return [(width,) for width in (self.embedding, *self.hidden)]


class TextCnn(Student):
    """Convolutions over neighbouring tokens, of each filter the greatest value in the text."""

    type: Literal["text_cnn"] = "text_cnn"
    embedding: Width = Field(default=64, description="Width of the embeddings.")
    channels: Width = Field(default=100, description="Filters of each width.")
    widths: list[Annotated[int, Field(ge=1, le=63)]] = Field(
        default=[3, 4, 5], min_length=1, max_length=16, description="How many neighbouring tokens a filter sees."
    )
    dropout: float = Field(default=0.5, ge=0, lt=1)

    paper = "Kim 2014, arXiv:1408.5882"
    takes = frozenset({"text"})

    def stage_names(self) -> list[str]:
        """What the windows found."""
        return ["windows"]

    def _stage_shapes(self, _in_shape: Shape) -> list[Shape]:
        return [(self.channels * len(self.widths),)]
