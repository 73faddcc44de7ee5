"""In what numbers networks compute, and how their memory is laid out."""

from typing import Literal

from pydantic import Field

from models.spec.base import Entry

NumberFormat = Literal["float32", "tf32", "bf16"]


class Arithmetic(Entry):
    """How a network computes. Weights and losses are float32 in any case."""

    name: NumberFormat = Field(
        description="`tf32`: products of float32 rounded to 11 bits, on GPUs that have it, elsewhere as float32. "
        "`bf16`: forward passes in bfloat16."
    )
    channels_last: bool = Field(
        default=True, description="Images with their channels side by side in memory; of no meaning without maps."
    )
    compile: bool = Field(
        default=False,
        description="Compile the network before it is trained, for a minute or so. Where no compiler is to be had, or "
        "a loss reads inside of the network, it is left out.",
    )
